"""What a VTK file claims and names, looked at before VTK reads it: VTK ends the process where memory lacks."""

from __future__ import annotations

import math
import mmap
import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator

from gmvae_fast._memory import shortage

from .hostile import inside

#: Bytes that VTK keeps for a point or cell: coordinates of points, or offset and type of cells.
_BYTES = 24
_COUNT = re.compile(rb'\bNumberOf(?:Points|Cells|Verts|Lines|Strips|Polys|Tuples)\s*=\s*["\']\s*(\d+)')
_COMPONENTS = re.compile(rb'\bNumberOfComponents\s*=\s*["\']\s*(\d+)')
_EXTENT = re.compile(rb'\b(?:Whole)?Extent\s*=\s*["\']\s*(-?\d+(?:\s+-?\d+){5})')
_LEGACY = re.compile(
    rb"^\s*(DIMENSIONS|POINTS|CELLS|CELL_TYPES|POINT_DATA|CELL_DATA|[XYZ]_COORDINATES)((?:[ \t]+\d+){1,3})",
    re.MULTILINE | re.IGNORECASE,
)
_LEGACY_FIELD = re.compile(
    rb"^\s*\S+[ \t]+(\d+)[ \t]+(\d+)[ \t]+(?:float|double|\w*int|\w*char|\w*short|\w*long|bit)\b", re.M
)


def check_claims(path: str) -> None:
    """Compare the sizes in a file's header with the memory that is free; pieces of a parallel file likewise.

    Raises
    ------
    ValueError
        Also for pieces outside the file's folder.
    """
    for file in (path, *_pieces(path)):
        if os.path.getsize(file):
            with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                claimed = max(_claims(content), default=0)
            lacking = shortage(_BYTES * claimed)
            if lacking:
                what = "claims" if file == path else f"its piece {os.path.basename(file)} claims"
                raise ValueError(f"{what} {claimed} points, cells or values, which {lacking}")


def _pieces(path: str) -> Iterator[str]:
    """Files that a parallel one (.pvti, .pvtu) consists of."""
    if os.path.splitext(path)[1].lower().startswith(".pv"):
        for piece in ElementTree.parse(path).iter("Piece"):
            yield inside(os.path.dirname(path), piece.attrib["Source"])


def _claims(content: mmap.mmap) -> Iterator[int]:
    """Numbers of points, cells and values."""
    components = max((_integer(m[1]) for m in _COMPONENTS.finditer(content)), default=1)
    for match in _COUNT.finditer(content):
        yield _integer(match[1]) * max(1, components)
    for match in _EXTENT.finditer(content):
        ends = [_integer(end) for end in match[1].split()]
        yield math.prod(max(0, b - a) + 1 for a, b in zip(ends[::2], ends[1::2], strict=True)) * max(1, components)
    for match in _LEGACY.finditer(content):
        numbers = [_integer(n) for n in match[2].split()]
        yield math.prod(numbers) if match[1].upper() == b"DIMENSIONS" else max(numbers)
    for match in _LEGACY_FIELD.finditer(content):
        yield _integer(match[1]) * _integer(match[2])


def _integer(digits: bytes) -> int:
    """Of any length: Python refuses to convert some thousands of digits."""
    return int(digits[:40])
