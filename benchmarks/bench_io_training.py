"""Training from files against training from memory, on the wake's grid.

    make bench-io
    python -m pytest benchmarks/bench_io_training.py --benchmark-enable --benchmark-only --benchmark-quiet

Files are read in every pass, but for "held" (`fit`'s default for data of this size: read once, then held in memory)
and "copied" (`open_snapshots(..., cache=...)`: decoded once into a copy on the disk, which is made within the time).
The ratio is the share of in-memory training's speed that training from the file reaches, over whole calls of `fit`.
"cpu_s" is the processor time of a call, all threads, "cpu_ratio" the share by that: what decoding costs where other
work on the machine disturbs the clock. "epoch" is the median second of an epoch once the mixture is there: a pass of
Adam and a pass of all latents. Answers first: where snapshots are stored apart, the losses are those from memory bit
for bit. The statistics of the files are not remembered between calls: everyone makes that pass.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.data import Snapshots
from race import run_race

SHAPE = (3, 41, 220)  # the channel wake
N = 256
EPOCHS = 8
NETWORKS: dict[str, dict[str, Any]] = {
    "conv": {},
    "mlp 64,64": {"network": "mlp", "widths": (64, 64)},  # the demo's
}
#: Kind -> processes that read.
KINDS = {
    "npy": 0,
    "HDF5 contiguous": 0,
    "HDF5 gzip, chunks of 16": 0,
    "HDF5 gzip, chunks of 16, held": 0,
    "HDF5 gzip, chunks of 16, copied": 0,
    "HDF5 gzip, chunks of 16, 1 worker": 1,
    "HDF5 gzip, chunks of 16, 2 workers": 2,
    "converted .h5": 0,
    "converted .h5, bfloat16": 0,
    "converted .zarr, zstd": 0,
    "converted .zarr, zstd, held": 0,
    "converted .zarr, zstd, copied": 0,
}


def wakes() -> np.ndarray[Any, Any]:
    """Travelling waves on the wake's grid; training takes as long whatever the values."""
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]].astype(np.float32)
    phase = np.linspace(0, 40, N, dtype=np.float32)[:, None, None, None]
    waves = np.arange(1, 4, dtype=np.float32)[:, None, None]
    return np.sin(0.05 * waves * x + phase) * np.exp(-(((y - 20) / 10) ** 2))


def stored(kind: str, held: Snapshots, folder: Path) -> Any:
    """The snapshots in a file of this kind."""
    if kind == "npy":
        np.save(folder / "a.npy", held.fields)
        return gf.open_snapshots(folder / "a.npy", lazy=True)
    if kind.startswith("converted"):
        path = folder / f"a{'.zarr' if 'zarr' in kind else '.h5'}"
        options = {"dtype": "bfloat16"} if "bfloat16" in kind else {}
        gf.data.convert_snapshots(held, path, compression="zstd" if "zstd" in kind else "none", **options)
        return gf.open_snapshots(path)
    layout = {"chunks": (16, *SHAPE), "compression": "gzip", "compression_opts": 1} if "gzip" in kind else {}
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("u", data=held.fields, **layout)
    return gf.open_snapshots(folder / "a.h5", dims="b c y x")


def aged(folder: Path) -> None:
    """Files a moment old are not told from their next versions; these do not change."""
    before = time.time() - 10
    for path in folder.rglob("*"):
        os.utime(path, (before, before))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_training(benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, network: str) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(cache))
    held = Snapshots(wakes(), ("u", "v", "p"))
    data = stored(kind, held, tmp_path)
    aged(tmp_path)
    in_files = {} if kind.endswith("held") else {"hold_bytes": 0}
    epochs: dict[str, list[float]] = {"native": [], "in memory": [], "from the files": []}
    cpu: dict[str, list[float]] = {name: [] for name in epochs}

    def fitted(name: str, source: Any, **options: Any) -> list[float]:
        shutil.rmtree(cache, ignore_errors=True)
        model = gf.GMVAE(SHAPE, n_components=3, **NETWORKS[network])
        config = gf.TrainConfig(epochs=EPOCHS, warmup_epochs=1, n_init=2)
        start = time.process_time()
        if name == "native" and kind.endswith("copied"):
            source = gf.data.copied(source)
        history = gf.fit(model, source, config, progress=False, **options)
        cpu[name].append(time.process_time() - start)
        epochs[name] += [epoch.seconds for epoch in history.epochs[2:]]
        return [epoch.loss for epoch in history.epochs]

    losses = fitted("native", data, workers=KINDS[kind], **in_files)
    if data.chunk_starts is None and "bfloat16" not in kind:  # chunks come in another order than memory's permutation
        assert losses == fitted("in memory", held)
    if kind.endswith(("held", "copied")):
        assert losses == fitted("from the files", data, hold_bytes=0)
    threads = torch.get_num_threads()
    benchmark.group = f"train {EPOCHS} epochs on {N} snapshots {SHAPE}, {network}, {kind}, {threads} threads"
    contenders = {
        "native": lambda: fitted("native", data, workers=KINDS[kind], **in_files),
        "in memory": lambda: fitted("in memory", held),
    }
    table = run_race(benchmark, contenders, seconds=12.0, at_least=3, at_most=9)
    for name, row in table.items():
        row["snapshots_per_s"] = EPOCHS * N / row["median_us"] * 1e6
        row["epoch_s"], row["cpu_s"] = statistics.median(epochs[name]), statistics.median(cpu[name])
    for name in ("epoch", "cpu"):
        table["in memory"][f"{name}_ratio"] = table["in memory"][f"{name}_s"] / table["native"][f"{name}_s"]
