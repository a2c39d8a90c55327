"""Camera frames: folders of PNG or TIFF files, and multi-page TIFF."""

from __future__ import annotations

import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.fingerprint import array_digest

from .container import Container, require
from .first_states import FirstStates
from .hostile import check_size
from .tiff_pages import frame_pages, read_page

TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (*TIFF_SUFFIXES, ".png")
_OPEN_FILES = 8


@dataclass(frozen=True, eq=False)
class FrameOptions:
    """How frames are prepared.

    Attributes
    ----------
    roi : (top, bottom, left, right) in pixels from the upper left corner, ends excluded, or None
    background : int, ndarray [H, W] (before the region is cut out) or None
        Subtracted from every frame; an integer is the number of first frames whose mean is the background.
    downsample : int
        Means over squares of this many pixels; what does not fill a square at the lower and right edges is cut off.
    """

    roi: tuple[int, int, int, int] | None = None
    background: int | npt.NDArray[Any] | None = None
    downsample: int = 1

    def __post_init__(self) -> None:
        for name, least in (("downsample", 1), ("background", 1)):
            value = getattr(self, name)
            if isinstance(value, int | np.integer) and (isinstance(value, bool) or value < least):
                raise ValueError(f"{name} must be at least {least}, got {value!r}")
        if self.roi is not None:
            top, bottom, left, right = self.roi
            if not (0 <= top < bottom and 0 <= left < right):
                raise ValueError(f"roi must be (top, bottom, left, right) with top < bottom, left < right: {self.roi}")

    @property
    def fingerprint(self) -> str:
        """Text that differs between different options."""
        background = self.background
        known = background if isinstance(background, int) or background is None else array_digest(background)
        return f"images {self.roi} {known} {self.downsample}"

    @property
    def unchanged(self) -> bool:
        """Whether frames are taken as they are."""
        return self.roi is None and self.background is None and self.downsample == 1


def natural_key(path: str | os.PathLike[str]) -> list[Any]:
    """Sort frame2 before frame10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def frame_files(folder: str) -> list[str]:
    """Image files of a folder in the order of their numbers."""
    found = [str(p) for p in Path(folder).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=natural_key)


def open_images(path: str, options: FrameOptions | None = None, files: list[str] | None = None) -> Container:
    """Frames as one array "frames" [T, H, W] or [T, H, W, colours], row 0 at the top.

    ``files`` are those of the folder ``path`` to take, in their order; default: all image files in it.
    """
    if files is None:
        files = frame_files(path) if os.path.isdir(path) else [path]
    if not files:
        raise ValueError(f"no {', '.join(IMAGE_SUFFIXES)} files in the folder")
    stack = FrameStack(files, options or FrameOptions())
    axes = ("t", "-y", "x") if len(stack.shape) == 3 else ("t", "-y", "x", "c")
    return Container({"frames": stack}, {}, {"frames": axes}, stack.close)


def is_single_frame(path: str) -> bool:
    """Whether the file is one frame of a series, not a series itself."""
    if not path.lower().endswith(TIFF_SUFFIXES):
        return True
    tifffile = require("tifffile", f"{path} (TIFF)")
    with tifffile.TiffFile(path) as tiff:
        return len(tiff.pages) == 1


class FrameStack:
    """Frames that are decoded when they are asked for."""

    def __init__(self, files: list[str], options: FrameOptions) -> None:
        self._options = options
        self._tiffs: OrderedDict[str, Any] = OrderedDict()
        self._states = FirstStates()
        with contextlib.ExitStack() as failed:
            failed.callback(self.close)
            self._pages = [(f, pages) for f in files for pages in self._pages_of(f)]
            self._raw_shape = self._decode(0).shape
            self._background = self._make_background()
            first = self._frame(0)
            failed.pop_all()
        self.shape: tuple[int, ...] = (len(self._pages), *first.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        time, *rest = key if isinstance(key, tuple) else (key,)
        if not isinstance(time, slice):
            return np.asarray(self._frame(int(time))[tuple(rest)])
        frames = [self._frame(i)[tuple(rest)] for i in range(*time.indices(len(self._pages)))]
        return np.stack(frames) if frames else np.zeros((0, *self.shape[1:]), np.float32)[(slice(None), *rest)]

    def close(self) -> None:
        """Close whatever is open."""
        while self._tiffs:
            self._tiffs.popitem()[1].close()

    def _pages_of(self, file: str) -> list[tuple[int, ...]]:
        if not file.lower().endswith(TIFF_SUFFIXES):
            return [(0,)]
        with _named(file):
            return frame_pages(self._tiff(file))

    def _tiff(self, file: str) -> Any:
        if file not in self._tiffs:
            tifffile = require("tifffile", f"{file} (TIFF)")
            self._tiffs[file] = tifffile.TiffFile(file)
            if len(self._tiffs) > _OPEN_FILES:
                self._tiffs.popitem(last=False)[1].close()
        self._tiffs.move_to_end(file)
        return self._tiffs[file]

    def _decode(self, index: int) -> npt.NDArray[Any]:
        file, pages = self._pages[index]
        self._states.check(index, file)
        if file.lower().endswith(TIFF_SUFFIXES):
            with _named(file):
                images = [read_page(self._tiff(file).pages[page]) for page in pages]
            image = images[0] if len(images) == 1 else np.stack(images, axis=-1)
        else:
            pillow = require("PIL.Image", f"{file} (PNG)")
            with pillow.open(file) as opened:
                check_size("a frame", (opened.height, opened.width, len(opened.getbands())), np.float64)
                image = np.asarray(opened.convert("RGB") if opened.mode == "P" else opened)
        if image.ndim not in (2, 3):
            raise ValueError(f"{file}: frame {pages[0]} has shape {image.shape}, expected [H, W] or [H, W, colours]")
        if index and image.shape != self._raw_shape:
            raise ValueError(f"{file}: frame {pages[0]} has shape {image.shape}, the first one {self._raw_shape}")
        return image

    def _make_background(self) -> npt.NDArray[np.float32] | None:
        background = self._options.background
        if background is None:
            return None
        if isinstance(background, int):
            frames = [self._decode(i).astype(np.float64) for i in range(min(background, len(self._pages)))]
            return np.asarray(np.mean(frames, axis=0), dtype=np.float32)
        given = np.asarray(background, dtype=np.float32)
        if given.shape != self._raw_shape:
            raise ValueError(f"background must have the frames' shape {self._raw_shape}, got {given.shape}")
        return given

    def _frame(self, index: int) -> npt.NDArray[np.float32]:
        image = self._decode(index).astype(np.float32)
        if self._background is not None:
            image = image - self._background
        if self._options.roi is not None:
            top, bottom, left, right = self._options.roi
            if bottom > image.shape[0] or right > image.shape[1]:
                raise ValueError(f"roi {self._options.roi} reaches beyond the frames of {image.shape[:2]} pixels")
            image = image[top:bottom, left:right]
        return _reduced(image, self._options.downsample)


@contextlib.contextmanager
def _named(file: str) -> Iterator[None]:
    """Errors name the file, one of a folder's."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _reduced(image: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    if factor == 1:
        return image
    height, width = image.shape[0] // factor, image.shape[1] // factor
    if height == 0 or width == 0:
        raise ValueError(f"downsample={factor} leaves nothing of frames of {image.shape[:2]} pixels")
    cut = image[: height * factor, : width * factor]
    squares = cut.reshape(height, factor, width, factor, *image.shape[2:])
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float32))
