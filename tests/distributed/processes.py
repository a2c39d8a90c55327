"""What a process of the distributed tests runs: python processes.py NAME[,NAME...] FOLDER. Alone, or under torchrun."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gmvae_fast as gf
from gmvae_fast.cli.stages import _opened
from gmvae_fast.data import LazySnapshots, Snapshots
from gmvae_fast.distributed import Ranks, Share
from gmvae_fast.training import checkpoint

LENGTHS = (9, 3, 17, 1, 8, 12, 5, 20, 2, 13)  # of the trajectories: no two processes get the same number


def snapshots(seed: int = 0) -> Snapshots:
    """Two groups of travelling waves, in trajectories of different lengths."""
    rng = np.random.default_rng(seed)
    trajectory = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    group = trajectory % 2
    x = np.linspace(0, 2 * np.pi, 24)
    phase = rng.uniform(0, 2 * np.pi, len(trajectory))
    waves = np.sin((1 + 2 * group)[:, None] * x + phase[:, None]) * (1 + group)[:, None]
    fields = (waves + 0.05 * rng.normal(size=waves.shape))[:, None].astype(np.float32)
    mask = np.ones(24, bool)
    mask[:2] = False
    return Snapshots(fields, ("u",), trajectory=trajectory, mask=mask)


def model(dtype: torch.dtype = torch.float64, **options: Any) -> gf.GMVAE:
    shape = {"n_components": 3, "network": "mlp", "widths": (16,)}
    return gf.GMVAE((1, 24), 2, **{**shape, **options}).to(dtype)


def config(**changes: Any) -> gf.TrainConfig:
    return gf.TrainConfig(**{"epochs": 3, "warmup_epochs": 1, "batch_size": 16, "n_init": 2, **changes})


def finish(folder: Path, name: str, trained: gf.GMVAE, history: gf.History, **arrays: Any) -> None:
    """Parameters, losses and whatever else, from the first process; every process checks that it holds the same."""
    ranks = gf.distributed.joined()
    for key, value in trained.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(ranks.share(value), value), f"{key} differs between processes"
    if not ranks.first:
        return
    last = history.epochs[-1]
    numbers = {
        "losses": np.array([e.loss for e in history.epochs]),
        "held_out": np.array([last.held_out_loss or 0.0, last.held_out_error or 0.0]),
        "kl": np.array([last.mixture_kl or 0.0, last.responsibility_entropy, *last.occupancy, *last.component_kl]),
    }
    state = {k: v.numpy() for k, v in trained.state_dict().items()}
    np.savez(folder / f"{name}.npz", **state, **numbers, **arrays)


def train(folder: Path, name: str, dtype: torch.dtype = torch.float64, **changes: Any) -> None:
    of_model = ("learn_noise", "covariance_type", "network", "widths", "n_components")
    options = {k: changes.pop(k) for k in of_model if k in changes}
    held_out = snapshots(1)
    if changes.pop("one_held_out", False):  # a trajectory for two processes
        held_out = held_out.subset(held_out.trajectory == 2)
    trained = model(dtype, **options)
    data = gf.open_snapshots(folder.parent / changes.pop("file"), lazy=True) if "file" in changes else snapshots()
    if "on_nan" in changes:
        for row in (2, 40, -3):  # of both processes
            data.fields[row, 0, 5] = np.nan
    weight = np.arange(len(data)) % 5 if changes.pop("weighted", False) else None  # some 0
    history = gf.fit(trained, data, config(**changes), held_out=held_out, sample_weight=weight, progress=False)
    embedding = gf.distributed.embed(trained, data)
    gamma = gf.distributed.predict_proba(trained, data)
    finish(folder, name, trained, history, embedded=embedding.mean, gamma=gamma)


def killed(folder: Path, epoch: int, *, dies: bool) -> None:
    """Train with a checkpoint; the last of several processes kills itself after ``epoch`` if it ``dies``."""
    rank, last = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")) - 1

    trained, steps = model(), itertools.count(1)
    fatal = epoch * -(-sum(LENGTHS) // 16) + 2  # within the epoch that follows

    def count(*_: Any) -> None:
        if next(steps) == fatal and rank == last > 0 and dies:
            os.kill(os.getpid(), signal.SIGKILL)

    trained.decoder.register_full_backward_hook(count)
    path = folder / "run.safetensors"
    history = gf.fit(trained, snapshots(), config(epochs=8), checkpoint=path, checkpoint_every=1, progress=False)
    finish(folder, "killed" if dies else "revived", trained, history)


#: By attempt of an elastic run: which processes kill themselves, and when: at a step, or while a checkpoint is written.
DEATHS = {
    0: ((0,), "step", 2),  # warm-up, no checkpoint yet
    1: ((0,), "checkpoint", 2),  # that of epoch 4
    2: ((1,), "step", 14),  # from epoch 2 on: in epoch 5, past the checkpoint of epoch 4
    3: ((0, 1), "step", 14),  # in epoch 7, past that of epoch 6
}


def restarted(folder: Path) -> None:
    """Train with a checkpoint of every second epoch; each attempt but the last ends as `DEATHS` says."""
    attempt, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], int(os.environ["RANK"])
    dying, moment, fatal = DEATHS.get(int(attempt), ((), "", 0))
    trained, count = model(), itertools.count(1)

    def perhaps_die() -> None:
        if rank in dying and next(count) == fatal:
            (folder / f"died_{attempt}_{rank}").touch()
            while not all((folder / f"died_{attempt}_{other}").exists() for other in dying):
                time.sleep(0.01)  # both must come here: the death of one ends the other elsewhere
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "step":
        trained.decoder.register_full_backward_hook(lambda *_: perhaps_die())
    elif moment == "checkpoint":
        rename = os.replace

        def dying_rename(source: Any, target: Any) -> None:
            perhaps_die()  # the temporary file is whole, the final one is the last checkpoint
            rename(source, target)

        os.replace = dying_rename  # type: ignore[assignment]
    path = folder / "run.safetensors"
    history = gf.fit(trained, snapshots(), config(epochs=8), checkpoint=path, checkpoint_every=2, progress=False)
    finish(folder, "restarted", trained, history)


def broken(folder: Path) -> None:
    """NaN in a trajectory of the last process: every process must say which."""
    data = snapshots()
    data.fields[-3, 0, 5] = np.nan
    told(folder, "error", lambda: gf.fit(model(), data, config(), progress=False))


def shares(folder: Path) -> None:
    """Which snapshots of a compressed file this process reads, and how often: streamed, held, from a copy; by name."""
    read: Counter[int] = Counter()
    original = LazySnapshots.read

    def counted(self: LazySnapshots, indices: Any) -> Any:
        read.update((1000 * self.trajectory[indices] + self.time_index[indices]).tolist())
        return original(self, indices)

    LazySnapshots.read = counted  # type: ignore[method-assign]
    whole = gf.open_snapshots(folder.parent / "waves.h5", lazy=True)
    found: dict[str, Any] = {}
    for name, options in {
        "streamed": {"hold_bytes": 0},
        "held": {"hold_bytes": 2**30},
        "copied": {"hold_bytes": 0, "cache": folder / "copies"},
    }.items():
        read.clear()
        gf.fit(model(), whole, config(), progress=False, **options)
        found[name] = {"snapshots": sorted(read), "most": max(read.values())}
    own = Share(whole, "data", Ranks(int(os.environ["RANK"]), 2)).rows.numpy()
    found["own"] = (1000 * whole.trajectory[own] + whole.time_index[own]).tolist()
    found["type"] = type(_opened(folder.parent / "waves.npz", gf.distributed.joined(), None, True)).__name__
    (folder / f"shares_{os.environ['RANK']}.json").write_text(json.dumps(found))


def told(folder: Path, name: str, work: Callable[[], Any]) -> None:
    """The error of ``work`` as a file of this process."""
    try:
        work()
    except Exception as err:
        rank = os.environ.get("RANK", "0")
        (folder / f"{name}_{rank}.txt").write_text(f"{type(err).__name__}: {err}")


def full_disk(folder: Path) -> None:
    """The first process cannot write the checkpoint of the second epoch: no process goes on."""
    original = checkpoint.save

    def failing(run: Any, path: Any) -> None:
        if run.epoch == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        original(run, path)

    checkpoint.save = failing
    path = folder / "full.safetensors"
    told(
        folder,
        "full_disk",
        lambda: gf.fit(model(), snapshots(), config(), checkpoint=path, checkpoint_every=1, progress=False),
    )
    checkpoint.save = original


def unlike(folder: Path) -> None:
    """Another configuration in one process."""
    seed = int(os.environ.get("RANK", "0"))
    told(folder, "unlike", lambda: gf.fit(model(), snapshots(), config(seed=seed), progress=False))


def few(folder: Path) -> None:
    """Fewer trajectories than processes."""
    data = snapshots()
    one = data.subset(data.trajectory == 7)
    told(folder, "few", lambda: gf.fit(model(), one, config(), progress=False))
    embedding = gf.distributed.embed(model(), one)
    np.testing.assert_allclose(embedding.mean, model().embed(one).mean, rtol=1e-12, atol=1e-12)


def main() -> None:
    names, folder = sys.argv[1].split(","), Path(sys.argv[2])
    torch.set_num_threads(1)
    runs = {
        "block": lambda name: train(folder, name),
        "block32": lambda name: train(folder, name, torch.float32),
        "means": lambda name: train(folder, name, scheme="means", warmup_epochs=0),
        "joint": lambda name: train(folder, name, scheme="joint", gradient_clip=1.0),
        "full": lambda name: train(folder, name, covariance_type="full", learn_noise=True, reseed_below=99.0),
        "streamed": lambda name: train(folder, name, file="waves.h5"),
        "weighted": lambda name: train(folder, name, weighted=True, learn_noise=True),
        "dropped": lambda name: train(folder, name, on_nan="drop"),
        "masked": lambda name: train(folder, name, on_nan="mask", learn_noise=True),
        "conv": lambda name: train(
            folder, name, network="conv", widths=(4, 8), batch_size=4, n_components=1, one_held_out=True
        ),
        "conv32": lambda name: train(folder, name, torch.float32, network="conv", widths=(4, 8), batch_size=4),
        "stopped": lambda name: train(folder, name, epochs=40, patience=1, validate_every=1, learning_rate=0.05),
        "killed": lambda _: killed(folder, 4, dies=True),
        "revived": lambda _: killed(folder, 4, dies=False),
        "restarted": lambda _: restarted(folder),
        "broken": lambda _: broken(folder),
        "shares": lambda _: shares(folder),
        "full_disk": lambda _: full_disk(folder),
        "unlike": lambda _: unlike(folder),
        "few": lambda _: few(folder),
    }
    for name in names:
        runs[name](name)


if __name__ == "__main__":
    main()
