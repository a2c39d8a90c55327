"""Parts by a physical condition: are flows understood whose Reynolds numbers training never saw?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_integer, nearest

from .basics import FloatArray, IntArray
from .leakage import LeakageError, trajectory_numbers
from .source import SnapshotSource
from .splits import TEST, TRAIN, VALIDATION, Split, assemble, check_fractions, share, trajectory_groups

#: A condition: one of `RULES`, or values and closed ranges (low, high).
HeldOut = str | Sequence[float | tuple[float, float]]

#: A given value holds out conditions that agree with it to this share: files store float32.
_SAME_VALUE = 1e-6


def split_by_condition(
    snapshots: SnapshotSource,
    quantity: str,
    held_out: HeldOut = "between",
    test_fraction: float = 0.2,
    seed: int = 0,
    stratify: str | npt.ArrayLike | None = None,
    *,
    validation_fraction: float = 0.0,
    validation_held_out: HeldOut | None = None,
    allow_leakage: bool = False,
) -> Split:
    """Hold out whole conditions, values or ranges of a quantity that is constant along each trajectory.

    Trajectories of equal value always stay together.

    Parameters
    ----------
    snapshots : Snapshots, LazySnapshots (a SnapshotSource)
    quantity : str
        Name in ``snapshots.quantities``, a Reynolds number for instance.
    held_out : {"between", "above", "below", "beyond"}, or a sequence of values and (low, high)
        "between": a range of neighbouring values inside those of training (interpolation); which one is drawn from
        ``seed``. "above", "below": the highest or lowest values (extrapolation); "beyond": both ends. A sequence
        names what is held out: numbers hold out the trajectories with that value, pairs those in the closed range.
    test_fraction : float in (0, 1)
        Share of the trajectories that the rule holds out, as near as whole conditions allow; without effect where
        ``held_out`` is a sequence.
    seed : int
        Of "between"; the other rules have no chance in them.
    stratify : name of a label, or [N] groups, or None
        With "between": a range is held out in each group.
    validation_fraction : float in [0, 1)
        Share for a third part, held out from what the test part leaves; 0 for none.
    validation_held_out : like ``held_out``, optional
        Default the rule of ``held_out``, or "between" where that is a sequence.
    allow_leakage : bool
        Accept a quantity that varies along trajectories, and split by frames.

    Returns
    -------
    Split
        ``details`` says which values each part covers, and how many test trajectories lie inside and outside the range
        of training.

    Raises
    ------
    LeakageError
        The quantity varies along a trajectory.
    ValueError
        Unknown names, values that no trajectory has, NaN, or too few conditions for the parts.
    """
    check_fractions(test_fraction, validation_fraction)
    rng = np.random.default_rng(check_integer("seed", seed, 0))
    unit, value = _conditions(snapshots, quantity, allow_leakage)
    groups = trajectory_groups(snapshots, stratify, unit, len(value))
    if stratify is not None and held_out != "between":
        raise ValueError(f"stratify needs held_out='between', got {held_out!r}{nearest(held_out, RULES)}")
    if isinstance(validation_held_out, str) and not validation_fraction:
        raise ValueError(f"validation_held_out={validation_held_out!r} needs a validation_fraction above 0")
    part = np.full(len(value), TRAIN)
    part[_hold_out("held_out", held_out, value, groups, test_fraction, rng)] = TEST
    three = bool(validation_fraction) or validation_held_out is not None
    if three:
        rule = validation_held_out or (held_out if isinstance(held_out, str) else "between")
        left = np.flatnonzero(part == TRAIN)
        chosen = _hold_out(
            "validation_held_out", rule, value[left], groups[left], validation_fraction * len(value) / len(left), rng
        )
        part[left[chosen]] = VALIDATION
    for code, name in ((TRAIN, "training"), (TEST, "test")) + (((VALIDATION, "validation"),) if three else ()):
        if not (part == code).any():
            raise ValueError(f"held_out={held_out!r} of {quantity} leaves no trajectory for {name}")
    low, high = value[part == TRAIN].min(), value[part == TRAIN].max()
    inside = int(((value[part == TEST] >= low) & (value[part == TEST] <= high)).sum())
    details = {
        "quantity": quantity,
        "held_out": held_out if isinstance(held_out, str) else [_plain(item) for item in held_out],
        "train_range": [float(low), float(high)],
        "test_range": [float(value[part == TEST].min()), float(value[part == TEST].max())],
        "test_inside_train_range": inside,
        "test_outside_train_range": int((part == TEST).sum()) - inside,
    }
    return assemble(snapshots, part[unit], "condition", three, details, allow_leakage=allow_leakage)


def _plain(item: float | tuple[float, float]) -> float | list[float]:
    return [float(x) for x in item] if isinstance(item, Sequence) else float(item)


def _conditions(snapshots: SnapshotSource, quantity: str, allow_leakage: bool) -> tuple[IntArray, FloatArray]:
    """What is kept together, as a number for each snapshot [N], and the value of each [units]."""
    if not isinstance(snapshots, SnapshotSource):
        raise TypeError(f"snapshots must be a SnapshotSource with quantities, got {type(snapshots).__name__}")
    if quantity not in snapshots.quantities:
        hint = nearest(quantity, snapshots.quantities)
        raise ValueError(f"quantity must be one of {sorted(snapshots.quantities)}, got {quantity!r}{hint}")
    values = np.asarray(snapshots.quantities[quantity], dtype=np.float64)
    if not np.isfinite(values).all():
        at = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ValueError(f"quantity {quantity!r} must be finite to split by it, got {values[at]} in snapshot {at}")
    names, first, unit = np.unique(trajectory_numbers(snapshots), return_index=True, return_inverse=True)
    departure = np.abs(values - values[first][unit])
    worst = int(departure.argmax()) if departure.size else 0
    if departure.size and departure[worst] > _SAME_VALUE * np.abs(values).max():
        if allow_leakage:
            return np.arange(len(values)), values
        run = values[unit == unit[worst]]
        raise LeakageError(
            f"quantity {quantity!r} varies along trajectory {names[unit[worst]]} ({run.min():.4g} to {run.max():.4g}): "
            "its frames would be in several parts, and neighbouring frames of one run are nearly equal. Take a "
            "quantity that is constant along each run; pass allow_leakage=True (--allow-leakage on the command line) "
            "to split by frames"
        )
    return unit, values[first]


def _hold_out(
    name: str,
    held_out: HeldOut,
    value: FloatArray,
    groups: npt.NDArray[np.generic],
    fraction: float,
    rng: np.random.Generator,
) -> IntArray:
    """Units of ``value`` [units] that are held out."""
    if not isinstance(held_out, str):
        return _named(name, held_out, value)
    if held_out not in RULES:
        hint = nearest(held_out, RULES)
        raise ValueError(f"{name} must be one of {', '.join(RULES)} or values and ranges, got {held_out!r}{hint}")
    chosen = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        conditions, of, counts = np.unique(value[members], return_inverse=True, return_counts=True)
        needed = 3 if held_out in ("between", "beyond") else 2
        if len(conditions) < needed:
            raise ValueError(
                f"{name}={held_out!r} needs at least {needed} different values of the quantity"
                f"{f' in group {group}' if len(np.unique(groups)) > 1 else ''}, got {len(conditions)}"
            )
        wanted = share(fraction, len(members), 1)
        chosen.append(members[np.isin(of, RULES[held_out](counts, wanted, rng))])
    # A condition that stands in several groups is held out in all of them.
    return np.flatnonzero(np.isin(value, value[np.concatenate(chosen)]))


def _named(name: str, held_out: Sequence[float | tuple[float, float]], value: FloatArray) -> IntArray:
    chosen = np.zeros(len(value), dtype=bool)
    if not len(held_out):
        raise ValueError(f"{name} must name at least one value or range, got none")
    for item in held_out:
        low, high = item if isinstance(item, Sequence) else (item, item)
        if not low <= high:
            raise ValueError(f"{name} must hold ranges (low, high) with low <= high, got {item!r}")
        slack = 0.0 if isinstance(item, Sequence) else _SAME_VALUE * abs(low)
        matches = (value >= low - slack) & (value <= high + slack)
        if not matches.any():
            nearest = np.unique(value)[np.abs(np.unique(value) - low).argsort()[:4]]
            near = ", ".join(f"{v:.6g}" for v in np.sort(nearest))
            raise ValueError(f"no trajectory has a value of {item!r} ({name}); the nearest are {near}")
        chosen |= matches
    return np.flatnonzero(chosen)


def _top(counts: IntArray, wanted: int, rng: np.random.Generator) -> IntArray:
    """The last conditions with about ``wanted`` members; the first always remains."""
    del rng
    from_top = np.cumsum(counts[::-1])[:-1]
    return np.arange(len(counts) - 1 - int(np.abs(from_top - wanted).argmin()), len(counts))


def _bottom(counts: IntArray, wanted: int, rng: np.random.Generator) -> IntArray:
    return len(counts) - 1 - _top(counts[::-1], wanted, rng)


def _both_ends(counts: IntArray, wanted: int, rng: np.random.Generator) -> IntArray:
    """Half of ``wanted`` at each end; a condition always remains between."""
    upper = _top(counts[1:], max(1, wanted - wanted // 2), rng) + 1
    lower = _bottom(counts[: upper[0]], max(1, wanted // 2), rng)
    return np.concatenate([lower, upper])


def _inner_range(counts: IntArray, wanted: int, rng: np.random.Generator) -> IntArray:
    """Neighbouring conditions with about ``wanted`` members, drawn from all such ranges without either end."""
    before = np.concatenate([[0], np.cumsum(counts)])
    ranges = []
    for start in range(1, len(counts) - 1):
        held = before[start + 1 : -1] - before[start]  # by the last condition of the range
        ranges.append((start, start + 1 + int(np.abs(held - wanted).argmin())))
    error = np.array([abs(int(before[stop] - before[start]) - wanted) for start, stop in ranges])
    best = np.flatnonzero(error == error.min())
    start, stop = ranges[int(rng.choice(best))]
    return np.arange(start, stop)


RULES: dict[str, Callable[[IntArray, int, np.random.Generator], IntArray]] = {
    "between": _inner_range,
    "above": _top,
    "below": _bottom,
    "beyond": _both_ends,
}
