"""Physical quantities of a wake: what is read off a field, and off the history of lift."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.signal import hilbert

from .geometry import Cylinder

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Quadratic extrapolation from cell centres at 1/2, 3/2, 5/2 cells to the wall.
_TO_WALL = np.array([15.0, -10.0, 3.0]) / 8.0
#: Standard deviation of the lift coefficient above which a wake counts as shedding.
SHEDDING_THRESHOLD = 0.01


def kinetic_energy(u: Floats, v: Floats, fluid: Bools) -> float:
    """Mean of (u^2 + v^2) / 2 over the fluid cells."""
    return float(0.5 * np.mean(u[fluid] ** 2 + v[fluid] ** 2))


def enstrophy(u: Floats, v: Floats, fluid: Bools, spacing: float) -> float:
    """Mean of vorticity^2 / 2 by central differences over the cells whose four neighbours are fluid."""
    vorticity = (v[1:-1, 2:] - v[1:-1, :-2] - u[2:, 1:-1] + u[:-2, 1:-1]) / (2.0 * spacing)
    inner = fluid[1:-1, 1:-1] & fluid[1:-1, 2:] & fluid[1:-1, :-2] & fluid[2:, 1:-1] & fluid[:-2, 1:-1]
    return float(0.5 * np.mean(vorticity[inner] ** 2))


def surface_pressure(pressure: Floats, cylinder: Cylinder) -> tuple[float, float]:
    """Pressure at the front and rear stagnation points (quadratic extrapolation along the axis).

    The cylinder's centre and radius must be whole numbers of cells, so that both points lie on cell edges.
    """
    x, y, radius = round(cylinder.x), round(cylinder.y), round(0.5 * cylinder.diameter)
    if not np.allclose((cylinder.x, cylinder.y, 0.5 * cylinder.diameter), (x, y, radius)):
        raise ValueError("surface pressure needs a cylinder whose centre and radius are whole cells")
    axis = 0.5 * (pressure[y - 1] + pressure[y])
    front = axis[x - radius - np.arange(1, 4)] @ _TO_WALL
    rear = axis[x + radius + np.arange(3)] @ _TO_WALL
    return float(front), float(rear)


@dataclass(frozen=True)
class Shedding:
    """Vortex shedding seen in a lift history."""

    shedding: bool
    frequency: float  # per unit time; NaN where nothing is shed
    amplitude: float  # half of the mean peak-to-peak of lift; NaN where nothing is shed


def analyse_shedding(lift: Floats, interval: float) -> Shedding:
    """Frequency by the mean distance of upward zero crossings (of lift about its mean).

    lift : [steps] of a settled flow; interval : time between entries.  Crossings count only after the signal
    has been below minus a tenth of its standard deviation, so that noise near zero adds none.
    """
    signal = lift - lift.mean()
    spread = float(signal.std())
    crossings = upward_crossings(signal, 0.1 * spread) if spread > SHEDDING_THRESHOLD else np.zeros(0)
    if len(crossings) < 3:
        return Shedding(False, float("nan"), float("nan"))
    period = (crossings[-1] - crossings[0]) / (len(crossings) - 1) * interval
    edges = crossings.astype(int)
    peaks = [np.ptp(signal[a:b]) for a, b in pairwise(edges)]
    return Shedding(True, float(1.0 / period), float(0.5 * np.mean(peaks)))


def upward_crossings(signal: Floats, hysteresis: float) -> Floats:
    """Positions (fractional indices) where ``signal`` rises through zero, armed below ``-hysteresis``."""
    rising = np.flatnonzero((signal[:-1] < 0) & (signal[1:] >= 0))
    armed = np.flatnonzero(signal < -hysteresis)
    if not len(rising) or not len(armed):
        return np.zeros(0)
    last_armed = np.searchsorted(armed, rising, side="right")
    # Keep the first rise after each stay below the hysteresis band.
    keep = np.diff(last_armed, prepend=0) > 0
    rising = rising[keep]
    step = signal[rising + 1] - signal[rising]
    crossings: Floats = rising - signal[rising] / step
    return crossings


def lift_phase(lift: Floats) -> Floats:
    """Phase of the analytic signal of lift about its mean, in [0, 2 pi), same shape.

    The ends of the record are distorted over about a period: pass more than is used.
    """
    phase: Floats = np.mod(np.angle(hilbert(lift - lift.mean())), 2.0 * np.pi)
    return phase
