"""Files that each process opens for itself when they are first read."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .basics import SnapshotFileError
from .formats import ZARR_FILES, Container
from .layouts import Block

_OPEN_FILES = 64


@dataclass(frozen=True)
class SourceFile:
    """One source of snapshots: how to open it (picklable) and its recognised blocks.

    ``parts`` are the files it consists of, where ``path`` alone does not say so; ``options`` is what else its content
    depends on, as text.
    """

    path: str
    opener: Callable[[str], Container]
    blocks: tuple[Block, ...]
    parts: tuple[str, ...] = ()
    options: str = ""


#: Size and time of change.
_State = tuple[int, int]


def _state(path: str) -> _State | None:
    """Of a file, or of the description of a Zarr store; None where it is gone."""
    try:
        found = os.stat(path)
        for name in ZARR_FILES if stat.S_ISDIR(found.st_mode) else ():
            with contextlib.suppress(FileNotFoundError):
                found = os.stat(os.path.join(path, name))
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns


class FileHandles:
    """Files opened when they are first read, in each process for itself.

    A handle that a fork inherited is neither used nor closed: it shares its file position and locks with the parent.
    """

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._files = tuple(files)
        self._states: dict[int, _State] = {}
        self._start()

    @property
    def files(self) -> tuple[SourceFile, ...]:
        """In their order."""
        return self._files

    def _start(self) -> None:
        self._process = os.getpid()
        self._open: OrderedDict[int, Container] = OrderedDict()
        self._lock = threading.RLock()
        weakref.finalize(self, _close_own, self._open, self._process).atexit = False

    def __getstate__(self) -> dict[str, Any]:
        return {"_files": self._files, "_states": self._states}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._files, self._states = state["_files"], dict(state["_states"])
        self._start()

    @contextmanager
    def file(self, index: int) -> Iterator[Container]:
        """The open file; errors of its format become SnapshotFileError with its name.

        So does a file that is gone, or has another size or time of change than when it was first read: what an open
        handle then gives is neither the old nor the new content, and a mapped file that was cut ends the process.
        """
        if self._process != os.getpid():
            self._inherited = self._open
            self._start()
        path = self._files[index].path
        with self._lock, file_errors(path):
            state = _state(path)
            if state is None:
                raise FileNotFoundError(f"{path}: gone, it was there when it was opened")
            if self._states.setdefault(index, state) != state:
                raise SnapshotFileError(f"{path}: changed since it was first read")
            if index not in self._open:
                self._open[index] = self._files[index].opener(path)
                if len(self._open) > _OPEN_FILES:
                    self._open.popitem(last=False)[1].close()
            self._open.move_to_end(index)
            yield self._open[index]

    def close(self) -> None:
        """Close this process's handles; they are opened again when needed, whatever the files are then."""
        with self._lock:
            self._states.clear()
            _close_own(self._open, self._process)


def _close_own(opened: OrderedDict[int, Container], process: int) -> None:
    """Close what the process opened for a source that nobody has any more."""
    if process == os.getpid():
        while opened:
            opened.popitem()[1].close()


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Turn whatever a damaged file makes its library raise into one error that names the file.

    MemoryError too: within a library it comes from sizes that the file claims.
    """
    try:
        yield
    except (FileNotFoundError, PermissionError, ImportError):
        raise
    except SnapshotFileError as error:
        if str(path) in str(error):
            raise
        raise SnapshotFileError(f"{path}: {error}") from error
    except Exception as error:  # h5py, zarr and codecs raise their own kinds
        raise SnapshotFileError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
