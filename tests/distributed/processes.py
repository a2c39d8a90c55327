"""What a process of the distributed tests runs: python processes.py NAME[,NAME...] FOLDER. Alone, or under torchrun."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import gmvae_fast as gf
from gmvae_fast.data import Snapshots

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
    return gf.GMVAE((1, 24), 2, 3, network="mlp", widths=(16,), **options).to(dtype)


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
    options = {k: changes.pop(k) for k in ("learn_noise", "covariance_type") if k in changes}
    trained = model(dtype, **options)
    data = gf.open_snapshots(folder.parent / changes.pop("file"), lazy=True) if "file" in changes else snapshots()
    if "on_nan" in changes:
        for row in (2, 40, -3):  # of both processes
            data.fields[row, 0, 5] = np.nan
    weight = np.arange(len(data)) % 5 if changes.pop("weighted", False) else None  # some 0
    history = gf.fit(trained, data, config(**changes), held_out=snapshots(1), sample_weight=weight, progress=False)
    embedding = gf.distributed.embed(trained, data)
    gamma = gf.distributed.predict_proba(trained, data)
    finish(folder, name, trained, history, embedded=embedding.mean, gamma=gamma)


def killed(folder: Path, epoch: int, *, once: bool) -> None:
    """Train with a checkpoint; the last process kills itself after ``epoch``, the first time only if ``once``."""
    mark = folder / "killed_before"
    rank, last = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")) - 1

    trained, steps = model(), itertools.count(1)
    fatal = epoch * -(-sum(LENGTHS) // 16) + 2  # within the epoch that follows

    def count(*_: Any) -> None:
        if next(steps) == fatal and rank == last > 0 and not (once and mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    trained.decoder.register_full_backward_hook(count)
    path = folder / "run.safetensors"
    history = gf.fit(trained, snapshots(), config(epochs=8), checkpoint=path, checkpoint_every=1, progress=False)
    finish(folder, "killed_once" if once else "killed", trained, history)


def broken(folder: Path) -> None:
    """NaN in a trajectory of the last process: every process must say which."""
    data = snapshots()
    data.fields[-3, 0, 5] = np.nan
    try:
        gf.fit(model(), data, config(), progress=False)
    except ValueError as err:
        rank = os.environ.get("RANK", "0")
        (folder / f"error_{rank}.txt").write_text(str(err))


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
        "killed": lambda _: killed(folder, 4, once=False),
        "killed_once": lambda _: killed(folder, 4, once=True),
        "broken": lambda _: broken(folder),
    }
    for name in names:
        runs[name](name)


if __name__ == "__main__":
    main()
