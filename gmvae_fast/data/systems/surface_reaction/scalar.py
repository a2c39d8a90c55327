"""The one-variable model: coverage of a catalyst by a reacting species.

    d rho/dt = alpha (1 - rho) - gamma rho - kappa rho (1 - rho)²

adsorption, desorption, and a reaction that needs two free neighbouring sites (Makeev, Maroudas & Kevrekidis, J. Chem.
Phys. 116, 10083 (2002); with random parameters in Le Maitre, Najm, Ghanem & Knio, J. Comput. Phys. 197, 502 (2004)).
For some parameters two steady states are stable, with an unstable one between them.
"""

from __future__ import annotations

import numpy as np

from .polynomials import Floats, real_cubic_roots

CUSP_COVERAGE = 2 / 3


def rate(rho: Floats, alpha: Floats, gamma: Floats, kappa: Floats | float) -> Floats:
    """d rho/dt; all arguments broadcast."""
    empty = 1.0 - rho
    result: Floats = alpha * empty - gamma * rho - kappa * rho * empty * empty
    return result


def reaction_flux(rho: Floats, kappa: Floats | float) -> Floats:
    """Product made per site and time, kappa rho (1 - rho)²."""
    result: Floats = kappa * rho * (1.0 - rho) ** 2
    return result


def steady_states(alpha: Floats, gamma: Floats, kappa: Floats) -> Floats:
    """Steady coverages [N, 3], ascending: stable, unstable, stable inside the fold; else the only one, and NaN.

    All arguments [N].
    """
    coefficients = np.stack([np.full_like(kappa, -2.0), 1.0 + (alpha + gamma) / kappa, -alpha / kappa], axis=1)
    return real_cubic_roots(coefficients)


def fold_curve(rho: Floats, kappa: float = 10.0) -> tuple[Floats, Floats]:
    """(alpha, gamma) at which the steady state ``rho``, in [1/2, 1), is double: the edge of the bistable region.

    Solves rate = 0 and d rate/d rho = 0: alpha = 2 kappa rho² (1 - rho), gamma = kappa (1 - rho)² (2 rho - 1).

    Raises
    ------
    ValueError
        Where gamma would be negative (rho < 1/2) or alpha not positive (rho >= 1).
    """
    rho = np.asarray(rho, dtype=np.float64)
    if not ((rho >= 0.5) & (rho < 1.0)).all():
        raise ValueError(f"rho must lie in [1/2, 1), got values from {rho.min()} to {rho.max()}")
    return 2 * kappa * rho**2 * (1 - rho), kappa * (1 - rho) ** 2 * (2 * rho - 1)


def cusp(kappa: float = 10.0) -> tuple[float, float]:
    """(alpha, gamma) = (8, 1) kappa / 27, where the two folds meet in a triple steady state rho = 2/3."""
    return 8 * kappa / 27, kappa / 27
