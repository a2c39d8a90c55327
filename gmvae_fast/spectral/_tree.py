"""Exact neighbours by the native k-d tree: float32 proposes, float64 decides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray, IntArray, address

LEAF_SIZE = 64  # points of a leaf, at least half and at most all of them
LARGE_LEAF_SIZE = 128  # from 6 coordinates on: more points are compared, at half the time for each
LARGE_LEAF_DIM = 6
SPARE = 4  # candidates beyond k that float32 hands to float64: 14 fill one vector of 16 for k = 10
MANY_SPARE = 64  # where these were not enough: many ties, or points closer than float32 can tell
MOST_POINTS = int(np.iinfo(np.int32).max)


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
    """

    points: FloatArray
    order: NDArray[np.int32]
    levels: int

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
        most = LARGE_LEAF_SIZE if dim >= LARGE_LEAF_DIM else LEAF_SIZE
        levels = max(0, int(np.ceil(np.log2(n / most))))
        order = np.empty(n, np.int32)
        cpu.kd_order(address(points), n, dim, levels, address(order), thread_count())
        return cls(points, order, levels)


def search_tree(tree: Tree, queries: IntArray, k: int) -> tuple[IntArray, FloatArray]:
    """The ``k`` nearest other points of ``queries`` [Q], nearest first: indices and distances [Q, k].

    Among points at the same distance the one with the smaller index comes first; if more than 64 of them compete for
    the last places, which of them are taken is fixed by the tree. The same bits for every number of threads.
    """
    n, count = len(tree.points), len(queries)
    indices, distances = np.empty((count, k), np.int64), np.empty((count, k))
    doubtful = np.empty(count, np.uint8)
    _search(tree, queries, k, np.float32, SPARE, indices, distances, doubtful)
    again = np.flatnonzero(doubtful)
    if len(again):
        found, lengths = np.empty((len(again), k), np.int64), np.empty((len(again), k))
        _search(tree, queries[again], k, np.float64, min(MANY_SPARE, n), found, lengths, None)
        indices[again], distances[again] = found, lengths
    return indices, distances


def _search(
    tree: Tree,
    queries: IntArray,
    k: int,
    dtype: Any,
    spare: int,
    indices: IntArray,
    distances: FloatArray,
    doubtful: NDArray[np.uint8] | None,
) -> int:
    """Fills the results; returns how many leaves were read, summed over queries."""
    n, dim = tree.points.shape
    leaves, multiple = 2**tree.levels, cpu.kd_leaf_multiple
    largest = (n + leaves - 1) // leaves
    pad = (largest + multiple - 1) // multiple * multiple
    single = dtype is np.float32
    # Float32 sees more of points about their mean; in float64 the coordinates stay as they are, without rounding.
    centre = tree.points.mean(axis=0) if single else np.zeros(dim)
    coordinates = np.empty((leaves, dim, pad), dtype)
    low, high = np.empty((2 * leaves, dim), dtype), np.empty((2 * leaves, dim), dtype)
    sizes = [n, dim, tree.levels, pad]
    arrays = [address(tree.order), address(coordinates), address(low), address(high), *sizes, address(tree.points)]
    suffix = "f32" if single else "f64"
    getattr(cpu, f"kd_fill_{suffix}")(*arrays, address(centre), thread_count())
    slots = None
    if len(queries) != n or (queries != np.arange(n)).any():
        slots = np.full(n, -1, np.int64)
        slots[queries] = np.arange(len(queries))
    results = [address(indices), address(distances), address(doubtful)]
    read: int = getattr(cpu, f"kd_search_{suffix}")(*arrays, address(slots), k, spare, *results, thread_count())
    return read
