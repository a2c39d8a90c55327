"""Arrays and snapshot files (.npy, .npz) in memory; `open_snapshots` opens these and all other formats."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gmvae_fast._reading import read_npy, read_npz

from .basics import SnapshotFileError
from .handles import file_errors
from .snapshot_files import METADATA, PARTS
from .snapshots import Snapshots


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
        if METADATA in arrays or any(name in arrays for name in PARTS[1:]):
            return Snapshots.load(path)
        if len(arrays) != 1:
            raise SnapshotFileError(
                f"{path}: neither a snapshot file nor a single array; it holds {sorted(arrays) or 'nothing'}"
            )
        return _from_array(next(iter(arrays.values())), path)


READERS: dict[str, Callable[[str | os.PathLike[str]], Snapshots]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
}
