"""What files may not do to whoever opens them: name other files, claim what does not fit, inflate without end."""

from __future__ import annotations

import math
import ntpath
import os
import posixpath
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gmvae_fast._memory import free_memory, shortage

#: Largest factor by which deflate inflates (zlib's technical notes).
_DEFLATE = 1032
_STEP = 2**20
_HARMLESS = 2**26  # bytes that may come out of nothing
_REMEMBERED = 2**16
#: Bytes in which blosc, lz4 and most zstd frames tell their size.
HEAD = 32
_ZSTD, _ZSTD_BLOCK, _RUN = b"\x28\xb5\x2f\xfd", 2**17, 1


def inside(folder: str, name: str) -> str:
    """Path of a file that another one names, which must lie in that one's folder or below.

    Raises
    ------
    ValueError
        For absolute names and those that leave the folder.
    """
    plain = posixpath.normpath(name.replace("\\", "/"))
    if not name or posixpath.isabs(plain) or ntpath.splitdrive(name)[0] or plain.split("/")[0] == "..":
        raise ValueError(f"names the file {name!r}, which does not lie in its folder")
    return os.path.join(folder, name)


def check_size(what: str, shape: Sequence[int], dtype: Any, chunks: Sequence[int] | None = None) -> None:
    """Before an array, or a stored chunk of it, is read whole.

    Raises
    ------
    ValueError
        Where it does not fit into memory.
    """
    itemsize = np.dtype(dtype).itemsize
    held = math.prod((int(n) for n in shape), start=itemsize)
    chunk = math.prod((int(n) for n in chunks or ()), start=itemsize)
    lacking = shortage(max(held, chunk))
    if lacking:
        raise ValueError(f"{what} of shape {tuple(shape)} {lacking}")


def may_inflate(stored: int) -> bool:
    """Whether ``stored`` bytes of deflate could fill a considerable part of the memory, doubled buffers included."""
    most = 2 * _DEFLATE * stored
    return most > _HARMLESS and most > free_memory() // 4  # which takes half a millisecond to ask


class Seen:
    """Chunks that were looked at already, as many as take a few megabytes to remember."""

    def __init__(self) -> None:
        self._places: set[tuple[int, ...]] = set()

    def __contains__(self, place: tuple[int, ...]) -> bool:
        return place in self._places

    def add(self, place: tuple[int, ...]) -> None:
        """Those before are forgotten, and looked at again, where they become too many."""
        if len(self._places) >= _REMEMBERED:
            self._places.clear()
        self._places.add(place)


def check_inflated(what: str, codec: str, content: bytes, expected: int) -> None:
    """Before compressed bytes are given to a library that inflates them whatever comes out.

    Parameters
    ----------
    what : str
        For the error.
    codec : str
        As numcodecs calls it; one that is not known here passes.
    content : bytes
    expected : int
        Bytes that should come out.

    Raises
    ------
    ValueError
    """
    size = _SIZES[codec](content, expected) if codec in _SIZES else 0
    if size > expected:
        raise ValueError(f"{what} inflates beyond the {expected} bytes that it should hold")


def _deflated(content: bytes, limit: int) -> int:
    """Size of a zlib or gzip stream, or more than ``limit``; little of it is in memory at a time."""
    if not may_inflate(len(content)):
        return 0
    stream, size, rest = zlib.decompressobj(wbits=47), 0, content
    try:
        while rest and size <= limit and not stream.eof:
            size += len(stream.decompress(rest, _STEP))
            rest = stream.unconsumed_tail
    except zlib.error:
        return 0  # its reader says so
    return size


def _by_streaming(open_stream: Callable[[], Any]) -> Callable[[bytes, int], int]:
    def size_of(content: bytes, limit: int) -> int:
        stream, size = open_stream(), 0
        piece = content
        try:
            while size <= limit and not stream.eof:
                out = stream.decompress(piece, _STEP)
                if not out and stream.needs_input:
                    break
                size, piece = size + len(out), b""
        except Exception:  # damaged: its reader says so
            return 0
        return size

    return size_of


def _lzma() -> Any:
    import lzma

    return lzma.LZMADecompressor()


def _bz2() -> Any:
    import bz2

    return bz2.BZ2Decompressor()


def _little_endian(at: int) -> Callable[[bytes, int], int]:
    return lambda content, limit: int.from_bytes(content[at : at + 4], "little")


def _zstd(content: bytes, limit: int) -> int:
    """The content size in the first frame's header (RFC 8878, 3.1.1.1), or at most what its blocks can hold."""
    if not content.startswith(_ZSTD) or len(content) < HEAD:
        return 0
    flags = content[4]
    size_flag, single, dictionary = flags >> 6, flags >> 5 & 1, (0, 1, 2, 4)[flags & 3]
    at = 5 + (0 if single else 1) + dictionary
    width = _zstd_width(flags)
    if width:
        return int.from_bytes(content[at : at + width], "little") + (256 if size_flag == 1 else 0)
    blocks, last = 0, False
    while not last and at + 3 <= len(content):
        header = int.from_bytes(content[at : at + 3], "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        at += 3 + (1 if kind == _RUN else size)
        blocks += 1
    most = blocks * _ZSTD_BLOCK  # short blocks hold less: it counts where memory is at stake
    too_much = most > _HARMLESS and most > limit + _ZSTD_BLOCK and most > free_memory() // 4
    return most if too_much else 0


def _zstd_width(flags: int) -> int:
    """Bytes of the content size in a frame header; 0: it is not told."""
    return (1 if flags >> 5 & 1 else 0, 2, 4, 8)[flags >> 6]


def head_tells(codec: str, head: bytes) -> bool:
    """Whether the first ``HEAD`` bytes say what `check_inflated` asks; otherwise it takes all of them."""
    if codec == "zstd":
        return not head.startswith(_ZSTD) or len(head) < HEAD or _zstd_width(head[4]) > 0
    return codec in ("blosc", "lz4")


def span_of(part: Any, n: int) -> range:
    """Cells of an axis of ``n`` that an index selects; all of them where it is neither an integer nor a slice."""
    if isinstance(part, int | np.integer):
        return range(int(part), int(part) + 1)
    return range(*part.indices(n)) if isinstance(part, slice) else range(n)


#: By codec the size that comes out, as far as the bytes tell.
_SIZES: dict[str, Callable[[bytes, int], int]] = {
    "zlib": _deflated,
    "gzip": _deflated,
    "bz2": _by_streaming(_bz2),
    "lzma": _by_streaming(_lzma),
    "zstd": _zstd,
    "blosc": _little_endian(4),
    "lz4": _little_endian(0),
}
