"""Arrays and snapshot files (.npy, .npz) in memory; `open_snapshots` opens these and all other formats."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._io import write_npz
from gmvae_fast._reading import parse_json, read_npy, read_npz

from .handles import file_errors
from .layouts.snapshot_file import FORMAT, FORMAT_VERSION
from .snapshots import SnapshotFileError, Snapshots

_METADATA = "metadata"
_PARTS = ("fields", "trajectory", "time")


def write_snapshots(snapshots: Snapshots, path: str | os.PathLike[str]) -> None:
    """Write the package's own layout; see :meth:`Snapshots.save`."""
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "field_names": snapshots.field_names,
        "attributes": snapshots.attributes,
    }
    arrays: dict[str, npt.NDArray[Any]] = {
        _METADATA: np.array(json.dumps(metadata)),
        "fields": snapshots.fields,
        "trajectory": snapshots.trajectory,
        "time": snapshots.time,
    }
    if snapshots.mask is not None:
        arrays["mask"] = snapshots.mask
    for kind in ("quantities", "labels", "coordinates"):
        arrays |= {f"{kind}/{name}": values for name, values in getattr(snapshots, kind).items()}
    write_npz(path, arrays)


def read_snapshots(path: str | os.PathLike[str]) -> Snapshots:
    """Read the package's own layout; see :meth:`Snapshots.load`."""
    with file_errors(os.fspath(path)):
        arrays = read_npz(path)
        missing = [name for name in (_METADATA, *_PARTS) if name not in arrays]
        if missing:
            raise SnapshotFileError(f"{path}: not a snapshot file, missing {', '.join(missing)}")
        metadata = parse_json(str(arrays[_METADATA]))
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise SnapshotFileError(f"{path}: its metadata do not say {FORMAT!r}")
        if metadata.get("format_version") != FORMAT_VERSION:
            raise SnapshotFileError(
                f"{path}: layout version {metadata.get('format_version')!r}, this version reads {FORMAT_VERSION}"
            )
        if "field_names" not in metadata or "attributes" not in metadata:
            raise SnapshotFileError(f"{path}: its metadata lack field_names or attributes")
        groups = {
            kind: {k.removeprefix(f"{kind}/"): v for k, v in arrays.items() if k.startswith(f"{kind}/")}
            for kind in ("quantities", "labels", "coordinates")
        }
        return Snapshots(
            fields=arrays["fields"],
            field_names=tuple(metadata["field_names"]),
            trajectory=arrays["trajectory"],
            time=arrays["time"],
            mask=arrays.get("mask"),
            attributes=metadata["attributes"],
            **groups,
        )


def _from_array(array: npt.NDArray[Any], path: str | os.PathLike[str]) -> Snapshots:
    if array.ndim < 2:
        raise SnapshotFileError(f"{path}: snapshots need at least two axes [N, ...], got shape {array.shape}")
    if array.ndim <= 3:
        array = array[:, None]
    names = tuple(f"field_{i}" for i in range(array.shape[1]))
    return Snapshots(array, names, attributes={"source": Path(path).name})


def _read_npy(path: str | os.PathLike[str]) -> Snapshots:
    with file_errors(os.fspath(path)):
        return _from_array(read_npy(path), path)


def _read_npz(path: str | os.PathLike[str]) -> Snapshots:
    with file_errors(os.fspath(path)):
        arrays = read_npz(path)
        if _METADATA in arrays or any(name in arrays for name in _PARTS[1:]):
            return read_snapshots(path)
        if len(arrays) != 1:
            raise SnapshotFileError(
                f"{path}: neither a snapshot file nor a single array; it holds {sorted(arrays) or 'nothing'}"
            )
        return _from_array(next(iter(arrays.values())), path)


READERS: dict[str, Callable[[str | os.PathLike[str]], Snapshots]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
}
