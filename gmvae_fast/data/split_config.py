"""How a study divides its data: one checked value that can be stored and applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gmvae_fast._checks import nearest

from .condition_splits import HeldOut, split_by_condition
from .source import SnapshotSource
from .splits import Split, split_by_frame, split_by_trajectory
from .time_splits import split_by_time

#: Function and own options of each way to split.
_WAYS: dict[str, tuple[Callable[..., Split], tuple[str, ...]]] = {
    "trajectory": (split_by_trajectory, ("seed", "stratify")),
    "condition": (
        split_by_condition,
        ("seed", "stratify", "quantity", "held_out", "validation_held_out", "allow_leakage"),
    ),
    "time": (split_by_time, ("gap", "allow_leakage")),
    "frame": (split_by_frame, ("seed", "allow_leakage")),
}
WAYS = tuple(_WAYS)
_NEEDED = {"condition": "quantity", "time": "gap"}


@dataclass(frozen=True)
class SplitConfig:
    """What is kept apart, and how much of it.

    Attributes
    ----------
    by : {"trajectory", "condition", "time", "frame"}
        See `split_by_trajectory`, `split_by_condition`, `split_by_time`, `split_by_frame` for this and what follows.
    test_fraction, validation_fraction : float
    stratify : str, optional
    quantity : str, optional
        Needed for "condition".
    held_out, validation_held_out : optional
        Of "condition".
    gap : float, optional
        Needed for "time".
    allow_leakage : bool

    Raises
    ------
    ValueError
        For options that the way to split does not have, and for missing ones.
    """

    by: str = "trajectory"
    test_fraction: float = 0.2
    validation_fraction: float = 0.0
    stratify: str | None = None
    quantity: str | None = None
    held_out: HeldOut | None = None
    validation_held_out: HeldOut | None = None
    gap: float | None = None
    allow_leakage: bool = False

    def __post_init__(self) -> None:
        if self.by not in _WAYS:
            raise ValueError(f"split must be by one of {', '.join(WAYS)}, got {self.by!r}{nearest(self.by, _WAYS)}")
        taken = _WAYS[self.by][1]
        for name in ("stratify", "quantity", "held_out", "validation_held_out", "gap"):
            if getattr(self, name) is not None and name not in taken:
                raise ValueError(f"a split by {self.by} has no {name}, got {getattr(self, name)!r}")
        needed = _NEEDED.get(self.by)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"a split by {self.by} needs {needed}")

    def apply(self, source: SnapshotSource, seed: int = 0) -> Split:
        """The parts of ``source``.

        Raises
        ------
        LeakageError
            A ValueError: the parts would know each other.
        ValueError
        """
        function, taken = _WAYS[self.by]
        options: dict[str, Any] = {name: getattr(self, name) for name in taken if name != "seed"}
        options = {name: value for name, value in options.items() if value is not None}
        if "seed" in taken:
            options["seed"] = seed
        return function(
            source, test_fraction=self.test_fraction, validation_fraction=self.validation_fraction, **options
        )
