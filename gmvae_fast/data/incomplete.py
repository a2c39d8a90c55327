"""Means and variances of snapshots with gaps: values that are NaN or infinite do not count."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

_ROWS = 16  # that are float64 at a time


@dataclass(frozen=True)
class IncompleteMoments:
    """As `gmvae_fast.data.moments.Moments`, with a count for each value of a snapshot; of two parts, ``a + b``.

    Attributes
    ----------
    count : int
        Snapshots.
    present : float64 [*shape]
        How many of them have the value.
    mean : float64 [*shape]
        0 where none has it, and outside the mask.
    squares : float64 [*shape]
        Squared deviations from the mean, 0 outside the mask.
    """

    count: int
    present: Tensor
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, rows: Tensor, mask: Tensor | None = None) -> IncompleteMoments:
        """Of snapshots [n, *shape], n >= 1, and a mask [*grid]."""
        found = None
        for x in rows.split(_ROWS):
            x = x.double()
            if mask is not None:
                x = torch.where(mask, x, torch.zeros_like(x))
            known = torch.isfinite(x)
            present = known.sum(0).double()
            mean = torch.where(known, x, torch.zeros_like(x)).sum(0) / present.clamp_min(1)
            squares = torch.where(known, x - mean, torch.zeros_like(x)).square().sum(0)
            part = cls(len(x), present, mean, squares)
            found = part if found is None else found + part
        assert found is not None
        return found

    def __add__(self, other: IncompleteMoments) -> IncompleteMoments:
        present = self.present + other.present
        shift, share = other.mean - self.mean, other.present / present.clamp_min(1)
        squares = self.squares + other.squares + shift.square() * self.present * share
        return IncompleteMoments(self.count + other.count, present, self.mean + shift * share, squares)

    def std(self, cells: int) -> Tensor:
        """Standard deviation of each channel [C] about the mean field; ``cells`` of the grid lie inside the mask."""
        return (self.squares.reshape(len(self.mean), -1).sum(1) / self.known(cells).clamp_min(1)).sqrt()

    def known(self, cells: int) -> Tensor:
        """Values that are there, by channel [C]; ``cells`` of the grid lie inside the mask."""
        outside = self.mean[0].numel() - cells
        return self.present.reshape(len(self.mean), -1).sum(1) - outside * self.count

    @property
    def missing(self) -> Tensor:
        """Values that are missing, by channel [C]."""
        return (self.count - self.present).reshape(len(self.mean), -1).sum(1)

    @property
    def finite(self) -> bool:
        """Whether sums could be formed."""
        return bool(torch.isfinite(self.mean).all() and torch.isfinite(self.squares).all())

    def to(self, device: torch.device) -> IncompleteMoments:
        """The same on ``device``."""
        values = {name: getattr(self, name).to(device) for name in ("present", "mean", "squares")}
        return dataclasses.replace(self, **values)
