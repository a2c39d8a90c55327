"""Reading batches of random snapshots in each format against a plain loop of its library.

    make bench-io                                                  everything about files
    python -m pytest benchmarks/bench_io.py --benchmark-enable --benchmark-only --benchmark-quiet   this file

Answers first: every contender reads the same batch. "native" is `gmvae_fast.open_snapshots`; the loops are what one
writes by hand: open the file once, index it snapshot by snapshot, stack, bring channels to the front as float32. Each
call reads another batch of a file of 94 MB (TIFF 31 MB), so that no call finds its snapshots in the 8 MB that HDF5
keeps decoded. In the groups "cold" (Linux) each call first closes the file and drops it from the page cache, which a
mapped or open file would survive, with the clock stopped, and then opens it and reads.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast.data import LazySnapshots
from io_files import BATCH, FORMATS, N, Open, Read, Rows, drop_from_cache
from race import Race


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("io")


def opened(folder: Path, name: str) -> tuple[Path, LazySnapshots]:
    file, write, _, _, options = FORMATS[name]
    if not (folder / file).exists():
        write(folder / file)
    data = gf.open_snapshots(folder / file, **options)
    assert isinstance(data, LazySnapshots)
    return folder / file, data


def batches(order: str) -> list[Rows]:
    """All snapshots once, in batches."""
    rows = np.random.default_rng(1).permutation(N) if order == "random" else np.arange(N)
    return np.split(rows, N // BATCH)


def warm_call(read: Read, order: str) -> Callable[[], Any]:
    turns = itertools.cycle(batches(order))
    return lambda: read(next(turns))


class StoppableClock:
    """Seconds, less those spent inside ``with clock.stopped()``."""

    def __init__(self) -> None:
        self._excluded = 0.0

    def __call__(self) -> float:
        return time.perf_counter() - self._excluded

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._excluded += time.perf_counter() - start


def cold_call(path: Path, start: Open, order: str, clock: StoppableClock) -> Callable[[], Any]:
    turns = itertools.cycle(batches(order))

    def call() -> None:
        with clock.stopped():
            drop_from_cache(path)
        read, close = start(path)
        read(next(turns))
        with clock.stopped():
            close()

    return call


@pytest.mark.parametrize("order", ["random", "in order"])
@pytest.mark.parametrize("cache", ["warm", "cold"])
@pytest.mark.parametrize("name", FORMATS)
def test_reading(benchmark: Any, folder: Path, name: str, cache: str, order: str) -> None:
    if cache == "cold" and not hasattr(os, "posix_fadvise"):
        pytest.skip("the page cache cannot be emptied here")
    path, data = opened(folder, name)
    _, _, loop_name, start, _ = FORMATS[name]
    read, close = start(path)
    for rows in batches(order)[:2]:
        np.testing.assert_array_equal(data.read(rows), read(rows))
    clock = StoppableClock()
    if cache == "warm":
        contenders = {"native": warm_call(data.read, order), loop_name: warm_call(read, order)}
    else:
        data.close()
        close()
        del read
        contenders = {
            "native": cold_call(path, lambda _: (data.read, data.close), order, clock),
            loop_name: cold_call(path, start, order, clock),
        }
    benchmark.group = f"read {BATCH} snapshots {data.shape} {order}, {name}, {cache}"
    race = Race(contenders, clock=clock)
    benchmark.pedantic(race.round, rounds=race.rounds_within(1.5, 7, 200 if cache == "warm" else 20), iterations=1)
    table = race.summary()
    benchmark.extra_info["contenders"] = table
    for row in table.values():
        row["snapshots_per_s"] = BATCH / row["median_us"] * 1e6
        row["MB_per_s"] = row["snapshots_per_s"] * 4e-6 * float(np.prod(data.shape))
