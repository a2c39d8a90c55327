"""Telling whether files are the ones of an earlier run: by path, size and time of change, not by content."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

#: Seconds within which a file may change twice without a new time of change, on the coarsest file systems in use.
COARSE = 2.0


def files_state(paths: Iterable[str]) -> list[list[Any]] | None:
    """Absolute path, size and time of change of each file, a folder by all files in it.

    None where a file is missing, or so new that another change could have the same time.
    """
    state: list[list[Any]] = []
    newest = 0.0
    try:
        for path in paths:
            found = _folder(path) if os.path.isdir(path) else [("", os.stat(path))]
            digest = hashlib.sha256("\n".join(f"{n} {s.st_size} {s.st_mtime_ns}" for n, s in found).encode())
            state.append([os.path.abspath(path), sum(s.st_size for _, s in found), digest.hexdigest()])
            newest = max([newest, *(s.st_mtime for _, s in found)])
    except OSError:
        return None
    return state if newest < time.time() - COARSE else None


def stored_bytes(paths: Iterable[str]) -> int:
    """Bytes of files, and of all files in folders."""
    return sum(
        sum(state.st_size for _, state in _folder(path)) if os.path.isdir(path) else os.path.getsize(path)
        for path in paths
    )


def _folder(path: str) -> list[tuple[str, os.stat_result]]:
    found: list[tuple[str, os.stat_result]] = []
    folders = [path]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                else:
                    found.append((os.path.relpath(entry.path, path), entry.stat()))
    return sorted(found, key=lambda item: item[0])


def array_digest(array: npt.NDArray[Any] | None) -> str:
    """Of shape, type and values."""
    if array is None:
        return ""
    array = np.ascontiguousarray(array)
    digest = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
    digest.update(array.tobytes())
    return digest.hexdigest()
