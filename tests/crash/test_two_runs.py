"""Two runs in one folder: the second is refused and names the first; two seeds of a study go side by side."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast import _locks, cli
from gmvae_fast._locks import InUseError
from gmvae_fast.data import Snapshots
from gmvae_fast.studies import ModelConfig, StudyFolder, embed_seed, score_seed, train_seed

pytestmark = pytest.mark.skipif(not _locks.have_locks(), reason="no locks here")
MODEL = ModelConfig(network="mlp", widths=(8,), n_components=2)
CONFIG = gf.TrainConfig(epochs=2, n_init=2)


@pytest.fixture
def snapshots():
    return Snapshots(np.random.default_rng(0).normal(size=(40, 1, 8)), ("u",), {"level": np.arange(40.0)})


def test_the_second_run_is_refused_and_changes_nothing(tmp_path, snapshots, monkeypatch, capsys):
    folder = StudyFolder(tmp_path / "study")
    train_seed(folder, snapshots, MODEL, CONFIG, progress=False)
    embed_seed(folder, snapshots, 0)
    before = {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()}
    snapshots.save(tmp_path / "data.npz")
    with folder.lock_seed(0):
        for stage in (embed_seed, score_seed):
            with pytest.raises(InUseError, match=f"seed_0: in use by process {os.getpid()} on"):
                stage(folder, snapshots, 0)
        command = ["train", tmp_path / "data.npz", "--out", folder.path, "--network", "mlp", "--no-resume"]
        monkeypatch.setattr(sys, "argv", ["gmvae-fast", *map(str, command)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 1
        assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in folder.path.rglob("*") if p.is_file()} == before


def test_two_processes_never_write_one_checkpoint(tmp_path, snapshots):
    path, entered, leave = tmp_path / "c.safetensors", threading.Event(), threading.Event()

    def pause(record):
        entered.set()
        leave.wait(60)

    def model():
        return gf.GMVAE((1, 8), n_components=2, network="mlp", widths=[8])

    first = threading.Thread(
        target=gf.fit,
        args=(model(), snapshots, CONFIG),
        kwargs={"checkpoint": path, "on_epoch": pause, "progress": False},
    )
    first.start()
    assert entered.wait(60)
    code = (
        "import sys, numpy as np, gmvae_fast as gf\n"
        "model = gf.GMVAE((1, 8), n_components=2, network='mlp', widths=[8])\n"
        "gf.fit(model, np.zeros((9, 1, 8), 'f4'), checkpoint=sys.argv[1])\n"
    )
    second = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120)
    leave.set()
    first.join(60)
    assert f"InUseError: {path}: in use by process {os.getpid()}" in second.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


def test_seeds_trained_at_a_time_are_all_entered(tmp_path, snapshots):
    folder = StudyFolder(tmp_path)
    threads = [threading.Thread(target=folder.update_study, kwargs={"add_seed": s, f"k{s}": s}) for s in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    study = json.loads((tmp_path / "study.json").read_text())
    assert study["seeds"] == list(range(20))
    assert {f"k{s}" for s in range(20)} <= study.keys()
    assert [p.name for p in tmp_path.iterdir()] == ["study.json"]


def test_a_refused_configuration_leaves_a_trained_seed_as_it_was(tmp_path, snapshots):
    folder = StudyFolder(tmp_path)
    train_seed(folder, snapshots, MODEL, CONFIG, progress=False)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    split = gf.data.SplitConfig(test_fraction=0.5)
    with pytest.raises(ValueError, match=r"belongs to other data .*resume=False \(gmvae-fast train --no-resume\)"):
        train_seed(folder, snapshots, MODEL, CONFIG, split=split, progress=False)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_seed_that_was_never_trained_gets_no_folder(tmp_path, snapshots):
    with pytest.raises(ValueError, match="seed_7: no such folder"):
        embed_seed(StudyFolder(tmp_path), snapshots, 7)
    assert list(tmp_path.iterdir()) == []
