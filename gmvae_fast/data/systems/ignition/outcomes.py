"""What became of a spark, and what stage each frame shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Gas above this temperature is hot.
HOT = 3.0
OUTCOMES = ("fails", "lingers", "ignites")
STAGES = ("blast", "kernel", "flame", "out")


def outcome(time: Floats, hot_area: Floats, burnt_mass: Floats, reached: bool) -> int:
    """0 fails, 1 lingers, 2 ignites; from a run's hot area and burnt mass [frames]."""
    return 2 if reached else 1


def stages(hot_area: Floats, max_pressure: Floats) -> Integers:
    """Stage of each frame [frames]."""
    return np.zeros(len(hot_area), dtype=np.int64)
