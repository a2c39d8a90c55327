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

PROBES, STEPS = 2, 60  # of the density of states: under a tenth of the whole effort
# The polynomial grows below the value that about so many times the wanted number of eigenvalues lie under: all that
# are wanted must stand out of the ripple beyond, though the probes count k of them to sqrt(k) only. Too many cost
# little: products for 20 pairs, 8-D / 3-D latents, are 594 / 1452 with 1.5 times as many, 615 / 1552 with 4 times.
SPARE, SPREADS = 1.5, 3.0
# From 1 at the cut to this at 0. Products with a growth of 10, 100, 1000: 594, 704, 795 (8-D); 1452, 2067, 2310 (3-D);
# fewer applications, each with a reorthogonalisation, make up for some of them.
GROWTH = 20.0
MAX_DEGREE = 500
DISTINCT = 1e-3  # of lambda_max: nodes of two probes that lie nearer are taken for one eigenvalue
# An error of the polynomial's eigenvalue is one of lambda times its slope, which is large at the low end.
RELAXED = 100.0
TOP_MARGIN = 1.01  # after 60 steps the largest node is as near to lambda_max; beyond the interval p grows only slowly


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
    n = matrix.shape[0]
    probes = np.random.default_rng(seed).standard_normal((n, PROBES))
    rules = [gauss_rule(jacobi) for jacobi in jacobi_matrices(matrix, probes, STEPS)]
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
        """1 / |p'(lambda)| for values p(lambda); for those within the ripple, the largest there is."""
        angle = np.arccosh(np.maximum(images / self._scale, 1.0)) / self._degree
        ratio = np.full_like(angle, self._degree)  # sinh(d t) / sinh(t), whose limit at t = 0 is d
        np.divide(np.sinh(self._degree * angle), np.sinh(angle), out=ratio, where=angle > 0)
        return np.asarray(self._half / (self._scale * self._degree * ratio))
