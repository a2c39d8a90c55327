"""A short campaign of `make fuzz`, and what holds for the package's sources."""

import re
import sys
from collections import Counter
from pathlib import Path

import pytest

import gmvae_fast

fuzz = pytest.importorskip("fuzz")
fuzz_damage = pytest.importorskip("fuzz_damage")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="bounds processes by /proc and rlimits")


@pytest.fixture(scope="module")
def outcomes():
    return fuzz.in_a_process_of_its_own(cases=1, seed=1)


def test_only_documented_exceptions_within_bounds(outcomes):
    findings = [f"{o.case}: {o.detail}" for o in outcomes if o.result == "finding"]
    assert not findings, "\n".join(findings)


def test_every_harm_is_refused_and_every_reader_is_damaged(outcomes):
    available = {name for name, reader in fuzz.READERS.items() if reader.available}
    damaged = Counter(o.case.reader for o in outcomes if not o.case.harm)
    assert damaged == dict.fromkeys(available, 1)
    harms = {(o.case.reader, o.case.kind) for o in outcomes if o.case.harm and o.result == "refused"}
    assert harms == {(r, kind) for r in available for kind in fuzz_damage.HARMS.get(r, {})}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "hdf5-the-wel1"], "got 'hdf5-the-wel1'; did you mean 'hdf5-the-well'"),
        (["--only", "model", "--kind", "lost fiel"], "got 'lost fiel'; did you mean 'lost file'"),
        (["--cases", "-1"], "--cases must be an integer >= 0, got -1"),
    ],
)
def test_the_campaign_names_the_nearest_reader_and_kind(monkeypatch, capsys, options, message):
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *options])
    with pytest.raises(SystemExit) as stop:
        fuzz.main()
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_the_campaign_finds_what_it_looks_for(tmp_path):
    """Readers that misbehave in each way are found out."""

    def reader(use):
        return fuzz.Reader(
            "broken", lambda folder: (folder / "a").write_bytes(bytes(64)) and None, use, lambda: (OSError,)
        )

    def outcome(use):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "temporary").mkdir(exist_ok=True)
        fuzz.READERS["broken"] = reader(use)
        try:
            return fuzz._run(fuzz.Case("broken", "harm", 0, harm=True), 0, tmp_path, make=False)
        finally:
            del fuzz.READERS["broken"]

    def fails(folder):
        raise KeyError("x")

    def crashes(folder):
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)

    def executes(folder):
        import subprocess

        subprocess.run(["true"], check=True)

    def leaves(folder):
        (folder.parent / "files" / "left").mkdir()
        raise OSError("damaged")

    def refuses(folder):
        raise OSError("damaged")

    for use, what in (
        (fails, "KeyError"),
        (crashes, "SIGSEGV"),
        (executes, "subprocess.Popen"),
        (leaves, "files changed"),
        (lambda folder: bytearray(2**33), "MemoryError"),
        (lambda folder: None, "was to be refused"),
    ):
        found = outcome(use)
        assert found.result == "finding"
        assert what in found.detail
    assert outcome(refuses).result == "refused"


def test_nothing_in_the_package_unpickles_or_evaluates():
    """No pickle, no torch.load, no eval or exec; every np.load says allow_pickle=False."""
    forbidden = re.compile(
        r"\bpickle\.|import pickle|cPickle|dill|joblib|torch\.load|weights_only|(?<![\w.])(eval|exec)\(|yaml\.load"
        r"|marshal|shelve|allow_pickle=True|np\.load\((?![^\n]*allow_pickle=False)"
    )
    root = Path(gmvae_fast.__file__).parent
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted(root.rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if forbidden.search(line)
    ]
    assert not found, "\n".join(found)
