"""Numbers as text: four significant figures, "n/a" for what is not finite, tiny p-values as powers of ten."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

NOT_AVAILABLE = "n/a"
SMALLEST_P = 1e-300  # below this a double underflows and only its logarithm still says something


def number(value: float) -> str:
    """Four significant figures; whole numbers in full, with thousands separated."""
    value = float(value)
    if not math.isfinite(value):
        return NOT_AVAILABLE
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.4g}"


def p_value(p: float, log10_p: float = math.nan) -> str:
    """A p-value, as ``10^<log10_p>`` where it underflows; ``log10_p`` NaN if unknown."""
    if not math.isfinite(p):
        return f"10^{log10_p:.1f}" if math.isfinite(log10_p) else NOT_AVAILABLE
    if p >= SMALLEST_P:
        return f"{p:.3g}"
    return f"10^{log10_p:.1f}" if math.isfinite(log10_p) else "< 1e-300"


def interval(low: float, high: float) -> str:
    """``low to high``."""
    return f"{number(low)} to {number(high)}" if math.isfinite(low) and math.isfinite(high) else NOT_AVAILABLE


def mean_and_std(mean: float, std: float) -> str:
    """``mean ± std``, the mean alone where there is no spread to speak of."""
    return f"{number(mean)} ± {number(std)}" if math.isfinite(std) else number(mean)


def seconds(value: float) -> str:
    """A duration in the unit a reader would use."""
    if not math.isfinite(value):
        return NOT_AVAILABLE
    if value < 90:
        return f"{value:.3g} s"
    return f"{value / 60:.1f} min" if value < 5400 else f"{value / 3600:.2f} h"


def anything(value: Any) -> str:
    """Any JSON value in one line of text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return number(value) if isinstance(value, float) else str(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {anything(item)}" for key, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(anything(item) for item in value)
    return str(value)
