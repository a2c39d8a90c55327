"""Which sparks and jets are simulated."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

#: Ranges of the design: energy (log-uniform), equivalence ratio, spark position.
ENERGY = (0.06, 0.22)
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


def _runs(n_runs: int, seed: int, draw: Callable[[np.random.Generator], Parameters]) -> list[Parameters]:
    """Each run has its own generator, so a longer study contains the shorter one with the same seed."""
    return [draw(np.random.default_rng([seed, run])) for run in range(n_runs)]


def uniform(n_runs: int, seed: int) -> list[Parameters]:
    """Energy log-uniform, phi, position and tilt uniform; the jet is always the same."""
    return _runs(n_runs, seed, _spark)


def jets(n_runs: int, seed: int) -> list[Parameters]:
    """As ``uniform``, and the jet's half width is uniform too."""
    return _runs(n_runs, seed, lambda rng: {**_spark(rng), "half_width": rng.uniform(*HALF_WIDTH)})


def centred(n_runs: int, seed: int) -> list[Parameters]:
    """Energy log-uniform and phi uniform; the spark stands on the axis along the beam: two parameters vary."""

    def draw(rng: np.random.Generator) -> Parameters:
        return {**_spark(rng), "spark_x": 0.8, "spark_y": 0.0, "tilt": 0.0}

    return _runs(n_runs, seed, draw)


DESIGNS: dict[str, Callable[[int, int], list[Parameters]]] = {"uniform": uniform, "jets": jets, "centred": centred}
