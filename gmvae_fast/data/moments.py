"""Means and variances of snapshots by one pass in pieces that may be computed anywhere, and their memory on disk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cache import cache_path, read_entry, write_entry

#: Entry of the cache; another number leaves earlier ones unread.
VERSION = 1
#: Values that are float64 at a time: larger temporaries cost more than the arithmetic.
_BLOCK = 2**18
#: Entries kept; the oldest go first.
KEPT = 256


@dataclass(frozen=True)
class Moments:
    """Sums over snapshots in float64; of two parts, ``a + b`` is that of both (Chan, Golub & LeVeque 1983).

    Attributes
    ----------
    count : int
        Snapshots.
    mean : float64 [*shape]
        0 outside the mask.
    squares : float64 [C]
        Squared deviations from the mean, summed over snapshots and the cells inside the mask.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rows: Tensor, mask: Tensor | None = None) -> Moments:
        """Of snapshots [n, *shape], n >= 1, and a mask [*grid]; a few columns at a time are float64."""
        n, channels = rows.shape[:2] if rows.ndim > 2 else (len(rows), 1)
        flat = rows.reshape(n, channels, -1)
        inside = None if mask is None else mask.reshape(-1)
        mean = torch.empty(flat.shape[1:], dtype=torch.float64, device=rows.device)
        squares = torch.zeros_like(mean[:, 0]) if rows.ndim > 2 else torch.empty_like(mean[0])
        width = flat.shape[2] if rows.is_cuda else max(1, _BLOCK // n)
        for channel in range(channels):
            for start in range(0, flat.shape[2], width):
                columns = slice(start, start + width)
                x = flat[:, channel, columns].double()
                if inside is not None:
                    x = torch.where(inside[columns], x, torch.zeros_like(x))
                own = mean[channel, columns] = x.mean(0)
                deviations = x.sub_(own).square_()
                if rows.ndim > 2:
                    squares[channel] += _total(deviations)
                else:
                    squares[columns] = deviations.sum(0)
        return cls(n, mean.reshape(rows.shape[1:]), squares)

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        shift = other.mean - self.mean
        between = _by_channel(shift.square()) * (self.count * other.count / count)
        return Moments(count, self.mean + shift * (other.count / count), self.squares + other.squares + between)

    def std(self, cells: int) -> Tensor:
        """Standard deviation of each channel [C] about the mean field, over ``cells`` cells of the grid."""
        return (self.squares / (self.count * cells)).sqrt()

    @property
    def finite(self) -> bool:
        """Whether all snapshots were."""
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.squares).all())

    def to(self, device: torch.device) -> Moments:
        """The same on ``device``."""
        return dataclasses.replace(self, mean=self.mean.to(device), squares=self.squares.to(device))


def _by_channel(values: Tensor) -> Tensor:
    """Sums over the grid [C]."""
    return values if values.ndim == 1 else torch.stack([_total(channel) for channel in values])


def _total(values: Tensor) -> Tensor:
    """Sum of all; torch's own depends on the number of threads, which workers and their parent do not share."""
    return values.sum() if values.is_cuda else torch.tensor(values.numpy().sum())


def stored_moments(fingerprint: Mapping[str, Any], shape: tuple[int, ...]) -> Moments | None:
    """What an earlier pass over the same, unchanged snapshots found; None where there was none."""
    entry = read_entry(_path(fingerprint))
    if entry is None or entry.keys() != {"count", "mean", "squares"}:
        return None
    expected = {"count": ((), "i"), "mean": (shape, "f"), "squares": (shape[:1], "f")}
    if any((entry[name].shape, entry[name].dtype.kind) != form for name, form in expected.items()):
        return None
    mean, squares = (torch.from_numpy(entry[name].astype(np.float64)) for name in ("mean", "squares"))
    found = Moments(int(entry["count"]), mean, squares)
    return found if found.count > 0 and found.finite and bool((squares >= 0).all()) else None


def store_moments(fingerprint: Mapping[str, Any], moments: Moments) -> None:
    """Keep them for later passes; a cache that cannot be written is a warning."""
    path = _path(fingerprint)
    arrays = {"count": np.array(moments.count), "mean": moments.mean.numpy(), "squares": moments.squares.numpy()}
    if write_entry(path, arrays):
        _forget_oldest(path.parent)


def _path(fingerprint: Mapping[str, Any]) -> Path:
    return cache_path("statistics", {"version": VERSION, **fingerprint})


def _forget_oldest(folder: Path) -> None:
    ages = []
    for entry in folder.glob("*.npz"):
        try:
            ages.append((entry.stat().st_mtime, entry))
        except OSError:  # another process was faster
            ages.append((math.inf, entry))
    for _, entry in sorted(ages)[:-KEPT]:
        entry.unlink(missing_ok=True)
