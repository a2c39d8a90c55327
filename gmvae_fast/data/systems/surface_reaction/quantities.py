"""Physical quantities and labels of trajectories, from noise-free float64 records."""

from __future__ import annotations

import numpy as np

from gmvae_fast.data.cache import Arrays

from . import oscillator, scalar
from .designs import HIGH, LOW, MONOSTABLE, Draws
from .polynomials import Floats

SETTLED_WITHIN = 0.02
LEAST_AMPLITUDE = 0.02


def settling_time(times: Floats, rho: Floats, final: Floats) -> Floats:
    """Time [N] from which |rho - final| stays below 0.02, interpolated between samples; NaN where it never does.

    Parameters
    ----------
    times : [T]
    rho : [N, T]
    final : [N]
        The steady state that is approached.
    """
    distance = np.abs(rho - final[:, None])
    far = distance > SETTLED_WITHIN
    last = np.where(far.any(axis=1), far.shape[1] - 1 - far[:, ::-1].argmax(axis=1), -1)
    rows = np.flatnonzero((last >= 0) & (last < len(times) - 1))
    before, after = distance[rows, last[rows]], distance[rows, last[rows] + 1]
    share = (before - SETTLED_WITHIN) / (before - after)
    settled = np.where(last < 0, times[0], np.nan)
    settled[rows] = times[last[rows]] + share * (times[last[rows] + 1] - times[last[rows]])
    return settled


def branch(draws: Draws) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], Floats, Floats]:
    """Side of the unstable state [N], that state (NaN where monostable) and the state approached."""
    roots = scalar.steady_states(draws["alpha"], draws["gamma"], draws["kappa"])
    unstable = roots[:, 1]
    high = draws["rho_0"] > unstable
    label = np.where(np.isnan(unstable), MONOSTABLE, np.where(high, HIGH, LOW)).astype(np.int64)
    return label, unstable, np.where(label == HIGH, roots[:, 2], roots[:, 0])


def scalar_arrays(times: Floats, rho: Floats, draws: Draws) -> Arrays:
    """Quantities and labels of records ``rho`` [N, T] of the one-variable model."""
    from scipy.integrate import simpson  # the first transient is too steep for trapezia

    label, unstable, approached = branch(draws)
    flux = scalar.reaction_flux(rho, draws["kappa"][:, None])
    quantities = {
        **draws,
        "rho_0_minus_unstable": draws["rho_0"] - unstable,
        "rho_final": rho[:, -1],
        "settling_time": settling_time(times, rho, approached),
        "reaction_flux": flux[:, -1],
        "mean_reaction_flux": simpson(flux, x=times, axis=1) / (times[-1] - times[0]),
    }
    return {**{f"quantities/{k}": v for k, v in quantities.items()}, "labels/branch": label}


def mean_period(times: Floats, values: Floats) -> Floats:
    """Mean time [N] between upward crossings of each record's mean; NaN with fewer than two of them.

    Parameters
    ----------
    times : [T]
    values : [N, T]
    """
    centred = values - values.mean(axis=1, keepdims=True)
    rising = (centred[:, :-1] < 0) & (centred[:, 1:] >= 0)
    step = np.where(rising, centred[:, 1:] - centred[:, :-1], 1.0)
    crossing = times[:-1] - centred[:, :-1] / step * np.diff(times)
    count = rising.sum(axis=1)
    first = np.where(rising, crossing, np.inf).min(axis=1)
    last = np.where(rising, crossing, -np.inf).max(axis=1)
    several = count > 1
    period = np.full(len(values), np.nan)
    period[several] = (last - first)[several] / (count[several] - 1)
    return period


def oscillator_arrays(times: Floats, states: Floats, draws: Draws) -> Arrays:
    """Quantities and labels of records ``states`` [N, 3, T] of the three-variable model."""
    u, v = states[:, 0], states[:, 1]
    growth = oscillator.growth_rate(draws["b"])
    amplitude = np.ptp(u, axis=1)
    flux = 4.0 * oscillator.D * u * v
    quantities = {
        "b": draws["b"],
        **{f"mean_{name}": states[:, i].mean(axis=1) for i, name in enumerate(oscillator.NAMES)},
        "amplitude": amplitude,
        "period": np.where(amplitude > LEAST_AMPLITUDE, mean_period(times, u), np.nan),
        "growth_rate": growth,
        "mean_reaction_flux": flux.mean(axis=1),
    }
    label = (growth > 0).astype(np.int64)
    return {**{f"quantities/{k}": v for k, v in quantities.items()}, "labels/regime": label}
