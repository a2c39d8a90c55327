"""The experiment: a premixed jet into air, and a laser spark in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .solver import Box

Floats = npt.NDArray[np.float64]

#: The window is [0, 2] x [-1, 1]; the jet enters at x = 0.
WINDOW = 2.0
#: Thickness of the shear layers of the jet (of the tanh).
SHEAR_LAYER = 0.05
#: Transverse 1/e radius of the spark's main Gaussian, and its length over its width.
SPARK_RADIUS = 0.035
SPARK_ASPECT = 2.0
#: Share of the second Gaussian, its size over the first's, and its distance towards the laser in radii.
TAIL_SHARE = 0.3
TAIL_SIZE = 0.6
TAIL_DISTANCE = 2.0


@dataclass(frozen=True)
class Spark:
    """Where the laser is focused and how much it deposits.

    Parameters
    ----------
    energy : in units of the ambient pressure times length squared (per unit depth), or length cubed around an axis
    x, y : of the main Gaussian's centre
    tilt : angle of the beam with the x axis, in radians
    """

    energy: float
    x: float
    y: float
    tilt: float

    def density(self, x: Floats, y: Floats, spacing: float, lengths: npt.ArrayLike = 1.0) -> Floats:
        """Energy per area or volume [ny, nx] on the cells with centres x [nx], y [ny]; its sum is the energy exactly.

        lengths : extent of the cells across the picture, see :attr:`.solver.Box.lengths`
        """
        along = math.cos(self.tilt) * (x - self.x) + math.sin(self.tilt) * (y[:, None] - self.y)
        across = -math.sin(self.tilt) * (x - self.x) + math.cos(self.tilt) * (y[:, None] - self.y)
        length, width = SPARK_ASPECT * SPARK_RADIUS, SPARK_RADIUS
        main = np.exp(-((along / length) ** 2) - (across / width) ** 2)
        tail = np.exp(
            -(((along + TAIL_DISTANCE * width) / (TAIL_SIZE * length)) ** 2) - (across / (TAIL_SIZE * width)) ** 2
        )
        main_sum, tail_sum = float((main * lengths).sum()), float((tail * lengths).sum())
        if not (main_sum > 0 and tail_sum > 0):
            raise ValueError(f"the spark at ({self.x}, {self.y}) lies outside the window")
        shape = (1.0 - TAIL_SHARE) * main / main_sum + TAIL_SHARE * tail / tail_sum
        density: Floats = self.energy * shape / spacing**2
        return density


@dataclass(frozen=True)
class Jet:
    """Premixed gas of equivalence ratio ``phi`` between |y| < half_width, entering at ``velocity``; air around it."""

    phi: float
    half_width: float = 0.3
    velocity: float = 0.2

    def profile(self, y: Floats) -> Floats:
        """Share of jet gas, 0 to 1, at heights ``y``."""
        share: Floats = 0.5 * (1.0 - np.tanh((np.abs(y) - self.half_width) / SHEAR_LAYER))
        return share


def start(cells: int, jet: Jet, spark: Spark, dtype: str = "float32", axisymmetric: bool = False) -> Box:
    """The box [cells, cells], or [cells / 2, cells] above the axis, at time 0, just after the spark."""
    spacing = WINDOW / cells
    if axisymmetric:
        if spark.y != 0.0 or math.sin(spark.tilt) ** 2 > 1e-12:
            raise ValueError(
                f"around an axis the spark must stand on it, along the beam: y = 0, tilt 0 or pi; got y = {spark.y}, "
                f"tilt = {spark.tilt}"
            )
        box = Box(cells, cells // 2, spacing, sides=(("open", "open"), ("axis", "open")), dtype=dtype)
    else:
        box = Box(cells, cells, spacing, dtype=dtype)
    x, y = box.centres
    share = jet.profile(y)[:, None]
    box.set_state(1.0, jet.velocity * share, 0.0, 1.0, jet.phi * share, 1.0)
    box.add_energy(spark.density(x, y, spacing, box.lengths))
    return box
