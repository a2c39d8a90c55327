"""Monte Carlo null of Geary's C by permuting snapshots or whole trajectories, and tests of many signals at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray, IntArray, to_numpy
from gmvae_fast.spectral._products import multiply

BLOCK_WIDTH = 16  # columns of a product
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
    array = to_numpy(groups)
    if array.shape != (n,):
        raise ValueError(f"groups must have one trajectory label per latent, shape ({n},), got {array.shape}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("groups must not hold NaN; give every snapshot a trajectory label")
    try:
        _, first, inverse = np.unique(array, return_index=True, return_inverse=True)
    except TypeError as error:
        raise TypeError("groups must be of one sortable type, such as all strings or all integers") from error
    if len(first) < 2:
        raise ValueError(f"groups must name at least two trajectories, got {len(first)}")
    return np.asarray(np.argsort(np.argsort(first))[inverse], np.int64)


def permutations_of(n: int, count: int, seed: int, groups: IntArray | None = None) -> Iterator[IntArray]:
    """``count`` random permutations [N] of the snapshots; with ``groups``, of whole trajectories.

    Trajectories are strung together, frames in row order, and so are their nodes. A permutation strings them in another
    order and lays the values over the nodes again. With trajectories of one length each trajectory then carries the
    values of another one, frame by frame: exchangeable under the null that the latents know nothing of which run had
    which values. With unequal lengths the cuts between values and between nodes do not coincide; all values are kept,
    each once, in the neighbourhood in time that they had, so that only the fragments at the cuts differ from the equal
    case.
    """
    rng = np.random.default_rng(seed)
    if groups is None:
        for _ in range(count):
            yield rng.permutation(n)
        return
    strung = np.argsort(groups, kind="stable")
    pieces = np.split(strung, np.cumsum(np.bincount(groups))[:-1])
    for _ in range(count):
        order = np.empty(n, np.int64)
        order[strung] = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
        yield order


def permuted_geary(
    graph: sparse.csr_array, signals: FloatArray, count: int, seed: int, groups: IntArray | None = None
) -> FloatArray:
    """C of the ``signals`` [N, S], centred and not constant, under ``count`` permutations, float64 [count, S].

    All signals share each permutation and each product with the graph. C is formed as f'(Deg - W)f: near its mean
    under the null nothing cancels.
    """
    n, n_signals = signals.shape
    degree = np.asarray(graph.sum(axis=1), np.float64)
    factor = (n - 1) / (degree.sum() * np.einsum("ns,ns->s", signals, signals))
    orders = permutations_of(n, count, seed, groups)
    found = np.empty((count, n_signals))
    together = max(1, BLOCK_WIDTH // n_signals)
    for start in range(0, count, together):
        stop = min(start + together, count)
        block = np.concatenate([signals[next(orders)] for _ in range(start, stop)], axis=1)
        energy = degree @ (block * block) - np.einsum("ns,ns->s", block, multiply(graph, block))
        found[start:stop] = factor * energy.reshape(stop - start, n_signals)
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
