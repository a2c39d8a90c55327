"""Exact k nearest neighbours among the rows of one array: what the graph is made of."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy.spatial import cKDTree

from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import (
    FloatArray,
    IntArray,
    as_finite,
    check_choice,
    check_positive_integer,
    unit_exponent,
)

IndexName: TypeAlias = Literal["auto", "exact", "kdtree"]

# Seconds for k = 10 on 2 shared cores, k-d tree / FAISS Flat (the largest N from a sample of the queries):
#         eight Gaussian clusters                      |  one isotropic Gaussian
#   D     N = 2e3         N = 2e4        N = 2e5       |  N = 2e4       N = 1e5
#   2   0.004 / 0.011   0.02 / 0.48    0.5 / 46        |
#   4   0.003 / 0.009   0.04 / 0.60    0.9 / 54        |
#   8   0.004 / 0.007   0.17 / 0.40    6.2 / 49        |  0.7 / 1.5     9 / 23
#   10                                                 |  1.8 / 1.3    23 / 32
#   12  0.005 / 0.010   0.35 / 0.41     27 / 78        |  3.7 / 1.8    52 / 39
#   16  0.009 / 0.010   0.48 / 0.37     59 / 40        |
# The crossing is near D = 10 without structure and near 14 with clusters, at every N.
KDTREE_MAX_DIM = 10
EXTRA_CANDIDATES = 4  # beyond k + 1: what lets almost every row pass the rounding test of `_flat_search`
FLOAT32_EPS = float(np.finfo(np.float32).eps)
COPIES_SEED = 0x5EED


class Neighbors(NamedTuple):
    """Nearest neighbours of every point, nearest first, the point itself left out."""

    indices: IntArray  # [N, k]
    distances: FloatArray  # [N, k], Euclidean, in the units of the latents


def nearest_neighbors(latents: Any, n_neighbors: int = 10, *, index: IndexName = "auto") -> Neighbors:
    """The ``n_neighbors`` nearest other rows of every row, exactly, by Euclidean distance.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points; any real dtype. Distances are decided in float64 whatever the index.
    n_neighbors : int
        Neighbours per point, at least 1 and below N.
    index : {"auto", "exact", "kdtree"}
        ``"exact"`` scans all pairs with FAISS, ``"kdtree"`` uses scipy's k-d tree. Both give the same
        distances; ``"auto"`` takes the faster one for this D.

    Returns
    -------
    Neighbors
        ``indices`` int64 [N, k] and ``distances`` float64 [N, k]. A point is never its own neighbour, also
        where it has copies. Equal distances are resolved deterministically.

    Raises
    ------
    TypeError, ValueError
        Wrong dtype or shape, NaN or infinities, ``n_neighbors`` out of range, unknown ``index``.

    Warns
    -----
    UserWarning
        If more than ``n_neighbors + 1`` rows are identical (a collapsed latent space): which copies become
        neighbours is then arbitrary, and they are drawn at random with a fixed seed, because ties broken by
        row order would make any signal that follows the row order look smooth.
    """
    check_choice(index, "index", ("auto", "exact", "kdtree"))
    k = check_positive_integer(n_neighbors, "n_neighbors")
    points = as_finite(latents, "latents", ndim=2)
    n, dim = points.shape
    if dim == 0:
        raise ValueError(f"latents must have at least one column, got shape {points.shape}")
    if n <= k:
        raise ValueError(f"n_neighbors={k} needs at least {k + 1} latents, got {n}; lower n_neighbors or add points")
    exponent = unit_exponent(points)
    # Scaling by a power of two is exact; adding 0.0 makes -0.0 and 0.0 the same bits for the search of
    # copies.
    points = np.ascontiguousarray(np.ldexp(points, -exponent) + 0.0)
    use_tree = index == "kdtree" or (index == "auto" and dim <= KDTREE_MAX_DIM)
    found = _search_with_copies(points, k, use_tree)
    return Neighbors(found.indices, np.ldexp(found.distances, exponent))


def _search_with_copies(points: FloatArray, k: int, use_tree: bool) -> Neighbors:
    """Neighbours of all points, with groups of more than k + 1 identical points handled apart.

    Inside such a group every other member is a valid answer. The members, in random order, are linked to the
    k that follow them on a ring: every copy gets the same degree. Only k of them enter the index, since
    nobody needs more, so a collapsed latent space does not cost all pairs.
    """
    search = _tree_search if use_tree else _flat_search
    groups = _crowded_groups(points, k)
    if not groups:
        return search(points, np.arange(len(points)), k)
    copies = sum(map(len, groups))
    warnings.warn(
        f"{copies} of {len(points)} latents lie in {len(groups)} group(s) of more than {k + 1} identical "
        "points; neighbours inside a group are drawn at random",
        UserWarning,
        stacklevel=4,
    )
    n = len(points)
    indices, distances = np.empty((n, k), np.int64), np.zeros((n, k))
    indexed, single = np.ones(n, bool), np.ones(n, bool)
    for members in groups:
        ring = np.arange(len(members))[:, None] + np.arange(1, k + 1)
        indices[members] = members[ring % len(members)]
        single[members] = False
        indexed[members[k:]] = False
    if single.any():
        rows = np.flatnonzero(indexed)
        found = search(points[rows], np.flatnonzero(single[rows]), k)
        indices[single], distances[single] = rows[found.indices], found.distances
    return Neighbors(indices, distances)


def _crowded_groups(points: FloatArray, k: int) -> list[IntArray]:
    """Row numbers, in random order, of each group of more than k + 1 identical rows."""
    rng = np.random.default_rng(COPIES_SEED)
    odd = [np.uint64(2 * int(rng.integers(1, 2**62)) + 1) for _ in range(points.shape[1])]
    hashes = np.zeros(len(points), np.uint64)
    for column in range(points.shape[1]):
        hashes += np.ascontiguousarray(points[:, column]).view(np.uint64) * odd[column]
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > k + 1)
    if len(suspects) == 0:
        return []
    # Hashes may collide: the groups are formed from the rows themselves.
    _, inverse, counts = np.unique(points[suspects], axis=0, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(suspects))
    by_group = shuffled[np.argsort(inverse.ravel()[shuffled], kind="stable")]
    parts = np.split(suspects[by_group], np.cumsum(counts)[:-1])
    return [part.astype(np.int64, copy=False) for part in parts if len(part) > k + 1]


def _tree_search(points: FloatArray, queries: IntArray, k: int) -> Neighbors:
    """Neighbours of ``points[queries]`` among ``points`` by a k-d tree in float64."""
    distances, indices = cKDTree(points).query(points[queries], k + 1, workers=thread_count())
    indices = np.asarray(indices, np.int64)
    others = indices != queries[:, None]
    # Among copies the point itself may not be returned: then the farthest candidate is the surplus one.
    others[others.all(axis=1), -1] = False
    return Neighbors(indices[others].reshape(-1, k), np.asarray(distances)[others].reshape(-1, k))


def _flat_search(points: FloatArray, queries: IntArray, k: int) -> Neighbors:
    """Neighbours of ``points[queries]`` among ``points`` by a full scan: float32 candidates, float64 choice.

    FAISS expands |x - y|² = |x|² + |y|² - 2 x.y in float32. With u the float32 epsilon, any y at distance d
    from x has |y| <= |x| + d, so that form is off by at most (D + 8) u (2 |x| + d)². A row is certain when
    its k-th float64 distance lies below the farthest float32 candidate by more than that; the others (tight
    clusters far from the centre, many ties) are searched again in float64.
    """
    n, dim = points.shape
    centred = points - points.mean(axis=0)
    scan = min(n, k + 1 + EXTRA_CANDIDATES)
    farthest, candidates = _faiss_flat(centred.astype(np.float32), queries, scan)
    squared = np.empty(candidates.shape)
    for column in range(scan):  # one column at a time: [N, scan, D] at once would be the largest array of all
        difference = points[candidates[:, column]] - points[queries]
        squared[:, column] = np.einsum("nd,nd->n", difference, difference)
    squared[candidates == queries[:, None]] = np.inf
    order = np.lexsort((candidates, squared), axis=1)[:, :k]
    squared = np.take_along_axis(squared, order, axis=1)
    indices = np.take_along_axis(candidates, order, axis=1)
    if scan < n:
        reach = 2.0 * np.linalg.norm(centred[queries], axis=1) + np.sqrt(squared[:, -1])
        certain = squared[:, -1] <= farthest - (dim + 8) * FLOAT32_EPS * reach**2
        certain |= squared[:, -1] == 0.0  # nothing can be nearer
        doubtful = np.flatnonzero(~certain)
        if len(doubtful):
            again = _tree_search(points, queries[doubtful], k)
            indices[doubtful], squared[doubtful] = again.indices, again.distances**2
    return Neighbors(indices, np.sqrt(squared))


def _faiss_flat(points: Any, queries: IntArray, scan: int) -> tuple[FloatArray, IntArray]:
    """Farthest of the ``scan`` float32 squared distances [Q], and the candidates [Q, scan]."""
    import faiss  # here, not above: it brings a second OpenMP runtime that a k-d tree user need not load

    with _faiss_threads(faiss):
        flat = faiss.IndexFlatL2(points.shape[1])
        flat.add(np.ascontiguousarray(points))
        squared, candidates = flat.search(np.ascontiguousarray(points[queries]), scan)
    return squared[:, -1].astype(np.float64), candidates.astype(np.int64, copy=False)


@contextmanager
def _faiss_threads(faiss: Any) -> Iterator[None]:
    """FAISS's thread count is global to the process: set it to ours, and put it back."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(thread_count())
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
