"""A short form of `make soak`, and that its verdict tells growth from noise."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

soak = pytest.importorskip("soak")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def records(n=200, growth=0.0, files=0.0, seed=0):
    """Cycles of a second, in a process of 500 MiB whose memory jumps by a few."""
    rng = np.random.default_rng(seed)
    memory = 500 * 2**20 + growth * np.arange(n) + rng.integers(0, 5 * 2**20, n)
    return [soak.Record(i, float(i), int(memory[i]), 20 + int(files * i), 8) for i in range(n)]


def test_jumps_and_one_peak_are_flat():
    flat = records()
    flat[150] = soak.Record(150, 150.0, 2**32, 90, 8)
    text, passed = soak.verdict(flat)
    assert passed, text


@pytest.mark.parametrize(
    ("options", "grown"), [({"growth": 200_000}, "resident_bytes"), ({"files": 0.1}, "open_files")]
)
def test_what_grows_is_named(options, grown):
    text, passed = soak.verdict(records(**options))
    assert not passed
    assert [line.split()[1] for line in text.splitlines() if line.startswith("MISS")] == [f"{grown}:"]


def test_the_first_fifth_is_warm_up():
    late = records(growth=0)
    warm = [
        soak.Record(r.cycle, r.seconds, r.resident_bytes - (40 - i) * 10**7, 20, 8) for i, r in enumerate(late[:40])
    ]
    assert soak.verdict([*warm, *late[40:]])[1]
    with pytest.raises(ValueError, match="a verdict needs 5 cycles after the warm-up"):
        soak.verdict(late[:3])


LEAKING = """
import sys
import numpy as np
import soak

kept = []

def leaking(folder, number):
    kept.append((np.ones(2**19), open(f"{sys.argv[1]}/{number}", "w")))

print({rise.quantity: bool(rise.passed) for rise in soak.rises(soak.run(0, leaking, least=12))})
"""


def test_a_leak_is_found_in_a_living_process(tmp_path):
    """In a process of its own: in this one a leak would first fill what other tests have freed."""
    command = [sys.executable, "-c", LEAKING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(soak.__file__).parent)
    found = ast.literal_eval(done.stdout.splitlines()[-1])
    assert found == {"resident_bytes": False, "open_files": False, "threads": True}


def test_files_hold_what_was_measured(tmp_path):
    soak.write_csv(tmp_path / "a.csv", records(10))
    assert soak.read_csv(tmp_path / "a.csv") == records(10)
    pytest.importorskip("matplotlib")
    soak.draw(tmp_path / "a.png", records(10))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_cycles_of_a_few_seconds_stay_flat(tmp_path):
    """In a process of its own: what other tests left to be freed would count."""
    command = [sys.executable, soak.__file__, "--minutes", "0", "--cycles", "8", "--csv", str(tmp_path / "a.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(soak.__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(soak.read_csv(tmp_path / "a.csv")) == 8
