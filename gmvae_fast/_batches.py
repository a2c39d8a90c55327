"""One view of every kind of data a model accepts: arrays, tensors, torch Datasets, labelled snapshots, files."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from gmvae_fast._checks import check_integer
from gmvae_fast._memory import free_memory
from gmvae_fast.data.incomplete import IncompleteMoments
from gmvae_fast.data.moments import Moments, store_moments, stored_moments
from gmvae_fast.data.on_demand import OnDemandSnapshots
from gmvae_fast.data.passes import Passes
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.data.source import SnapshotSource
from gmvae_fast.data.streaming import shuffled_order, window_rows

#: What torch indexes in place; other arrays (big-endian, unsigned, extended precision) are converted batch by batch.
_TORCH_DTYPES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")

#: `Batches.hold` takes at most this share of the memory that is free.
_HELD_SHARE = 0.5

#: Of snapshots in one step of a pass over the data. What convolutions make of them should stay in the cache: an encoder
#: took 2.3 times longer for batches of 25 MB than for 6 MB.
_PASS_BYTES = 2**23


class Batches:
    """Random access to snapshots by index, as float32 tensors [n, *shape] on the device asked for.

    Nothing is copied but the batch asked for: a read-only memory map larger than memory is read batch by batch, files
    batch by batch (or, where they are chunked, by windows of `gmvae_fast.data.streaming.WINDOW_BYTES`), ahead of use.

    Parameters
    ----------
    data : ndarray, Tensor, Snapshots or another SnapshotSource, or a torch Dataset with a length
        A Dataset's items may be tuples, whose first entry is the snapshot.
    name : str
        How errors call the argument.
    workers : int
        Processes that read sources and torch Datasets; 0: one thread. What comes out is the same. Arrays and Snapshots
        in memory are indexed here whatever this says.

    Raises
    ------
    TypeError, ValueError
        For other types, no rows, fewer than two axes, or values that are not real numbers.
    """

    def __init__(self, data: Any, name: str = "data", workers: int = 0) -> None:
        self.name, self._workers = name, check_integer("workers", workers, 0)
        self._passes: Passes | None = None
        self._held: Tensor | None = None
        self.returns_tensor = isinstance(data, Tensor)
        self.home = data.device if isinstance(data, Tensor) else torch.device("cpu")
        self._rows: Tensor | np.ndarray | Dataset[Any] | SnapshotSource
        self.chunk_starts: Tensor | None = None
        self.mask: Tensor | None = None
        self.field_names = tuple(data.field_names) if isinstance(data, SnapshotSource) else None
        self._places = (data.trajectory, data.time) if isinstance(data, SnapshotSource) else None
        if isinstance(data, SnapshotSource) and data.mask is not None:
            self.mask = torch.from_numpy(data.mask)
        if isinstance(data, Snapshots):
            self._rows = _from_array(data.fields, name)
        elif isinstance(data, SnapshotSource):
            self._rows = data
            starts = data.chunk_starts
            self.chunk_starts = None if starts is None else torch.from_numpy(starts)
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
        if isinstance(self._rows, SnapshotSource):
            self.shape = tuple(self._rows.shape)
        else:
            self.shape = tuple(self.batch(torch.zeros(1, dtype=torch.long)).shape[1:])

    def __len__(self) -> int:
        return int(self.length)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_passes": None, "_workers": 0, "_held": None, "_places": None}

    def close(self) -> None:
        """End the reading thread or the worker processes, if there are any, and let go of what `hold` holds."""
        self._held = None
        if self._passes is not None:
            self._passes.close()

    def hold(self, limit: int, processes: int = 1) -> bool:
        """Read files once and keep the snapshots in memory until `close`, if they take at most ``limit`` bytes there.

        Nothing but the speed of later passes changes: snapshots come in the order in which the files would be read.
        Not done where less than twice their size is free, each of so many ``processes`` counting on its part of that.
        Whether they are held.
        """
        size = 4 * math.prod(self.shape, start=len(self))
        if not isinstance(self._rows, OnDemandSnapshots) or size > min(limit, _HELD_SHARE * free_memory() / processes):
            return False
        held, start = torch.empty(len(self), *self.shape), 0
        # In few pieces, as stored chunks that cross their edges are decoded twice; in many for several workers.
        together = self.pass_size if self._workers else window_rows(4 * math.prod(self.shape), 1)
        for rows in self.ordered(together):
            held[start : start + len(rows)] = rows
            start += len(rows)
        self.close()
        self._held = held
        return True

    @property
    def pass_size(self) -> int:
        """Snapshots in one step of a pass over the data: 256, of vectors 1024, fewer where they are large."""
        most = 1024 if len(self.shape) == 1 else 256  # what dense layers make of them is small beside their weights
        return max(1, min(most, _PASS_BYTES // (4 * max(1, math.prod(self.shape)))))

    def batch(self, indices: Tensor, device: torch.device | None = None) -> Tensor:
        """Snapshots at ``indices`` [n]."""
        if self._held is not None:
            rows = self._held[indices]
        elif isinstance(self._rows, Tensor):
            rows = self._rows[indices.to(self._rows.device)]
        elif isinstance(self._rows, np.ndarray):
            # Values beyond float32 become inf, which check_finite reports.
            with np.errstate(over="ignore"):
                rows = torch.from_numpy(self._rows[indices.numpy()].astype(np.float32, order="C", copy=False))
        elif isinstance(self._rows, SnapshotSource):
            rows = torch.from_numpy(self._rows.read(indices.numpy()))
        elif len(indices):
            rows = torch.stack([self._item(int(i)) for i in indices])
        else:
            rows = torch.zeros(0, *self.shape)
        return rows.to(device or rows.device, torch.float32)

    def _item(self, index: int) -> Tensor:
        assert not isinstance(self._rows, SnapshotSource)
        item = self._rows[index]
        value = torch.as_tensor(item[0] if isinstance(item, tuple | list) else item)
        if value.is_complex():
            raise TypeError(f"{self.name} must hold real numbers, got {value.dtype} in item {index}")
        return value

    def ordered(self, batch_size: int, device: torch.device | None = None) -> Iterator[Tensor]:
        """All snapshots in order; views of tensors in memory, not to be written to."""
        if self._is_streamed:
            yield from _moved(self.passes.ordered(batch_size), device)
            return
        rows = self._rows if self._held is None else self._held
        for start in range(0, len(self), batch_size):
            stop = min(start + batch_size, len(self))
            if isinstance(rows, Tensor):
                yield rows[start:stop].to(device or rows.device, torch.float32)
            else:
                yield self.batch(torch.arange(start, stop), device)

    def shuffled(
        self, batch_size: int, generator: torch.Generator, device: torch.device | None = None
    ) -> Iterator[Tensor]:
        """All snapshots in an order drawn from ``generator``, see `gmvae_fast.data.streaming.shuffled_order`."""
        if self._is_streamed:
            yield from _moved(self.passes.shuffled(batch_size, generator), device)
            return
        window = self.passes.window(batch_size)
        for indices in shuffled_order(len(self), generator, self.chunk_starts, window).split(batch_size):
            yield self.batch(indices, device)

    def selected(
        self, order: Tensor, sizes: Sequence[int], batch_size: int, device: torch.device | None = None
    ) -> Iterator[Tensor]:
        """Snapshots at ``order`` in parts of the given ``sizes``, each at most ``batch_size``."""
        if self._is_streamed:
            yield from _moved(self.passes.parts(order, sizes, batch_size), device)
            return
        for indices in order.split(list(sizes)):
            yield self.batch(indices, device)

    @property
    def passes(self) -> Passes:
        """Passes over data that are read elsewhere while the caller works."""
        if self._passes is None:
            row_bytes = 4 * max(1, math.prod(self.shape))
            self._passes = Passes(self, len(self), row_bytes, self.chunk_starts, self._workers)
        return self._passes

    @property
    def _is_streamed(self) -> bool:
        if self._held is not None:
            return False
        return isinstance(self._rows, SnapshotSource) or (self._workers > 0 and isinstance(self._rows, Dataset))

    def moments(self, device: torch.device | None = None) -> Moments:
        """Means and squared deviations of all snapshots, in one pass unless an earlier one is remembered.

        A pass over a source with a ``fingerprint()`` (`LazySnapshots`) is remembered in the cache, see
        `gmvae_fast.data.lazy.LazySnapshots.fingerprint`. Pieces are merged in the order of the snapshots, whoever
        computed them, so the number of workers makes no difference.
        """
        before = self._fingerprint()
        found = None if before is None else stored_moments(before, self.shape)
        if found is None:
            found = functools.reduce(operator.add, self._pieces(device))
            if before is not None and found.finite and self._fingerprint() == before:
                store_moments(before, found.to(torch.device("cpu")))
        return found if device is None else found.to(device)

    def _pieces(self, device: torch.device | None) -> Iterator[Moments]:
        if not (self._is_streamed and self._workers):
            on = (
                None if isinstance(self._rows, SnapshotSource) else device
            )  # files have the same moments on every device
            mask = None if self.mask is None else self.mask.to(on or self.mask.device)
            for rows in self.ordered(self.pass_size, on):
                yield Moments.of(rows, mask)
            return
        for pieces in self.passes.call("pieces_of", self.pass_size):
            yield from pieces

    def pieces_of(self, indices: Tensor) -> list[Moments]:
        """Moments of consecutive parts of the snapshots at ``indices``."""
        return [Moments.of(rows, self.mask) for rows in self.batch(indices).split(self.pass_size)]

    def _fingerprint(self) -> dict[str, Any] | None:
        method = getattr(self._rows, "fingerprint", None)
        return None if method is None else method()

    def check_finite(self) -> None:
        """Raise ValueError naming the first snapshot, and its field, that holds NaN or inf where the mask is true."""
        for row in self.not_finite_rows():
            raise self.not_finite(row, self.not_finite_field(row))

    def not_finite_rows(self) -> Iterator[int]:
        """Snapshots that hold NaN or inf where the mask is true, ascending."""
        start = 0
        for rows in self.ordered(self.pass_size):
            yield from (start + self._broken(rows).flatten(1).any(1).nonzero().flatten()).tolist()
            start += len(rows)

    def not_finite_field(self, row: int) -> str:
        """Name of the first field of snapshot ``row`` that holds NaN or inf, and where the snapshot comes from.

        Its number alone says little about a part of the data, such as those to train on.
        """
        broken = self._broken(self.batch(torch.tensor([row])))[0]
        name = self.field_name(int(broken.reshape(len(broken), -1).any(1).nonzero()[0, 0]))
        if self._places is None:
            return name
        trajectory, time = self._places
        return f"{name} (trajectory {trajectory[row]}, time {time[row]:g})"

    def field_name(self, channel: int) -> str:
        """How a channel is called."""
        if self.field_names is not None:
            return f"field {self.field_names[channel]!r}"
        return f"channel {channel}" if len(self.shape) > 1 else f"feature {channel}"

    def incomplete_moments(self, device: torch.device | None = None) -> IncompleteMoments:
        """`moments` to which NaN and inf do not count, in one pass."""
        mask = None if self.mask is None else self.mask.to(device or self.mask.device)
        parts = (IncompleteMoments.of(rows, mask) for rows in self.ordered(self.pass_size, device))
        return functools.reduce(operator.add, parts)

    def _broken(self, rows: Tensor) -> Tensor:
        """Where ``rows`` are NaN or inf inside the mask, of the same shape."""
        broken = ~torch.isfinite(rows)
        return broken if self.mask is None else broken & self.mask.to(rows.device)

    def not_finite(self, row: int, field: str) -> ValueError:
        """What to raise about snapshot ``row``."""
        return ValueError(f"{self.name} must be finite in float32, got NaN or inf in snapshot {row}, {field}")


def _moved(batches: Iterator[Tensor], device: torch.device | None) -> Iterator[Tensor]:
    for rows in batches:
        yield rows if device is None else rows.to(device, torch.float32)


def _from_array(value: Any, name: str) -> Tensor | np.ndarray:
    """The same memory as a tensor, or the array itself where torch cannot take it over."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array; fill it, for instance with filled(0)")
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    direct = array.dtype.isnative and array.dtype.str[1:] in _TORCH_DTYPES and min(array.strides, default=0) >= 0
    return torch.from_numpy(array) if direct and array.flags.writeable else array
