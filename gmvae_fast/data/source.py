"""What training, embedding and splits need from labelled snapshots, in memory or in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from .basics import FloatArray, IntArray


@runtime_checkable
class SnapshotSource(Protocol):
    """N snapshots (C, *grid) with what is known about each; `Snapshots` and `LazySnapshots` are such sources.

    Own classes with these members are accepted wherever data are: `gmvae_fast.fit`, ``model.embed``, splits.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one snapshot, (C, *grid); the last axes are (y, x), row 0 the lowest y."""

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the C channels."""

    @property
    def trajectory(self) -> IntArray:
        """Which run each snapshot comes from [N]."""

    @property
    def time(self) -> FloatArray:
        """[N]."""

    @property
    def quantities(self) -> Mapping[str, FloatArray]:
        """Physical quantities, each [N]; NaN where not defined."""

    @property
    def labels(self) -> Mapping[str, IntArray]:
        """Integer classes, each [N]."""

    @property
    def coordinates(self) -> Mapping[str, FloatArray]:
        """Grid coordinates by axis name."""

    @property
    def mask(self) -> npt.NDArray[np.bool_] | None:
        """True where the field is defined [*grid]; None: everywhere."""

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Anything else, as JSON values."""

    @property
    def chunk_starts(self) -> IntArray | None:
        """First snapshots of the groups that are cheap to read together, ascending; None: any order costs the same."""

    def __len__(self) -> int: ...

    def subset(self, indices: int | slice | npt.ArrayLike) -> SnapshotSource:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N])."""

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new float32 array [n, C, *grid]."""
