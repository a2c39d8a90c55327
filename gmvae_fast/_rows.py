"""Rows [N, D] from memory or from disk, chunk by chunk, as the floating tensors that the operators take."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmvae_fast._checks import check_integer

CHUNK_BYTES = 64 * 2**20


class Rows:
    """A matrix that is read by row ranges and converted piece by piece.

    Parameters
    ----------
    value : array, tensor, or anything with ``shape``, ``dtype`` and slicing (memmap, h5py dataset, zarr array)
        Half precision is computed in float32, integers and long doubles in float64; byte order does not matter.
    name : str
        For error messages.
    chunk_size : int, optional
        Rows at a time.

    Raises
    ------
    TypeError
        For anything but real numbers.
    ValueError
        Unless the shape is [N, D] with D >= 1.

    Attributes
    ----------
    shape : (N, D)
    dtype, device : of the tensors given out
    is_tensor : whether ``value`` is one
    """

    def __init__(self, value: Any, name: str, chunk_size: int | None = None) -> None:
        self.name, self.is_tensor = name, isinstance(value, Tensor)
        self._source = value.detach() if self.is_tensor else value if _is_sliceable(value) else np.asarray(value)
        self._chunk_size = None if chunk_size is None else check_integer("chunk_size", chunk_size, 1)
        self.dtype = _computed_in(self._source.dtype, name)
        self.device = torch.device(self._source.device if self.is_tensor else "cpu")
        shape = tuple(int(s) for s in self._source.shape)
        if len(shape) != 2 or shape[1] == 0:
            raise ValueError(f"{name} must have shape [N, D] with D >= 1, got {shape}")
        self.shape = (shape[0], shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def whole_fits(self) -> bool:
        """Whether all rows lie in memory as the operators want them, so that one chunk needs no copy."""
        source = self._source
        if isinstance(source, Tensor):
            return source.dtype == self.dtype and source.is_contiguous()
        in_memory = isinstance(source, np.ndarray) and not isinstance(source, np.memmap)
        return in_memory and source.dtype == _numpy_dtype(self.dtype) and source.flags.c_contiguous

    def chunk_rows(self, row_bytes: int | None = None, *, whole: bool = False) -> int:
        """Rows of a chunk: as the caller of the package asked, else all (if ``whole``), else `CHUNK_BYTES` worth.

        ``row_bytes`` is what one row costs in the caller's work, its own size unless larger.
        """
        if self._chunk_size is not None:
            return self._chunk_size
        if whole:
            return max(1, len(self))
        own = self.shape[1] * self.dtype.itemsize
        rows = max(1, CHUNK_BYTES // max(own, row_bytes or 0))
        stored = getattr(self._source, "chunks", None)  # h5py, zarr: no stored chunk is read twice
        step = stored[0] if isinstance(stored, tuple) and stored and isinstance(stored[0], int) else 1
        return rows // step * step if rows >= step > 0 else rows

    def chunks(self, rows: int, *, check: bool = False) -> Iterator[tuple[int, Tensor]]:
        """First row and tensor [<= rows, D] of every chunk, in order; ``check`` raises where a value is not finite."""
        for first in range(0, len(self), rows):
            chunk = self.read(first, min(first + rows, len(self)))
            # A NaN or inf always reaches the sum. The sum of finite values may overflow: that is looked into.
            if check and not bool(torch.isfinite(chunk.sum())):
                self._check_each()
            yield first, chunk
            del chunk  # before the next is read; whoever takes them for long lets go of each likewise

    def read(self, first: int, last: int) -> Tensor:
        """Rows ``first`` to ``last`` (excluded); not to be written to, for they may be the caller's own memory."""
        part = self._source[first:last]
        if isinstance(part, Tensor):
            return part.to(self.dtype)
        part = np.asarray(part)
        if part.ndim != 2 or len(part) != last - first:  # a sparse matrix, or a source whose slices are no arrays
            raise TypeError(f"{self.name}[{first}:{last}] must be a dense array [{last - first}, {self.shape[1]}]")
        part = part.astype(_numpy_dtype(self.dtype), copy=False)
        if min(part.strides, default=0) < 0:
            part = part.copy()  # torch knows no negative strides
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
            return torch.from_numpy(part)

    def check_finite(self) -> None:
        """ValueError where a value is not finite."""
        for _, chunk in self.chunks(self.chunk_rows(), check=True):
            del chunk

    def _check_each(self) -> None:
        bad, where = 0, -1
        for first, chunk in self.chunks(self.chunk_rows()):
            rows = torch.isfinite(chunk).all(1).logical_not().nonzero().flatten()
            where = first + int(rows[0]) if where < 0 and len(rows) else where
            bad += len(rows)
            del chunk
        if bad:
            raise ValueError(f"{self.name} must be finite, got NaN or inf in {bad} rows, the first is {where}")


def _is_sliceable(value: Any) -> bool:
    return all(hasattr(value, attribute) for attribute in ("shape", "dtype", "__getitem__"))


def _numpy_dtype(dtype: torch.dtype) -> np.dtype[Any]:
    return np.dtype(np.float32 if dtype == torch.float32 else np.float64)


def _computed_in(dtype: Any, name: str) -> torch.dtype:
    """float32 or float64, wide enough for ``dtype``."""
    if isinstance(dtype, torch.dtype):
        if dtype.is_complex or dtype == torch.bool:
            raise TypeError(f"{name} must be real numbers, got {dtype}")
        small = dtype.is_floating_point and dtype != torch.float64
        return torch.float32 if small else torch.float64
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got dtype {dtype}")
    return torch.float32 if kind.kind == "f" and kind.itemsize <= 4 else torch.float64
