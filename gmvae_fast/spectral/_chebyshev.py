"""Lowest eigenpairs of one component through a Chebyshev polynomial that lifts them out of the rest."""

from __future__ import annotations

import math

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._lanczos import jacobi_matrices
from gmvae_fast.spectral._products import aligned, recurrence
from gmvae_fast.spectral._transforms import Transformed, spectrum_bound
from gmvae_fast.spectral.quadrature import gauss_rule

# Of the density of states: a few steps do where the cut lies far above what so many resolve, which is
# lambda_max (pi / (2 steps))^2 at the low end; else under a tenth of the whole effort.
PROBES, STEPS = 2, (32, 60)
RESOLVED = 8.0
# The polynomial grows below the value that about so many times the wanted number of eigenvalues lie under: all that
# are wanted must stand out of the ripple beyond, though the probes count k of them to sqrt(k) only. Too many cost
# little: products for 20 pairs, 8-D / 3-D latents, are 594 / 1452 with 1.5 times as many, 615 / 1552 with 4 times.
SPARE, SPREADS = 1.5, 3.0
# From 1 at the cut to this at 0. Applications and products with a growth of 10, 20, 40, 80, 20 pairs of 8-D latents:
# 34 and 170, 30 and 180, 27 and 189, 25 and 200; to reorthogonalise after an application takes as long as 5 products.
GROWTH = 40.0
MAX_DEGREE = 500
DISTINCT = 1e-3  # of lambda_max: nodes of two probes that lie nearer are taken for one eigenvalue
# An error of the polynomial's eigenvalue is one of lambda times its slope, which is large at the low end.
RELAXED = 100.0
TOP_MARGIN = 1.02  # the largest node is as near to lambda_max; beyond the interval p grows only slowly


def filtered(matrix: sparse.csr_array, k: int, seed: int) -> Transformed:
    """p(L) for the ``k`` lowest pairs, p a Chebyshev polynomial.

    p is T_d mapped so that it stays within [-1, 1] between a cut and lambda_max, and grows like cosh towards 0.
    The effort of Lanczos is mostly the orthogonalisation of its basis after every product; here one serves d products.

    References
    ----------
    Zhou, Saad, Tiago, Chelikowsky, "Self-consistent-field calculations using Chebyshev-filtered subspace iteration",
    Journal of Computational Physics 219 (2006).
    """
    cut, top = _interval(matrix, k, seed)
    polynomial = _Polynomial(matrix, cut, top)
    return Transformed(
        apply=polynomial,
        image=polynomial.at,
        gain=polynomial.gain,
        advice="method='shift-invert' (graphs of curves or sheets), method='lanczos', or a larger tol",
        slack=RELAXED,
    )


def _interval(matrix: sparse.csr_array, k: int, seed: int) -> tuple[float, float]:
    """Where the polynomial is to be small: from a cut that enough eigenvalues lie below, to a bound on all."""
    probes = np.random.default_rng(seed).standard_normal((matrix.shape[0], PROBES))
    for steps in STEPS:
        cut, top = _interval_after(matrix, k, probes, steps)
        if cut >= RESOLVED * top * (math.pi / (2 * steps)) ** 2:
            break
    return cut, top


def _interval_after(matrix: sparse.csr_array, k: int, probes: FloatArray, steps: int) -> tuple[float, float]:
    n = matrix.shape[0]
    rules = [gauss_rule(jacobi) for jacobi in jacobi_matrices(matrix, probes, steps)]
    nodes, weights = np.concatenate([r[0] for r in rules]), np.concatenate([r[1] for r in rules]) / PROBES
    order = np.argsort(nodes)
    nodes = nodes[order]
    enough = np.searchsorted(np.cumsum(weights[order]), min((SPARE * k + SPREADS * math.sqrt(k) + 2) / n, 0.5))
    top = min(TOP_MARGIN * float(nodes[-1]), spectrum_bound(matrix))
    # A node may be an eigenvalue with many copies, which must not lie on the edge of the ripple.
    beyond = min(np.searchsorted(nodes, nodes[enough] + DISTINCT * top), len(nodes) - 1)
    return float(np.clip((nodes[enough] + nodes[beyond]) / 2, 1e-7 * top, 0.7 * top)), top


class _Polynomial:
    """p(L) x by the three-term recurrence, scaled to 1 at lambda = 0."""

    def __init__(self, matrix: sparse.csr_array, cut: float, top: float) -> None:
        self._matrix, self._centre, self._half = matrix, (top + cut) / 2, (top - cut) / 2
        self._growth = math.acosh(self._centre / self._half)
        self._degree = int(np.clip(math.ceil(math.acosh(GROWTH) / self._growth), 2, MAX_DEGREE))
        self._scale = 1.0 / math.cosh(self._degree * self._growth)

    def __call__(self, x: FloatArray) -> FloatArray:
        n, width = x.shape
        before, current = aligned(n, width), aligned(n, width)
        before[:], current[:] = x, 0.0
        step = np.repeat([[-1.0 / self._half], [self._centre / self._half], [0.0]], width, axis=1)
        recurrence(self._matrix, before, current, step)
        step = np.repeat([[-2.0 / self._half], [2.0 * self._centre / self._half], [-1.0]], width, axis=1)
        for _ in range(self._degree - 1):
            recurrence(self._matrix, current, before, step)
            before, current = current, before
        current *= self._scale
        return current

    def at(self, values: FloatArray) -> FloatArray:
        """p(lambda) for eigenvalues of the matrix."""
        x = (self._centre - values) / self._half
        inside = np.cos(self._degree * np.arccos(np.clip(x, -1.0, 1.0)))
        return np.asarray(self._scale * np.where(x > 1, np.cosh(self._degree * np.arccosh(np.maximum(x, 1))), inside))

    def gain(self, images: FloatArray) -> FloatArray:
        """The most by which (mu - lambda) exceeds p(lambda) - p(mu), over all mu beyond lambda, for values p(lambda).

        p is convex outside the interval and within the ripple inside: the secant from the end of the ripple.
        """
        angle = np.arccosh(np.maximum(images / self._scale, 1.0)) / self._degree
        below_top = self._half * (np.cosh(angle) + 1.0)  # lambda_max - lambda
        return np.asarray(below_top / np.maximum(images - self._scale, self._scale))
