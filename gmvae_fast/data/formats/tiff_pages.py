"""TIFF files as frames: which pages make one frame, whether all of them are there, and their values."""

from __future__ import annotations

import math
import re
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._reading import parse_json

from .hostile import check_inflated, check_size, may_inflate

#: TIFF's numbers of compressions that inflate without end, and what numcodecs calls them.
_COMPRESSIONS = {8: "zlib", 32946: "zlib", 34925: "lzma", 50000: "zstd"}
#: Letters of an axis over pages that is time: named so, a series of images, or without a name.
_TIMES = frozenset("TIQ")
#: Axes over pages, slowest first, and what ImageJ calls their sizes.
_IMAGEJ = (("T", "frames"), ("Z", "slices"), ("C", "channels"))


def frame_pages(tiff: Any) -> list[tuple[int, ...]]:
    """Numbers of the pages of each frame: one page, or one for each channel that OME or ImageJ metadata tell of.

    Pages along one axis are times, whatever its name: ImageJ calls the frames of a film slices.

    Raises
    ------
    ValueError
        Where pages are missing, and where they lie along more axes than times and channels.
    """
    count = len(tiff.pages)
    _check_complete(tiff, count)
    axes = _axes_over_pages(tiff)
    named = math.prod(n for _, n in axes)
    if axes and named != count and (count > 1 or not tiff.is_ome):  # a page of OME may belong to a set of files
        told = ", ".join(f"{letter}: {n}" for letter, n in axes)
        raise ValueError(f"its description tells of {named} pages ({told}), it has {count}")
    letters = "".join(letter for letter, _ in axes)
    if named != count or (len(axes) < 2 and letters != "C"):
        return [(i,) for i in range(count)]
    if letters.count("C") != 1 or not set(letters) - {"C"} <= _TIMES or len(axes) > 2:
        raise ValueError(
            f"its pages lie along the axes {' '.join(letters)} (sizes {[n for _, n in axes]}), expected one axis of "
            "times and at most one of channels (C); store it as Zarr, HDF5 or .npy and say dims"
        )
    pages = np.arange(count).reshape([n for _, n in axes])
    pages = np.moveaxis(pages, letters.index("C"), -1).reshape(-1, dict(axes)["C"])
    return [tuple(row) for row in pages.tolist()]


def read_page(page: Any) -> npt.NDArray[Any]:
    """A page [H, W] or [H, W, colours], once its size and that of its compressed pieces are known.

    Raises
    ------
    ValueError
        For pages of volumes, and those cut short.
    """
    check_size("a frame", page.shape, np.float64)
    codec = _COMPRESSIONS.get(int(page.compression))
    if codec is not None:
        piece = math.prod(page.chunks, start=page.dtype.itemsize)
        for offset, stored in zip(page.dataoffsets, page.databytecounts, strict=True):
            if may_inflate(stored) or codec != "zlib":
                page.parent.filehandle.seek(offset)
                check_inflated("a piece of a frame", codec, page.parent.filehandle.read(stored), piece)
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"page {page.index} has the axes {page.axes} {page.shape}, expected one image")
    values = np.asarray(page.asarray())
    return np.moveaxis(values, 0, -1) if page.axes == "SYX" else values


def _check_complete(tiff: Any, count: int) -> None:
    """The last page must be the last of the chain: tifffile stops at a page that lies beyond the end of the file."""
    if not count:
        raise ValueError("it has no pages")
    if tiff.is_scanimage or tiff.is_ndpi:
        return  # their pages are not found along the chain
    form, file = tiff.tiff, tiff.filehandle
    file.seek(tiff.pages[-1].offset)
    (tags,) = struct.unpack(form.tagnoformat, file.read(form.tagnosize))
    file.seek(tags * form.tagsize, 1)
    (following,) = struct.unpack(form.offsetformat, file.read(form.offsetsize))
    if following:
        raise ValueError(
            f"page {count} should lie at byte {following} of {file.size}: the file is cut short or damaged"
        )


def _axes_over_pages(tiff: Any) -> list[tuple[str, int]]:
    """(letter, size) of the axes over pages, slowest first, where the file describes them; those of size one left out.

    From the descriptions themselves: tifffile's own series open other files that an OME description names.
    """
    samples = tiff.pages[0].samplesperpixel
    found: list[tuple[str, int]] = []
    if tiff.is_ome:
        found = _of_ome(tiff.ome_metadata or "", samples)
    elif tiff.is_imagej:
        told = tiff.imagej_metadata or {}
        found = [(letter, int(told.get(name, 1))) for letter, name in _IMAGEJ]
        if samples > 1:
            found = found[:2]
    elif tiff.is_shaped:
        found = _of_shape(tiff)
    return [(letter, n) for letter, n in found if n != 1]


def _of_ome(text: str, samples: int) -> list[tuple[str, int]]:
    """Of the first image."""
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", text)
    if pixels is None:
        return []
    sizes = {letter: int(n) for letter, n in re.findall(r'\bSize([TZC])="(\d{1,9})"', pixels[0])}
    order = re.search(r'\bDimensionOrder="XY([TZC]{3})"', pixels[0])
    if samples > 1:
        sizes["C"] = sizes.get("C", 1) // samples
    return [(letter, sizes.get(letter, 1)) for letter in reversed(order[1] if order else "CZT")]


def _of_shape(tiff: Any) -> list[tuple[str, int]]:
    """Of an array that tifffile wrote; nothing where there are several."""
    text = tiff.pages[0].shaped_description
    described = parse_json(text) if text and text.startswith("{") else {}
    shape, within = described["shape"] if described else [], len(tiff.pages[0].shape)
    lead = [int(n) for n in shape[: len(shape) - within]]
    if math.prod(lead) < len(tiff.pages):
        return []
    axes = str(described.get("axes", ""))
    return list(zip(axes[: len(lead)] if len(axes) == len(shape) else "Q" * len(lead), lead, strict=True))
