"""Train, embed, score, save and load again and again; memory and open files must not grow.

    python scripts/soak.py --minutes 60 --csv soak.csv --picture soak.png

Every cycle trains a small model from memory and one from files (HDF5 where h5py is installed, else .npz) with a
checkpoint that a second call continues, embeds with both, scores the latents, saves a model and loads it, fits a
mixture, and samples. After each, resident memory, open files and threads of the process are recorded. The first fifth
of the time is warm-up; through the rest runs a line (Theil-Sen, the median of slopes: single peaks do not tilt it).
Verdict: the line of the memory rises by less than 16 MiB over the run, that of open files by less than
one, that of threads by less than two.
Exit code 1 where one does not. Linux.
"""

from __future__ import annotations

import argparse
import csv
import gc
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small data: threads would only wait for one another

import numpy as np

from gmvae_fast._io import atomic_writer

#: Largest rise over a run that counts as flat. A pool may start its one thread late: in a run of a few cycles that step
#: tilts the line by up to 1.5; a thread a cycle would be 5 in the shortest.
BOUNDS = {"resident_bytes": 16 * 2**20, "open_files": 1.0, "threads": 2.0}
WARM_UP = 0.2
_MOMENTS = 20  # in which threads may end before they are counted
_LEAST = 5  # cycles after the warm-up


@dataclass(frozen=True)
class Record:
    """After a cycle: seconds since the start, resident memory, open files and threads of this process."""

    cycle: int
    seconds: float
    resident_bytes: int
    open_files: int
    threads: int


@dataclass(frozen=True)
class Rise:
    """Of one quantity over the time after the warm-up, by the line through it."""

    quantity: str
    value: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.value < self.bound


def measure(cycle: int, start: float) -> Record:
    gc.collect()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident = int(status["VmRSS"].split()[0])
    files = len(os.listdir("/proc/self/fd")) - 1  # that of the listing itself
    return Record(cycle, time.monotonic() - start, 1024 * resident, files, _living_threads())


def _living_threads() -> int:
    """Threads that are still there after a moment: one that ends while it is counted is no leak."""
    least = _threads()
    for _ in range(_MOMENTS):
        if least == 1:
            break
        time.sleep(0.01)
        least = min(least, _threads())
    return least


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def rises(records: Sequence[Record]) -> list[Rise]:
    """What the lines rise by over the time after the warm-up.

    Raises
    ------
    ValueError
        For fewer than five records after it.
    """
    last = records[-1].seconds if records else 0.0
    kept = [record for record in records if record.seconds >= WARM_UP * last]
    if len(kept) < _LEAST:
        raise ValueError(f"a verdict needs {_LEAST} cycles after the warm-up, got {len(kept)}; run for longer")
    kept = kept[:: -(-len(kept) // 1000)]  # slopes of all pairs
    seconds = np.array([record.seconds for record in kept])
    found = []
    for quantity, bound in BOUNDS.items():
        values = np.array([getattr(record, quantity) for record in kept], dtype=np.float64)
        found.append(Rise(quantity, theil_sen(seconds, values) * (seconds[-1] - seconds[0]), bound))
    return found


def theil_sen(x: np.ndarray, y: np.ndarray) -> float:
    """Median of the slopes between all pairs of points (Sen 1968)."""
    i, j = np.triu_indices(len(x), 1)
    return float(np.median((y[j] - y[i]) / (x[j] - x[i])))


def run(
    minutes: float, cycle: Callable[[Path, int], None], say: Callable[[Record], None] | None = None, least: int = 0
) -> list[Record]:
    """Records of as many cycles as begin within ``minutes``, at ``least`` so many."""
    start, records = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="gmvae-soak-") as folder:
        while time.monotonic() - start < 60 * minutes or len(records) < least:
            cycle(Path(folder), len(records))
            records.append(measure(len(records), start))
            if say is not None:
                say(records[-1])
    return records


def one_cycle(folder: Path, number: int) -> None:
    """All that one does with the package, on little data."""
    import gmvae_fast as gf

    data = _snapshots(folder)
    files = gf.open_snapshots(data)
    config = gf.TrainConfig(epochs=4, warmup_epochs=2, n_init=2, batch_size=32, seed=number)
    half = gf.TrainConfig(epochs=4, warmup_epochs=2, n_init=2, batch_size=32, seed=number, on_nan="drop")
    checkpoint = folder / "checkpoint.safetensors"
    in_memory = files.load()
    for source, settings, network in ((in_memory, config, "mlp"), (files, half, "conv")):
        model = gf.GMVAE(source.shape, latent_dim=2, n_components=3, network=network, widths=[8, 8], seed=number)
        checkpoint.unlink(missing_ok=True)
        try:
            gf.fit(model, source, settings, checkpoint=checkpoint, checkpoint_every=2, on_epoch=_stop, progress=False)
        except InterruptedError:
            gf.fit(model, source, settings, checkpoint=checkpoint, progress=False)
        latents = model.embed(source).mean
        gf.smoothness(latents, {"level": source.quantities["level"]}, n_neighbors=5)
        model.save(folder / "model.safetensors")
        again = gf.load(folder / "model.safetensors")
        assert np.array_equal(again.embed(source).mean, latents)
        again.sample(4)
    gf.GaussianMixture(3, random_state=number).fit(latents)
    files.close()


def _stop(record: object) -> None:
    """Ends the run where it has its first checkpoint."""
    if getattr(record, "epoch", 0) == 2:
        raise InterruptedError


def _snapshots(folder: Path) -> Path:
    """A file of waves, made once."""
    import gmvae_fast as gf

    for name in ("data.h5", "data.npz"):
        if (folder / name).exists():
            return folder / name
    generator = np.random.default_rng(0)
    level = generator.uniform(1, 3, 96)
    x, y = np.meshgrid(np.linspace(0, 6, 16), np.linspace(0, 6, 8))
    waves = np.sin(level[:, None, None] * x) * np.cos(y) + 0.05 * generator.normal(size=(96, 8, 16))
    snapshots = gf.data.Snapshots(waves[:, None], ("u",), {"level": level}, trajectory=np.arange(96) // 4)
    try:
        gf.data.convert_snapshots(snapshots, folder / "data.h5")
    except ImportError:
        snapshots.save(folder / "data.npz")
    return _snapshots(folder)


def write_csv(path: Path, records: Sequence[Record]) -> None:
    with atomic_writer(path) as stream:
        lines = [[field.name for field in fields(Record)], *([*astuple(r)] for r in records)]
        for line in lines:
            cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in line]
            stream.write((",".join(cells) + "\n").encode())


def read_csv(path: Path) -> list[Record]:
    with open(path, newline="") as file:
        return [
            Record(
                int(r["cycle"]), float(r["seconds"]), *(int(r[k]) for k in ("resident_bytes", "open_files", "threads"))
            )
            for r in csv.DictReader(file)
        ]


def draw(path: Path, records: Sequence[Record]) -> None:
    """Memory and open files over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    minutes = np.array([record.seconds for record in records]) / 60
    figure, axes = pyplot.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
    axes[0].plot(minutes, [record.resident_bytes / 2**20 for record in records], linewidth=0.8)
    axes[0].set_ylabel("resident memory, MiB")
    axes[0].set_ylim(0, 1.2 * max(record.resident_bytes for record in records) / 2**20)
    axes[1].plot(minutes, [record.open_files for record in records], linewidth=0.8, label="open files")
    axes[1].plot(minutes, [record.threads for record in records], linewidth=0.8, label="threads")
    axes[1].set_ylim(bottom=0)
    axes[1].set_xlabel(f"minutes; {len(records)} cycles, the first fifth of the time is warm-up")
    axes[1].legend(frameon=False)
    for axis in axes:
        axis.axvspan(0, WARM_UP * minutes[-1], color="0.93")
    with atomic_writer(path) as stream:
        figure.savefig(stream, format=path.suffix.removeprefix("."), dpi=110)
    pyplot.close(figure)


def verdict(records: Sequence[Record]) -> tuple[str, bool]:
    """What to print, and whether everything is flat."""
    found = rises(records)
    lines = [f"{len(records)} cycles in {records[-1].seconds / 60:.1f} minutes"]
    for rise in found:
        unit, scale = ("MiB", 2**20) if rise.quantity == "resident_bytes" else ("", 1)
        last = getattr(records[-1], rise.quantity) / scale
        lines.append(
            f"{'pass' if rise.passed else 'MISS'}  {rise.quantity}: {last:.0f} {unit} at the end, the line rises by "
            f"{rise.value / scale:.2f} {unit} (bound {rise.bound / scale:g})"
        )
    return "\n".join(lines), all(rise.passed for rise in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--cycles", type=int, default=20, help="at least")
    parser.add_argument("--csv", type=Path, default=Path("build/soak.csv"))
    parser.add_argument("--picture", type=Path, help=".png or .svg")
    options = parser.parse_args()
    records = run(options.minutes, one_cycle, lambda r: _say(r) if r.cycle % 50 == 0 else None, options.cycles)
    write_csv(options.csv, records)
    if options.picture is not None:
        draw(options.picture, records)
    text, passed = verdict(records)
    print(text)
    raise SystemExit(0 if passed else 1)


def _say(record: Record) -> None:
    print(
        f"cycle {record.cycle}: {record.seconds:.0f} s, {record.resident_bytes / 2**20:.0f} MiB, "
        f"{record.open_files} files, {record.threads} threads",
        flush=True,
    )


if __name__ == "__main__":
    main()
