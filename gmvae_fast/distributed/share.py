"""One process's share of the snapshots: whole trajectories, and its part of every batch."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from gmvae_fast._batches import Batches
from gmvae_fast._checks import check_sample_weight
from gmvae_fast.data.copies import copied
from gmvae_fast.data.incomplete import IncompleteMoments
from gmvae_fast.data.moments import Moments
from gmvae_fast.data.on_demand import OnDemandSnapshots
from gmvae_fast.data.source import SnapshotSource
from gmvae_fast.data.streaming import shuffled_order
from gmvae_fast.distributed.ranks import Ranks

_NOISE_ROWS = 2**16  # drawn at a time, whoever needs them


@dataclass(frozen=True)
class Step:
    """A process's part of a batch.

    Attributes
    ----------
    rows : float32 [n, *shape]
        n may be 0.
    places : int64 [n]
        Which rows of the whole batch they are.
    size : int
        Of the whole batch.
    weight : float32 [n] or None
        How often each row counts; None: once.
    """

    rows: Tensor
    places: Tensor
    size: int
    weight: Tensor | None = None


class Share:
    """The snapshots of one process among ``ranks``; alone, all of them.

    Every process draws the same order of all snapshots and the same noise, and takes its own rows of both: a batch
    holds the same snapshots, with the same noise, whatever the number of processes.

    Parameters
    ----------
    data, name, workers
        As for `Batches`.
    ranks : Ranks
    sample_weight : array [N], optional
        How often each snapshot counts, in any unit; those that never do are left out.
    split_trajectories : bool
        Cut by snapshot where there are fewer trajectories than processes, instead of raising ValueError.
    numbers : int array [N], optional
        By which errors call the snapshots of ``data``, where they are part of something larger.

    Attributes
    ----------
    numbers : int64 [n]
        Those of the snapshots of all processes that count.
    weight : float64 [n] or None
        Of this process's snapshots; of all of them the mean is 1.
    weight_digest : str or None
        By which the weights of all snapshots are known again.
    """

    def __init__(
        self,
        data: Any,
        name: str,
        ranks: Ranks,
        workers: int = 0,
        sample_weight: Any = None,
        *,
        split_trajectories: bool = False,
        numbers: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.ranks, self._workers = ranks, workers
        whole = Batches(data, name, workers)
        self.weight: Tensor | None = None
        self.numbers = np.arange(len(whole)) if numbers is None else np.asarray(numbers)
        if self.numbers.shape != (len(whole),):
            raise ValueError(f"numbers[{name!r}] must have shape ({len(whole)},), got {self.numbers.shape}")
        if sample_weight is not None:
            weight = torch.from_numpy(check_sample_weight(sample_weight, len(whole)))
            if not bool(weight.all()):
                kept = weight.nonzero().flatten()
                data, weight, self.numbers = _part(data, kept), weight[kept], self.numbers[kept.numpy()]
                whole = Batches(data, name, workers)
            self.weight = weight / weight.mean()
        self.weight_digest = None if self.weight is None else sha256(self.weight.numpy().tobytes()).hexdigest()[:16]
        self.count = len(whole)
        self.rows = owned_rows(data, self.count, ranks, name, split_trajectories=split_trajectories)
        self._chunk_starts = whole.chunk_starts
        self._own = data if ranks.size == 1 else _part(data, self.rows)
        self.local = whole if ranks.size == 1 else Batches(self._own, name, workers)
        if self.weight is not None:
            self.weight = self.weight[self.rows]

    def __len__(self) -> int:
        return self.count

    @property
    def mask(self) -> Tensor | None:
        """As `Batches.mask`."""
        return self.local.mask

    def hold(self, limit: int) -> bool:
        """This process's snapshots, see `Batches.hold`."""
        return self.local.hold(limit, self.ranks.on_this_machine)

    def copy(self, folder: str | os.PathLike[str]) -> None:
        """Read this process's snapshots from a decoded copy of them from now on, if they come from slow files."""
        if isinstance(self._own, OnDemandSnapshots):
            found = copied(self._own, folder)
            if found is not self._own:
                self.local.close()
                self._own, self.local = found, Batches(found, self.local.name, self._workers)

    def close(self) -> None:
        """End worker processes, let go of what is held."""
        self.local.close()

    def moments(self, device: torch.device) -> Moments:
        """Of all snapshots, each process reading its own."""
        own = self.local.moments(device)
        if self.ranks.alone:
            return own
        counts = self.ranks.tell(own.count)
        means = self.ranks.gather(own.mean[None])
        squares = self.ranks.gather(own.squares[None])
        parts = [Moments(n, m[0], s[0]) for n, m, s in zip(counts, means, squares, strict=True)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def check_finite(self) -> None:
        """Raise ValueError in every process where a snapshot of any of them holds NaN or inf."""
        own = next(self.local.not_finite_rows(), None)
        told = None if own is None else (int(self.rows[own]), self.local.not_finite_field(own))
        found = [(int(row), str(field)) for row, field in filter(None, self.ranks.tell(told))]
        if found:
            row, field = min(found)
            raise self.local.not_finite(int(self.numbers[row]), field)

    def not_finite_rows(self) -> list[int]:
        """Snapshots of all processes that hold NaN or inf, ascending."""
        own = self.rows[list(self.local.not_finite_rows())].tolist()
        return sorted(row for rows in self.ranks.tell(own) for row in rows)

    def incomplete_moments(self, device: torch.device) -> IncompleteMoments:
        """As `moments`; NaN and inf do not count."""
        own = self.local.incomplete_moments(device)
        if self.ranks.alone:
            return own
        counts = self.ranks.tell(own.count)
        parts = [self.ranks.gather(values[None]) for values in (own.present, own.mean, own.squares)]
        all_ = [IncompleteMoments(n, p[0], m[0], s[0]) for n, p, m, s in zip(counts, *parts, strict=True)]
        return functools.reduce(operator.add, all_)

    def steps(self, batch_size: int, generator: torch.Generator, device: torch.device) -> Iterator[Step]:
        """This process's part of every batch of an epoch, see `Batches.shuffled`; empty parts too."""
        if self.ranks.alone and self.weight is None:
            for rows in self.local.shuffled(batch_size, generator, device):
                yield Step(rows, torch.arange(len(rows)), len(rows))
            return
        window = self.local.passes.window(batch_size)
        order = shuffled_order(self.count, generator, self._chunk_starts, window)
        mine = torch.zeros(self.count, dtype=torch.bool)
        mine[self.rows] = True
        kept = mine[order]
        places = [part.nonzero().flatten() for part in kept.split(batch_size)]
        local = torch.searchsorted(self.rows, order[kept])
        parts = self.local.selected(local, [len(p) for p in places], batch_size, device)
        weights: list[Tensor | None] = [None] * len(places)
        if self.weight is not None:
            weights = list(self.weight[local].float().to(device).split([len(p) for p in places]))
        for rows, place, batch, weight in zip(parts, places, order.split(batch_size), weights, strict=True):
            yield Step(rows, place, len(batch), weight)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the snapshots of all processes of ``values`` [n, ...], each counting its weight: float64 [...]."""
        values = values.double()
        if self.weight is not None:
            values = values * self.weight.to(values.device).view(-1, *[1] * (values.ndim - 1))
        return self.ranks.sum(values.sum(0))

    def noise(self, generator: torch.Generator, width: int, like: Tensor) -> Tensor:
        """Standard normal numbers [n, width] for this process's rows, whoever else draws theirs."""
        pieces = []
        for start in range(0, self.count, _NOISE_ROWS):
            stop = min(start + _NOISE_ROWS, self.count)
            block = torch.empty(stop - start, width, dtype=like.dtype, device=like.device).normal_(generator=generator)
            first, last = torch.searchsorted(self.rows, torch.tensor([start, stop])).tolist()
            pieces.append(block[(self.rows[first:last] - start).to(block.device)])
        return torch.cat(pieces)

    def gathered(self, rows: Tensor) -> Tensor:
        """Rows [n, ...] of all processes in the order of the snapshots [N, ...], in every process."""
        if self.ranks.alone:
            return rows
        parts = self.ranks.gather(rows)
        places = self.ranks.gather(self.rows.to(rows.device))
        out = rows.new_empty(self.count, *rows.shape[1:])
        for part, place in zip(parts, places, strict=True):
            out[place] = part
        return out

    def selected(self, rows: Tensor, indices: Tensor) -> Tensor:
        """Those of the ``rows`` [n, ...] of all processes that belong to the snapshots ``indices`` [m]: [m, ...]."""
        if self.ranks.alone:
            return rows[indices.to(rows.device)]
        indices = indices.cpu()
        place = torch.searchsorted(self.rows, indices).clamp_max(max(0, len(self.rows) - 1))
        here = self.rows[place] == indices if len(self.rows) else torch.zeros(len(indices), dtype=torch.bool)
        out = rows.new_zeros(len(indices), *rows.shape[1:])
        out[here.to(rows.device)] = rows[place[here].to(rows.device)]
        return self.ranks.sum(out)


def owned_rows(data: Any, count: int, ranks: Ranks, name: str = "data", *, split_trajectories: bool = False) -> Tensor:
    """Ascending indices of the snapshots of ``ranks.rank``: whole trajectories, shares as equal as they allow.

    Trajectories keep their order, so a process opens few files. Where ``data`` does not know of trajectories, or
    ``split_trajectories`` and it has fewer of them than there are processes, every snapshot is one.

    Raises
    ------
    ValueError
        For fewer trajectories than processes.
    """
    if ranks.size == 1:
        return torch.arange(count)
    trajectory, what = np.arange(count), "snapshot"
    if isinstance(data, SnapshotSource) and not (split_trajectories and len(np.unique(data.trajectory)) < ranks.size):
        trajectory, what = np.asarray(data.trajectory), "trajectory"
    _, first, inverse, lengths = np.unique(trajectory, return_index=True, return_inverse=True, return_counts=True)
    if len(first) < ranks.size:
        raise ValueError(
            f"{name} must hold at least one {what} for each of the {ranks.size} processes, got {len(first)}; "
            f"start at most {len(first)} of them"
        )
    order = np.argsort(first)  # of appearance
    middle = np.empty(len(order))
    middle[order] = np.cumsum(lengths[order]) - 0.5 * lengths[order]
    owner = _owners(middle[order], count, ranks.size)[np.argsort(order)][inverse.ravel()]
    return torch.from_numpy(np.flatnonzero(owner == ranks.rank).astype(np.int64))


def _owners(middle: Any, count: int, size: int) -> Any:
    """Process of each trajectory by where its middle lies in the data; none goes without where there are enough."""
    owner = np.minimum((middle * size / count).astype(np.int64), size - 1)
    n = len(owner)
    skipped = n >= size and (owner[0] != 0 or owner[-1] != size - 1 or np.diff(owner).max(initial=0) > 1)
    if skipped:  # long trajectories left a process without: shift the others by as little as that needs
        ranks = np.arange(n)
        owner = np.minimum(owner, ranks)  # the i-th trajectory at most to process i
        owner = np.maximum(owner, size - n + ranks)
        for i in range(1, n):
            owner[i] = min(max(owner[i], owner[i - 1]), owner[i - 1] + 1)
    return owner


def _part(data: Any, rows: Tensor) -> Any:
    """The snapshots at ``rows``, without reading or copying where they are consecutive."""
    if isinstance(data, Dataset) and not isinstance(data, SnapshotSource):
        return Subset(data, rows.tolist())
    start, stop = int(rows[0]), int(rows[-1]) + 1
    if isinstance(data, SnapshotSource):
        return data.subset(rows.numpy())
    if stop - start == len(rows):
        return data[start:stop]
    return data[rows] if isinstance(data, Tensor) else data[rows.numpy()]
