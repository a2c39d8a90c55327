"""Neighbours by the native k-d tree: float32 proposes, float64 decides.

A balanced tree is built once. The exact search skips every leaf whose box is too far for all queries of a leaf. The
approximate one makes the means of the leaves the centres of lists, each point in the list of the nearest centre, and
lets each query read the nearest lists: as many as a sample with known neighbours needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray, IntArray, address

LEAF_SIZE = 64  # points of a leaf, at least half and at most all of them
LARGE_LEAVES_DIM = 6  # from here on the exact search reads pairs of leaves: more points, at half the time for each
SPARE = 4  # candidates beyond k that float32 hands to float64: 14 fill one vector of 16 for k = 10
MANY_SPARE = 64  # where these were not enough: many ties, or points closer than float32 can tell
MOST_POINTS = int(np.iinfo(np.int32).max)
SEED = 0x5EED
SAMPLE_LEAVES = 64  # the sample lies in so many leaves, whose queries are searched together
SAMPLE_PER_LEAF = 16
LONGEST_LIST = 4  # times LEAF_SIZE
WORTH = 2.0  # an approximate search must compare so many times fewer points to be preferred to an exact one


@dataclass(frozen=True, eq=False)
class Tree:
    """A balanced k-d tree of float64 points.

    Attributes
    ----------
    points : float64 [N, D]
        Contiguous.
    order : int32 [N]
        The points, leaf by leaf.
    levels : int
        There are 2^levels leaves.
    starts : int64 [2^levels + 1]
        Where they start in ``order``.
    """

    points: FloatArray
    order: NDArray[np.int32]
    levels: int
    starts: IntArray

    @classmethod
    def of(cls, points: FloatArray) -> Tree:
        """The tree of ``points`` [N, D], C-contiguous.

        Raises
        ------
        ValueError
            If there are more points than 32-bit numbers can count.
        """
        n, dim = points.shape
        if n > MOST_POINTS:
            raise ValueError(f"a k-d tree holds at most {MOST_POINTS} points, got {n}; use index='ivf'")
        levels = max(0, int(np.ceil(np.log2(n / LEAF_SIZE))))
        order = np.empty(n, np.int32)
        cpu.kd_order(address(points), n, dim, levels, address(order), thread_count())
        return cls(points, order, levels, _equal_parts(n, levels))

    def upper(self) -> Tree:
        """The same tree with leaves of twice the size, where that is faster."""
        pairs = self.points.shape[1] >= LARGE_LEAVES_DIM and self.levels > 0
        return Tree(self.points, self.order, self.levels - 1, self.starts[::2].copy()) if pairs else self

    def leaf_of_points(self) -> IntArray:
        """The leaf of every point, int64 [N]."""
        leaf = np.empty(len(self.order), np.int64)
        leaf[self.order] = np.repeat(np.arange(2**self.levels), np.diff(self.starts))
        return leaf


class Nearest(NamedTuple):
    """What `search_lists` found."""

    indices: IntArray  # [Q, k]
    distances: FloatArray  # [Q, k]
    recall: float  # of the sample; 1 where the search was exact
    lists: int  # read by each query; 0 where the search was exact


def search_tree(tree: Tree, queries: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """The ``k`` nearest other points of ``queries`` [Q], nearest first: indices and distances [Q, k].

    Among points at the same distance the one with the smaller index comes first; if more than 64 of them compete for
    the last places, which of them are taken is fixed by the tree. The same bits for every number of threads.
    """
    indices, distances, _ = _search(_Filled(tree.upper()), queries, k)
    return indices, distances


def search_lists(tree: Tree, queries: IntArray, k: int, *, min_recall: float, prefer_exact: bool = False) -> Nearest:
    """Nearly all of the ``k`` nearest other points of ``queries`` [Q].

    The lists that each query reads are the fewest with which the recall of a sample, less two standard errors,
    reaches ``min_recall``: the true neighbours of the sample and the ranks of their lists say so without a trial. If
    all lists are needed, or with ``prefer_exact`` if the sample's exact search compared fewer than `WORTH` times as
    many points, the exact search answers. The same bits for every number of threads.
    """
    lists = 2**tree.levels
    upper = _Filled(tree.upper())
    sample, groups = _sample(tree.leaf_of_points()[queries])
    true, lengths, read = _search(upper, queries[sample], k)
    # What each query is compared with: by the exact search, and with the means alone, to fill lists and to read them.
    exact_points = read / len(sample) * len(tree.points) / 2**upper.tree.levels
    if prefer_exact and exact_points < WORTH * 2 * lists:
        indices, distances, _ = _search(upper, queries, k)
        return Nearest(indices, distances, 1.0, 0)
    filled = _lists(tree)
    list_of = filled.tree.leaf_of_points()
    ranks = filled.ranks(queries[sample], list_of[true])
    nearest = _fewest_lists(ranks, groups, min_recall)
    approximate_points = nearest * len(tree.points) / lists + 2 * lists
    if nearest >= lists or (prefer_exact and exact_points < WORTH * approximate_points):
        indices, distances, _ = _search(upper, queries, k)
        return Nearest(indices, distances, 1.0, 0)
    indices, distances, _ = _search(filled, queries, k, nearest=nearest)
    short = np.flatnonzero(np.isinf(distances[:, -1]))  # the lists held fewer than k others
    if len(short):
        indices[short], distances[short], _ = _search(upper, queries[short], k)
    recall = float((distances[sample] <= lengths[:, -1:] * (1 + 1e-12)).mean())
    return Nearest(indices, distances, recall, nearest)


class _Filled:
    """A tree with the coordinates of its leaves, their boxes and means, as native code reads them."""

    def __init__(self, tree: Tree, dtype: Any = np.float32) -> None:
        n, dim = tree.points.shape
        leaves, multiple = 2**tree.levels, cpu.kd_leaf_multiple
        largest = int(np.diff(tree.starts).max())
        pad = (largest + multiple - 1) // multiple * multiple
        means_pad = (leaves + multiple - 1) // multiple * multiple
        self.tree, self.dtype, self.suffix = tree, dtype, "f32" if dtype is np.float32 else "f64"
        # Float32 sees more of points about their mean; in float64 coordinates stay as they are, without rounding.
        self.centre = tree.points.mean(axis=0) if dtype is np.float32 else np.zeros(dim)
        self.coordinates = np.empty((leaves, dim, pad), dtype)
        self.low, self.high = np.empty((2 * leaves, dim), dtype), np.empty((2 * leaves, dim), dtype)
        self.means = np.empty((means_pad // multiple, dim, multiple), dtype)
        held = (tree.order, tree.starts, self.coordinates, self.low, self.high, self.means)
        self.arguments = [*(address(array) for array in held), n, dim, tree.levels, pad, address(tree.points)]
        getattr(cpu, f"kd_fill_{self.suffix}")(*self.arguments, address(self.centre), thread_count())

    def ranks(self, rows: IntArray, leaves: IntArray) -> IntArray:
        """How many means lie nearer to point ``rows[i]`` than that of leaf ``leaves[i, j]``, int64 [Q, k]."""
        dim = self.means.shape[1]
        means = self.means.transpose(1, 0, 2).reshape(dim, -1)[:, : 2**self.tree.levels]
        empty = np.isinf(means[0])
        means = np.where(empty, np.float32(0), means)
        norms = np.where(empty, np.float32(np.inf), np.square(means).sum(axis=0))
        x = (self.tree.points[rows] - self.centre).astype(np.float32)
        ranks = np.empty(leaves.shape, np.int64)
        for first in range(0, len(rows), SAMPLE_PER_LEAF):  # few at a time, so that they stay in the caches
            some = slice(first, first + SAMPLE_PER_LEAF)
            squared = norms - 2 * (x[some] @ means)
            own = np.take_along_axis(squared, leaves[some], axis=1)
            for column in range(leaves.shape[1]):
                ranks[some, column] = np.count_nonzero(squared < own[:, column, None], axis=1)
        return ranks


def _equal_parts(n: int, levels: int) -> IntArray:
    return np.asarray(n * np.arange(2**levels + 1, dtype=np.int64) >> levels)


def _lists(tree: Tree) -> _Filled:
    """Every point in the list of the leaf with the nearest mean, whose boxes the tree's hierarchy no longer orders."""
    filled = _Filled(tree)
    assigned = np.empty(len(tree.order), np.int32)
    getattr(cpu, f"kd_assign_{filled.suffix}")(*filled.arguments, address(assigned), thread_count())
    sizes = np.bincount(assigned, minlength=2**tree.levels)
    if sizes.max() > LONGEST_LIST * LEAF_SIZE:
        return filled  # all lists take as much memory as the longest
    order = np.argsort(assigned, kind="stable").astype(np.int32)
    return _Filled(Tree(tree.points, order, tree.levels, np.r_[0, np.cumsum(sizes)]))


def _search(filled: _Filled, queries: IntArray, k: int, *, nearest: int = 0) -> tuple[IntArray, FloatArray, int]:
    """Indices and distances [Q, k] and how many leaves were read, summed over queries.

    Queries for which float32 was not enough are searched again in float64, exactly.
    """
    count = len(queries)
    indices, distances = np.empty((count, k), np.int64), np.empty((count, k))
    doubtful = np.empty(count, np.uint8)
    read = _run(filled, queries, k, SPARE, nearest, indices, distances, doubtful)
    again = np.flatnonzero(doubtful)
    if len(again):
        found, lengths = np.empty((len(again), k), np.int64), np.empty((len(again), k))
        double = _Filled(filled.tree, np.float64)
        _run(double, queries[again], k, min(MANY_SPARE, len(filled.tree.points)), 0, found, lengths, None)
        indices[again], distances[again] = found, lengths
    return indices, distances, read


def _run(
    filled: _Filled,
    queries: IntArray,
    k: int,
    spare: int,
    nearest: int,
    indices: IntArray,
    distances: FloatArray,
    doubtful: NDArray[np.uint8] | None,
) -> int:
    n, slots = len(filled.tree.points), None
    if len(queries) != n or (queries != np.arange(n)).any():
        slots = np.full(n, -1, np.int64)
        slots[queries] = np.arange(len(queries))
    results = [address(indices), address(distances), address(doubtful), thread_count()]
    search = getattr(cpu, f"kd_search_{filled.suffix}")
    return int(search(*filled.arguments, address(slots), k, spare, nearest, *results))


def _sample(leaf: IntArray) -> tuple[IntArray, IntArray]:
    """Positions of a few queries in each of some leaves, given the leaf of every query, and the leaf of each."""
    rng = np.random.default_rng(SEED)
    shuffled = rng.permutation(len(leaf))
    chosen = rng.permutation(np.unique(leaf))[:SAMPLE_LEAVES]
    shuffled = shuffled[np.isin(leaf[shuffled], chosen)]
    by_leaf = shuffled[np.argsort(leaf[shuffled], kind="stable")]
    starts = np.flatnonzero(np.r_[True, np.diff(leaf[by_leaf]) != 0])
    place = np.arange(len(by_leaf)) - np.repeat(starts, np.diff(np.r_[starts, len(by_leaf)]))
    sample = by_leaf[place < SAMPLE_PER_LEAF]
    return sample, leaf[sample]


def _fewest_lists(ranks: IntArray, groups: IntArray, goal: float) -> int:
    """The fewest lists with which the recall, less two standard errors between groups, reaches the goal."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)

    def enough(lists: int) -> bool:
        hits = np.bincount(group, (ranks < lists).mean(axis=1)) / sizes
        return bool(hits.mean() - 2.0 * hits.std() / np.sqrt(len(hits)) >= goal)

    low, high = 0, int(ranks.max()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
