"""Writing files so that a crash, a full disk or a kill never leaves half a file under the final name."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

PARTIAL_SUFFIX = ".partial"
#: Where there are no locks, a temporary file this old was left by a process that was killed.
_ABANDONED_SECONDS = 86400.0


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` once it is written and synced.

    On any error (a full disk included) the temporary file is removed and what stood at ``path`` is untouched; an
    OSError then names ``path``. What a killed process left of an earlier attempt is removed too.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(target.parent, target.name)
    try:
        with _temporary(target) as name:
            with open(name, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, target)
    except OSError as err:
        if err.errno is not None and (err.filename is None or str(err.filename).endswith(PARTIAL_SUFFIX)):
            err.filename = os.fspath(target)  # a failed write knows its errno only
        raise


@contextlib.contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """Name of a new file beside ``target``, locked while it is in use and removed if it is still there then."""
    while True:
        name = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
        # With the user's umask; tempfile would make it private.
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        locked = _lock(handle)
        if locked is None or (locked and name.exists()):
            break
        os.close(handle)  # taken for abandoned before it was locked
    if fcntl is None:
        os.close(handle)  # open files cannot be renamed there
    try:
        yield name
    finally:
        name.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(handle)


def remove_abandoned(folder: str | os.PathLike[str], target: str = "") -> int:
    """Delete temporary files (of the file called ``target``, or of all) whose writers were killed; how many.

    A living writer holds a lock on its file. Where there are no locks, files of the last day stay.
    """
    removed = 0
    pattern = f".{glob.escape(target)}.*{PARTIAL_SUFFIX}" if target else f".*{PARTIAL_SUFFIX}"
    for name in Path(folder).glob(pattern):
        with contextlib.suppress(OSError), open(name, "r+b") as stream:
            locked = _lock(stream.fileno())
            if locked or (locked is None and time.time() - os.fstat(stream.fileno()).st_mtime > _ABANDONED_SECONDS):
                name.unlink()
                removed += 1
    return removed


def _lock(handle: int) -> bool | None:
    """Whether the open file is now locked by us; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


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
