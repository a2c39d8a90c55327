"""Two gloo processes train as one does; processes.py says what each of them runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch.distributed as dist
from processes import DEATHS, snapshots

from gmvae_fast.data import convert_snapshots
from gmvae_fast.model import read_tensors
from gmvae_fast.training import checkpoint

SCRIPT = Path(__file__).with_name("processes.py")
LIMIT = 120  # seconds

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch is built without gloo"
)


def run(name: str, folder: Path, *options: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *options]
    command = [sys.executable, *(launcher if processes > 1 else []), str(SCRIPT), name, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT)


def results(name: str, folder: Path, *options: str, processes: int = 2) -> dict[str, np.ndarray]:
    done = run(name, folder, *options, processes=processes)
    assert done.returncode == 0, done.stderr[-3000:]
    return written(name, folder)


def written(name: str, folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / f"{name}.npz") as found:
        return dict(found)


def _beside_a_chunked_file(parent: Path) -> Path:
    convert_snapshots(snapshots(), parent / "waves.h5", compression="gzip")
    return parent / "results"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process finds."""
    folder = _beside_a_chunked_file(tmp_path_factory.mktemp("alone"))
    done = run(
        "block,means,joint,full,streamed,weighted,dropped,masked,conv,stopped,block32,conv32,killed",
        folder,
        processes=1,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two find."""
    folder = _beside_a_chunked_file(tmp_path_factory.mktemp("together"))
    done = run("block,means,joint,full,streamed,weighted,dropped,masked,conv,stopped,conv32", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize(
    "name", ["block", "means", "joint", "full", "streamed", "weighted", "dropped", "masked", "conv"]
)
def test_the_result_is_that_of_one_process(alone: Path, together: Path, name: str) -> None:
    """Parameters, losses, held-out loss, diagnostics, embedding and responsibilities, three epochs in float64."""
    one, two = written(name, alone), written(name, together)
    assert one.keys() == two.keys()
    for key, value in one.items():
        np.testing.assert_allclose(two[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


def test_three_processes_in_float32(alone: Path, tmp_path: Path) -> None:
    three = results("block32", tmp_path, processes=3)
    assert_near_in_float32(three, written("block32", alone))


def test_two_processes_of_convolutions_in_float32(alone: Path, together: Path) -> None:
    assert_near_in_float32(written("conv32", together), written("conv32", alone))


def assert_near_in_float32(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Sums round differently, and the EM starts amplify that: networks to 1e-4, the mixture to 1e-2."""
    for key, value in expected.items():
        tolerance = 1e-4 if key.startswith(("encoder", "decoder", "offset", "scale", "losses")) else 1e-2
        np.testing.assert_allclose(found[key], value, rtol=tolerance, atol=tolerance, err_msg=key)


def test_a_killed_process_ends_the_run_and_the_checkpoint_goes_on(alone: Path, tmp_path: Path) -> None:
    done = run("killed", tmp_path / "two")
    assert done.returncode != 0
    assert "lost another one of the run" in done.stderr or "SIGKILL" in done.stderr
    assert not (tmp_path / "two" / "killed.npz").exists()
    again = results("revived", tmp_path / "two")
    assert again["losses"].shape == (8,)
    for key, value in written("killed", alone).items():
        np.testing.assert_allclose(again[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


def test_elastic_restarts_resume_whichever_process_dies(alone: Path, tmp_path: Path) -> None:
    """The first in the warm-up and while it writes a checkpoint, the second and both between checkpoints."""
    folder = tmp_path / "two"
    found = results("restarted", folder, f"--max-restarts={len(DEATHS)}")
    died = {f"died_{attempt}_{rank}" for attempt, (ranks, _, _) in DEATHS.items() for rank in ranks}
    assert {p.name for p in folder.iterdir()} == died | {"restarted.npz", "run.safetensors"}  # no temporary, no lock
    for key, value in written("killed", alone).items():
        np.testing.assert_allclose(found[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


def test_what_fails_in_one_process_ends_all_and_says_why(tmp_path: Path) -> None:
    done = run("broken,full_disk,unlike,few", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    said = {name: [(tmp_path / f"{name}_{rank}.txt").read_text() for rank in (0, 1)] for name in _FAILURES}
    for name, words in _FAILURES.items():
        assert all(words in text for text in said[name]), said[name]
    for name in ("error", "unlike", "few"):
        assert said[name][0] == said[name][1]
    assert "process 0 of 2: OSError" in said["full_disk"][1]
    _, header = read_tensors(tmp_path / "full.safetensors", checkpoint.FORMAT, checkpoint.VERSION)
    assert header["epoch"] == 1  # the last one that could be written
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


_FAILURES = {
    "error": "data must be finite in float32, got NaN or inf in snapshot 87",
    "full_disk": "No space left on device",
    "unlike": "config must be the same in every process",
    "few": "data must hold at least one trajectory for each of the 2 processes, got 1; start at most 1",
}


def test_a_process_reads_its_share_alone(tmp_path: Path) -> None:
    """Streamed, held in memory, or decoded into copies: no snapshot of another process, held and copied ones once."""
    folder = _beside_a_chunked_file(tmp_path)
    snapshots().save(tmp_path / "waves.npz")
    done = run("shares", folder)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((folder / f"shares_{rank}.json").read_text()) for rank in (0, 1)]
    for process in found:
        for how in ("streamed", "held", "copied"):
            assert process[how]["snapshots"] == sorted(process["own"]), how
        assert process["streamed"]["most"] > 1
        assert process["held"]["most"] == process["copied"]["most"] == 1
        assert process["type"] == "LazySnapshots"
    assert not set(found[0]["own"]) & set(found[1]["own"])
    sizes = sorted(np.load(path, mmap_mode="r").shape[0] for path in (folder / "copies").glob("*.npy"))
    assert sizes == sorted(len(process["own"]) for process in found)


def test_the_command_line_trains_and_embeds_under_torchrun(tmp_path: Path) -> None:
    """One study folder whatever the number of processes; only the first writes and speaks."""
    snapshots().save(tmp_path / "waves.npz")
    options = ["--epochs", "2", "--batch-size", "16", "--network", "mlp", "--widths", "8", "--quiet"]
    said = {}
    for name, launcher in (("one", []), ("two", ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"])):
        command = [sys.executable, *launcher, "-m", "gmvae_fast.cli"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GMVAE_FAST_CACHE": str(tmp_path / "cache")}
        study = str(tmp_path / name)
        for arguments in (["train", str(tmp_path / "waves.npz"), "--out", study, *options], ["embed", study]):
            done = subprocess.run(
                [*command, *arguments], env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
            )
            assert done.returncode == 0, done.stderr[-3000:]
            said[name] = done.stdout
    assert said["two"].count("snapshots embedded") == 1
    files = [sorted(p.name for p in (tmp_path / name / "seed_0").iterdir()) for name in ("one", "two")]
    assert files[0] == files[1]
    means = [np.load(tmp_path / name / "seed_0" / "embedding.npz")["mean"] for name in ("one", "two")]
    np.testing.assert_allclose(*means, rtol=1e-3, atol=1e-3)
