"""The files that reading is measured on, and the loops that one writes by hand to read them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
import xarray
import zarr

N, SAMPLES = 960, 8
GRID = (64, 128)  # y, x
BATCH = 64
SHAPE = (SAMPLES, N // SAMPLES, *GRID[::-1], 3)  # b t x y c, as The Well and PDEBench store
DIMS = "b t x y c"

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


def write_the_well(path: Path) -> None:
    """One vector and one scalar field by The Well's specification (data_format.md of its documentation)."""
    values, (samples, times, nx, ny, _) = array(), SHAPE
    varies = {"dim_varying": [True, True], "sample_varying": True, "time_varying": True}
    fixed = {"sample_varying": False, "time_varying": False}
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="waves", grid_type="cartesian", n_spatial_dims=2, n_trajectories=samples)
        file.attrs["simulation_parameters"] = np.zeros(0, "S1")
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        for name, size in (("time", times), ("x", nx), ("y", ny)):
            dimensions.create_dataset(name, data=np.arange(size, dtype=np.float32)).attrs.update(fixed)
        file.create_group("boundary_conditions")
        file.create_group("scalars").attrs["field_names"] = np.zeros(0, "S1")
        for rank, (name, part) in enumerate((("pressure", values[..., 0]), ("velocity", values[..., 1:]))):
            group = file.create_group(f"t{rank}_fields")
            group.attrs["field_names"] = [name]
            group.create_dataset(name, data=part).attrs.update(varies)
        file.create_group("t2_fields").attrs["field_names"] = np.zeros(0, "S1")
