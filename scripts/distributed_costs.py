"""What a snapshot costs one process, what two exchange, and how that agrees with the arithmetic of docs/distributed.md.

    python scripts/distributed_costs.py --snapshots 512 --shape 3 64 64 --batch-size 32

One process measures seconds a snapshot of reading (HDF5, as needed), of a training step, an encoder pass and the
E-step. Then one process and two (gloo, one thread each) train on that file. What an epoch costs is the difference
between six epochs and two, over four. Bytes are counted where they are handed to torch.distributed: gradients in the
hook of DistributedDataParallel, the rest in its calls. Model: N x (read + step + encoder pass + E-step) for one
process, half of it for two; gradients 4 P bytes a step for P parameters.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

import gmvae_fast as gf
from gmvae_fast._batches import Batches
from gmvae_fast._io import atomic_writer
from gmvae_fast.data import Snapshots, convert_snapshots
from gmvae_fast.training import synchronised

_TRAJECTORIES = 16
_EPOCHS = (2, 2, 6)  # the first is warm-up


def counted() -> Counter[str]:
    """From now on: bytes given to torch.distributed by this process, of gradients and of all else."""
    sent: Counter[str] = Counter()

    class Counted(DistributedDataParallel):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.register_comm_hook(None, self._count)

        @staticmethod
        def _count(state, bucket):  # type: ignore[no-untyped-def]  # torch compares annotations, not their text
            sent["gradients"] += bucket.buffer().nbytes
            return allreduce_hook(None, bucket)

    synchronised.DistributedDataParallel = Counted  # type: ignore[misc]
    for name, position in (("all_reduce", 0), ("all_gather", 1), ("broadcast", 0)):
        original = getattr(dist, name)

        def call(*args: Any, _original: Callable[..., Any] = original, _at: int = position, **options: Any) -> Any:
            if not options.get("async_op"):  # the hook's own, counted there
                sent["rest"] += args[_at].nbytes
            return _original(*args, **options)

        setattr(dist, name, call)
    return sent


def model_of(shape: tuple[int, ...]) -> gf.GMVAE:
    return gf.GMVAE(shape, 8, 16)


def rank(file: Path, batch_size: int) -> dict[str, Any]:
    """What a process of a run finds: seconds and bytes of an epoch."""
    sent = counted()
    found = []
    for epochs in _EPOCHS:
        data = gf.open_snapshots(file, lazy=True)
        config = gf.TrainConfig(epochs=epochs, warmup_epochs=1, batch_size=batch_size, n_init=1)
        sent.clear()
        start = time.perf_counter()
        gf.fit(model_of(data.shape), data, config, progress=False)
        found.append({"seconds": time.perf_counter() - start, **{k: sent[k] for k in ("gradients", "rest")}})
    span = _EPOCHS[2] - _EPOCHS[1]
    return {key: (found[2][key] - found[1][key]) / span for key in found[0]}


def alone(file: Path, batch_size: int) -> dict[str, float]:
    """Seconds a snapshot of the parts, in this process with one thread."""
    torch.set_num_threads(1)
    data = gf.open_snapshots(file, lazy=True)
    n, model = len(data), model_of(data.shape)
    start = time.perf_counter()
    batches = [b.clone() for b in Batches(data, "data", 0).ordered(batch_size, torch.device("cpu"))]
    seconds = {"read": time.perf_counter() - start}

    def timed(work: Callable[[torch.Tensor], Any]) -> float:
        work(batches[0])  # warm
        begin = time.perf_counter()
        for batch in batches:
            work(batch)
        return time.perf_counter() - begin

    def step(x: torch.Tensor) -> None:
        terms = model.loss_terms(x, None)
        (terms.reconstruction + terms.kl).sum().backward()

    seconds["training step"] = timed(step)
    with torch.no_grad():
        seconds["encoder pass"] = timed(model.encode)
        mean, log_var = model.encode(batches[0])
        seconds["E-step"] = timed(lambda _: gf.ops.mixture_statistics(mean, log_var, *model.prior.parameters_tuple))
    return {name: value / n for name, value in seconds.items()}


def launched(file: Path, batch_size: int, processes: int) -> dict[str, Any]:
    out = file.with_name(f"{processes}.json")
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launcher, __file__, "--rank-of", str(file), "--batch-size", str(batch_size)]
    subprocess.run([*command, "--out", str(out)], check=True)
    content: dict[str, Any] = json.loads(out.read_text())
    return content


def measure(snapshots: int, shape: tuple[int, ...], batch_size: int) -> dict[str, float]:
    """All rows of the table: quantity and value."""
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(snapshots, *shape)).astype(np.float32)
    trajectory = np.repeat(np.arange(_TRAJECTORIES), -(-snapshots // _TRAJECTORIES))[:snapshots]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fields.h5"
        names = tuple(f"f{i}" for i in range(shape[0]))
        convert_snapshots(Snapshots(fields, names, trajectory=trajectory), file)
        parts = alone(file, batch_size)
        stored = file.stat().st_size / snapshots
        one, two = (launched(file, batch_size, n) for n in (1, 2))
    model = model_of(shape)
    parameters = sum(p.numel() for net in (model.encoder, model.decoder) for p in net.parameters())
    predicted = snapshots * sum(parts.values())
    return {
        "bytes a snapshot, arithmetic": 4.0 * fields[0].size,
        "bytes a snapshot, file": stored,
        **{f"ms a snapshot, {name}": 1e3 * value for name, value in parts.items()},
        "bytes of gradients a step, arithmetic": 4.0 * parameters,
        "bytes of gradients a step, counted": two["gradients"] / -(-snapshots // batch_size),
        "bytes an epoch beside the gradients, counted": two["rest"],
        "seconds an epoch, one process, model": predicted,
        "seconds an epoch, one process": one["seconds"],
        "seconds an epoch, two processes, model": predicted / 2,
        "seconds an epoch, two processes": two["seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--snapshots", type=int, default=512)
    parser.add_argument("--shape", type=int, nargs="+", default=[3, 64, 64])
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rank-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.rank_of:
        result = rank(given.rank_of, given.batch_size)
        if os.environ["RANK"] == "0":
            with atomic_writer(given.out) as stream:
                stream.write(json.dumps(result).encode())
        return
    print("| quantity | value |\n|---|---|")
    for name, value in measure(given.snapshots, tuple(given.shape), given.batch_size).items():
        print(f"| {name} | {value:.4g} |")
    print("load average", os.getloadavg()[0])


if __name__ == "__main__":
    main()
