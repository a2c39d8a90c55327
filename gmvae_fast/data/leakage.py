"""Whether parts of a data set know each other: the check behind every split."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_real

from .basics import IntArray
from .source import SnapshotSource

_ALLOW = "pass allow_leakage=True (--allow-leakage on the command line) if that is what you mean to measure"
_SHOWN = 5


class LeakageError(ValueError):
    """Parts that share what a test must not have seen; the message says what, why it misleads, and what to do."""


def check_leakage(
    source: SnapshotSource | npt.ArrayLike,
    train: npt.ArrayLike,
    test: npt.ArrayLike,
    *,
    validation: npt.ArrayLike | None = None,
    gap: float | None = None,
    allow_leakage: bool = False,
) -> None:
    """Raise unless the parts are apart: no trajectory in two of them or, with ``gap``, no frames closer than that.

    Parameters
    ----------
    source : Snapshots, LazySnapshots (a SnapshotSource) or [N] trajectory numbers
    train, test, validation : integers [n], or bool [N]
        Indices of snapshots, wherever they come from.
    gap : float, optional
        Parts may share trajectories if their frames are at least this far apart in time, in units of ``source.time``.
    allow_leakage : bool
        Whether parts may share trajectories at any distance; the same snapshot may never be in two parts.

    Raises
    ------
    LeakageError
        A ValueError.
    ValueError, IndexError
        For indices that are not indices of snapshots.
    """
    ids = trajectory_numbers(source)
    parts = {"train": _indices("train", train, len(ids)), "test": _indices("test", test, len(ids))}
    if validation is not None:
        parts["validation"] = _indices("validation", validation, len(ids))
    for (first, a), (second, b) in combinations(parts.items(), 2):
        same = np.intersect1d(a, b)
        if same.size:
            raise LeakageError(
                f"{first} and {second} have {len(same)} snapshots in common ({_some(same)}): the same snapshot cannot "
                "be learnt from and judged on"
            )
        if allow_leakage:
            continue
        shared = np.intersect1d(ids[a], ids[b])
        if not shared.size:
            continue
        if gap is None:
            raise LeakageError(
                f"{first} and {second} share {len(shared)} trajectories ({_some(shared)}): neighbouring frames of one "
                "run are nearly equal, so this would test what was memorised, not what holds for a new run. Split by "
                f"trajectory, by condition, or by time with a gap; {_ALLOW}"
            )
        _check_gap(source, ids, first, a, second, b, check_real("gap", gap, above=0))


def _check_gap(
    source: SnapshotSource | npt.ArrayLike, ids: IntArray, first: str, a: IntArray, second: str, b: IntArray, gap: float
) -> None:
    if not isinstance(source, SnapshotSource):
        raise ValueError("gap needs the times of a SnapshotSource; trajectory numbers alone have none")
    index = np.concatenate([a, b])
    part = np.repeat([0, 1], [len(a), len(b)])
    time = np.asarray(source.time, dtype=np.float64)[index]
    order = np.lexsort((part, time, ids[index]))
    # Of two parts the closest frames are neighbours in time.
    one, two = order[:-1], order[1:]
    pair = (ids[index[one]] == ids[index[two]]) & (part[one] != part[two])
    distance = np.where(pair, time[two] - time[one], np.inf)
    at = int(distance.argmin())
    # Times are multiples of an interval, whose rounding must not decide.
    if distance[at] < gap * (1 - 1e-9):
        raise LeakageError(
            f"{first} and {second} have frames {distance[at]:.4g} apart in trajectory {ids[index[one[at]]]}, closer "
            f"than gap={gap:g}: frames this close are nearly equal, so this would test what was memorised. Leave out "
            f"the frames between the parts over a time in which the flow forgets its state; {_ALLOW}"
        )


def trajectory_numbers(source: SnapshotSource | npt.ArrayLike) -> IntArray:
    """Trajectory of each snapshot [N]; ValueError unless integers."""
    ids = np.asarray(source.trajectory if isinstance(source, SnapshotSource) else source)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"trajectory numbers must be integers [N], got {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)


def _indices(name: str, value: npt.ArrayLike, n: int) -> IntArray:
    index = np.asarray(value)
    if index.dtype == np.bool_ and index.shape == (n,):
        return np.flatnonzero(index).astype(np.int64)
    if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be integers [n] or bool [{n}], got {index.dtype} {index.shape}")
    if index.size and (index.min() < 0 or index.max() >= n):
        raise IndexError(f"{name} must lie in [0, {n}), got {index.min()} .. {index.max()}")
    return index.astype(np.int64)


def _some(values: npt.NDArray[np.generic]) -> str:
    more = ", ..." if len(values) > _SHOWN else ""
    return ", ".join(str(v) for v in values[:_SHOWN]) + more
