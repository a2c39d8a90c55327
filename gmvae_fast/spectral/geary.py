"""Geary's C on a weighted graph, with its null moments."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import log_ndtr, ndtr

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral.graph import check_graph

# Below this fraction of E[C]² the variance is the rounding left by the cancellation of its terms: the
# statistic is the same for every permutation (a complete graph), and no z-score exists.
ZERO_VARIANCE = 1e-13


@dataclass(frozen=True)
class WeightSums:
    """What the null moments need to know of a symmetric graph.

    Attributes
    ----------
    n : int
        Nodes.
    s0 : float
        Sum of all weights, the trace of L.
    s1 : float
        1/2 sum_ij (w_ij + w_ji)².
    s2 : float
        sum_i (w_i. + w_.i)².
    """

    n: int
    s0: float
    s1: float
    s2: float

    @classmethod
    def of(cls, graph: Any) -> WeightSums:
        """The sums of ``graph`` (sparse array [N, N], symmetric)."""
        return cls.of_checked(check_graph(graph))

    @classmethod
    def of_checked(cls, graph: sparse.csr_array) -> WeightSums:
        """The same for a graph that `check_graph` has returned."""
        degree = np.asarray(graph.sum(axis=1))
        return cls(
            n=int(graph.shape[0]),
            s0=float(degree.sum()),
            s1=2.0 * float(graph.data @ graph.data),
            s2=4.0 * float(degree @ degree),
        )


def normality_variance(sums: WeightSums) -> float:
    """Variance of C when the signal is independent normal draws; NaN without edges or below 3 nodes.

    Var = [(2 S1 + S2)(n - 1) - 4 S0²] / [2 (n + 1) S0²], Cliff & Ord (1981), section 1.5.
    """
    if sums.n < 3 or sums.s0 == 0.0:
        return math.nan
    n = float(sums.n)
    variance = ((2 * sums.s1 + sums.s2) * (n - 1) / sums.s0**2 - 4) / (2 * (n + 1))
    return variance if variance > ZERO_VARIANCE else math.nan


def randomization_variance(sums: WeightSums, kurtosis: float) -> float:
    """Variance of C over all permutations of one signal; NaN without edges or with fewer than 4 nodes.

    Parameters
    ----------
    sums : WeightSums
    kurtosis : float
        b2 = m4 / m2² of the signal, from central moments with divisor n (3 for a normal sample).

    Notes
    -----
    Cliff & Ord (1981), section 1.5:
    Var = { (n-1) S1 [n² - 3n + 3 - (n-1) b2] - 1/4 (n-1) S2 [n² + 3n - 6 - (n² - n + 2) b2]
    + S0² [n² - 3 - (n-1)² b2] } / { n (n-2) (n-3) S0² }.
    It is exact: it equals the variance over the enumeration of all n! permutations.
    """
    if sums.n < 4 or sums.s0 == 0.0:
        return math.nan
    n = float(sums.n)
    first = (n - 1) * (sums.s1 / sums.s0**2) * (n * n - 3 * n + 3 - (n - 1) * kurtosis)
    second = (n - 1) * (sums.s2 / sums.s0**2) * (n * n + 3 * n - 6 - (n * n - n + 2) * kurtosis) / 4
    third = n * n - 3 - (n - 1) ** 2 * kurtosis
    variance = (first - second + third) / (n * (n - 2) * (n - 3))
    return variance if variance > ZERO_VARIANCE else math.nan


def kurtosis(signal: FloatArray) -> float:
    """b2 = m4 / m2² of a centred signal [N] that is not all zero."""
    squares = signal * signal
    return float(len(signal) * (squares @ squares) / squares.sum() ** 2)


@dataclass(frozen=True)
class NullTest:
    """One-sided test of "smoother than chance"; all NaN where the null variance is zero or undefined."""

    z: float
    p: float
    log10_p: float

    @classmethod
    def of(cls, geary_c: float, variance: float) -> NullTest:
        """Compare C with its expectation 1 under the null; positive z means smoother than chance.

        ``p`` is the upper tail of the normal approximation; ``log10_p`` stays finite where ``p`` underflows
        (z > 38).
        """
        if not (math.isfinite(geary_c) and math.isfinite(variance)):
            return cls(math.nan, math.nan, math.nan)
        z = (1.0 - geary_c) / math.sqrt(variance)
        return cls(z, float(ndtr(-z)), float(log_ndtr(-z)) / math.log(10.0))
