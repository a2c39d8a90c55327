"""Results of expensive runs, kept on disk under a hash of the parameters that made them."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gmvae_fast._io import to_jsonable, write_npz
from gmvae_fast._reading import read_npz

#: Environment variable that moves the cache.
CACHE_VARIABLE = "GMVAE_FAST_CACHE"

Arrays = dict[str, npt.NDArray[Any]]


def cache_directory(directory: str | os.PathLike[str] | None = None) -> Path:
    """Where runs are kept: ``directory``, else ``$GMVAE_FAST_CACHE``, else the platform's cache folder."""
    if directory is not None:
        return Path(directory)
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "gmvae_fast"


def cache_path(name: str, parameters: Mapping[str, Any], directory: str | os.PathLike[str] | None = None) -> Path:
    """File of the run ``name`` with these parameters (their version included by the caller)."""
    text = json.dumps(to_jsonable(parameters), sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:24]
    return cache_directory(directory) / name / f"{digest}.npz"


def read_entry(path: Path) -> Arrays | None:
    """Arrays of a cache entry; None where there is none, or (with a warning) where it cannot be read."""
    try:
        return read_npz(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        warnings.warn(
            f"cache entry {path} cannot be read ({type(error).__name__}: {error}); computing it again",
            stacklevel=2,
        )
        return None


def write_entry(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Keep a result; a folder that cannot be written to is a warning, never the loss of the result."""
    try:
        write_npz(path, dict(arrays))
    except OSError as error:
        warnings.warn(
            f"result not cached, {path.parent} cannot be written to ({error}); "
            f"set {CACHE_VARIABLE} to a writable folder",
            stacklevel=2,
        )
        return False
    return True


def cached(
    name: str,
    parameters: Mapping[str, Any],
    compute: Callable[[], Arrays],
    directory: str | os.PathLike[str] | None = None,
) -> Arrays:
    """The result of ``compute``, from disk where an intact entry with these parameters exists."""
    path = cache_path(name, parameters, directory)
    stored = read_entry(path)
    if stored is not None:
        return stored
    result = compute()
    write_entry(path, result)
    return result
