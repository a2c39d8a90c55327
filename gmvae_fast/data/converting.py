"""Copying snapshots of any source into one file laid out for training."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest
from gmvae_fast._io import atomic_path, to_jsonable

from .formats import bfloat16, require
from .hdf5_writing import hdf5_writer
from .layouts.snapshot_file import FORMAT, FORMAT_VERSION
from .source import SnapshotSource
from .streaming import read_ahead

SUFFIXES = (".h5", ".hdf5", ".zarr")
DTYPES = ("float32", "float16", "bfloat16")
#: Snapshots of one chunk of a compressed or Zarr file take about this much; reading one means to decode the chunk.
CHUNK_BYTES = 2**20
_PIECE_BYTES = 2**26

#: Types that the formats lack, and what holds them.
_STORED = {bfloat16.NAME: "uint16"}


def convert_snapshots(
    source: SnapshotSource,
    out: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    compression: str = "none",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a source as [N, C, *grid] with all its tables, in bounded memory; `open_snapshots` reads it back.

    Uncompressed HDF5 is stored in one piece, which is the fastest to read at random; compressed HDF5 and Zarr in
    chunks of about 1 MiB of whole snapshots.

    Parameters
    ----------
    source : SnapshotSource
    out : path
        .h5 or .hdf5, or .zarr; it appears under this name once it is whole.
    dtype : {"float32", "float16", "bfloat16"}
        Values are rounded to the nearest, ties to even, and read back as float32. float16 has 11 significant bits (a
        relative error of at most 2^-11 = 0.05%) between 6e-5 and 65504, steps of 6e-8 below, and refuses more; bfloat16
        has 8 (at most 2^-8 = 0.4%) over the whole range of float32.
    compression : {"none", "gzip", "zstd"}
        gzip for HDF5, zstd for Zarr.
    overwrite : bool
    progress : callable, optional
        Called with snapshots done and their number.

    Raises
    ------
    ValueError
        For options that do not exist, and values beyond the type.
    FileExistsError
    SnapshotFileError
        Where the source cannot be read.
    """
    target = Path(out)
    writers = dict(zip(SUFFIXES, (_hdf5, _hdf5, _zarr), strict=True))
    if target.suffix.lower() not in writers:
        raise ValueError(f"out must end in {', '.join(writers)}, got {target.name!r}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}{nearest(dtype, DTYPES)}")
    codec = "zstd" if target.suffix.lower() == ".zarr" else "gzip"
    if compression not in ("none", codec):
        hint = nearest(compression, ("none", codec))
        raise ValueError(f"compression must be none or {codec} for {target.suffix}, got {compression!r}{hint}")
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target}: exists already; overwrite replaces it")
    suffix = target.suffix.lower()
    with atomic_path(target, folder=suffix == ".zarr") as partial:
        writers[suffix](partial, source, dtype, compression != "none", progress)


def _hdf5(
    path: Path, source: SnapshotSource, dtype: str, compress: bool, progress: Callable[[int, int], None] | None
) -> None:
    shape = (len(source), *source.shape)
    with hdf5_writer(path) as writer:
        file = writer.file
        layout = {"chunks": (_chunk(source), *source.shape), "compression": "gzip", "shuffle": True} if compress else {}
        fields = file.create_dataset("fields", shape, _STORED.get(dtype, dtype), **layout)
        _name_type(fields, dtype)
        for name, values in _tables(source).items():
            file[name] = values
        # Not an attribute, which may have no more than 64 kB.
        file["metadata"] = np.bytes_(_metadata(source).encode())
        _copy(source, fields, dtype, progress, check=writer.check)


def _zarr(
    path: Path, source: SnapshotSource, dtype: str, compress: bool, progress: Callable[[int, int], None] | None
) -> None:
    zarr = require("zarr", f"{path} (Zarr)")
    root = zarr.open_group(path, mode="a", zarr_format=3)  # "w" would make another folder of it, without our lock
    root.attrs["metadata"] = _metadata(source)
    shape = (len(source), *source.shape)
    fields = root.create_array(
        "fields",
        shape=shape,
        chunks=(_chunk(source), *source.shape),
        dtype=_STORED.get(dtype, dtype),
        compressors=zarr.codecs.ZstdCodec(level=3) if compress else None,
    )
    _name_type(fields, dtype)
    for name, values in _tables(source).items():
        root.create_array(name, data=values)
    _copy(source, fields, dtype, progress, _chunk(source))


def _name_type(fields: Any, dtype: str) -> None:
    """Say in the array's attributes what its integers are."""
    if dtype == bfloat16.NAME:
        fields.attrs[bfloat16.ATTRIBUTE] = bfloat16.NAME


def _chunk(source: SnapshotSource) -> int:
    return max(1, min(len(source), CHUNK_BYTES // (4 * int(np.prod(source.shape)))))


def _copy(
    source: SnapshotSource,
    fields: Any,
    dtype: str,
    progress: Callable[[int, int], None] | None,
    chunk: int = 1,
    check: Callable[[], None] = lambda: None,
) -> None:
    """All snapshots in order, in pieces of whole chunks, read ahead of writing; ``check`` is called after each."""
    n = len(source)
    rows = max(1, _PIECE_BYTES // (4 * int(np.prod(source.shape)) * chunk)) * chunk
    starts = range(0, n, rows)
    pieces = read_ahead(lambda start: source.read(np.arange(start, min(start + rows, n))), starts, depth=1)
    for start, piece in zip(starts, pieces, strict=True):
        with np.errstate(over="ignore"):
            stored = bfloat16.to_bfloat16(piece) if dtype == bfloat16.NAME else piece.astype(dtype, copy=False)
        rounded = bfloat16.from_bfloat16(stored) if dtype == bfloat16.NAME else stored
        lost = np.isinf(rounded) & np.isfinite(piece)
        if lost.any():
            channel = int(np.argwhere(lost)[0, 1])
            raise ValueError(f"field {source.field_names[channel]!r} has values beyond {dtype}; use float32")
        fields[start : start + len(piece)] = stored
        check()
        if progress is not None:
            progress(start + len(piece), n)


def _tables(source: SnapshotSource) -> dict[str, npt.NDArray[Any]]:
    tables: dict[str, npt.NDArray[Any]] = {"trajectory": source.trajectory, "time": source.time}
    if source.mask is not None:
        tables["mask"] = source.mask
    for kind in ("quantities", "labels", "coordinates"):
        tables |= {f"{kind}/{name}": values for name, values in getattr(source, kind).items()}
    return tables


def _metadata(source: SnapshotSource) -> str:
    return json.dumps(
        to_jsonable(
            {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "field_names": source.field_names,
                "attributes": dict(source.attributes),
            }
        )
    )
