"""What the validation measures: each function returns named numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from . import oscillator, scalar
from .blocks import SUBSTEPS, TIMES, Block
from .designs import ALPHA_RANGE, BLOCK, GAMMA_RANGE, PUBLISHED_START
from .integrate import runge_kutta
from .polynomials import Floats
from .quantities import LEAST_AMPLITUDE

Numbers = dict[str, float]
TIGHT = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-13}


def _reference(rate: Callable[[Floats], Floats], start: Floats, times: Floats) -> Floats:
    """One trajectory [T, ...] by scipy's eighth-order method with step control."""
    from scipy.integrate import solve_ivp

    solved = solve_ivp(lambda _, y: rate(y), times[[0, -1]], np.atleast_1d(start), t_eval=times, **TIGHT)
    return np.asarray(solved.y.T)


def scalar_error(stop: threading.Event, design: str, n_runs: int) -> Numbers:
    """Largest deviation from scipy over the ``n_runs`` trajectories that start nearest to the unstable state."""
    block = Block(design, seed=0, block=0, count=BLOCK)
    draws, records = block.draws(), block.trajectories(stop)[:, 0]
    unstable = scalar.steady_states(draws["alpha"], draws["gamma"], draws["kappa"])[:, 1]
    nearest = np.argsort(np.abs(draws["rho_0"] - unstable))[:n_runs]
    worst = 0.0
    for i in nearest:
        constants = {name: draws[name][i] for name in ("alpha", "gamma", "kappa")}
        exact = _reference(partial(scalar.rate, **constants), draws["rho_0"][i], TIMES[design])
        worst = max(worst, float(np.abs(exact[:, 0] - records[i]).max()))
    return {"largest error": worst}


def oscillator_error(stop: threading.Event, n_runs: int) -> Numbers:
    """Largest deviation from scipy over ``n_runs`` trajectories from their start, spin-up left out."""
    draws = Block("oscillating", seed=0, block=0, count=n_runs).draws()
    start, times = np.stack([draws[f"{name}_0"] for name in oscillator.NAMES]), TIMES["oscillating"]
    states = runge_kutta(partial(oscillator.rate, b=draws["b"]), start, times, SUBSTEPS["oscillating"], stop)
    worst = 0.0
    for i in range(n_runs):
        exact = _reference(partial(oscillator.rate, b=draws["b"][i]), start[:, i], times)
        worst = max(worst, float(np.abs(exact - states[:, :, i]).max()))
    return {"largest error": worst}


def fold(stop: threading.Event, n_points: int) -> Numbers:
    """The fold formulas against roots of the cubic.

    A double steady state has a vanishing rate and slope; a point of the parameter plane has three steady states
    where, and only where, gamma lies between the two folds at its alpha.
    """
    del stop
    kappa = 10.0
    rho = np.linspace(0.5, 0.9999, n_points)
    alpha, gamma = scalar.fold_curve(rho, kappa)
    slope = -alpha - gamma - kappa * (1 - rho) * (1 - 3 * rho)
    residual = max(np.abs(scalar.rate(rho, alpha, gamma, kappa)).max(), np.abs(slope).max())
    rng = np.random.default_rng(0)
    a, g = rng.uniform(*ALPHA_RANGE, n_points), rng.uniform(*GAMMA_RANGE, n_points)
    roots = scalar.steady_states(a, g, np.full(n_points, kappa))
    wrong = np.isfinite(roots[:, 1]) != _between_folds(a, g, kappa)
    cusp_alpha, cusp_gamma = scalar.cusp(kappa)
    triple = np.roots([1.0, -2.0, 1 + (cusp_alpha + cusp_gamma) / kappa, -cusp_alpha / kappa])
    return {
        "rate and slope on the curve": float(residual),
        "parameters with another number of roots": float(wrong.sum()),
        # A triple root is only known to the cube root of the rounding error.
        "triple root at the cusp, distance from 2/3": float(np.abs(triple - scalar.CUSP_COVERAGE).max()),
    }


def _between_folds(alpha: Floats, gamma: Floats, kappa: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Whether each point lies inside the fold, by inverting alpha(rho) on both sides of its maximum at 2/3."""
    from scipy.optimize import brentq

    def gamma_at(target: float, low: float, high: float) -> float:
        rho = brentq(lambda r: float(2 * kappa * r**2 * (1 - r)) - target, low, high, xtol=1e-14)
        return float(scalar.fold_curve(np.array(rho), kappa)[1])

    start = 2 * kappa * 0.5**2 * 0.5
    inside = []
    for a, g in zip(alpha, gamma, strict=True):
        upper = gamma_at(a, scalar.CUSP_COVERAGE, 1 - 1e-12)
        lower = gamma_at(a, 0.5, scalar.CUSP_COVERAGE) if a > start else 0.0
        inside.append(min(lower, upper) < g < max(lower, upper))
    return np.array(inside)


def published_shares(stop: threading.Event, kappas: tuple[float, ...], n_runs: int) -> Numbers:
    """Share of trajectories of the published design that are below the unstable state at t = 10, by simulation."""
    shares = {}
    for kappa in kappas:
        counts = [min(BLOCK, n_runs - first) for first in range(0, n_runs, BLOCK)]
        blocks = [Block("published", 0, i, count, kappa) for i, count in enumerate(counts)]
        low = 0
        for block in blocks:
            draws, final = block.draws(), block.trajectories(stop)[:, 0, -1]
            unstable = scalar.steady_states(draws["alpha"], draws["gamma"], draws["kappa"])[:, 1]
            low += int((final < np.where(np.isnan(unstable), 0.5, unstable)).sum())
        shares[f"share at kappa = {kappa:g}"] = low / n_runs
    return shares


def exact_share(kappa: float) -> float:
    """Probability that rho(0) = 0.89 lies below the unstable state, without a simulation.

    The start is below it where the rate at 0.89 is negative (the upper stable state lies above 0.98 here). For each
    alpha that bounds the standard normal number behind gamma. The probability is then nearly a step in the number
    behind alpha, 0.1 wide: too narrow for Gauss-Hermite nodes, easy for an equidistant sum.
    """
    from scipy.special import ndtr

    xi = np.linspace(-8.0, 8.0, 4001)
    weight, rho = np.exp(-0.5 * xi**2), PUBLISHED_START
    alpha = 0.1 + np.exp(0.025 * xi)
    least_gamma = (alpha * (1 - rho) - kappa * rho * (1 - rho) ** 2) / rho
    bound = np.log(np.maximum((least_gamma - 0.001) / 0.01, 1e-300)) / 0.025
    return float((weight * ndtr(-bound)).sum() / weight.sum())


def onsets(stop: threading.Event) -> Numbers:
    """Where the eigenvalues at the steady state cross, and the growth and decay of small disturbances by simulation."""
    numbers = {"lower onset b": oscillator.onset(20.0, 20.5), "upper onset b": oscillator.onset(21.0, 21.5)}
    b = np.array([19.5, 21.0, 21.5])
    still = oscillator.fixed_point(b)
    times = np.arange(0.0, 400.0, 0.5)
    states = runge_kutta(partial(oscillator.rate, b=b), still * (1 + 1e-7), times, 10, stop)
    predicted = oscillator.growth_rate(b)
    for i, value in enumerate(b):
        measured = _growth(times, states[:, 0, i] - still[0, i])
        numbers[f"growth at b = {value:g}, simulated over eigenvalue"] = measured / predicted[i]
    return numbers


def _growth(times: Floats, disturbance: Floats) -> float:
    """Exponential rate of an oscillating disturbance, from the heights of its extrema."""
    size = np.abs(disturbance)
    peaks = np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] > size[2:])) + 1
    # The vertex of the parabola through the three highest samples.
    before, top, after = size[peaks - 1], size[peaks], size[peaks + 1]
    height = top + (before - after) ** 2 / (8 * (2 * top - before - after))
    kept = slice(1, None)  # the first extremum still holds the fast direction
    return float(np.polyfit(times[peaks][kept], np.log(height[kept]), 1)[0])


def regimes(stop: threading.Event, n_runs: int) -> Numbers:
    """Records with a lasting amplitude against those whose steady state is unstable."""
    block = Block("oscillating", seed=0, block=0, count=n_runs)
    amplitude = np.ptp(block.trajectories(stop)[:, 0], axis=1)
    unstable = oscillator.growth_rate(block.draws()["b"]) > 0
    return {
        "share whose amplitude agrees": float(((amplitude > LEAST_AMPLITUDE) == unstable).mean()),
        "smallest amplitude, oscillating": float(amplitude[unstable].min()),
        "largest amplitude, steady": float(amplitude[~unstable].max()),
    }
