"""The k nearest neighbours among the rows of one array: what the graph is made of."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from gmvae_fast.spectral._arrays import (
    REAL,
    FloatArray,
    IntArray,
    as_finite,
    check_choice,
    check_positive_integer,
    unit_exponent,
)
from gmvae_fast.spectral._search import Found, approximate_search, flat_search, lists_search, tree_search

IndexName: TypeAlias = Literal["auto", "exact", "kdtree", "lists", "ivf", "hnsw"]

INDEX_NAMES = ("auto", "exact", "kdtree", "lists", "ivf", "hnsw")
COPIES_SEED = 0x5EED

# Where the native k-d tree answers before FAISS does: benchmarks/README.md.
KDTREE_MAX_DIM = 8
EXACT_MAX_POINTS = 30_000  # an exact search takes at most half a second: not worth an approximation
EXACT_KDTREE_MAX_DIM = 64
LISTS_MAX_DIM = 64


class Neighbors(NamedTuple):
    """Nearest neighbours of every point, nearest first, the point itself left out."""

    indices: IntArray  # [N, k]
    distances: FloatArray  # [N, k], Euclidean, in the units of the latents
    index_name: str = "exact"  # the search that answered
    recall: float = 1.0  # share of the true neighbours: measured on a sample, or 1 where the search is exact
    effort: int = 0  # lists that a query reads ("lists", "ivf"), efSearch of "hnsw", 0 where the search is exact


def nearest_neighbors(
    latents: Any, n_neighbors: int = 10, *, index: IndexName = "auto", min_recall: float = 0.99
) -> Neighbors:
    """The ``n_neighbors`` nearest other rows of every row by Euclidean distance.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points; any real dtype. Distances are decided in float64 whatever the index.
    n_neighbors : int
        Neighbours per point, at least 1 and below N.
    index : {"auto", "exact", "kdtree", "lists", "ivf", "hnsw"}
        ``"exact"`` scans all pairs with FAISS, ``"kdtree"`` uses a native k-d tree: both give the same distances.
        ``"lists"`` (native inverted lists, their centres from the k-d tree), ``"ivf"`` and ``"hnsw"`` (FAISS's) are
        approximate, see ``min_recall``; the result of the last depends on the scheduling of threads unless there is
        one. ``"auto"`` takes the fastest for this N and D, see `choose_index`; it is exact up to D = 8 and up to
        N = 30000, and wherever a sample shows that lists would save less than half of the comparisons.
    min_recall : float
        Share of the true neighbours that an approximate index must find, in (0, 1]. It is measured on a sample of
        1000 points against the exact search, and reached by reading more lists or raising efSearch until the estimate
        less two standard errors is above it. With 1, ``"auto"`` is exact.

    Returns
    -------
    Neighbors
        ``indices`` int64 [N, k] and ``distances`` float64 [N, k]; ``index_name``, what answered, its ``recall`` and
        ``effort``. A point is never its own neighbour, also where it has copies. Equal distances are resolved
        deterministically. Where an approximate index cannot reach ``min_recall`` the exact one answers, and
        ``index_name`` says so.

    Raises
    ------
    TypeError, ValueError
        Wrong dtype or shape, NaN or infinities, ``n_neighbors`` or ``min_recall`` out of range, unknown ``index``.

    Warns
    -----
    UserWarning
        If more than ``n_neighbors + 1`` rows are identical (a collapsed latent space): which copies become
        neighbours is then arbitrary, and they are drawn at random with a fixed seed, because ties broken by
        row order would make any signal that follows the row order look smooth.
    """
    check_choice(index, "index", INDEX_NAMES)
    k = check_positive_integer(n_neighbors, "n_neighbors")
    if not isinstance(min_recall, REAL) or not 0 < min_recall <= 1:
        raise ValueError(f"min_recall must lie in (0, 1], got {min_recall!r}")
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
    name = choose_index(n, dim, exact=min_recall == 1) if index == "auto" else index
    search = partial(_search, k=k, index=name, min_recall=min_recall, prefer_exact=index == "auto")
    found = _search_with_copies(points, k, search)
    return Neighbors(found.indices, np.ldexp(found.distances, exponent), found.index_name, found.recall, found.effort)


def choose_index(n: int, dim: int, *, exact: bool = False) -> IndexName:
    """The fastest index for ``n`` points of ``dim`` coordinates, or the fastest ``exact`` one."""
    if dim <= KDTREE_MAX_DIM:
        return "kdtree"
    if exact or n <= EXACT_MAX_POINTS:
        return "kdtree" if dim <= EXACT_KDTREE_MAX_DIM else "exact"
    return "lists" if dim <= LISTS_MAX_DIM else "ivf"


def _search(
    points: FloatArray, queries: IntArray, k: int, index: IndexName, min_recall: float, prefer_exact: bool
) -> Found:
    if index == "kdtree":
        return tree_search(points, queries, k)
    if index == "exact":
        return flat_search(points, queries, k)
    if index == "lists":
        return lists_search(points, queries, k, min_recall=min_recall, prefer_exact=prefer_exact)
    assert index in ("ivf", "hnsw")
    return approximate_search(points, queries, k, kind=index, min_recall=min_recall)


def _search_with_copies(points: FloatArray, k: int, search: Callable[[FloatArray, IntArray], Found]) -> Found:
    """Neighbours of all points, with groups of more than k + 1 identical points handled apart.

    Inside such a group every other member is a valid answer. The members, in random order, are linked to the k nearest
    on a ring, on both sides alike: every copy gets the same degree, and mutual neighbours are joined too. Only k of
    them enter the index, since nobody needs more, so a collapsed latent space does not cost all pairs.
    """
    groups = _crowded_groups(points, k)
    if not groups:
        return search(points, np.arange(len(points)))
    copies = sum(map(len, groups))
    warnings.warn(
        f"{copies} of {len(points)} latents lie in {len(groups)} group(s) of more than {k + 1} identical "
        "points; neighbours inside a group are drawn at random",
        UserWarning,
        stacklevel=5,
    )
    n = len(points)
    indices, distances = np.empty((n, k), np.int64), np.zeros((n, k))
    indexed, single = np.ones(n, bool), np.ones(n, bool)
    for members in groups:
        steps = np.arange(1, k + 1)
        ring = np.arange(len(members))[:, None] + np.where(steps % 2, 1 + steps // 2, -(steps // 2))
        indices[members] = members[ring % len(members)]
        single[members] = False
        indexed[members[k:]] = False
    if not single.any():
        return Found(indices, distances, "exact", 1.0)
    rows = np.flatnonzero(indexed)
    found = search(points[rows], np.flatnonzero(single[rows]))
    indices[single], distances[single] = rows[found.indices], found.distances
    return found._replace(indices=indices, distances=distances)


def _crowded_groups(points: FloatArray, k: int) -> list[IntArray]:
    """Row numbers, in random order, of each group of more than k + 1 identical rows."""
    rng = np.random.default_rng(COPIES_SEED)
    odd = [np.uint64(2 * int(rng.integers(1, 2**62)) + 1) for _ in range(points.shape[1])]
    hashes = np.zeros(len(points), np.uint64)
    for column in range(points.shape[1]):
        hashes += np.ascontiguousarray(points[:, column]).view(np.uint64) * odd[column]
    ordered = np.sort(hashes)
    if len(ordered) <= k + 1 or not (ordered[k + 1 :] == ordered[: -k - 1]).any():
        return []
    _, inverse, counts = np.unique(hashes, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(counts[inverse] > k + 1)
    # Hashes may collide: the groups are formed from the rows themselves.
    _, inverse, counts = np.unique(points[suspects], axis=0, return_inverse=True, return_counts=True)
    shuffled = rng.permutation(len(suspects))
    by_group = shuffled[np.argsort(inverse.ravel()[shuffled], kind="stable")]
    parts = np.split(suspects[by_group], np.cumsum(counts)[:-1])
    return [part.astype(np.int64, copy=False) for part in parts if len(part) > k + 1]
