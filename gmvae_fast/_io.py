"""Writing files so that a crash, a full disk or a kill never leaves half a file under the final name."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PARTIAL_SUFFIX = ".partial"


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` once it is written and synced.

    On any error (a full disk included) the temporary file is removed and what stood at ``path`` is untouched; an
    OSError then names ``path``.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    name = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    try:
        # "x": a new file with the user's umask; tempfile would make it private.
        with open(name, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except BaseException as err:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(err, OSError) and err.errno is not None and err.filename in (None, os.fspath(name)):
            err.filename = os.fspath(target)  # a failed write knows its errno only
        raise


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
