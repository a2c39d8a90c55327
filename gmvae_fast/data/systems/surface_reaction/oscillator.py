"""The three-variable model of Vigil & Willmore (Phys. Rev. E 54, 1225 (1996)): oscillating coverages.

    u' = a z - c u - 4 d u v,    v' = 2 b z² - 4 d u v,    w' = e z - f w,    z = 1 - u - v - w

u and v are the reacting species (v adsorbs on two sites), w an inert one that blocks sites slowly, z the free sites.
For the rates used here the only steady state loses its stability for b between about 20.24 and 21.28.
"""

from __future__ import annotations

import numpy as np

from .polynomials import Floats, real_cubic_roots

A, C, D, E, F = 1.6, 0.04, 1.0, 0.36, 0.016
NAMES = ("u", "v", "w")


def rate(state: Floats, b: Floats) -> Floats:
    """Time derivative [3, N] of ``state`` [3, N] for b [N]."""
    u, v, w = state
    z = 1.0 - u - v - w
    reacted = 4.0 * D * u * v
    out: Floats = np.empty_like(state)
    out[0] = A * z - C * u - reacted
    out[1] = 2.0 * b * z * z - reacted
    out[2] = E * z - F * w
    return out


def fixed_point(b: Floats) -> Floats:
    """Steady state [3, N] for b [N].

    v' = 0 and w' = 0 give u and v by z, and the sum of all sites a cubic for z. For the values of b used here exactly
    one of its roots lies where all coverages are positive.

    Raises
    ------
    ValueError
        Where the number of such roots is not one.
    """
    b = np.asarray(b, dtype=np.float64)
    # u = z (A - 2 b z) / C, v = C b z / (2 D (A - 2 b z)), w = E z / F;  (1 - z - u - w - v) (A - 2 b z) = 0
    w_of_z, p = 1.0 + E / F, 2.0 * b
    cubic = -(p**2) / C
    square = 2 * A * p / C + w_of_z * p
    linear = -(A**2) / C - p - w_of_z * A - C * b / (2 * D)
    roots = real_cubic_roots(np.stack([square / cubic, linear / cubic, A / cubic], axis=1))
    valid = (roots > 0) & (roots < (A / p)[:, None])
    if not (valid.sum(axis=1) == 1).all():
        raise ValueError(f"b must lie where exactly one steady state exists, got {b[valid.sum(axis=1) != 1]}")
    z = roots[valid]
    return np.stack([z * (A - p * z) / C, C * b * z / (2 * D * (A - p * z)), E * z / F])


def jacobian(state: Floats, b: Floats) -> Floats:
    """d rate / d state [N, 3, 3] at ``state`` [3, N]."""
    u, v, w = state
    z = 1.0 - u - v - w
    p, x, y = 4.0 * b * z, 4.0 * D * u, 4.0 * D * v
    one = np.ones_like(u)
    rows = [[-A * one - C - y, -A - x, -A * one], [-p - y, -p - x, -p], [-E * one, -E * one, -(E + F) * one]]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def growth_rate(b: Floats) -> Floats:
    """Largest real part [N] of the eigenvalues at the steady state: positive where it is unstable."""
    eigenvalues = np.linalg.eigvals(jacobian(fixed_point(b), np.asarray(b, dtype=np.float64)))
    largest: Floats = eigenvalues.real.max(axis=1)
    return largest


def onset(low: float, high: float) -> float:
    """The b in [low, high] at which the growth rate changes sign (a Hopf bifurcation); NaN where it does not."""
    from scipy.optimize import brentq

    ends = growth_rate(np.array([low, high]))
    if ends[0] * ends[1] > 0:
        return float("nan")
    return float(brentq(lambda b: float(growth_rate(np.array([b]))[0]), low, high, xtol=1e-12))
