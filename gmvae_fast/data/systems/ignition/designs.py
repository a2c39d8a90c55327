"""Which sparks and jets are simulated."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Ranges of the design: energy (log-uniform), equivalence ratio, spark position.
ENERGY = (0.06, 0.22)
#: Around an axis energy is no longer per unit depth; in this range sparks fail and ignite.
ENERGY_AXISYMMETRIC = (0.003, 0.016)
GEOMETRIES = ("planar", "axisymmetric")
PHI = (0.7, 1.2)
SPARK_X = (0.6, 1.0)
SPARK_Y = (-0.35, 0.35)
HALF_WIDTH = (0.15, 0.35)

Parameters = dict[str, float]


def _spark(rng: np.random.Generator) -> Parameters:
    return {
        "energy": math.exp(rng.uniform(math.log(ENERGY[0]), math.log(ENERGY[1]))),
        "phi": rng.uniform(*PHI),
        "spark_x": rng.uniform(*SPARK_X),
        "spark_y": rng.uniform(*SPARK_Y),
        "tilt": rng.uniform(-math.pi, math.pi),
    }


def uniform(rng: np.random.Generator) -> Parameters:
    """Energy log-uniform, phi, position and tilt uniform; the jet is always the same."""
    return _spark(rng)


def jets(rng: np.random.Generator) -> Parameters:
    """As ``uniform``, and the jet's half width is uniform too."""
    return {**_spark(rng), "half_width": rng.uniform(*HALF_WIDTH)}


def centred(rng: np.random.Generator) -> Parameters:
    """Energy log-uniform and phi uniform; the spark stands on the axis along the beam: two parameters vary."""
    return {**_spark(rng), "spark_x": 0.8, "spark_y": 0.0, "tilt": 0.0}


DESIGNS: dict[str, Callable[[np.random.Generator], Parameters]] = {
    "uniform": uniform,
    "jets": jets,
    "centred": centred,
}


def on_axis(parameters: Parameters) -> Parameters:
    """The same draw for a spark on the axis of a round jet: at the same place in the range of energies, with the laser
    on the same side."""
    low, high = (math.log(energy) for energy in ENERGY)
    share = (math.log(parameters["energy"]) - low) / (high - low)
    first, last = ENERGY_AXISYMMETRIC
    tilt = 0.0 if math.cos(parameters["tilt"]) >= 0 else math.pi
    return {**parameters, "energy": first * (last / first) ** share, "spark_y": 0.0, "tilt": tilt}


def plan(
    design: str, n_runs: int, seed: int, attempts: int = 1, *, axisymmetric: bool = False
) -> list[list[Parameters]]:
    """``attempts`` draws for each run: the first, and those that replace rejected ones.

    Every draw has its own generator: a longer study contains the shorter one with the same seed, and what replaces a
    rejected draw depends on nothing else.
    """

    def draw(run: int, attempt: int) -> Parameters:
        drawn = DESIGNS[design](np.random.default_rng([seed, 2, run, attempt] if attempt else [seed, run]))
        return on_axis(drawn) if axisymmetric else drawn

    return [[draw(run, attempt) for attempt in range(attempts)] for run in range(n_runs)]
