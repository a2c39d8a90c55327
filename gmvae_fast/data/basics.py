"""What every source of snapshots is made of: types of its tables, its errors, its line of text, its windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
AXES = ("x", "y", "z")


class SnapshotFileError(ValueError):
    """A snapshot file that is missing parts, damaged, or not a snapshot file at all."""


def describe(source: Any) -> str:
    """One line about a `SnapshotSource`, under the name of its class."""
    grid = "x".join(str(s) for s in source.shape[1:])
    return (
        f"{type(source).__name__}({len(source)} of {', '.join(source.field_names)} on {grid}; "
        f"{len(np.unique(source.trajectory))} trajectories; quantities: {', '.join(source.quantities) or 'none'}; "
        f"labels: {', '.join(source.labels) or 'none'})"
    )


def as_index(indices: int | slice | npt.ArrayLike, n: int) -> slice | npt.NDArray[Any]:
    """An index of ``n`` snapshots, checked: a slice, integers, or a boolean mask [n]."""
    if isinstance(indices, slice):
        return indices
    index = np.atleast_1d(np.asarray(indices))
    if index.size == 0:
        index = index.astype(np.int64)
    if index.dtype == np.bool_ and index.shape != (n,):
        raise ValueError(f"a boolean index must have shape ({n},), got {index.shape}")
    if index.ndim != 1 or index.dtype.kind not in "biu":
        raise ValueError(f"indices must be integers or booleans in one axis, got {index.dtype} {index.shape}")
    if index.dtype != np.bool_ and index.size and (index.min() < -n or index.max() >= n):
        raise IndexError(f"indices must lie in [{-n}, {n}), got {index.min()} .. {index.max()}")
    return index


class Windowing:
    """The method `window` of a source. `windows` builds on the sources, and says here how a window is made."""

    _make_window: ClassVar[Callable[..., Any]]

    def window(self, **options: Any) -> Any:
        """Crops, strides, patches and other resolutions as a new source, made as snapshots are read.

        Options and result are those of `gmvae_fast.data.window`, whose class is not named here: it is made of sources.
        """
        return Windowing._make_window(self, **options)
