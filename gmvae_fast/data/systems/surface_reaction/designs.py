"""Which parameters and starting points are simulated, and the classes they belong to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from . import oscillator, scalar
from .polynomials import Floats

#: Trajectories drawn and integrated together. A block is always drawn whole and then cut, so a longer study contains
#: the shorter one with the same seed, and the numbers do not depend on how many trajectories are asked for.
BLOCK = 1000
MARGIN = 0.02
BISTABLE_KAPPA = 10.0
ALPHA_RANGE, GAMMA_RANGE = (0.5, 2.4), (0.002, 0.02)
PUBLISHED_START = 0.89
PUBLISHED_KAPPA = (10.0, 11.0)
#: b of the oscillating design: steady, oscillating, steady, apart from the onsets 20.239 and 21.278, near which
#: decay and growth take longer than is simulated.
STEADY_BELOW, OSCILLATING, STEADY_ABOVE = (19.0, 20.15), (20.35, 21.2), (21.35, 22.5)

LOW, HIGH, MONOSTABLE = 0, 1, 2
BRANCHES = ("low", "high", "monostable")
REGIMES = ("steady", "oscillating")

Generator = np.random.Generator
Draws = dict[str, npt.NDArray[np.float64]]


def published(rng: Generator, kappa: float | None) -> Draws:
    """Log-normal alpha and gamma and the start rho(0) = 0.89 beside the unstable state; kappa, or U(10, 11)."""
    alpha = 0.1 + np.exp(0.025 * rng.standard_normal(BLOCK))
    gamma = 0.001 + 0.01 * np.exp(0.025 * rng.standard_normal(BLOCK))
    drawn = rng.uniform(*PUBLISHED_KAPPA, BLOCK)
    used = drawn if kappa is None else np.full(BLOCK, float(kappa))
    return {"alpha": alpha, "gamma": gamma, "kappa": used, "rho_0": np.full(BLOCK, PUBLISHED_START)}


def bistable(rng: Generator, monostable: bool) -> Draws:
    """Parameters inside the fold; a fair coin chooses the side of the unstable state, rho(0) is uniform on it.

    With ``monostable`` a third of the trajectories have parameters outside the fold and rho(0) ~ U(0, 1).
    """
    outside = rng.random(BLOCK) < 1 / 3 if monostable else np.zeros(BLOCK, dtype=bool)
    alpha, gamma = _in_box(rng, outside)
    kappa = np.full(BLOCK, BISTABLE_KAPPA)
    unstable = scalar.steady_states(alpha, gamma, kappa)[:, 1]
    high = rng.random(BLOCK) < 0.5
    lowest = np.where(~outside & high, unstable + MARGIN, 0.0)
    highest = np.where(~outside & ~high, unstable - MARGIN, 1.0)
    rho_0 = lowest + rng.random(BLOCK) * (highest - lowest)
    return {"alpha": alpha, "gamma": gamma, "kappa": kappa, "rho_0": rho_0}


def _in_box(rng: Generator, outside: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Uniform (alpha, gamma), drawn again until each lies inside the fold, or outside where asked for."""
    alpha, gamma = np.empty(len(outside)), np.empty(len(outside))
    missing = np.arange(len(outside))
    while len(missing):
        alpha[missing] = rng.uniform(*ALPHA_RANGE, len(missing))
        gamma[missing] = rng.uniform(*GAMMA_RANGE, len(missing))
        roots = scalar.steady_states(alpha[missing], gamma[missing], np.full(len(missing), BISTABLE_KAPPA))
        missing = missing[np.isnan(roots[:, 1]) != outside[missing]]
    return alpha, gamma


def oscillating(rng: Generator) -> Draws:
    """b inside or outside the oscillating interval by a fair coin; a start near the steady state, with free sites.

    ``shift`` in [0, 1) is the share of a cycle by which the record starts later, so that phases differ.
    """
    inside, above = rng.random(BLOCK) < 0.5, rng.random(BLOCK) < 0.5
    place = rng.random(BLOCK)
    below, middle, upper = (low + place * (high - low) for low, high in (STEADY_BELOW, OSCILLATING, STEADY_ABOVE))
    b = np.where(inside, middle, np.where(above, upper, below))
    shares = rng.uniform(0.0, 1.0, (3, BLOCK))
    # Fewer of every species leave more free sites, so that all coverages are positive.
    start = oscillator.fixed_point(b) * (1.0 - np.array([[0.2], [0.2], [0.05]]) * shares)
    return {"b": b, "shift": rng.random(BLOCK), **{f"{n}_0": s for n, s in zip(oscillator.NAMES, start, strict=True)}}


def block_draws(draw: Callable[[Generator], Draws], seed: int, block: int, count: int) -> Draws:
    """The first ``count`` draws of block number ``block``."""
    drawn = draw(np.random.default_rng([seed, 0, block]))
    return {name: values[:count] for name, values in drawn.items()}
