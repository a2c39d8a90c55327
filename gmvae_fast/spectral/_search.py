"""Searches for the nearest neighbours of rows among all rows: k-d tree, full scan, inverted lists, HNSW.

All of them decide in float64: FAISS, which works in float32, only proposes candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray, IntArray
from gmvae_fast.spectral._tree import Tree, search_lists, search_tree

ApproximateName: TypeAlias = Literal["ivf", "hnsw"]

EXTRA_CANDIDATES = 4  # beyond k + 1: what lets almost every row pass the rounding test of `flat_search`
FLOAT32_EPS = float(np.finfo(np.float32).eps)
RECALL_SAMPLE = 1000
TIE = 1.0 + 1e-12  # squared distances this close are the same
SEED = 0x5EED
LISTS_PER_ROOT = 4  # inverted lists per sqrt(N): 2 is as good at N = 2e4, and 1.2 times slower at 2e5
TRAINING_PER_LIST = 64  # more points and iterations of k-means than these change nothing
TRAINING_ITERATIONS = 5
HNSW_LINKS = 16
HNSW_EFFORT_LIMIT = 4096


class Found(NamedTuple):
    """Neighbours of some rows, nearest first, the row itself left out."""

    indices: IntArray  # [Q, k]
    distances: FloatArray  # [Q, k]
    index_name: str
    recall: float
    effort: int = 0  # nprobe or efSearch


def tree_search(points: FloatArray, queries: IntArray, k: int) -> Found:
    """Neighbours of ``points[queries]`` among ``points`` by the native k-d tree."""
    return Found(*search_tree(Tree.of(points), queries, k), "kdtree", 1.0)


def lists_search(points: FloatArray, queries: IntArray, k: int, *, min_recall: float, prefer_exact: bool) -> Found:
    """Neighbours of ``points[queries]`` among ``points`` by native inverted lists, with a measured recall.

    The k-d tree answers, exactly, where the lists cannot reach the recall, or gain too little and ``prefer_exact``.
    """
    found = search_lists(Tree.of(points), queries, k, min_recall=min_recall, prefer_exact=prefer_exact)
    return Found(
        found.indices, found.distances, "lists" if found.lists else "kdtree", recall=found.recall, effort=found.lists
    )


def flat_search(points: FloatArray, queries: IntArray, k: int) -> Found:
    """Neighbours of ``points[queries]`` among ``points`` by a full scan: float32 candidates, float64 choice.

    FAISS expands |x - y|² = |x|² + |y|² - 2 x.y in float32. With u the float32 epsilon, any y at distance d
    from x has |y| <= |x| + d, so that form is off by at most (D + 8) u (2 |x| + d)². A row is certain when
    its k-th float64 distance lies below the farthest float32 candidate by more than that; the others (tight
    clusters far from the centre, many ties) are searched again in float64.
    """
    n, dim = points.shape
    centred = points - points.mean(axis=0)
    scan = min(n, k + 1 + EXTRA_CANDIDATES)
    farthest, candidates = faiss_flat(centred.astype(np.float32), queries, scan)
    indices, squared = refine(points, queries, candidates, k)
    if scan < n:
        reach = 2.0 * np.linalg.norm(centred[queries], axis=1) + np.sqrt(squared[:, -1])
        certain = squared[:, -1] <= farthest - (dim + 8) * FLOAT32_EPS * reach**2
        certain |= squared[:, -1] == 0.0  # nothing can be nearer
        doubtful = np.flatnonzero(~certain)
        if len(doubtful):
            again = tree_search(points, queries[doubtful], k)
            indices[doubtful], squared[doubtful] = again.indices, again.distances**2
    return Found(indices, np.sqrt(squared), "exact", 1.0)


def approximate_search(
    points: FloatArray, queries: IntArray, k: int, *, kind: ApproximateName, min_recall: float
) -> Found:
    """Neighbours of ``points[queries]`` among ``points`` by a FAISS index, with a measured recall.

    The effort (nprobe, efSearch) is the smallest found for which the recall on a sample of the queries, less two
    standard errors, reaches ``min_recall``. Where no effort does, the full scan answers instead.
    """
    with faiss_threads() as faiss:
        centred = np.ascontiguousarray(points - points.mean(axis=0), np.float32)
        index = _inverted_lists(faiss, centred) if kind == "ivf" else _hnsw(faiss, centred)

        def search(rows: IntArray, effort: int) -> tuple[IntArray, FloatArray]:
            if kind == "ivf":
                index.nprobe = effort
            else:
                index.hnsw.efSearch = effort
            return refine(points, rows, index.search(centred[rows], min(k + 1, len(points)))[1], k)

        sample = np.random.default_rng(SEED).choice(queries, min(len(queries), RECALL_SAMPLE), replace=False)
        limit = index.nlist if kind == "ivf" else min(HNSW_EFFORT_LIMIT, len(points))
        chosen = _least_effort(points, sample, k, search, limit=limit, start=1 if kind == "ivf" else k, goal=min_recall)
        if chosen is None:
            return flat_search(points, queries, k)
        effort, recall = chosen
        indices, squared = search(queries, effort)
    short = np.flatnonzero(np.isinf(squared[:, -1]))  # their lists held fewer than k others
    if len(short):
        again = flat_search(points, queries[short], k)
        indices[short], squared[short] = again.indices, again.distances**2
    return Found(indices, np.sqrt(squared), kind, recall, effort)


def refine(points: FloatArray, queries: IntArray, candidates: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """The ``k`` nearest of the candidates [Q, C] in float64, self and missing ones (-1) last: indices, squares."""
    squared = np.empty(candidates.shape)
    centre = points[queries]
    for column in range(candidates.shape[1]):  # [Q, C, D] at once would be the largest array of all
        difference = points[candidates[:, column]] - centre
        squared[:, column] = np.einsum("nd,nd->n", difference, difference)
    squared[(candidates == queries[:, None]) | (candidates < 0)] = np.inf
    order = np.lexsort((candidates, squared), axis=1)[:, :k]
    chosen = np.take_along_axis(candidates, order, axis=1).astype(np.int64, copy=False)
    return chosen, np.take_along_axis(squared, order, axis=1)


def faiss_flat(points: NDArray[np.float32], queries: IntArray, scan: int) -> tuple[FloatArray, IntArray]:
    """Farthest of the ``scan`` float32 squared distances [Q], and the candidates [Q, scan]."""
    with faiss_threads() as faiss:
        flat = faiss.IndexFlatL2(points.shape[1])
        flat.add(np.ascontiguousarray(points))
        squared, candidates = flat.search(np.ascontiguousarray(points[queries]), scan)
    return squared[:, -1].astype(np.float64), candidates.astype(np.int64, copy=False)


@contextmanager
def faiss_threads() -> Iterator[Any]:
    """FAISS, whose thread count is global to the process: it is set to ours, and put back."""
    import faiss  # here, not above: it brings a second OpenMP runtime that a k-d tree user need not load

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(thread_count())
    try:
        yield faiss
    finally:
        faiss.omp_set_num_threads(before)


def _inverted_lists(faiss: Any, points: NDArray[np.float32]) -> Any:
    n, dim = points.shape
    lists = max(1, min(int(LISTS_PER_ROOT * np.sqrt(n)), n // 8))
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, lists)
    index.cp.niter, index.cp.seed = TRAINING_ITERATIONS, SEED
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, TRAINING_PER_LIST
    size = min(n, TRAINING_PER_LIST * lists)
    index.train(points[np.random.default_rng(SEED).choice(n, size, replace=False)])
    index.add(points)
    return index


def _hnsw(faiss: Any, points: NDArray[np.float32]) -> Any:
    index = faiss.IndexHNSWFlat(points.shape[1], HNSW_LINKS)
    index.add(points)
    return index


def _least_effort(
    points: FloatArray,
    sample: IntArray,
    k: int,
    search: Callable[[IntArray, int], tuple[IntArray, FloatArray]],
    *,
    limit: int,
    start: int,
    goal: float,
) -> tuple[int, float] | None:
    """Smallest effort, within a sixteenth, that reaches the goal on the sample, and its recall; None if none does."""
    farthest = flat_search(points, sample, k).distances[:, -1:] ** 2 * TIE

    def recall(effort: int) -> tuple[float, float]:
        """Mean over the sample, and the same less two standard errors."""
        _, squared = search(sample, effort)
        hits = (squared <= farthest).mean(axis=1)
        mean = float(hits.mean())
        return mean, mean - 2.0 * float(hits.std()) / np.sqrt(len(hits))

    low, high = 0, min(start, limit)
    best = recall(high)
    while best[1] < goal:
        if high == limit:
            return None
        low, high = high, min(2 * high, limit)
        best = recall(high)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        found = recall(middle)
        low, high, best = (low, middle, found) if found[1] >= goal else (middle, high, best)
    return high, best[0]
