"""What a snapshot costs one process, what two exchange, and how that agrees with the arithmetic of docs/distributed.md.

    python scripts/distributed_costs.py --snapshots 512 --shape 3 64 64 --batch-size 32

One process, then two at a time (gloo, one thread each), measure the parts: forward and backward pass at the batch that
falls to each, Adam's step, rows of a batch, encoder pass, M-step with diagnostics, reading (HDF5, as needed), and for
two the all-reduce of the gradients. Then they train on that file, held in memory and read in every pass. An epoch's
seconds are the median of its records, its bytes the difference between six epochs and two, over four. They are counted
where they are handed to torch.distributed: gradients in the hook of DistributedDataParallel, the rest in its calls.

Model of an epoch of N snapshots in S steps of B on R processes, from the parts alone:
  S x (rows of the slowest process x (forward and backward + rows) + Adam + all-reduce) + N / R x (encoder + M-step),
rows of the slowest being B / R + sd E[max of R normal numbers], sd^2 = B (1 - 1 / R) / R (1 - B / N); streamed data add
2 N / R readings, one for the descent and one for the M-step.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
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
from gmvae_fast._io import atomic_writer
from gmvae_fast.data import Snapshots, convert_snapshots
from gmvae_fast.distributed import Ranks, Share
from gmvae_fast.training import synchronised
from gmvae_fast.training.adam import Adam
from gmvae_fast.training.diagnostics import Latents, diagnose
from gmvae_fast.training.schemes import REGISTRY

_TRAJECTORIES = 16
_EPOCHS = (2, 6)  # of the shorter and the longer run; seconds are the median of the longer one's
_LARGEST_NORMAL = {1: 0.0, 2: 1 / math.sqrt(math.pi)}  # mean of the largest of so many standard normal numbers


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
    """What a process of a run finds: seconds of the parts, seconds and bytes of an epoch."""
    ranks = gf.distributed.joined()
    parts = measured_parts(file, batch_size, ranks)
    sent = counted()
    found: dict[str, Any] = {"parts": parts}
    for name, hold_bytes in (("held", 2**40), ("streamed", 0)):
        runs = []
        for epochs in _EPOCHS:
            data = gf.open_snapshots(file, lazy=True)
            config = gf.TrainConfig(epochs=epochs, warmup_epochs=1, batch_size=batch_size, n_init=1, refits=0)
            sent.clear()
            records: list[gf.EpochRecord] = []
            gf.fit(model_of(data.shape), data, config, progress=False, hold_bytes=hold_bytes, on_epoch=records.append)
            seconds = statistics.median(r.seconds for r in records[1:]) if records else 0.0
            runs.append({"seconds": seconds, **{k: sent[k] for k in ("gradients", "rest")}})
        span = _EPOCHS[-1] - _EPOCHS[0]
        found[name] = {k: (runs[-1][k] - runs[0][k]) / span for k in ("gradients", "rest")}
        found[name]["seconds"] = runs[-1]["seconds"]
    return found


def measured_parts(file: Path, batch_size: int, ranks: Ranks) -> dict[str, float]:
    """Seconds of the parts with one thread, this process's share alone; all processes measure at the same time."""
    torch.set_num_threads(1)
    data = gf.open_snapshots(file, lazy=True)
    model = model_of(data.shape)
    share = Share(data, "data", ranks)
    n, own = len(share.local), max(1, batch_size // ranks.size)
    alone = Share(data.subset(share.rows.numpy()), "data", Ranks())

    def timed(work: Callable[[], Any], repeats: int = 3) -> float:
        work()  # warm
        ranks.wait()
        seconds = []
        for _ in range(repeats):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def passes() -> None:
        for _ in alone.local.ordered(own, torch.device("cpu")):
            pass

    found = {"reading": timed(passes) / n}
    alone.hold(2**40)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    found["rows of a batch"] = timed(lambda: [alone.local.batch(part) for part in order.split(own)]) / n
    model.take_moments(alone.moments(torch.device("cpu")), alone.mask)
    batches = [model.normalise(alone.local.batch(part)) for part in order[: 8 * own].split(own)]
    optimizer = Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)

    def descent() -> None:
        for x in batches:
            optimizer.zero_grad(set_to_none=True)
            terms = model.loss_terms(x, None)
            (terms.reconstruction + terms.kl).mean().backward()

    found["forward and backward pass"] = timed(descent) / sum(map(len, batches))
    found["Adam, a step"] = timed(optimizer.step, 9)
    model.eval()
    found["encoder pass"] = timed(lambda: Latents.of(model, alone)) / n
    latents = Latents.of(model, alone)
    scheme = REGISTRY["block"](model.prior, gf.TrainConfig())

    def m_step() -> None:
        scheme.update(latents, last=False)
        diagnose(model.prior, latents)

    found["M-step and diagnostics"] = timed(m_step) / n
    gradients = torch.zeros(networks(model))
    found["all-reduce, a step"] = timed(lambda: ranks.sum(gradients), 9) if ranks.size > 1 else 0.0
    return found


def networks(model: gf.GMVAE) -> int:
    """Number of parameters of encoder and decoder."""
    return sum(p.numel() for net in (model.encoder, model.decoder) for p in net.parameters())


def predicted(parts: dict[str, float], n: int, batch_size: int, processes: int) -> dict[str, float]:
    """Seconds of an epoch by the model, for data that are held and that are streamed."""
    steps = -(-n // batch_size)
    spread = math.sqrt(batch_size * (1 - 1 / processes) / processes * max(0.0, 1 - batch_size / n))
    slowest = batch_size / processes + _LARGEST_NORMAL[processes] * spread
    held = steps * (
        slowest * (parts["forward and backward pass"] + parts["rows of a batch"])
        + parts["Adam, a step"]
        + parts["all-reduce, a step"]
    ) + n / processes * (parts["encoder pass"] + parts["M-step and diagnostics"])
    return {"held": held, "streamed": held + 2 * n / processes * parts["reading"]}


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
        stored = file.stat().st_size / snapshots
        runs = {n: launched(file, batch_size, n) for n in (1, 2)}
    gradients = 4.0 * networks(model_of(shape))
    rows: dict[str, float] = {
        "bytes a snapshot, arithmetic": 4.0 * fields[0].size,
        "bytes a snapshot, file": stored,
        "bytes of gradients a step, arithmetic": gradients,
        "bytes of gradients a step, counted": runs[2]["held"]["gradients"] / -(-snapshots // batch_size),
        "bytes an epoch beside the gradients, counted": runs[2]["held"]["rest"],
    }
    for processes, run in runs.items():
        who = "one process" if processes == 1 else "each of two"
        unit = {name: "ms, " if "step" in name.split(", ")[-1] else "ms a snapshot, " for name in run["parts"]}
        unit["M-step and diagnostics"] = "ms a snapshot, "
        rows |= {f"{unit[name]}{name}, {who}": 1e3 * value for name, value in run["parts"].items()}
    for processes, run in runs.items():
        who = "one process" if processes == 1 else "two processes"
        model = predicted(run["parts"], snapshots, batch_size, processes)
        for data, seconds in model.items():
            rows[f"seconds an epoch, {who}, {data}, model"] = seconds
            rows[f"seconds an epoch, {who}, {data}, measured"] = run[data]["seconds"]
            rows[f"model over measured, {who}, {data}"] = seconds / run[data]["seconds"]
    return rows


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
