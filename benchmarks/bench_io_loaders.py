"""A shuffled pass in batches, with 0 to 4 worker processes, against datasets one writes by hand and The Well's own.

    make bench-io          without The Well's package
    make bench-io-well     with it (the_well from PyPI, in an environment of its own)

"native" are the batches of `gmvae_fast.fit(..., workers=N)`; everyone else's come from torch's DataLoader with the same
settings, "DataLoader, our source" from `gmvae_fast.open_snapshots`.
Processes start before the clock and stay. A pass is 960 snapshots of 98 KB (TIFF 33 KB), 94 MB. Answers first: the sum
of all batches of every contender is that of the file.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import gmvae_fast as gf
from gmvae_fast._batches import Batches
from io_files import BATCH, FORMATS, SHAPE, N, Open, Read, write_the_well
from race import Race

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores


class ByHand(Dataset[Any]):
    """Snapshot by snapshot, from a file opened in each process."""

    def __init__(self, path: Path, start: Open) -> None:
        self._path, self._start = path, start
        self._read: Read | None = None

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> Any:
        if self._read is None:
            self._read, _ = self._start(self._path)
        return self._read(np.array([index]))[0]


def well_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    """What one writes by hand for the two fields."""
    file = h5py.File(path)
    pressure, velocity, times = file["t0_fields/pressure"], file["t1_fields/velocity"], SHAPE[1]

    def read(rows: Any) -> Any:
        frames = []
        for i in rows:
            b, t = divmod(int(i), times)
            parts = [pressure[b, t].T[None], velocity[b, t].transpose(2, 1, 0)]
            frames.append(np.concatenate(parts))
        return np.stack(frames)

    return read, file.close


def loader(data: Any, workers: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    options = {"persistent_workers": True, "multiprocessing_context": "fork"} if workers else {}
    return DataLoader(data, BATCH, shuffle=True, num_workers=workers, generator=generator, **options)


def passes(batches: Callable[[], Iterable[Any]]) -> Callable[[], float]:
    """A call that goes through all batches; one value of each is looked at, as mapped memory may not be read yet."""

    def call() -> float:
        total = 0.0
        for batch in batches():
            rows = batch["input_fields"] if isinstance(batch, dict) else batch
            total += float(rows.flatten()[:: rows[0].numel() // 2].double().sum())
        return total

    return call


def checked_sum(batches: Iterable[Any]) -> float:
    rows = [batch["input_fields"] if isinstance(batch, dict) else batch for batch in batches]
    return float(sum(part.double().sum() for part in rows))


def the_well(folder: Path) -> Any:
    """The package's own dataset of single snapshots, without boundaries and grid, which nobody else reads."""
    from the_well.data import WellDataset

    return WellDataset(
        path=str(folder),
        use_normalization=False,
        n_steps_input=1,
        n_steps_output=0,
        boundary_return_type=None,
        return_grid=False,
    )


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("name", [*FORMATS, "The Well"])
def test_a_pass(benchmark: Any, tmp_path_factory: pytest.TempPathFactory, name: str, workers: int) -> None:
    folder = _folder(tmp_path_factory)
    datasets: dict[str, Any] = {}
    if name == "The Well":
        path = folder / "well" / "a.hdf5"
        if not path.exists():
            write_the_well(path)
        source = gf.open_snapshots(path)
        datasets["h5py loop"] = ByHand(path, well_loop)
        if importlib.util.find_spec("the_well") is not None:
            datasets["the_well's dataset"] = the_well(path.parent)
    else:
        file, write, loop, start, options = FORMATS[name]
        path = folder / file
        if not path.exists():
            write(path)
        source = gf.open_snapshots(path, lazy=True, **options)
        datasets[loop] = ByHand(path, start)
    datasets = {"DataLoader, our source": source, **datasets}
    loaders = {key: loader(data, workers) for key, data in datasets.items()}
    batches = Batches(source, workers=workers)
    generator = torch.Generator().manual_seed(0)
    expected = checked_sum(batches.ordered(BATCH))

    def native() -> Iterable[torch.Tensor]:
        batches.passes.forget()  # else the next pass would begin in the others' turns
        return batches.shuffled(BATCH, generator)

    with contextlib.closing(batches):
        contenders: dict[str, Callable[[], Iterable[Any]]] = {"native": native}
        contenders |= {key: lambda value=value: value for key, value in loaders.items()}
        for key, make in contenders.items():
            assert np.isclose(checked_sum(make()), expected, rtol=1e-6), key
        race = Race({key: passes(make) for key, make in contenders.items()})
        benchmark.group = f"a pass over {N} snapshots {source.shape} in batches of {BATCH}, {name}, {workers} workers"
        benchmark.pedantic(race.round, rounds=race.rounds_within(2.0, 3, 15), iterations=1)
    table = race.summary()
    benchmark.extra_info["contenders"] = table
    for row in table.values():
        row["snapshots_per_s"] = N / row["median_us"] * 1e6
        row["MB_per_s"] = row["snapshots_per_s"] * 4e-6 * float(np.prod(source.shape))


_made: list[Path] = []


def _folder(factory: pytest.TempPathFactory) -> Path:
    """One folder of files for all tests of the run."""
    if not _made:
        _made.append(factory.mktemp("loaders"))
    return _made[0]
