"""File formats by content: a new one is one file and one line in ``FORMATS``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .container import Container, StoredArray, chunks_of, plain, read_all, require
from .hdf5 import open_hdf5
from .hostile import check_size
from .images import IMAGE_SUFFIXES, FrameOptions, frame_files, is_single_frame, natural_key, open_images
from .numpy_files import open_npy, open_npz
from .vtk_series import MARK as VTK_MARK
from .vtk_series import VTK_SUFFIXES, is_listed, is_openfoam, open_openfoam, open_vtk, vtk_parts
from .xarray_store import open_xarray
from .zarr_store import open_zarr

#: What makes a folder a Zarr store.
ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")
#: Name -> (opener, suffixes, first bytes).
FORMATS: dict[str, tuple[Callable[[str], Container], tuple[str, ...], tuple[bytes, ...]]] = {
    "hdf5": (open_hdf5, (".h5", ".hdf5", ".hdf", ".he5"), (b"\x89HDF\r\n\x1a\n",)),
    "xarray": (open_xarray, (".nc", ".nc4", ".cdf", ".netcdf", ".grib", ".grb", ".grib2"), (b"CDF",)),
    "zarr": (open_zarr, (".zarr",), ()),
    "npy": (open_npy, (".npy",), (b"\x93NUMPY",)),
    "npz": (open_npz, (".npz",), (b"PK\x03\x04",)),
    "vtk": (open_vtk, VTK_SUFFIXES, (b"# vtk DataFile", b'<?xml version="1.0"?>\n<VTKFile', b"<VTKFile")),
    "openfoam": (open_openfoam, (".foam",), ()),
    "images": (open_images, IMAGE_SUFFIXES, (b"\x89PNG", b"II*\x00", b"MM\x00*")),
}


def file_format(path: str | os.PathLike[str]) -> str | None:
    """Name of the format by suffix, else by content; None where neither tells.

    Raises
    ------
    FileNotFoundError
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if path.is_dir():
        if any((path / name).is_file() for name in ZARR_FILES):
            return "zarr"
        if is_openfoam(str(path)):
            return "openfoam"
        if any(p.suffix.lower() in VTK_SUFFIXES for p in path.iterdir()):
            return "vtk"
        return "images" if frame_files(str(path)) else None
    for name, (_, suffixes, _) in FORMATS.items():
        if path.suffix.lower() in suffixes:
            return name
    with open(path, "rb") as file:
        head = file.read(32)
    for name, (_, _, starts) in FORMATS.items():
        if any(head.startswith(start) for start in starts):
            return name
    return None


__all__ = [
    "FORMATS",
    "VTK_MARK",
    "ZARR_FILES",
    "Container",
    "FrameOptions",
    "StoredArray",
    "check_size",
    "chunks_of",
    "file_format",
    "frame_files",
    "is_listed",
    "is_single_frame",
    "natural_key",
    "open_images",
    "open_vtk",
    "plain",
    "read_all",
    "require",
    "vtk_parts",
]
