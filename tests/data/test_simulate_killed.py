"""`gmvae-fast simulate` killed (SIGKILL) at several moments and started again, as a real process."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from gmvae_fast import cli

pytest.importorskip("numba")
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")

RUNS, WORKERS = 14, 2

#: The command, with a line in a log before and after the computation of each run.  It may be told to kill itself: when
#: it begins its n-th run, or when what it writes for the n-th time stands in the temporary file.
COMMAND = """
import itertools, os, signal, sys
from gmvae_fast import _io, cli
from gmvae_fast.data.systems.ignition.cases import IgnitionRun

log = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
kind, number = sys.argv.pop(1), int(sys.argv.pop(1))
counts = {"run": itertools.count(1), "write": itertools.count(1)}

def note(what):
    if next(counts[what]) == number and what == kind:
        os.kill(os.getpid(), signal.SIGKILL)

def logged(run, stop, compute=IgnitionRun.run):
    os.write(log, b"start %d\\n" % run.attempts[0].noise_seed)
    note("run")
    result = compute(run, stop)
    os.write(log, b"end %d\\n" % run.attempts[0].noise_seed)
    return result

def fsync(handle, sync=os.fsync):
    sync(handle)
    note("write")

IgnitionRun.run, _io.os.fsync = logged, fsync
cli.main()
"""


def _options(out):
    options = ["--size", "tiny", "--runs", str(RUNS), "--workers", str(WORKERS), "--seed", "3", "--quiet"]
    return ["simulate", "ignition", *options, "--out", str(out)]


def _start(folder, kill_at=("never", 0)):
    """The command with the log, the cache and the file in ``folder``."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(folder / "log"), *map(str, kill_at), *_options(folder / "out.npz")],
        env={**os.environ, "GMVAE_FAST_CACHE": str(folder / "cache")},
        stderr=subprocess.PIPE,
    )


def _entries(folder):
    return sorted((folder / "cache").rglob("*.npz"))


def _partial(folder):
    return [path.name for path in folder.rglob("*.partial")]


def _logged(folder, what):
    return [line.split()[1] for line in (folder / "log").read_text().splitlines() if line.startswith(what)]


def test_a_kill_costs_at_most_one_run_a_worker(tmp_path, monkeypatch):
    """Every process finds what the killed ones had finished, and nothing else tells that they were there."""
    moments = [("run", 4), "from outside", ("write", 3), ("write", RUNS + 1)]
    for kills, moment in enumerate(moments, 1):
        before = len(_entries(tmp_path))
        if moment == ("write", RUNS + 1):
            moment = ("write", RUNS + 1 - before)  # the file itself, after the remaining runs
        process = _start(tmp_path, ("never", 0) if moment == "from outside" else moment)
        if moment == "from outside":
            deadline = time.monotonic() + 120
            while len(_entries(tmp_path)) < before + 2 and time.monotonic() < deadline:
                time.sleep(0.002)
            process.kill()
        error = process.communicate(timeout=120)[1]
        assert process.returncode == -signal.SIGKILL, error.decode()
        assert not (tmp_path / "out.npz").exists()
        for entry in _entries(tmp_path):
            with np.load(entry, allow_pickle=False) as archive:  # whole: every array can be read
                assert len({len(archive[name]) for name in archive.files if "/" in name or name == "fields"}) == 1
        assert len(_logged(tmp_path, "start")) - len(_entries(tmp_path)) <= kills * WORKERS
        # What was being written at this kill, and nothing of earlier ones.
        assert len(_partial(tmp_path)) <= WORKERS
        if moment[0] == "write":
            assert _partial(tmp_path)
    assert len(_entries(tmp_path)) == RUNS
    process = _start(tmp_path)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 0, error.decode()
    assert _partial(tmp_path) == []
    assert RUNS < len(_logged(tmp_path, "start")) <= RUNS + len(moments) * WORKERS
    assert set(_logged(tmp_path, "end")) == set(_logged(tmp_path, "start"))

    undisturbed = tmp_path / "undisturbed.npz"
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "other cache"))
    monkeypatch.setattr(sys, "argv", ["gmvae-fast", *_options(undisturbed)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert undisturbed.read_bytes() == (tmp_path / "out.npz").read_bytes()
