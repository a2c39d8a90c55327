"""Training, validation and test parts by trajectory, and the value that every split returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_integer, check_real, nearest

from .basics import IntArray
from .leakage import check_leakage, trajectory_numbers
from .source import SnapshotSource

#: Parts by number; frames in a gap belong to none.
TRAIN, VALIDATION, TEST, NOWHERE = 0, 1, 2, -1


@dataclass(frozen=True, eq=False)
class Split:
    """Indices of the parts of a data set; unpacks into ``train, test``, or ``train, validation, test``.

    Attributes
    ----------
    train, test : int64 [n]
        Ascending.
    validation : int64 [n] or None
        None where none was asked for.
    by : str
        What was kept apart: "trajectory", "condition", "time" or "frame".
    details : mapping
        What else there is to say, as JSON values: held-out ranges, the number of frames left out.
    """

    train: IntArray
    test: IntArray
    validation: IntArray | None
    by: str
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[IntArray, ...]:
        """The parts in the order in which they unpack."""
        return (self.train, self.test) if self.validation is None else (self.train, self.validation, self.test)

    def __iter__(self) -> Iterator[IntArray]:
        return iter(self.parts)

    def __getitem__(self, index: int) -> IntArray:
        return self.parts[index]

    def __len__(self) -> int:
        return len(self.parts)

    def __repr__(self) -> str:
        names = ("train", "test") if self.validation is None else ("train", "validation", "test")
        counts = ", ".join(f"{name} {len(part)}" for name, part in zip(names, self.parts, strict=True))
        return f"Split({counts}; held out: {self.describe()})"

    def describe(self) -> str:
        """What is held out, in words."""
        details = self.details
        if self.by == "time":
            return f"the end of every trajectory, {details['gap']:g} in time after what is trained on"
        if self.by == "condition":
            test, train = (f"{low:.4g} to {high:.4g}" for low, high in (details["test_range"], details["train_range"]))
            inside, outside = details["test_inside_train_range"], details["test_outside_train_range"]
            return (
                f"{details['quantity']} {test}, of which {inside} inside and {outside} outside the range trained on, "
                f"{train}"
            )
        return {"trajectory": "whole trajectories", "frame": "single frames"}[self.by]


def split_by_trajectory(
    snapshots: SnapshotSource | npt.ArrayLike,
    test_fraction: float = 0.2,
    seed: int = 0,
    stratify: str | npt.ArrayLike | None = None,
    *,
    validation_fraction: float = 0.0,
) -> Split:
    """Split into parts of whole trajectories.

    Neighbouring frames of one run are nearly equal, so a split by frame would test on the training data.

    Parameters
    ----------
    snapshots : Snapshots, LazySnapshots (a SnapshotSource) or [N] trajectory numbers
    test_fraction : float in (0, 1)
        Share of the trajectories (of each group) to test on; at least one in each part.
    seed : int
    stratify : name of a label of ``snapshots``, or [N] groups, or None
        Every group is then in all parts.  A trajectory with several groups counts for its most frequent one.
    validation_fraction : float in [0, 1)
        Share for a third part; 0 for none.  The test part does not depend on it.

    Returns
    -------
    Split
        ``train, test = split_by_trajectory(...)``, or ``train, validation, test`` with a ``validation_fraction``.

    Raises
    ------
    ValueError
        Where a part, or a group in one of the parts, would be empty.
    """
    check_fractions(test_fraction, validation_fraction)
    ids = trajectory_numbers(snapshots)
    trajectories, inverse = np.unique(ids, return_inverse=True)
    groups = trajectory_groups(snapshots, stratify, inverse, len(trajectories))
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    part = np.full(len(trajectories), TRAIN)
    least = 3 if validation_fraction else 2
    for group in np.unique(groups) if len(groups) else [0]:
        members = np.flatnonzero(groups == group)
        if len(members) < least:
            what = "the data" if stratify is None else f"group {group}"
            advice = "; a single run is split by time (split_by_time, --split time)" if len(trajectories) == 1 else ""
            raise ValueError(
                f"{what} has {len(members)} trajectories; every part needs one, so at least {least} are needed{advice}"
            )
        n_test = share(test_fraction, len(members), least - 1)
        n_validation = share(validation_fraction, len(members), 1, len(members) - n_test) if validation_fraction else 0
        order = rng.permutation(members)
        part[order[:n_test]] = TEST
        part[order[n_test : n_test + n_validation]] = VALIDATION
    return assemble(snapshots, part[inverse], "trajectory", bool(validation_fraction))


def split_by_frame(
    snapshots: SnapshotSource | npt.ArrayLike,
    test_fraction: float = 0.2,
    seed: int = 0,
    *,
    validation_fraction: float = 0.0,
    allow_leakage: bool = False,
) -> Split:
    """Split single snapshots at random, whatever run they come from.

    Parameters
    ----------
    snapshots, test_fraction, seed, validation_fraction
        As in `split_by_trajectory`.
    allow_leakage : bool
        Without it only data whose trajectories have one snapshot each are split.

    Raises
    ------
    LeakageError
        A ValueError: frames of one trajectory would be in several parts.
    """
    ids = trajectory_numbers(snapshots)
    frames = split_by_trajectory(np.arange(len(ids)), test_fraction, seed, validation_fraction=validation_fraction)
    check_leakage(ids, frames.train, frames.test, validation=frames.validation, allow_leakage=allow_leakage)
    return Split(frames.train, frames.test, frames.validation, "frame")


def check_fractions(test_fraction: float, validation_fraction: float) -> None:
    """ValueError unless both are shares that leave something to train on."""
    if not 0.0 < test_fraction < 1.0:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}")
    check_real("validation_fraction", validation_fraction, at_least=0)
    if not test_fraction + validation_fraction < 1.0:
        raise ValueError(
            f"test_fraction + validation_fraction must be below 1, got {test_fraction} + {validation_fraction}"
        )


def share(fraction: float, n: int, reserved: int, available: int | None = None) -> int:
    """``fraction`` of n, at least 1, and ``reserved`` fewer than what is ``available`` (n) at most."""
    most = (n if available is None else available) - reserved
    return min(max(round(fraction * n), 1), most)


def assemble(
    snapshots: SnapshotSource | npt.ArrayLike,
    part: IntArray,
    by: str,
    three: bool,
    details: Mapping[str, Any] | None = None,
    *,
    gap: float | None = None,
    allow_leakage: bool = False,
) -> Split:
    """The split with part numbers ``part`` [N], checked for leakage."""
    train, validation, test = (np.flatnonzero(part == k).astype(np.int64) for k in (TRAIN, VALIDATION, TEST))
    split = Split(train, test, validation if three else None, by, dict(details or {}))
    check_leakage(snapshots, train, test, validation=split.validation, gap=gap, allow_leakage=allow_leakage)
    return split


def trajectory_groups(
    snapshots: SnapshotSource | npt.ArrayLike, stratify: str | npt.ArrayLike | None, inverse: IntArray, n: int
) -> npt.NDArray[np.generic]:
    """Group of each trajectory [n]; ``inverse`` [N] is the place of each snapshot's trajectory among the n."""
    if stratify is None:
        return np.zeros(n, dtype=np.int64)
    if isinstance(stratify, str):
        if not isinstance(snapshots, SnapshotSource):
            raise ValueError("stratify can be the name of a label only where Snapshots are given")
        if stratify not in snapshots.labels:
            hint = nearest(stratify, snapshots.labels)
            raise ValueError(f"stratify must be one of {sorted(snapshots.labels)}, got {stratify!r}{hint}")
        values = np.asarray(snapshots.labels[stratify])
    else:
        values = np.asarray(stratify)
    if values.shape != inverse.shape:
        raise ValueError(f"stratify must have shape {inverse.shape}, got {values.shape}")
    groups, codes = np.unique(values, return_inverse=True)
    counts = np.zeros((n, max(len(groups), 1)), dtype=np.int64)
    np.add.at(counts, (inverse, codes), 1)
    return groups[counts.argmax(axis=1)] if len(groups) else np.zeros(n, dtype=np.int64)
