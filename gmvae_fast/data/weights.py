"""Weights of snapshots, so that long runs or crowded conditions do not count for more than the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest

from .basics import FloatArray
from .leakage import trajectory_numbers
from .source import SnapshotSource

#: What snapshots are grouped by: "trajectory", the name of a label or quantity, or [N] groups of one's own.
Level = str | npt.ArrayLike


def balanced_weights(source: SnapshotSource, by: Level | Sequence[str] = "trajectory") -> FloatArray:
    """Weights with which every group counts the same, however many snapshots it has.

    Parameters
    ----------
    source : Snapshots, LazySnapshots (a SnapshotSource)
    by : str, sequence of str, or array [N] of groups, numbers or text
        "trajectory" (runs of unequal length), a label, or a quantity, whose different values are the groups: bin one
        that varies continuously first (`numpy.digitize`). A sequence balances level by level, the outermost first:
        ``["re_group", "trajectory"]`` gives every group of Reynolds numbers the same weight, and within it every run.

    Returns
    -------
    float64 [N]
        All above 0, with mean 1: the ``sample_weight`` of `gmvae_fast.fit`.

    Raises
    ------
    TypeError, ValueError
        Unknown names, groups of another length, NaN.

    Examples
    --------
    >>> runs = Snapshots(np.zeros((4, 1, 2)), ("u",), trajectory=[0, 0, 0, 1])
    >>> balanced_weights(runs).round(3).tolist()
    [0.667, 0.667, 0.667, 2.0]
    """
    if not isinstance(source, SnapshotSource):
        raise TypeError(f"source must be a SnapshotSource, got {type(source).__name__}")
    nested = isinstance(by, Sequence) and not isinstance(by, str) and len(by) and all(isinstance(b, str) for b in by)
    levels: Sequence[Level] = by if nested else [by]  # type: ignore[assignment] # told by `nested`
    n = len(source)
    group, weight = np.zeros(n, dtype=np.int64), np.ones(n)
    for level in levels:
        values = _values(source, level, n)
        pairs, inner = np.unique(np.stack([group, values]), axis=1, return_inverse=True)
        inner = inner.reshape(-1)
        weight /= np.bincount(pairs[0], minlength=n)[group]  # equal shares for the groups within the outer one
        group = inner
    weight /= np.bincount(group, minlength=1)[group]
    return weight * (n / weight.sum()) if n else weight


def _values(source: SnapshotSource, level: Level, n: int) -> npt.NDArray[np.int64]:
    """Codes of the groups of one level [n]."""
    if isinstance(level, str):
        known = {**source.quantities, **source.labels, "trajectory": trajectory_numbers(source)}
        if level not in known:
            raise ValueError(
                f"by must be one of {sorted(known)}, or groups [{n}], got {level!r}{nearest(level, known)}"
            )
        values = np.asarray(known[level])
    else:
        values = np.asarray(level)
    if values.shape != (n,) or values.dtype.kind not in "fiubUS":
        raise ValueError(f"groups must be numbers or text [{n}], got {values.dtype} {values.shape}")
    if values.dtype.kind == "f" and np.isnan(values).any():
        at = int(np.flatnonzero(np.isnan(values))[0])
        raise ValueError(
            f"groups{f' of {level!r}' if isinstance(level, str) else ''} must not be NaN, got one in snapshot {at}"
        )
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
