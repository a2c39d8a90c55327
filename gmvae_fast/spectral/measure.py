"""Where on the spectrum of a Laplacian a signal has its energy, without eigenvectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.special import betainc

from gmvae_fast.spectral._arrays import FloatArray, as_finite, check_positive_integer, check_seed, check_unit, to_numpy
from gmvae_fast.spectral._lanczos import Jacobi, jacobi_matrices
from gmvae_fast.spectral._ordering import local_order, permuted
from gmvae_fast.spectral.eigen import check_laplacian
from gmvae_fast.spectral.quadrature import Bounds, distribution_bounds, gauss_rule

BLOCK_WIDTH = 16  # vectors a product takes at once: two cache lines per gathered row
# Nodes beyond which a numbering that suits the caches is worth its time, a search and a copy of the matrix: each of
# the many products then gathers from nearby.
REORDERED = 50_000
NULL_TOLERANCE = 1e-10  # of the largest entry: residual up to which a vector counts as a null vector
BISECTION_WIDTH = 1e-8  # of the spectrum's width
ROUNDING = 1e-13  # of a sum of weights
NEGLIGIBLE = 1e-28  # of the energy: what rounding leaves of a signal without energy outside the null space


@dataclass(frozen=True, eq=False)
class SpectralMeasure:
    """Energy of one signal over the spectrum: sum_l (u_l'f)² / f'f at lambda_l, known through its moments.

    Attributes
    ----------
    null_share : float
        Energy in the null space, where that is known; it is then an exact atom at 0, and the quadrature covers the
        rest.
    """

    null_share: float
    _jacobi: Jacobi | None = field(repr=False)  # of the rest; None if there is none

    @cached_property
    def _rule(self) -> tuple[FloatArray, FloatArray]:
        nodes, weights = np.empty(0), np.empty(0)
        if self._jacobi is not None:
            nodes, weights = gauss_rule(self._jacobi)
        if self.null_share > 0:
            return np.append(0.0, nodes), np.append(self.null_share, (1 - self.null_share) * weights)
        return nodes, weights

    @property
    def nodes(self) -> FloatArray:
        """Quadrature nodes on the spectrum, ascending, float64 [J]."""
        return self._rule[0]

    @property
    def weights(self) -> FloatArray:
        """Energy that the quadrature puts at each node; they sum to 1, float64 [J]."""
        return self._rule[1]

    @property
    def mean(self) -> float:
        """Mean of lambda, the Rayleigh quotient f'Lf / f'f: exact."""
        return float(self.nodes @ self.weights)

    def cumulative(self, t: Any) -> Bounds:
        """Energy at lambda <= t, with an interval that holds the truth.

        The interval is rigorous but for rounding, and the narrowest one that the moments allow; the value is its
        middle. It is wide where many eigenvalues lie within the resolution of the quadrature, about
        lambda_max (pi / (2 steps))² at the low end of the spectrum.

        Parameters
        ----------
        t : float or array
            Points on the spectrum.

        Returns
        -------
        Bounds
            ``value``, ``lower``, ``upper``, float64 like ``t``.
        """
        points = _points(t)
        flat = points.ravel()
        shares = np.zeros((2, *flat.shape))
        if self._jacobi is not None:
            shares = np.stack(distribution_bounds(self._jacobi, flat))
        # A Laplacian has nothing below 0, whatever rounding does to its lowest nodes.
        shares = np.where(flat < 0, 0.0, self.null_share + (1 - self.null_share) * shares)
        lower, upper = shares.reshape(2, *points.shape)
        return Bounds((lower + upper) / 2, lower, upper)

    def low_frequency_energy(self, m: int, density: DensityOfStates) -> Bounds:
        """Energy in the ``m`` lowest modes, E_m, without eigenvectors.

        ``density`` says between which points lambda_m lies; the cumulative energy at those two, with its own error,
        encloses E_m at the confidence of ``density``. With m below the number of components E_m depends on the basis
        of the null space and the interval is [0, null_share].
        """
        if check_positive_integer(m, "m") < density.n_components:
            return _interval(0.0, self.null_share)
        low, high = density.mode_bracket(m)
        bounds = self.cumulative([low, high])
        return _interval(float(bounds.lower[0]), float(bounds.upper[1]))


@dataclass(frozen=True, eq=False)
class DensityOfStates:
    """How many eigenvalues a Laplacian has up to t, from random vectors.

    Attributes
    ----------
    n : int
        Number of eigenvalues, N.
    n_components : int
        Connected components of the graph: eigenvalues that are 0.
    confidence : float
        Of the intervals.
    """

    n: int
    n_components: int
    confidence: float
    _deflated: int = field(repr=False)  # null vectors taken out of the probes: all or none
    _probes: tuple[Jacobi, ...] = field(repr=False)
    _squares: FloatArray = field(repr=False)  # [P], squared norms of the probes
    _brackets: dict[int, tuple[float, float]] = field(default_factory=dict, repr=False)

    def count(self, t: Any) -> Bounds:
        """Number of eigenvalues <= t, with an interval at the stated confidence.

        Notes
        -----
        With v normal in the n - c dimensions outside the null space and P the projector on the eigenvectors up to t,
        sum v'Pv / sum v'v over s probes follows the beta distribution with parameters s (m - c) / 2 and s (n - m) / 2
        exactly. Its observed value is known up to the bounds of the quadrature; m is every count for which neither
        end is in the tail of that distribution (Clopper & Pearson 1934).
        """
        points = _points(t)
        flat = points.ravel()
        lower, upper = self._shares(flat)
        tail = (1 - self.confidence) / 2
        modes = self.n - self._deflated
        # One more than the largest count for which the share seen would be too large, unless there is none left.
        fewest = np.where(lower > 0, np.minimum(self._extreme_count(lower, 1 - tail) + 1, modes), 0)
        most = self._extreme_count(upper, tail)
        # A share too small for any number and too large for the next lower one: between both, in one tail of each.
        fewest, most = np.minimum(fewest, most), np.maximum(fewest, most)
        parts = np.stack([(lower + upper) / 2 * modes, fewest, most])
        parts = np.where(flat >= 0, np.maximum(parts + self._deflated, self.n_components), 0.0)
        value, fewest, most = parts.reshape(3, *points.shape)
        return Bounds(np.clip(value, fewest, most), fewest, most)

    def mode_bracket(self, m: int) -> tuple[float, float]:
        """Points (low, high) with at most ``m`` eigenvalues <= low and at least ``m`` <= high.

        Both hold at the stated confidence. lambda_m is at most ``high``; lambda_(m + 1) is above ``low``.
        """
        if check_positive_integer(m, "m") > self.n:
            raise ValueError(f"m must be at most the number of eigenvalues, {self.n}, got {m}")
        top = max(float((probe.diagonal + 2 * probe.off_diagonal.max()).max()) for probe in self._probes)
        if m == self.n or not self._probes:
            return top, top
        if m not in self._brackets:  # every signal asks for the same few
            self._brackets[m] = self._search_bracket(m, top)
        return self._brackets[m]

    def _search_bracket(self, m: int, top: float) -> tuple[float, float]:
        low = _last_point(lambda t: float(self.count(t).upper) <= m, top) if m >= self.n_components else 0.0
        high = 0.0
        if m > self.n_components:
            high = _last_point(lambda t: float(self.count(t).lower) < m, top) + top * BISECTION_WIDTH
        return low, high

    def _shares(self, t: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Bounds on the share of the probes' energy up to t [T]."""
        lower, upper = np.zeros(t.shape), np.zeros(t.shape)
        for probe, square in zip(self._probes, self._squares, strict=True):
            least, most = distribution_bounds(probe, t)
            lower += square * least
            upper += square * most
        total = max(float(self._squares.sum()), np.finfo(float).tiny)
        # Rounding must not turn a share of 0 or 1, which every count or none explains, into almost that.
        lower, upper = lower / total - ROUNDING, upper / total + ROUNDING
        return np.where(t < 0, 0.0, np.clip(lower, 0.0, 1.0)), np.where(t < 0, 0.0, np.clip(upper, 0.0, 1.0))

    def _extreme_count(self, share: FloatArray, level: float) -> FloatArray:
        """Largest count, 0 to n - c, whose beta distribution has more than ``level`` of its mass up to ``share``.

        It falls with the count, so bisection finds it.
        """
        modes = self.n - self._deflated
        half = len(self._probes) / 2
        least, most = np.zeros(share.shape), np.full(share.shape, float(modes))
        while (most - least > 0.5).any():
            middle = np.ceil((least + most) / 2)
            # A count of 0 or of all modes has no distribution: the share is then 0 or 1 for certain.
            mass = betainc(np.maximum(half * middle, 1e-300), np.maximum(half * (modes - middle), 1e-300), share)
            enough = (mass > level) & (share > 0)
            least, most = np.where(enough, middle, least), np.where(enough, most, middle - 1)
        return least


def spectral_measure(laplacian: Any, f: Any, *, steps: int = 80, degree: Any = None) -> Any:
    """Energy of signals over the spectrum of a graph Laplacian, by Lanczos quadrature.

    Parameters
    ----------
    laplacian : sparse array or array [N, N]
        L or L_sym, from `laplacian`.
    f : array [N] or [N, S]
        One signal or several, taken as they are: centre them first, or for L_sym take Deg^(1/2) (f - f_bar).
    steps : int
        Products with the matrix, and nodes of the quadrature. The width of the intervals shrinks like 1 / steps inside
        the spectrum and 1 / steps² at its ends.
    degree : array [N], optional
        Degrees of the nodes, if ``laplacian`` is L_sym of a weighted graph: they give its null space, which is then
        taken out exactly. For L, and for L_sym of a binary graph, it is found without. Where it is not known, the
        measures still hold, and their intervals are wider near 0.

    Returns
    -------
    SpectralMeasure or tuple of SpectralMeasure
        One for each signal; a tuple if ``f`` has two axes.

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square, symmetric and finite, or signals are not finite, or zero, or do not fit.

    Notes
    -----
    Lanczos rather than Chebyshev moments: as many products give as many moments of the measure, and in the form of its
    Jacobi matrix these bound its distribution function sharply and adapt to its atoms, while a damped Chebyshev
    series has an error that only an assumption of smoothness would bound. Signals share every product with the
    matrix. Nothing is reorthogonalised, for want of memory (steps x N per signal) and of need: see
    `_lanczos.jacobi_matrices`.

    References
    ----------
    Golub & Meurant, "Matrices, Moments and Quadrature with Applications", Princeton (2010), chapter 6.
    """
    matrix = check_laplacian(laplacian)
    array = to_numpy(f)
    block = as_finite(array, "f", ndim=2 if array.ndim == 2 else 1).reshape(len(array), -1)
    if len(block) != matrix.shape[0]:
        raise ValueError(f"f must have one row per node, {matrix.shape[0]}, got {len(block)}")
    if zero := np.flatnonzero(~block.any(axis=0)).tolist():
        raise ValueError(f"f must not be zero, it is in column(s) {zero}")
    null = NullSpace.of(matrix, None if degree is None else as_finite(degree, "degree", ndim=1))
    measures, _ = measure_block(matrix, block, null, steps=steps)
    return measures if array.ndim == 2 else measures[0]


def density_of_states(
    laplacian: Any, *, steps: int = 80, n_probes: int = 8, seed: int = 0, confidence: float = 0.99, degree: Any = None
) -> DensityOfStates:
    """Number of eigenvalues of a graph Laplacian up to any t, by stochastic Lanczos quadrature.

    Parameters
    ----------
    laplacian, steps, degree
        As for `spectral_measure`.
    n_probes : int
        Normal random vectors. The relative error of a count m is about sqrt(2 / (m n_probes)).
    seed : int
        Of the probes.
    confidence : float
        Of the intervals, between 0 and 1.

    Returns
    -------
    DensityOfStates

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square, symmetric and finite, or an option is out of range.

    References
    ----------
    Lin, Saad, Yang, "Approximating spectral densities of large matrices", SIAM Review 58 (2016).
    """
    matrix = check_laplacian(laplacian)
    null = NullSpace.of(matrix, None if degree is None else as_finite(degree, "degree", ndim=1))
    check_positive_integer(n_probes, "n_probes")
    empty = np.empty((matrix.shape[0], 0))
    return measure_block(matrix, empty, null, steps=steps, n_probes=n_probes, seed=seed, confidence=confidence)[1]


def measure_block(
    matrix: sparse.csr_array,
    signals: FloatArray,
    null: NullSpace,
    *,
    steps: int,
    n_probes: int = 0,
    seed: int = 0,
    confidence: float = 0.99,
) -> tuple[tuple[SpectralMeasure, ...], DensityOfStates]:
    """Measures of the ``signals`` [N, S], none of them zero, and the density of states, from shared products."""
    check_positive_integer(steps, "steps")
    check_unit(confidence, "confidence")
    check_seed(seed)
    n, n_signals = signals.shape
    probes = np.random.default_rng(seed).standard_normal((n, n_probes))
    block = np.column_stack([signals / np.abs(signals).max(axis=0, initial=0.0), probes])
    before = np.einsum("ns,ns->s", block, block)
    null.remove_from(block)
    squares = np.einsum("ns,ns->s", block, block)
    shares = 1.0 - squares / before
    alive = np.flatnonzero(squares > NEGLIGIBLE * before)
    found: dict[int, Jacobi] = {}
    order = None
    if n >= REORDERED and len(alive):
        order = local_order(matrix)
        matrix = permuted(matrix, order)
    for start in range(0, len(alive), BLOCK_WIDTH):
        columns = alive[start : start + BLOCK_WIDTH]
        vectors = block[:, columns] if order is None else block[np.ix_(order, columns)]
        found.update(zip(columns.tolist(), jacobi_matrices(matrix, vectors, steps), strict=True))
    measures = tuple(
        SpectralMeasure(float(np.clip(shares[i], 0.0, 1.0)) if i in found else 1.0, found.get(i))
        for i in range(n_signals)
    )
    drawn = [i for i in range(n_signals, n_signals + n_probes) if i in found]
    density = DensityOfStates(
        n=n,
        n_components=null.n_components,
        confidence=confidence,
        _deflated=null.dimension,
        _probes=tuple(found[i] for i in drawn),
        _squares=squares[drawn],
    )
    return measures, density


@dataclass(frozen=True, eq=False)
class NullSpace:
    """Vectors that a Laplacian maps to 0: one per connected component, if their form is known.

    Attributes
    ----------
    n_components : int
    basis : sparse array [N, c], orthonormal; [N, 0] if not known
    """

    n_components: int
    basis: sparse.csr_array

    @property
    def dimension(self) -> int:
        """Number of known null vectors: ``n_components`` or 0."""
        return int(self.basis.shape[1])

    @classmethod
    def of(cls, matrix: sparse.csr_array, degree: FloatArray | None = None) -> NullSpace:
        """Find the null space of L, or of L_sym from the degrees (for binary graphs, from the entries per row)."""
        n = matrix.shape[0]
        count, labels = csgraph.connected_components(matrix, directed=False)
        if degree is None:
            degree = np.diff(matrix.indptr) - (matrix.diagonal() != 0)
        largest = np.abs(matrix.data).max(initial=0.0)
        for vector in (np.ones(n), np.sqrt(degree)):
            if np.abs(matrix @ vector).max(initial=0.0) <= NULL_TOLERANCE * largest * vector.max(initial=0.0):
                return cls(int(count), _component_basis(vector, labels, int(count)))
        return cls(int(count), sparse.csr_array((n, 0)))

    def remove_from(self, block: FloatArray) -> None:
        """Project ``block`` [N, S] on the complement, in place; twice, since once leaves rounding behind."""
        if self.dimension:
            for _ in range(2):
                block -= self.basis @ (self.basis.T @ block)


def _component_basis(vector: FloatArray, labels: Any, count: int) -> sparse.csr_array:
    """``vector`` cut into connected components, each part normalised; 1 at an isolated node."""
    squares = np.bincount(labels, vector**2, minlength=count)
    entries = np.where(squares[labels] > 0, vector, 1.0) / np.sqrt(np.where(squares > 0, squares, 1.0))[labels]
    n = len(vector)
    return sparse.csr_array((entries, labels, np.arange(n + 1, dtype=labels.dtype)), shape=(n, count))


def _points(t: Any) -> FloatArray:
    """Points on the spectrum, which may lie outside it."""
    points = np.asarray(t, np.float64)
    if np.isnan(points).any():
        raise ValueError(f"t must not be NaN, {np.count_nonzero(np.isnan(points))} of {points.size} point(s) are")
    return points


def _last_point(holds: Callable[[float], bool], top: float) -> float:
    """Largest point of [0, top], to a fine grid, up to which a condition holds that fails further on."""
    low, high = 0.0, top
    while high - low > top * BISECTION_WIDTH:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _interval(lower: float, upper: float) -> Bounds:
    return Bounds(np.asarray((lower + upper) / 2), np.asarray(lower), np.asarray(upper))
