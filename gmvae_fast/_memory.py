"""How much memory there is, asked before anything is allocated by what a file says; freed memory that is kept."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_UNLIMITED = 2**62
#: Asking takes a tenth of a millisecond, which what is smaller than this does not.
_SMALL = 2**26

#: Parameters of glibc's mallopt(3), and the values at which its own adjustment of them ends.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_TRIM, _LARGEST_MMAP = 2**26, 2**25
_KEPT = 2**29


def free_memory() -> int:
    """Bytes that this process can still take for data: four fifths of what machine, container and own limits leave."""
    return max(0, min(_machine(), _container(), _own_limit()) * 4 // 5)


def shortage(size: int) -> str | None:
    """What to say about ``size`` bytes where they are more than there is; None where they fit."""
    if size <= _SMALL:
        return None
    free = free_memory()
    return None if size <= free else f"needs {_gibibytes(size)} of memory, {_gibibytes(free)} are free for it"


@contextlib.contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within the block up to 512 MiB that the process frees are kept for its next use, where the allocator is glibc's.

    A training step frees its activations and asks for as much again in the next one; given back in between, every page
    of them is mapped and cleared anew. Afterwards glibc gives back what is beyond 64 MiB, as after any program's first
    large blocks. Settings of the user's own (MALLOC_..., GLIBC_TUNABLES) stay.
    """
    set_option = None if any("MALLOC" in k or k == "GLIBC_TUNABLES" for k in os.environ) else _mallopt()
    if set_option is None:
        yield
        return
    set_option(_MMAP_THRESHOLD, _LARGEST_MMAP)  # either of the two ends glibc's own adjustment of both
    set_option(_TRIM_THRESHOLD, _KEPT)
    try:
        yield
    finally:
        set_option(_TRIM_THRESHOLD, _LARGEST_TRIM)


@functools.cache
def _mallopt() -> Callable[[int, int], int] | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    function: Callable[[int, int], int] = ctypes.CDLL(None).mallopt
    return function


def _gibibytes(size: int) -> str:
    return f"{size / 2**30:.3g} GiB"


def _machine() -> int:
    found = _entries("/proc/meminfo")
    if "MemAvailable" in found:
        return found["MemAvailable"]
    with contextlib.suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _UNLIMITED


def _container() -> int:
    """Of a control group (version 2, then 1): its limit less what is in use and cannot be given up."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            own = int(Path(limit).read_text())
            cached = 0
            for line in (Path(used).parent / "memory.stat").read_text().splitlines():
                name, _, value = line.partition(" ")
                cached += int(value) if name in ("inactive_file", "total_inactive_file") else 0
            return own - int(Path(used).read_text()) + cached
    return _UNLIMITED


def _own_limit() -> int:
    """Of the address space (ulimit -v) and of private memory (ulimit -d)."""
    if sys.platform == "win32":
        return _UNLIMITED
    import resource

    left = _UNLIMITED
    for kind, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            left = min(left, int(limit) - _entries("/proc/self/status").get(used, 0))
    return left


def _entries(path: str) -> dict[str, int]:
    """Lines "name: n kB" as bytes; empty where there is no such file."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path(path).read_text().splitlines():
            name, _, value = line.partition(":")
            if value.endswith("kB"):
                found[name] = 1024 * int(value.split()[0])
    return found
