"""Monte Carlo null of Geary's C by permuting snapshots or whole trajectories, and tests of many signals at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray, IntArray, as_categories
from gmvae_fast.spectral._products import multiply

BLOCK_WIDTH = 16  # columns of a product
LONGEST = 1.25  # times the shortest trajectory of those that are exchanged
LARGEST_LOG = 700.0  # of a float64
TIE = 1e-9  # of C: permutations that agree with the observed arrangement up to rounding count as reaching it


def group_codes(groups: Any, n: int) -> IntArray | None:
    """Codes 0 .. G - 1 of the trajectories [N], in order of first appearance; None for None.

    Raises
    ------
    TypeError, ValueError
        If there is not one sortable label per snapshot, or fewer than two trajectories.
    """
    if groups is None:
        return None
    array = as_categories(groups, "groups")
    if array.shape != (n,):
        raise ValueError(f"groups must have one trajectory label per latent, shape ({n},), got {array.shape}")
    try:
        _, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    except TypeError as error:
        raise TypeError("groups must be of one sortable type, such as all strings or all integers") from error
    if len(first) < 2:
        raise ValueError(f"groups must name at least two trajectories, got {len(first)}")
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)


def permutations_of(n: int, count: int, seed: int, groups: IntArray | None = None) -> Iterator[IntArray]:
    """``count`` random arrangements of the snapshots, int64 [N]: node i gets the value of snapshot ``order[i]``.

    Without ``groups`` each is a permutation. With them whole trajectories are exchanged, frame by frame, and only with
    others of similar length, see `length_classes`: a longer one is cut, a shorter one runs on backwards from its last
    frame, so that neighbours in time stay neighbours and no node sees a jump that no trajectory has. Between
    trajectories of one length this is a permutation, and exact if it does not matter which run had which values.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        for _ in range(count):
            yield rng.permutation(n)
        return
    lengths = np.bincount(groups)
    frames = np.split(np.argsort(groups, kind="stable"), np.cumsum(lengths)[:-1])
    classes = length_classes(lengths)
    for _ in range(count):
        order = np.empty(n, np.int64)
        for members in classes:
            for here, there in zip(members.tolist(), members[rng.permutation(len(members))].tolist(), strict=True):
                order[frames[here]] = frames[there][_there_and_back(len(frames[here]), len(frames[there]))]
        yield order


def length_classes(lengths: IntArray) -> list[IntArray]:
    """Trajectories [G] in classes within which the longest has at most `LONGEST` times the frames of the shortest.

    A long trajectory says more about the whole, and may differ otherwise from a short one: exchanged for each other
    they would not be alike under the null. One that is alone in its class keeps its values, which is exact.
    """
    order = np.argsort(lengths, kind="stable")
    classes: list[list[int]] = []
    for trajectory in order.tolist():
        if not classes or lengths[trajectory] > LONGEST * lengths[classes[-1][0]]:
            classes.append([])
        classes[-1].append(trajectory)
    return [np.array(members, np.int64) for members in classes]


def count_arrangements(groups: IntArray) -> float:
    """In how many ways trajectories can be exchanged, infinite beyond float64: no p-value is below its inverse."""
    logs = [math.lgamma(len(members) + 1) for members in length_classes(np.bincount(groups))]
    return float(np.round(math.exp(sum(logs)))) if sum(logs) < LARGEST_LOG else math.inf


def _there_and_back(count: int, length: int) -> IntArray:
    """The first ``count`` of 0, 1, ..., length - 1, length - 1, ..., 1, 0, 0, 1, ..."""
    steps = np.arange(count) % (2 * length)
    return np.where(steps < length, steps, 2 * length - 1 - steps)


def permuted_geary(
    graph: sparse.csr_array, signals: FloatArray, count: int, seed: int, groups: IntArray | None = None
) -> FloatArray:
    """C of the ``signals`` [N, S], centred and not constant, under ``count`` permutations, float64 [count, S].

    All signals share each permutation and each product with the graph. C is formed as f'(Deg - W)f: near its mean
    under the null nothing cancels. It is 0, as smooth as can be, where exchanged trajectories leave a signal constant.
    """
    n, n_signals = signals.shape
    degree = np.asarray(graph.sum(axis=1), np.float64)
    squares = np.einsum("ns,ns->s", signals, signals)
    orders = permutations_of(n, count, seed, groups)
    found = np.empty((count, n_signals))
    together = max(1, BLOCK_WIDTH // n_signals)
    for start in range(0, count, together):
        stop = min(start + together, count)
        block = np.concatenate([signals[next(orders)] for _ in range(start, stop)], axis=1)
        norms = np.tile(squares, stop - start)
        if groups is not None:  # trajectories of unequal length: not every value occurs once
            constant = np.ptp(block, axis=0) == 0
            block -= block.mean(axis=0)
            norms = np.where(constant, np.inf, np.einsum("ns,ns->s", block, block))
        energy = degree @ (block * block) - np.einsum("ns,ns->s", block, multiply(graph, block))
        found[start:stop] = ((n - 1) / degree.sum() * energy / norms).reshape(stop - start, n_signals)
    return found


def permutation_p_values(observed: FloatArray, permuted: FloatArray) -> FloatArray:
    """One-sided p-values of "smoother than chance" [S], the observed arrangement counted with the permutations.

    (1 + number of C <= observed) / (1 + number of permutations): never 0, and valid at any level (Phipson & Smyth,
    "Permutation p-values should never be zero", 2010).
    """
    reached = (permuted <= observed + TIE * np.maximum(1.0, np.abs(observed))).sum(axis=0)
    return np.asarray(np.where(np.isnan(observed), np.nan, (1.0 + reached) / (1.0 + len(permuted))))


def adjusted_log10_p(log10_p: FloatArray) -> FloatArray:
    """Benjamini-Hochberg adjustment of p-values given by their logarithms [S]; NaN takes no part.

    As `scipy.stats.false_discovery_control`, which takes the p-values themselves: those of smooth signals underflow.

    References
    ----------
    Benjamini & Hochberg, "Controlling the false discovery rate", Journal of the Royal Statistical Society B 57 (1995).
    """
    result = np.full(len(log10_p), np.nan)
    defined = np.flatnonzero(~np.isnan(log10_p))
    order = defined[np.argsort(log10_p[defined])]
    scaled = log10_p[order] - np.log10(np.arange(1, len(order) + 1) / max(len(order), 1))
    result[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0.0)
    return result
