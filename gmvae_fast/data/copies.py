"""Decoded copies of slow files on the local disk, made once and read instead of them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from gmvae_fast._io import atomic_path, to_jsonable
from gmvae_fast._locks import file_lock

from .basics import IntArray, SnapshotFileError, as_index
from .cache import cache_directory
from .checked_rows import ARRAY, open_checked, write_checked
from .fingerprint import COARSE
from .formats import chunks_of
from .handles import FileHandles, SourceFile
from .lazy import LazySnapshots
from .on_demand import OnDemandSnapshots
from .streaming import read_ahead

#: Entry of the cache; another number leaves earlier ones unread.
VERSION = 2
#: Copies that nobody opened for so long go when another one is written.
KEPT_SECONDS = 30 * 86400.0
#: Share of the disk that a copy leaves free.
SPARE = 0.05
_PIECE_BYTES = 2**26

Source = TypeVar("Source", bound=OnDemandSnapshots)


class CopiedSnapshots(OnDemandSnapshots):
    """A source whose snapshots are read from a decoded copy: a `SnapshotSource`, in all else like the one it is of.

    Tables, fingerprint and the order in which training would read the original are kept, so training gives the same
    numbers with the copy and without. Picklable, and safe to use from threads and other processes. A snapshot whose
    checksum in the copy differs is a SnapshotFileError, and the copy is removed.
    """

    def __init__(self, source: OnDemandSnapshots, copy: str) -> None:
        self.__dict__.update({name: getattr(source, name) for name in OnDemandSnapshots.__annotations__})
        self._source = source
        self._copy = FileHandles([SourceFile(copy, open_checked, ())])
        self._index = np.arange(len(source))
        with self._copy.file(0) as container:
            array = container.arrays[ARRAY]
            if array.shape != (len(source), *self.shape):
                raise SnapshotFileError(f"holds {array.shape}, expected a copy of {source!r}")

    @property
    def chunk_starts(self) -> IntArray | None:
        """Those of the original: the order of training does not depend on the copy."""
        return self._source.chunk_starts

    def fingerprint(self) -> dict[str, Any] | None:
        """That of the original."""
        return _fingerprint(self._source)

    def subset(self, indices: int | slice | npt.ArrayLike) -> CopiedSnapshots:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N]); nothing is read."""
        index = as_index(indices, len(self))
        part = self._with_rows(index)
        part._source, part._index = self._source.subset(index), self._index[index]
        return part

    def close(self) -> None:
        """Close the files of this process; reading opens them again."""
        self._copy.close()

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new float32 array [n, C, *grid]."""
        index = np.asarray(indices, dtype=np.int64)
        if index.ndim != 1:
            raise IndexError(f"indices must have one axis, got {index.shape}")
        rows = self._index[index]
        with self._copy.file(0) as container:
            return np.asarray(container.arrays[ARRAY][rows], dtype=np.float32)


def copied(
    source: Source,
    folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Source | CopiedSnapshots:
    """``source`` read from a decoded copy in ``folder``, which is made now unless an earlier one is there.

    A copy is one .npy file of float32 [N, C, *grid], with a checksum of each snapshot behind it, under a hash of the
    source's fingerprint: files, their sizes and times of change, fields, axes, options and selection. It appears once
    it is whole and on the disk; processes that want the same one wait for the first. Files that are read as they lie
    (memory-mapped arrays, HDF5 in one piece) are not copied. Where no copy can be made (no room: SPARE of the disk
    stays free; a folder that cannot be written to; files that change) a warning says so, and ``source`` is returned.

    Parameters
    ----------
    source : OnDemandSnapshots
    folder : path, optional
        Default: "copies" in `cache_directory`.
    progress : callable, optional
        Called with snapshots copied and their number.
    """
    if not len(source) or _lies_ready(source):
        return source
    described = _settled_fingerprint(source)
    if described is None:
        return _without_copy(source, "its files change or are gone")
    text = json.dumps(to_jsonable({"version": VERSION, **described}), sort_keys=True)
    place = Path(folder) if folder is not None else cache_directory() / "copies"
    path = place / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"
    try:
        with file_lock(path, wait=True):
            found = _opened(source, path)
            if found is None:
                _forget_unused(place)
                _check_room(place, 4 * math.prod(source.shape, start=len(source)))
                _write(source, path, progress)
                if _fingerprint(source) != described:
                    path.unlink()
                    return _without_copy(source, "its files changed while they were copied")
                found = CopiedSnapshots(source, str(path))
    except OSError as error:
        if isinstance(error, FileNotFoundError) and error.filename is None:
            raise  # the source's own
        return _without_copy(source, f"{place} cannot hold it ({error})")
    return found


def _opened(source: OnDemandSnapshots, path: Path) -> CopiedSnapshots | None:
    """An earlier copy, noted as used; None where there is none that can be read."""
    if not path.exists():
        return None
    try:
        found = CopiedSnapshots(source, str(path))
    except SnapshotFileError as error:
        warnings.warn(f"decoded copy {path} cannot be read ({error}); making it again", stacklevel=5)
        return None
    with contextlib.suppress(OSError):
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    return found


def _write(source: OnDemandSnapshots, path: Path, progress: Callable[[int, int], None] | None) -> None:
    n = len(source)
    step = max(1, _PIECE_BYTES // (4 * math.prod(source.shape)))
    starts = range(0, n, step)
    pieces = read_ahead(lambda start: source.read(np.arange(start, min(start + step, n))), starts, depth=1)

    def told() -> Iterator[npt.NDArray[np.float32]]:
        for start, piece in zip(starts, pieces, strict=True):
            yield piece
            if progress is not None:
                progress(min(start + step, n), n)

    with atomic_path(path) as partial:
        write_checked(partial, (n, *source.shape), told())


def _check_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    disk = shutil.disk_usage(folder)
    if disk.free - size < SPARE * disk.total:
        raise OSError(
            f"it takes {size / 2**30:.3g} GiB, {disk.free / 2**30:.3g} GiB are free and "
            f"{SPARE * disk.total / 2**30:.3g} GiB shall stay so"
        )


def _forget_unused(folder: Path) -> None:
    for path in folder.glob("*.npy"):
        with contextlib.suppress(OSError):
            if path.stat().st_atime < time.time() - KEPT_SECONDS:
                path.unlink()


def _lies_ready(source: OnDemandSnapshots) -> bool:
    """Whether the files hold the values as they are read, in one piece."""
    if not isinstance(source, LazySnapshots):
        return False
    with source.first_file() as container:
        arrays = [container.arrays[variable.key] for block in source.blocks[:1] for variable in block.variables]
    return all(
        isinstance(array, np.memmap) or (type(array).__module__.startswith("h5py") and chunks_of(array) is None)
        for array in arrays
    )


def _fingerprint(source: OnDemandSnapshots) -> dict[str, Any] | None:
    method = getattr(source, "fingerprint", None)
    found: dict[str, Any] | None = None if method is None else method()
    return found


def _settled_fingerprint(source: OnDemandSnapshots) -> dict[str, Any] | None:
    """Of files written a moment ago too, once that is long enough ago to tell later changes."""
    until = time.monotonic() + 2 * COARSE
    while (found := _fingerprint(source)) is None and time.monotonic() < until:
        time.sleep(0.1)
    return found


def _without_copy(source: Source, why: str) -> Source:
    warnings.warn(f"no decoded copy is made, {why}; snapshots are read from their own files", stacklevel=4)
    return source
