"""Means over seeds, and paired tests between arms; the tests are scipy's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Values over seeds: ``std`` is that of a sample (n - 1), NaN for one value."""

    mean: float
    std: float
    n: int


@dataclass(frozen=True)
class PairedTest:
    """Differences between two arms over the seeds that both have.

    Attributes
    ----------
    difference : float
        Mean of first less second.
    n : int
        Number of pairs.
    p_t, p_wilcoxon : float
        Two-sided p-values of the paired t-test and of Wilcoxon's signed-rank test (exact for small n: with five
        pairs it cannot fall below 0.0625). NaN with fewer than two pairs; 1 where all differences are 0. Where they
        are all equal otherwise they have no spread to measure them by, and ``p_t`` is NaN.
    """

    difference: float
    n: int
    p_t: float
    p_wilcoxon: float


def spread(values: Sequence[float]) -> Spread:
    """Mean, sample standard deviation and number of the finite ``values``."""
    kept = [value for value in values if math.isfinite(value)]
    if not kept:
        return Spread(math.nan, math.nan, 0)
    return Spread(float(np.mean(kept)), float(np.std(kept, ddof=1)) if len(kept) > 1 else math.nan, len(kept))


def paired_test(first: Mapping[int, float], second: Mapping[int, float]) -> PairedTest:
    """Compare two arms seed by seed (same split, same start of the generators)."""
    from scipy.stats import ttest_1samp, wilcoxon

    seeds = [s for s in first if s in second and math.isfinite(first[s]) and math.isfinite(second[s])]
    difference = np.array([first[s] - second[s] for s in seeds])
    n = len(difference)
    mean = float(difference.mean()) if n else math.nan
    if n < 2:
        return PairedTest(mean, n, math.nan, math.nan)
    if not difference.any():
        return PairedTest(0.0, n, 1.0, 1.0)
    constant = np.ptp(difference) <= 1e-12 * np.abs(difference).max()
    p_t = math.nan if constant else float(ttest_1samp(difference, 0.0).pvalue)
    return PairedTest(mean, n, p_t, float(wilcoxon(difference).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number by Holm's step-down method (Scand. J. Statist. 6, 65 (1979)); NaN stays."""
    adjusted = [math.nan] * len(p_values)
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
