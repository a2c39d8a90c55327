"""Writing files so that a crash, a full disk or a kill never leaves half a file under the final name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import glob
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gmvae_fast._locks import have_locks, try_lock

PARTIAL_SUFFIX = ".partial"
#: Where there are no locks, a temporary file this old was left by a process that was killed.
_ABANDONED_SECONDS = 86400.0
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2 in Linux


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` once it is written and synced.

    On any error (a full disk included) the temporary file is removed and what stood at ``path`` is untouched; an
    OSError then names ``path``. What a killed process left of an earlier attempt is removed too.
    """
    with atomic_path(path) as name, open(name, "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """Name of a temporary file or ``folder`` beside ``path``, for what only takes names; as `atomic_writer` otherwise.

    It exists and is locked (flock) until it is renamed over ``path``; an existing folder there is exchanged for it.
    """
    target = Path(path)
    _make_folder_of(target)
    remove_abandoned(target.parent, target.name)
    try:
        with _temporary(target, folder) as name:
            yield name
            if target.is_dir() and folder:
                _exchange(name, target)
            else:
                os.replace(name, target)
    except OSError as err:
        if err.errno is not None and (err.filename is None or str(err.filename).endswith(PARTIAL_SUFFIX)):
            err.filename = os.fspath(target)  # a failed write knows its errno only
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise the OSError that writing ``path`` would, before hours of work are done for it."""
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(target))
    try:
        _make_folder_of(target)
        with _temporary(target, False):
            pass
    except OSError as err:
        err.filename = os.fspath(target)
        raise


def _make_folder_of(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError as err:  # of a file, it says no more than that
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fspath(target)) from err


@contextlib.contextmanager
def _temporary(target: Path, folder: bool) -> Iterator[Path]:
    """Name of a new file or folder beside ``target``, locked while in use and removed if it is still there then."""
    while True:
        name = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
        handle = _create(name, folder)
        locked = handle is not None and try_lock(handle)
        if locked is not False and name.exists():
            break
        if handle is not None:
            os.close(handle)  # taken for abandoned before it was locked
    if handle is not None and not have_locks():
        os.close(handle)  # open files cannot be renamed there
        handle = None
    try:
        yield name
    finally:
        _remove(name)
        if handle is not None:
            os.close(handle)


def _create(name: Path, folder: bool) -> int | None:
    # With the user's umask; tempfile would make it private.
    if not folder:
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    name.mkdir()
    return os.open(name, os.O_RDONLY) if have_locks() else None


def _remove(name: Path) -> None:
    if name.is_dir() and not name.is_symlink():
        shutil.rmtree(name)
    else:
        name.unlink(missing_ok=True)


def _exchange(new: Path, old: Path) -> None:
    """Two folders change names in one step, where the system can (Linux); elsewhere ``old`` is set aside first."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old), _RENAME_EXCHANGE) == 0:
            return
    aside = old.with_name(f".{old.name}.{secrets.token_hex(4)}.old")
    os.rename(old, aside)
    os.rename(new, old)
    shutil.rmtree(aside)


def remove_abandoned(folder: str | os.PathLike[str], target: str = "") -> int:
    """Delete temporary files and folders (those of ``target``, or all) whose writers were killed; how many.

    A living writer holds a lock. Where there are no locks, what is younger than a day stays.
    """
    removed = 0
    pattern = f".{glob.escape(target)}.*{PARTIAL_SUFFIX}" if target else f".*{PARTIAL_SUFFIX}"
    for name in Path(folder).glob(pattern):
        with contextlib.suppress(OSError):
            handle = os.open(name, os.O_RDONLY if name.is_dir() else os.O_RDWR)
            try:
                locked = try_lock(handle)
                if locked or (locked is None and time.time() - os.fstat(handle).st_mtime > _ABANDONED_SECONDS):
                    _remove(name)
                    removed += 1
            finally:
                os.close(handle)
    return removed


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as strict JSON (NaN and infinities become null), atomically."""
    text = json.dumps(to_jsonable(value), indent=1, allow_nan=False)
    with atomic_writer(path) as stream:
        stream.write(text.encode())


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as an uncompressed ``.npz``, atomically; object arrays are refused."""
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"array {name!r} holds Python objects; only plain numeric or string arrays are stored")
    with atomic_writer(path) as stream:
        np.savez(stream, **dict(arrays))  # type: ignore[arg-type] # numpy's stub takes every name for an option


def to_jsonable(value: Any) -> Any:
    """Plain JSON types from numpy scalars and arrays, mappings, sequences and paths; non-finite floats become None."""
    if isinstance(value, Mapping):
        return {str(k): to_jsonable(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return to_jsonable(value.tolist())
    if isinstance(value, np.generic):
        return to_jsonable(value.item())
    if isinstance(value, (list, tuple)):
        return [to_jsonable(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value
