"""What became of a spark, and what stage each frame shows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Gas above this temperature is hot.
HOT = 3.0
#: A hot area below this is none: four cells of the coarsest demonstration, a spot that conduction closes at once.
NOTHING = 0.002
#: A kernel is compared with itself at this time, when the blast has left it and expansion is over.
SETTLED = 0.5
#: An ignition has grown this many times since.
GROWTH = 3.0
OUTCOMES = ("fails", "lingers", "ignites")
STAGES = ("blast", "kernel", "flame", "out")


def outcome(time: Floats, hot_area: Floats, reached: bool) -> int:
    """0 fails: no hot gas is left in the last frame; 2 ignites: the flame ``reached`` the border of the window, or
    the hot area of the last frame is at least ``GROWTH`` times that at time ``SETTLED``; 1 lingers: neither.

    time, hot_area : [frames] of one run.
    """
    if reached:
        return 2
    last = float(hot_area[-1])
    if last < NOTHING:
        return 0
    return 2 if last >= GROWTH * float(np.interp(SETTLED, time, hot_area)) else 1


def stages(time: Floats, hot_area: Floats) -> Integers:
    """Stage of each frame [frames]: 3 out, no hot gas is left; else 0 blast, before time ``SETTLED`` (the shock
    crosses the window and the spark's gas expands); else 2 flame, the hot area is at least ``GROWTH`` times that at
    ``SETTLED``; else 1 kernel."""
    grown = hot_area >= GROWTH * np.interp(SETTLED, time, hot_area)
    stage = np.where(time < SETTLED, 0, np.where(grown, 2, 1))
    # A spark's own frame is never out, however weak or small it is.
    return np.where((hot_area < NOTHING) & (time > 0), 3, stage).astype(np.int64)
