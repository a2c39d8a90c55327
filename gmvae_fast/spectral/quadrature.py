"""Sharp bounds on a measure's distribution function from its Jacobi matrix."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh_tridiagonal

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._lanczos import Jacobi

SMEAR = 1e-10  # of the matrix's size: rounding moves the atoms of a measure by less
# Of the matrix's size: a node further off than this costs the others half their digits, and changes them by the
# square of its inverse.
FARTHEST = 1e8
TINY = 1e-150


class Bounds(NamedTuple):
    """A value and the interval that holds the truth."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def error(self) -> FloatArray:
        """Largest distance from ``value`` to either end of the interval."""
        return np.maximum(self.upper - self.value, self.value - self.lower)


def gauss_rule(jacobi: Jacobi) -> tuple[FloatArray, FloatArray]:
    """Nodes, ascending, and weights that sum to 1: exact for polynomials of degree 2 n - 1 (Golub & Welsch 1969)."""
    nodes, vectors = eigh_tridiagonal(jacobi.diagonal, jacobi.off_diagonal[:-1])
    return np.asarray(nodes), np.asarray(vectors[0] ** 2)


def distribution_bounds(jacobi: Jacobi, t: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The least and the most that a measure of mass 1 with this Jacobi matrix can have on (-inf, t], for ``t`` [T].

    Among all measures with the same 2 n + 1 moments, the quadrature rule that has a node at t has the least mass below
    t and the most up to and including t (Chebyshev, Markov, Stieltjes). So its weights below t, without and with that
    of the node at t, enclose the truth, and no smaller interval does. Where the Krylov space is exhausted the measure
    is the rule itself. Jumps are widened by what rounding can move them.

    References
    ----------
    Szegő, "Orthogonal Polynomials", AMS (1939), section 3.41. Golub & Meurant, "Matrices, Moments and Quadrature with
    Applications", Princeton (2010), chapters 3 and 6.
    """
    if jacobi.off_diagonal[-1] == 0.0:
        nodes, weights = gauss_rule(jacobi)
        margin = SMEAR * np.abs(nodes).max()
        sums = np.minimum(np.concatenate([[0.0], np.cumsum(weights)]), 1.0)
        return sums[np.searchsorted(nodes, t - margin)], sums[np.searchsorted(nodes, t + margin)]
    margin = SMEAR * (np.abs(jacobi.diagonal).max() + 2 * jacobi.off_diagonal.max())
    lower = np.array([_weights_below_and_at(jacobi, float(point))[0] for point in t - margin])
    upper = np.array([sum(_weights_below_and_at(jacobi, float(point))) for point in t + margin])
    return lower, np.minimum(upper, 1.0)


def _weights_below_and_at(jacobi: Jacobi, t: float) -> tuple[float, float]:
    """Weights below t, and at t, of the rule of n + 1 nodes one of which is t (Golub 1973)."""
    diagonal, off_diagonal = jacobi
    lift = off_diagonal[-1] ** 2 / _last_pivot(diagonal, off_diagonal, t)
    if abs(lift) < FARTHEST * (abs(t) + off_diagonal.max()):
        diagonal = np.append(diagonal, t + lift)
    else:  # t is a node of the n-point rule, and the last node of the extended one is at infinity
        off_diagonal = off_diagonal[:-1]
    nodes, vectors = eigh_tridiagonal(diagonal, off_diagonal, lapack_driver="stevd", check_finite=False)
    weights = vectors[0] ** 2
    at = int(np.argmin(np.abs(nodes - t)))
    return float(weights[:at].sum()), float(weights[at])


def _last_pivot(diagonal: FloatArray, off_diagonal: FloatArray, t: float) -> float:
    """Last pivot of the elimination of T - t I."""
    pivot, coupling = math.inf, 0.0
    for entry, beta in zip(diagonal.tolist(), off_diagonal.tolist(), strict=True):
        pivot = entry - t - coupling / pivot
        pivot = pivot if abs(pivot) > TINY else TINY
        coupling = beta * beta
    return pivot
