"""Locks on files and folders that end with their process, however it ends."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks
    fcntl = None  # type: ignore[assignment]

_WAIT_SECONDS = 0.02
#: Lock files open in this process.
_handles: set[int] = set()


def _forget_in_child() -> None:
    """A forked child (a reader of files, for instance) must not keep its parent's locks when the parent is gone."""
    while _handles:
        os.close(_handles.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


class InUseError(RuntimeError):
    """Another process writes to this file or folder; the message names it."""


def have_locks() -> bool:
    """Whether this system has them; a file system still may not."""
    return fcntl is not None


def try_lock(handle: int) -> bool | None:
    """Whether the open file is now locked by us; None where the system or the file system has no locks.

    A flock: it belongs to the open file, so a second one of the same process is refused too, and the system takes it
    back when the process dies.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextlib.contextmanager
def folder_lock(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Keep other runs out of ``folder``, which is made if missing.

    Raises
    ------
    InUseError
        Naming the process that is in it.
    OSError
        Where it cannot be written to.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with _held(Path(folder) / ".lock", os.fspath(folder), wait=False):
        yield


@contextlib.contextmanager
def file_lock(path: str | os.PathLike[str], *, wait: bool = False) -> Iterator[None]:
    """Keep other writers away from the file ``path``, by a lock file beside it; ``wait`` for them instead of raising.

    Raises
    ------
    InUseError, OSError
        As `folder_lock`.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _held(target.with_name(f".{target.name}.lock"), os.fspath(path), wait=wait):
        yield


@contextlib.contextmanager
def _held(path: Path, subject: str, *, wait: bool) -> Iterator[None]:
    while (handle := _acquire(path, subject)) is None:
        if not wait:
            raise InUseError(f"{subject}: in use by {_owner(path)}; wait for it to end, or choose another place")
        time.sleep(_WAIT_SECONDS)
    _handles.add(handle)
    try:
        with contextlib.suppress(OSError):  # on a full disk: it only tells others who is here
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        if handle in _handles:  # not in a forked child
            _handles.remove(handle)
            # While it is still locked: who waits for the lock of a removed file finds that out and makes a new one.
            path.unlink(missing_ok=True)
            os.close(handle)


def _acquire(path: Path, subject: str) -> int | None:
    """The locked lock file; None where another process holds it."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            error.filename = subject  # the lock file says little to the user
            raise
        locked = try_lock(handle)
        if locked is False:
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            if locked is None or os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its last owner removed it between our two calls


def _owner(path: Path) -> str:
    try:
        return path.read_text() or "another process"
    except (OSError, UnicodeDecodeError):
        return "another process"
