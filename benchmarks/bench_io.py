"""Reading batches of random snapshots in each format against a plain loop of its library, and training from files.

    make bench                                                     everything, one table
    python -m pytest benchmarks/bench_io.py --benchmark-enable --benchmark-only --benchmark-quiet   this file

Answers first: every contender reads the same batch. "native" is `gmvae_fast.open_snapshots`; the loops are what one
writes by hand: open the file once, index it snapshot by snapshot, stack, bring channels to the front as float32. Each
call reads another batch of a file of 94 MB (TIFF 31 MB), so that no call finds its snapshots in the 8 MB that HDF5
keeps decoded. In the groups "cold" (Linux) each call first closes the file and drops it from the page cache, which a
mapped or open file would survive, with the clock stopped, and then opens it and reads.

In the training groups "native" streams from
the file, and the ratio is the share of in-memory training's speed that it reaches.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import torch
import xarray
import zarr

import gmvae_fast as gf
from gmvae_fast.data import LazySnapshots, Snapshots
from race import Race, run_race

N, SAMPLES = 960, 8
GRID = (64, 128)  # y, x
BATCH = 64
SHAPE = (SAMPLES, N // SAMPLES, *GRID[::-1], 3)  # b t x y c, as The Well and PDEBench store
DIMS = "b t x y c"
TRAIN_SHAPE = (3, 41, 220)  # the channel wake
TRAIN_N = 256

Rows = np.ndarray[Any, Any]
Read = Callable[[Rows], np.ndarray[Any, Any]]
Open = Callable[[Path], tuple[Read, Callable[[], None]]]  # how to read rows, and how to close the file


# --- files ---------------------------------------------------------------------------------------------------------


def array() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).standard_normal(SHAPE, dtype=np.float32)


def write_npy(path: Path) -> None:
    np.save(path, array())


def write_hdf5(path: Path, **layout: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("u", data=array(), **layout)


def write_zarr(path: Path, version: int) -> None:
    store = zarr.open_group(path, mode="w", zarr_format=version)
    store.create_array("u", shape=SHAPE, chunks=(1, 4, *SHAPE[2:]), dtype="f4")[:] = array()


def write_netcdf(path: Path) -> None:
    dims = ("sample", "time", "x", "y", "component")
    xarray.Dataset({"u": (dims, array())}).to_netcdf(path, engine="h5netcdf")


def write_tiff(path: Path) -> None:
    tifffile.imwrite(path, array().reshape(N, *SHAPE[2:])[..., 0].transpose(0, 2, 1), photometric="minisblack")


# --- what one writes by hand ----------------------------------------------------------------------------------------


def front(frames: list[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    """[n] of [x, y, c] -> float32 [n, c, y, x]."""
    return np.ascontiguousarray(np.stack(frames).transpose(0, 3, 2, 1), dtype=np.float32)


def by_hand(stored: Any, close: Callable[[], None]) -> tuple[Read, Callable[[], None]]:
    times = SHAPE[1]
    return lambda rows: front([np.asarray(stored[int(i) // times, int(i) % times]) for i in rows]), close


def npy_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    return by_hand(np.load(path, mmap_mode="r"), lambda: None)  # unmapped with the last reference


def h5py_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    file = h5py.File(path)
    return by_hand(file["u"], file.close)


def zarr_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    return by_hand(zarr.open_group(path, mode="r")["u"], lambda: None)


def xarray_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    data = xarray.open_dataset(path, cache=False)
    return by_hand(data["u"], data.close)


def tifffile_loop(path: Path) -> tuple[Read, Callable[[], None]]:
    file = tifffile.TiffFile(path)
    read = lambda rows: np.stack([file.pages[int(i)].asarray()[None, ::-1] for i in rows]).astype(np.float32)  # noqa: E731
    return read, file.close


#: Name -> (file name, writer, loop's name, loop, options of open_snapshots).
FORMATS: dict[str, tuple[str, Callable[[Path], None], str, Open, dict[str, Any]]] = {
    "npy": ("a.npy", write_npy, "np.load loop", npy_loop, {"dims": DIMS}),
    "HDF5 contiguous": ("a.h5", write_hdf5, "h5py loop", h5py_loop, {"dims": DIMS}),
    "HDF5 chunks of 1": (
        "b.h5",
        lambda path: write_hdf5(path, chunks=(1, 1, *SHAPE[2:])),
        "h5py loop",
        h5py_loop,
        {"dims": DIMS},
    ),
    "HDF5 gzip, chunks of 4": (
        "c.h5",
        lambda path: write_hdf5(path, chunks=(1, 4, *SHAPE[2:]), compression="gzip", compression_opts=1),
        "h5py loop",
        h5py_loop,
        {"dims": DIMS},
    ),
    "Zarr 2": ("v2.zarr", lambda path: write_zarr(path, 2), "zarr loop", zarr_loop, {"dims": DIMS}),
    "Zarr 3": ("v3.zarr", lambda path: write_zarr(path, 3), "zarr loop", zarr_loop, {"dims": DIMS}),
    "NetCDF": ("a.nc", write_netcdf, "xarray loop", xarray_loop, {}),
    "TIFF pages": ("a.tif", write_tiff, "tifffile loop", tifffile_loop, {}),
}


def drop_from_cache(path: Path) -> None:
    """Ask the system to forget the file's pages; written ones go to the disk first."""
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        with contextlib.closing(os.fdopen(handle)):
            os.fdatasync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


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


# --- training --------------------------------------------------------------------------------------------------------


def wakes() -> np.ndarray[Any, Any]:
    """Travelling waves on the wake's grid; training takes as long whatever the values."""
    y, x = np.mgrid[: TRAIN_SHAPE[1], : TRAIN_SHAPE[2]].astype(np.float32)
    phase = np.linspace(0, 40, TRAIN_N, dtype=np.float32)[:, None, None, None]
    waves = np.arange(1, 4, dtype=np.float32)[:, None, None]
    return np.sin(0.05 * waves * x + phase) * np.exp(-(((y - 20) / 10) ** 2))


def fitted(data: Any) -> gf.History:
    model = gf.GMVAE(TRAIN_SHAPE, n_components=3)
    return gf.fit(model, data, gf.TrainConfig(epochs=3, warmup_epochs=1, n_init=2), progress=False)


@pytest.mark.parametrize("kind", ["npy", "HDF5 contiguous", "HDF5 gzip, chunks of 16", "converted .h5"])
def test_training(benchmark: Any, folder: Path, kind: str) -> None:
    fields = wakes()
    held = Snapshots(fields, ("u", "v", "p"))
    path = folder / f"train {kind.replace(' ', '_')}.{'npy' if kind == 'npy' else 'h5'}"
    options: dict[str, Any] = {"dims": "b c y x"}
    if kind == "npy":
        np.save(path, fields)
    elif kind == "converted .h5":
        gf.data.convert_snapshots(held, path)
        options = {}
    else:
        layout = {"chunks": (16, *TRAIN_SHAPE), "compression": "gzip", "compression_opts": 1} if "gzip" in kind else {}
        with h5py.File(path, "w") as file:
            file.create_dataset("u", data=fields, **layout)
    data = gf.open_snapshots(path, lazy=True, **options)
    if "gzip" not in kind:  # chunks come in another order than memory's permutation
        assert [e.loss for e in fitted(data).epochs] == [e.loss for e in fitted(held).epochs]
    benchmark.group = f"train 3 epochs on {TRAIN_N} snapshots {TRAIN_SHAPE}, {kind}, {torch.get_num_threads()} threads"
    contenders = {"native": lambda: fitted(data), "in memory": lambda: fitted(held)}
    table = run_race(benchmark, contenders, seconds=20.0, at_least=3, at_most=9)
    for row in table.values():
        row["snapshots_per_s"] = 3 * TRAIN_N / row["median_us"] * 1e6
