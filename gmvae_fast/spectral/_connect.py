"""The shortest edges that make a graph of points connected: Boruvka's minimum spanning tree of its components."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray, IntArray
from gmvae_fast.spectral._search import faiss_threads, flat_search

SMALL_COMPONENT = 32  # up to this size, a component's nearest stranger is among the nearest `size` others
FIRST_GUESS = 64  # points of a large component that are searched first
TREE_MAX_DIM = 6  # beyond, k-d trees take minutes: 100 s at N = 1e5, D = 12
ALTERNATIONS = 20  # at most; lengths stop falling after a few


class Edges(NamedTuple):
    """Undirected edges between points."""

    first: IntArray  # [E]
    second: IntArray  # [E]
    lengths: FloatArray  # [E]

    def take(self, rows: IntArray) -> Edges:
        return Edges(self.first[rows], self.second[rows], self.lengths[rows])


def spanning_edges(points: FloatArray, labels: IntArray) -> Edges:
    """The edges, one fewer than components, that join all components with the least total length.

    In every round each component but the largest names its shortest edge to any other component; these edges, less
    those that would close a cycle, are kept, and at least halve the number of components. Up to 6 dimensions the
    edges are exact, by k-d trees. Beyond, those of components of more than 32 points are locally shortest: from 64
    points, to the nearest stranger, back to its nearest member, and so on while that shortens the edge.

    Parameters
    ----------
    points : float64 [N, D]
    labels : int64 [N]
        Component of every point.

    References
    ----------
    Boruvka (1926), after Nesetril, Milkova, Nesetrilova, "Otakar Boruvka on minimum spanning tree problem",
    Discrete Mathematics 233 (2001).
    """
    tree = cKDTree(points) if points.shape[1] <= TREE_MAX_DIM else None
    kept: list[Edges] = []
    labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    while (count := int(labels.max(initial=0)) + 1) > 1:
        edges = _without_cycles(_shortest_edges(points, labels, tree), labels, count)
        kept.append(edges)
        links = sparse.coo_array(
            (np.ones(len(edges.first)), (labels[edges.first], labels[edges.second])), shape=(count, count)
        )
        labels = csgraph.connected_components(links, directed=False)[1][labels].astype(np.int64)
    if not kept:
        return Edges(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    return Edges(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def _shortest_edges(points: FloatArray, labels: IntArray, tree: cKDTree | None) -> Edges:
    """The shortest edge that leaves each component; the largest, which need not name one, is left out."""
    sizes = np.bincount(labels)
    small = np.flatnonzero(sizes <= SMALL_COMPONENT)
    large = np.flatnonzero(sizes > SMALL_COMPONENT)
    if len(large):
        large = large[np.argsort(-sizes[large], kind="stable")][1:]
    else:
        small = small[:-1]
    parts = [_edges_of_small(points, labels, tree, small, sizes)] if len(small) else []
    if len(large):
        parts.append((_edges_of_large if tree is not None else _short_edges_of_large)(points, labels, large))
    edges = Edges(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    order = np.lexsort((edges.second, edges.first, edges.lengths, labels[edges.first]))
    _, first = np.unique(labels[edges.first[order]], return_index=True)
    return edges.take(order[first])


def _edges_of_small(
    points: FloatArray, labels: IntArray, tree: cKDTree | None, small: IntArray, sizes: IntArray
) -> Edges:
    """From each point of a small component to its nearest stranger: among size + 1 points one must be a stranger."""
    parts = []
    for size in np.unique(sizes[small]):
        rows = np.flatnonzero(np.isin(labels, small[sizes[small] == size]))
        if tree is None:
            nearest, distances, *_ = flat_search(points, rows, int(size))
        else:
            distances, nearest = tree.query(points[rows], [*range(1, int(size) + 2)], workers=thread_count())
        strangers = labels[nearest] != labels[rows][:, None]
        column = strangers.argmax(axis=1)[:, None]
        parts.append(
            Edges(
                rows,
                np.take_along_axis(nearest, column, 1)[:, 0].astype(np.int64),
                np.take_along_axis(distances, column, 1)[:, 0],
            )
        )
    return Edges(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _edges_of_large(points: FloatArray, labels: IntArray, large: IntArray) -> Edges:
    """The shortest edge from each large component to the rest.

    Any stranger's label differs in some bit. So for each bit there are two trees, of the points with and without
    it, and the nearest stranger is the nearest point of the opposite trees: log2(components) searches and no tree
    per component. Every search is bounded by the shortest edge that its component has so far.
    """
    members = [np.flatnonzero(labels == label) for label in large]
    best = [(np.inf, -1, -1)] * len(large)
    for bit in range(int(labels.max()).bit_length()):
        has_bit = (labels >> bit) & 1
        for value in (0, 1):
            opposite = np.flatnonzero(has_bit != value)
            here = [i for i, label in enumerate(large) if (int(label) >> bit) & 1 == value]
            if not here or not len(opposite):
                continue
            tree = cKDTree(points[opposite])
            for i in here:
                step = max(1, len(members[i]) // FIRST_GUESS)
                for rows in (members[i][::step], members[i]):
                    best[i] = min(best[i], _nearest(points, rows, tree, opposite, best[i][0]))
    lengths, first, second = zip(*best, strict=True)
    return Edges(np.array(first, np.int64), np.array(second, np.int64), np.array(lengths))


def _short_edges_of_large(points: FloatArray, labels: IntArray, large: IntArray) -> Edges:
    """A locally shortest edge from each large component to the rest, by scans of all pairs with few points."""
    centred = (points - points.mean(axis=0)).astype(np.float32)
    ends, lengths = [], []
    with faiss_threads() as faiss:
        for label in large:
            sides = []
            for rows in (np.flatnonzero(labels == label), np.flatnonzero(labels != label)):
                flat = faiss.IndexFlatL2(points.shape[1])
                flat.add(centred[rows])
                sides.append((rows, flat))
            (members, inside), (strangers, outside) = sides
            first = members[:: max(1, len(members) // FIRST_GUESS)]
            best = np.inf
            for _ in range(ALTERNATIONS):
                second = strangers[outside.search(centred[first], 1)[1][:, 0]]
                first = members[inside.search(centred[second], 1)[1][:, 0]]
                between = np.linalg.norm(points[first] - points[second], axis=1)
                if between.min() >= best:
                    break
                at = int(np.argmin(between))
                best, pair = float(between[at]), (first[at], second[at])
            ends.append(pair)
            lengths.append(best)
    first, second = np.array(ends, np.int64).T
    return Edges(first, second, np.array(lengths))


def _nearest(
    points: FloatArray, rows: IntArray, tree: cKDTree, others: IntArray, bound: float
) -> tuple[float, int, int]:
    """Length and ends of the shortest edge from ``rows`` into the tree below ``bound``; infinite if there is none."""
    distances, nearest = tree.query(points[rows], distance_upper_bound=bound, workers=thread_count())
    at = int(np.argmin(distances))
    if not np.isfinite(distances[at]):
        return np.inf, -1, -1
    return float(distances[at]), int(rows[at]), int(others[nearest[at]])


def _without_cycles(edges: Edges, labels: IntArray, count: int) -> Edges:
    """The edges of a minimum spanning forest of the components; ties and pairs that name each other close cycles."""
    order = np.lexsort((edges.second, edges.first, edges.lengths))
    a, b = labels[edges.first[order]], labels[edges.second[order]]
    low, high = np.minimum(a, b), np.maximum(a, b)
    _, kept = np.unique(low * count + high, return_index=True)  # the shortest edge of each pair
    ranks = kept + 1.0  # in place of lengths, which may be equal or 0
    forest = csgraph.minimum_spanning_tree(sparse.coo_array((ranks, (low[kept], high[kept])), shape=(count, count)))
    return edges.take(order[np.sort(forest.data.astype(np.int64)) - 1])
