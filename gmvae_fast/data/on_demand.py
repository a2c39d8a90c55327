"""What sources have in common whose snapshots are read, or computed, when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from .basics import FloatArray, IntArray, Windowing, describe
from .snapshots import Snapshots


class OnDemandSnapshots(Windowing, ABC):
    """Labelled snapshots by index: a `SnapshotSource` whose tables are in memory and whose fields are not.

    Attributes
    ----------
    shape : (C, *grid)
    field_names : tuple of C str
    trajectory, time_index : int64 [N]
    time : float64 [N]
    quantities, labels : dict of name to [N]
    coordinates, mask, attributes : as in `Snapshots`
    """

    shape: tuple[int, ...]
    field_names: tuple[str, ...]
    trajectory: IntArray
    time_index: IntArray
    time: FloatArray
    quantities: dict[str, FloatArray]
    labels: dict[str, IntArray]
    coordinates: Mapping[str, FloatArray]
    mask: npt.NDArray[np.bool_] | None
    attributes: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.trajectory)

    def __repr__(self) -> str:
        return describe(self)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the grid, (H, W) in two dimensions."""
        return self.shape[1:]

    @property
    def fields(self) -> npt.NDArray[np.float32]:
        """All snapshots [N, C, *grid], read into memory at each call."""
        return self.read(np.arange(len(self)))

    @property
    @abstractmethod
    def chunk_starts(self) -> IntArray | None:
        """First snapshots of the groups that are cheap to read together; None where any order costs the same."""

    @abstractmethod
    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new float32 array [n, C, *grid]."""

    @abstractmethod
    def subset(self, indices: int | slice | npt.ArrayLike) -> Self:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N]); nothing is read."""

    def __getitem__(self, indices: int | slice | npt.ArrayLike) -> Self:
        return self.subset(indices)

    def __getitems__(self, indices: list[int]) -> list[npt.NDArray[np.float32]]:
        """A batch for torch's DataLoader: the snapshots at ``indices``, one by one."""
        return list(self.read(indices))

    def load(self) -> Snapshots:
        """Everything in memory."""
        return Snapshots(
            self.fields,
            self.field_names,
            self.quantities,
            self.labels,
            self.trajectory,
            self.time,
            dict(self.coordinates),
            self.mask,
            dict(self.attributes),
        )

    def _with_rows(self, index: Any) -> Self:
        """A copy whose tables are those at ``index``."""
        part = object.__new__(type(self))
        part.__dict__.update(self.__dict__)
        for name in ("trajectory", "time_index", "time"):
            setattr(part, name, getattr(self, name)[index])
        part.quantities = {k: v[index] for k, v in self.quantities.items()}
        part.labels = {k: v[index] for k, v in self.labels.items()}
        return part
