"""Training on a file larger than memory, within a limit that the system enforces.

    python benchmarks/large_file.py                       40 GB of HDF5, one epoch over all of it, 2 GB allowed
    python benchmarks/large_file.py --gigabytes 4 --format npy --workers 1

The file is sparse (holes that read as zeros, and a last value that says whether the end was reached), so the disk
needs no 40 GB; readers and model do the same work as on any file. A process with RLIMIT_DATA set to the limit opens
it, takes the statistics in one pass, trains an epoch and embeds all snapshots; workers have the same limit. Linux
only. Prints snapshots, seconds, and the peak of resident memory (of .npy with the file's own pages, which the system
takes back when it needs them), and exits with 1 if memory did not suffice.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

SIDE = 1024


def write_sparse(path: Path, n: int) -> None:
    """[n, SIDE, SIDE] float32 of holes; the last value is 1."""
    shape = (n, SIDE, SIDE)
    if path.suffix == ".npy":
        array = np.lib.format.open_memmap(path, "w+", np.float32, shape)
        array[-1, -1, -1] = 1
        array.flush()
        return
    with h5py.File(path, "w") as file:
        file.create_dataset("u", shape, np.float32)[-1, -1, -1] = 1


def train(path: str, limit: int, workers: int) -> None:
    """In a process of its own, as the limit cannot be lifted again."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    import torch

    import gmvae_fast as gf

    torch.set_num_threads(1)
    data = gf.open_snapshots(path, dims="t y x", lazy=True)
    model = gf.GMVAE(
        data.shape, n_components=2, network="mlp", widths=(4,)
    )  # little arithmetic: reading is what counts
    config = gf.TrainConfig(epochs=1, warmup_epochs=0, batch_size=16, n_init=1)
    start = time.perf_counter()
    history = gf.fit(model, data, config, progress=False, workers=workers)
    seconds = time.perf_counter() - start
    last = float(data.read([len(data) - 1])[0, 0, -1, -1])
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = {"snapshots": len(data), "seconds": seconds, "loss": history.epochs[-1].loss, "peaks": peaks, "last": last}
    print(json.dumps(result))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=40)
    parser.add_argument("--limit", type=float, default=2, help="GB of memory allowed")
    parser.add_argument("--format", choices=("h5", "npy"), default="h5")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--train", help=argparse.SUPPRESS)
    options = parser.parse_args()
    limit = int(options.limit * 1e9)
    if options.train:
        train(options.train, limit, options.workers)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"large.{options.format}"
        write_sparse(path, max(8, round(options.gigabytes * 1e9 / (4 * SIDE**2))))
        print(f"{path.stat().st_size / 1e9:.1f} GB, {options.limit:g} GB of memory allowed, {options.workers} workers")
        command = [sys.executable, __file__, "--train", str(path), "--limit", str(options.limit)]
        run = subprocess.run([*command, "--workers", str(options.workers)], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(run.stderr[-2000:], file=sys.stderr)
        return 1
    result = json.loads(run.stdout)
    passed = result["last"] == 1 and np.isfinite(result["loss"])
    print(
        f"{result['snapshots']} snapshots: statistics, epoch and latents in {result['seconds']:.0f} s, "
        f"peak of resident memory {result['peaks'][0] / 1e9:.2f} GB, of the largest worker "
        f"{result['peaks'][1] / 1e9:.2f} GB, {'all read' if passed else 'NOT all read'}"
    )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
