"""Training and test parts that never share a trajectory."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .snapshots import IntArray
from .source import SnapshotSource


def split_by_trajectory(
    snapshots: SnapshotSource | npt.ArrayLike,
    test_fraction: float = 0.2,
    seed: int = 0,
    stratify: str | npt.ArrayLike | None = None,
) -> tuple[IntArray, IntArray]:
    """Split into training and test snapshots, whole trajectories only.

    Neighbouring frames of one run are nearly equal, so a split by frame would test on the training data.

    Parameters
    ----------
    snapshots : Snapshots, LazySnapshots (a SnapshotSource) or [N] trajectory numbers
    test_fraction : float in (0, 1)
        Share of the trajectories (of each group) to test on; at least one in each part.
    seed : int
    stratify : name of a label of ``snapshots``, or [N] groups, or None
        Every group is then in both parts.  A trajectory with several groups counts for its most frequent one.

    Returns
    -------
    train, test : int64 [n_train], [n_test]
        Sorted indices of snapshots.

    Raises
    ------
    ValueError
        Where a part, or a group in one of the parts, would be empty.
    """
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    ids = np.asarray(snapshots.trajectory if isinstance(snapshots, SnapshotSource) else snapshots)
    if ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
        raise ValueError(f"trajectory numbers must be integers [N], got {ids.dtype} {ids.shape}")
    trajectories, inverse = np.unique(ids, return_inverse=True)
    groups = _trajectory_groups(snapshots, stratify, inverse, len(trajectories))
    rng = np.random.default_rng(seed)
    in_test = np.zeros(len(trajectories), dtype=bool)
    for group in np.unique(groups) if len(groups) else [0]:
        members = np.flatnonzero(groups == group)
        if len(members) < 2:
            what = "the data" if stratify is None else f"group {group!r}"
            raise ValueError(f"{what} has {len(members)} trajectories; both parts need one, so at least 2 are needed")
        count = min(max(round(test_fraction * len(members)), 1), len(members) - 1)
        in_test[rng.permutation(members)[:count]] = True
    test = in_test[inverse]
    return np.flatnonzero(~test).astype(np.int64), np.flatnonzero(test).astype(np.int64)


def _trajectory_groups(
    snapshots: SnapshotSource | npt.ArrayLike, stratify: str | npt.ArrayLike | None, inverse: IntArray, n: int
) -> npt.NDArray[np.generic]:
    """Group of each trajectory [n]."""
    if stratify is None:
        return np.zeros(n, dtype=np.int64)
    if isinstance(stratify, str):
        if not isinstance(snapshots, SnapshotSource):
            raise ValueError("stratify can be the name of a label only where Snapshots are given")
        if stratify not in snapshots.labels:
            raise ValueError(f"stratify must be one of {sorted(snapshots.labels)}, got {stratify!r}")
        values = np.asarray(snapshots.labels[stratify])
    else:
        values = np.asarray(stratify)
    if values.shape != inverse.shape:
        raise ValueError(f"stratify must have shape {inverse.shape}, got {values.shape}")
    groups, codes = np.unique(values, return_inverse=True)
    counts = np.zeros((n, max(len(groups), 1)), dtype=np.int64)
    np.add.at(counts, (inverse, codes), 1)
    return groups[counts.argmax(axis=1)] if len(groups) else np.zeros(n, dtype=np.int64)
