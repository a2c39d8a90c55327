"""One view of every kind of data a model accepts: arrays, tensors, torch Datasets and labelled snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gmvae_fast.data.snapshots import Snapshots

#: What torch indexes in place; other arrays (big-endian, unsigned, extended precision) are converted batch by batch.
_TORCH_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")


class Batches:
    """Random access to snapshots by index, as float32 tensors [n, *shape] on the device asked for.

    Nothing is copied but the batch asked for: a read-only memory map larger than memory is read batch by batch.

    Parameters
    ----------
    data : ndarray, Tensor, Snapshots, or a torch Dataset with a length
        A Dataset's items may be tuples, whose first entry is the snapshot.
    name : str
        How errors call the argument.

    Raises
    ------
    TypeError, ValueError
        For other types, no rows, fewer than two axes, or values that are not real numbers.
    """

    def __init__(self, data: Any, name: str = "data") -> None:
        self.name = name
        self.returns_tensor = isinstance(data, Tensor)
        self.home = data.device if isinstance(data, Tensor) else torch.device("cpu")
        self._rows: Tensor | np.ndarray | Dataset[Any]
        if isinstance(data, Snapshots):
            self._rows = _from_array(data.fields, name)
        elif isinstance(data, Tensor):
            if data.is_complex():
                raise TypeError(f"{name} must hold real numbers, got dtype {data.dtype}")
            self._rows = data.detach()
        elif isinstance(data, np.ndarray) or hasattr(data, "__array_interface__"):
            self._rows = _from_array(data, name)
        elif isinstance(data, Dataset) and hasattr(data, "__len__"):
            self._rows = data
        else:
            raise TypeError(
                f"{name} must be an ndarray, a tensor, Snapshots or a torch Dataset with a length, "
                f"got {type(data).__name__}"
            )
        if isinstance(self._rows, Tensor | np.ndarray) and self._rows.ndim < 2:
            raise ValueError(
                f"{name} must be [N, features] or [N, channels, *grid], got shape {tuple(self._rows.shape)}"
            )
        self.length = len(self._rows)
        if self.length == 0:
            raise ValueError(f"{name} must hold at least one snapshot, got none")
        self.shape = tuple(self.batch(torch.zeros(1, dtype=torch.long)).shape[1:])

    def __len__(self) -> int:
        return int(self.length)

    def batch(self, indices: Tensor, device: torch.device | None = None) -> Tensor:
        """Snapshots at ``indices`` [n]."""
        if isinstance(self._rows, Tensor):
            rows = self._rows[indices.to(self._rows.device)]
        elif isinstance(self._rows, np.ndarray):
            # Values beyond float32 become inf, which check_finite reports.
            with np.errstate(over="ignore"):
                rows = torch.from_numpy(self._rows[indices.numpy()].astype(np.float32, order="C", copy=False))
        else:
            rows = torch.stack([self._item(int(i)) for i in indices])
        return rows.to(device or rows.device, torch.float32)

    def _item(self, index: int) -> Tensor:
        item = self._rows[index]
        value = torch.as_tensor(item[0] if isinstance(item, tuple | list) else item)
        if value.is_complex():
            raise TypeError(f"{self.name} must hold real numbers, got {value.dtype} in item {index}")
        return value

    def ordered(self, batch_size: int, device: torch.device | None = None) -> Iterator[Tensor]:
        """All snapshots in order."""
        for start in range(0, len(self), batch_size):
            yield self.batch(torch.arange(start, min(start + batch_size, len(self))), device)

    def check_finite(self, batch_size: int = 256) -> None:
        """Raise ValueError naming the first snapshot that holds NaN or inf."""
        start = 0
        for rows in self.ordered(batch_size):
            finite = torch.isfinite(rows.flatten(1)).all(1)
            if not bool(finite.all()):
                raise ValueError(
                    f"{self.name} must be finite in float32, got NaN or inf in snapshot "
                    f"{start + int((~finite).nonzero()[0, 0])}"
                )
            start += len(rows)


def _from_array(value: Any, name: str) -> Tensor | np.ndarray:
    """The same memory as a tensor, or the array itself where torch cannot take it over."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill it, for instance with filled(0)")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    direct = array.dtype.isnative and array.dtype.str[1:] in _TORCH_DTYPES and min(array.strides, default=0) >= 0
    return torch.from_numpy(array) if direct and array.flags.writeable else array
