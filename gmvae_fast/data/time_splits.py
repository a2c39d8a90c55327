"""Parts by time: train on how each run begins, test on how it goes on."""

from __future__ import annotations

import numpy as np

from gmvae_fast._checks import check_real

from .basics import FloatArray, IntArray
from .leakage import LeakageError, trajectory_numbers
from .source import SnapshotSource
from .splits import NOWHERE, TEST, TRAIN, VALIDATION, Split, assemble, check_fractions, share


def split_by_time(
    snapshots: SnapshotSource,
    test_fraction: float = 0.2,
    *,
    gap: float,
    validation_fraction: float = 0.0,
    allow_leakage: bool = False,
) -> Split:
    """Train on the early frames of every trajectory and test on its late ones; frames of the gap between are left out.

    Nothing here says whether a *new* run is understood: every test frame belongs to a run that was trained on. And a
    periodic flow never forgets its state: whatever the gap, its late frames look like early ones.

    Parameters
    ----------
    snapshots : Snapshots, LazySnapshots (a SnapshotSource)
    test_fraction : float in (0, 1)
        Share of the frames of each trajectory to test on, the last ones.
    gap : float
        Least distance in time between frames of different parts, in units of ``snapshots.time``: at least the time in
        which the flow forgets its state. Measure it from where ``test`` begins; the frames it costs are taken from
        training.
    validation_fraction : float in [0, 1)
        Share of the frames for a third part between training and test, a gap before and behind; 0 for none.
    allow_leakage : bool
        Accept ``gap=0``.

    Returns
    -------
    Split
        A trajectory too short to leave frames on both sides of its gaps is used for training alone;
        ``details["only_trained_on"]`` lists such, ``details["frames_in_gaps"]`` counts the frames in no part.

    Raises
    ------
    LeakageError
        For ``gap=0``.
    ValueError
        Where no trajectory is long enough.
    """
    check_fractions(test_fraction, validation_fraction)
    check_real("gap", gap, at_least=0)
    if not isinstance(snapshots, SnapshotSource):
        raise TypeError(f"snapshots must be a SnapshotSource with times, got {type(snapshots).__name__}")
    if gap == 0 and not allow_leakage:
        raise LeakageError(
            "gap=0 puts neighbouring frames of one run, which are nearly equal, into training and test, so this would "
            "test what was memorised. Take at least the time in which the flow forgets its state; pass "
            "allow_leakage=True (--allow-leakage on the command line) if that is what you mean to measure"
        )
    ids, time = trajectory_numbers(snapshots), np.asarray(snapshots.time, dtype=np.float64)
    part = np.full(len(ids), TRAIN)
    short = []
    order = np.lexsort((time, ids))
    names, starts = np.unique(ids[order], return_index=True)
    for name, members in zip(names, np.split(order, starts[1:]), strict=True):
        mine = _parts_of_run(time[members], test_fraction, validation_fraction, gap)
        if mine is None:
            short.append(int(name))
        else:
            part[members] = mine
    if len(short) == len(names):
        raise ValueError(
            f"no trajectory is long enough for frames on both sides of gap={gap:g}; the longest covers "
            f"{_longest(ids, time):.4g} in time. Take a smaller gap, or split by trajectory"
        )
    details = {"gap": gap, "frames_in_gaps": int((part == NOWHERE).sum()), "only_trained_on": short}
    return assemble(
        snapshots, part, "time", bool(validation_fraction), details, gap=gap or None, allow_leakage=allow_leakage
    )


def _parts_of_run(time: FloatArray, test_fraction: float, validation_fraction: float, gap: float) -> IntArray | None:
    """Part of each frame [n] of one run, whose times ascend; None where a part would be empty."""
    n = len(time)
    if n < 2:
        return None
    part = np.full(n, NOWHERE)
    first = n - share(test_fraction, n, 1)
    part[first:] = TEST
    stop = _frames_before(time, first, gap)
    if validation_fraction:
        first = max(stop - max(1, round(validation_fraction * n)), 0)
        part[first:stop] = VALIDATION
        if first == stop:
            return None
        stop = _frames_before(time, first, gap)
    part[:stop] = TRAIN
    return part if stop else None


def _frames_before(time: FloatArray, first: int, gap: float) -> int:
    """How many frames lie at least ``gap`` before frame ``first``; rounding of times does not decide."""
    return int(np.searchsorted(time[:first], time[first] - gap * (1 - 1e-9), side="right"))


def _longest(ids: IntArray, time: FloatArray) -> float:
    return max(float(np.ptp(time[ids == name])) for name in np.unique(ids))
