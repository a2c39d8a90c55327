"""Checks of scalar arguments: an error names the argument, what was expected and what came."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


def check_integer(name: str, value: Any, at_least: int | None = None) -> int:
    """``value`` as int."""
    integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not integer or (at_least is not None and value < at_least):
        bound = "" if at_least is None else f" >= {at_least}"
        raise ValueError(f"{name} must be an integer{bound}, got {value!r}")
    return int(value)


def check_real(name: str, value: Any, *, at_least: float = -math.inf, above: float = -math.inf) -> float:
    """``value`` as a finite float within its bound."""
    real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not real or not math.isfinite(value) or value < at_least or not value > above:
        bound = f" >= {at_least:g}" if at_least > -math.inf else f" > {above:g}" if above > -math.inf else ""
        raise ValueError(f"{name} must be a finite number{bound}, got {value!r}")
    return float(value)


def check_damping(value: Any) -> None:
    """A number in (0, 1]."""
    if check_real("damping", value, above=0) > 1:
        raise ValueError(f"damping must be in (0, 1], got {value!r}")


def nearest(value: Any, known: Iterable[str], alike: float = 0.5) -> str:
    """The end of an error about a name: "; did you mean 'wake'?" where one of ``known`` is like it, else nothing.

    ``alike`` is the least `difflib.SequenceMatcher.ratio`; 0.6 would miss two letters exchanged in a name of four.
    """
    if not isinstance(value, str):
        return ""
    by_folded = {name.casefold().replace("-", "_"): name for name in known}
    found = difflib.get_close_matches(value.casefold().replace("-", "_"), by_folded, 1, alike)
    return f"; did you mean {by_folded[found[0]]!r}?" if found else ""


def check_sample_weight(value: Any, n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """``value`` as float64 [n]: finite, not negative, and above 0 somewhere."""
    value = value.detach().cpu() if hasattr(value, "detach") else value
    weight = np.ascontiguousarray(np.asarray(value, dtype=np.float64))
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},), got {weight.shape}")
    bad = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
    if bad.size:
        raise ValueError(f"sample_weight must be finite and not negative, got {weight[bad[0]]} for row {bad[0]}")
    if not weight.any():
        raise ValueError("sample_weight must be above 0 in at least one row, got zeros only")
    return weight
