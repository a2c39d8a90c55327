"""The symmetric nearest-neighbour graph of a set of latents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral._arrays import FloatArray, IntArray, as_finite, check_choice, check_flag, unit_exponent
from gmvae_fast.spectral._assembly import asymmetry, self_tuned_weights, symmetric_adjacency
from gmvae_fast.spectral._connect import Edges, spanning_edges
from gmvae_fast.spectral.neighbors import IndexName, Neighbors, nearest_neighbors

WeightsName: TypeAlias = Literal["binary", "gaussian", "distance"]
SymmetrizeName: TypeAlias = Literal["union", "mutual"]

SCALE_NEIGHBOR = 7  # the local scale of Zelnik-Manor & Perona is the distance to the 7th neighbour
SYMMETRY_TOLERANCE = 1e-12  # of the largest weight


@dataclass(frozen=True, eq=False)
class KnnGraph:
    """A nearest-neighbour graph and how it was found.

    Attributes
    ----------
    adjacency : scipy.sparse.csr_array
        float64 [N, N], as `knn_graph` returns it.
    index : str
        The search that answered: ``"kdtree"``, ``"exact"``, ``"lists"``, ``"ivf"`` or ``"hnsw"``.
    recall : float
        Share of the true neighbours found: measured on a sample, or 1 where the search is exact.
    effort : int
        lists that a query reads (``"lists"``, ``"ivf"``), efSearch of ``"hnsw"``, 0 where the search is exact.
    n_added_edges : int
        Edges that ``connect=True`` added.
    """

    adjacency: sparse.csr_array
    index: str
    recall: float
    effort: int
    n_added_edges: int


def knn_graph(
    latents: Any,
    n_neighbors: int = 10,
    *,
    index: IndexName = "auto",
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    connect: bool = False,
    min_recall: float = 0.99,
) -> sparse.csr_array:
    """Symmetric k-nearest-neighbour graph of the latents.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points, usually posterior means; any real dtype.
    n_neighbors : int
        Neighbours searched per point, at least 1 and below N.
    index : {"auto", "exact", "kdtree", "lists", "ivf", "hnsw"}
        How neighbours are searched, see `nearest_neighbors`.
    weights : {"binary", "gaussian", "distance"}
        Similarities w_ij in (0, 1]: 1 for every edge; exp(-d_ij² / (sigma_i sigma_j)) with sigma_i the distance from
        i to its 7th neighbour (the last one if there are fewer); or 1 / (1 + d_ij / m) with m the median of all
        positive distances to neighbours: 1 for copies, 1/2 at the median, inverse to the distance beyond. None
        depends on the unit of the latents.
    symmetrize : {"union", "mutual"}
        Keep an edge if either end names the other, or only if both do. ``"mutual"`` may isolate points.
    connect : bool
        Join the connected components by the shortest edges between them, one fewer than there are components (a
        minimum spanning tree; above 6 dimensions shortest only locally), weighted like the others. `build_graph`
        says how many.
    min_recall : float
        Share of the true neighbours that an approximate index must find, see `nearest_neighbors`.

    Returns
    -------
    scipy.sparse.csr_array
        float64 [N, N]; exactly symmetric, no diagonal, positive weights, sorted indices. Deterministic, for any
        number of threads, if the index is.

    Raises
    ------
    TypeError, ValueError
        As `nearest_neighbors`; also for an unknown ``weights`` or ``symmetrize``.

    Warns
    -----
    UserWarning
        If more than ``n_neighbors + 1`` latents are identical, see `nearest_neighbors`.

    References
    ----------
    von Luxburg, "A tutorial on spectral clustering", Statistics and Computing 17 (2007), section 2.2.
    Zelnik-Manor & Perona, "Self-tuning spectral clustering", NeurIPS 17 (2004).
    """
    return build_graph(
        latents,
        n_neighbors,
        index=index,
        weights=weights,
        symmetrize=symmetrize,
        connect=connect,
        min_recall=min_recall,
    ).adjacency


def build_graph(
    latents: Any,
    n_neighbors: int = 10,
    *,
    index: IndexName = "auto",
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    connect: bool = False,
    min_recall: float = 0.99,
    neighbors: Neighbors | None = None,
) -> KnnGraph:
    """`knn_graph`, with the index that answered, its recall and the number of edges added.

    Parameters
    ----------
    latents, n_neighbors, index, weights, symmetrize, connect, min_recall
        As for `knn_graph`.
    neighbors : Neighbors, optional
        Of these latents, at least ``n_neighbors`` of them, found before: so that graphs with fewer neighbours or
        other weights need no search. ``index`` and ``min_recall`` are then without effect.

    Returns
    -------
    KnnGraph

    Raises
    ------
    TypeError, ValueError
        As `knn_graph`; also if ``neighbors`` has the wrong number of rows or too few columns.
    """
    check_choice(weights, "weights", ("binary", "gaussian", "distance"))
    check_choice(symmetrize, "symmetrize", ("union", "mutual"))
    check_flag(connect, "connect")
    points = as_finite(latents, "latents", ndim=2)
    if neighbors is None:
        neighbors = nearest_neighbors(points, n_neighbors, index=index, min_recall=min_recall)
    elif len(neighbors.indices) != len(points) or not 1 <= n_neighbors <= neighbors.indices.shape[1]:
        raise ValueError(
            f"neighbors must have {len(points)} rows and at least {n_neighbors} columns, got {neighbors.indices.shape}"
        )
    nodes, distances = neighbors.indices[:, :n_neighbors], neighbors.distances[:, :n_neighbors]
    weigh = _Weights(weights, distances)
    adjacency = symmetric_adjacency(nodes, weigh(nodes, distances), mutual=symmetrize == "mutual")
    added = 0
    if connect:
        labels = csgraph.connected_components(adjacency, directed=False)[1]
        exponent = unit_exponent(points)  # an exact scaling that keeps squares in range
        edges = spanning_edges(np.ldexp(points, -exponent), labels.astype(np.int64))
        edges = edges._replace(lengths=np.ldexp(edges.lengths, exponent))
        adjacency, added = _with_edges(adjacency, edges, weigh), len(edges.first)
    return KnnGraph(adjacency, neighbors.index_name, neighbors.recall, neighbors.effort, added)


def check_graph(graph: Any) -> sparse.csr_array:
    """A copy of ``graph`` as a float64 CSR adjacency matrix [N, N], see `as_graph`."""
    return as_graph(graph).copy()


def as_graph(graph: Any) -> sparse.csr_array:
    """``graph`` as a canonical float64 CSR adjacency matrix [N, N]; not to be changed, it may share memory.

    Raises
    ------
    TypeError
        If it is neither a scipy sparse array nor a 2-D array of numbers.
    ValueError
        If it is not square, not symmetric, has a diagonal, or has weights that are negative or not finite.
    """
    if not sparse.issparse(graph):
        graph = as_finite(graph, "graph", ndim=2)
    matrix = sparse.csr_array(graph, dtype=np.float64)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"graph must be square, got shape {matrix.shape}")
    if not matrix.has_canonical_format or not matrix.data.all():
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    if matrix.nnz and not (matrix.data.min() >= 0 and matrix.data.max() < np.inf):
        raise ValueError("graph must have finite, non-negative weights")
    if matrix.diagonal().any():
        raise ValueError("graph must have a zero diagonal; remove self-loops with graph.setdiag(0)")
    if matrix.nnz and asymmetry(matrix) > SYMMETRY_TOLERANCE * matrix.data.max():
        raise ValueError("graph must be symmetric; use graph.maximum(graph.T) for the union of its edges")
    return matrix


class _Weights:
    """The weight of an edge from its ends and its length: a symmetric function."""

    def __init__(self, name: WeightsName, distances: FloatArray) -> None:
        self.name = name
        if name == "gaussian":
            self.scales = _local_scales(distances)
        elif name == "distance":
            self.median = _median(distances[distances > 0])

    def __call__(
        self, nodes: IntArray, lengths: FloatArray, first: IntArray | slice = slice(None)
    ) -> FloatArray | None:
        """Of the edges from the nodes ``first`` [n] to those in the list of each, [n, k]; None where all are 1."""
        if self.name == "binary":
            return None
        if self.name == "distance":
            return np.asarray(1.0 / (1.0 + lengths / self.median))
        return self_tuned_weights(nodes, lengths, self.scales[first], self.scales)


def _median(lengths: FloatArray) -> float:
    """Of positive lengths, the mean of both middle ones without overflow; 1 if there are none."""
    exponent = unit_exponent(lengths)
    return float(np.ldexp(np.median(np.ldexp(lengths, -exponent)), exponent)) if len(lengths) else 1.0


def _local_scales(distances: FloatArray) -> FloatArray:
    """Distance to the 7th neighbour [N]; the nearest positive one if that is zero, 0 if all are zero."""
    scales = distances[:, min(SCALE_NEIGHBOR, distances.shape[1]) - 1].copy()
    flat = scales == 0.0
    if flat.any():
        nearest = np.where(distances[flat] > 0, distances[flat], np.inf).min(axis=1)
        scales[flat] = np.where(np.isfinite(nearest), nearest, 0.0)
    return scales


def _with_edges(adjacency: sparse.csr_array, edges: Edges, weigh: _Weights) -> sparse.csr_array:
    """``adjacency`` and edges that it lacks."""
    if not len(edges.first):
        return adjacency
    listed = weigh(edges.second[:, None], edges.lengths[:, None], edges.first)
    values = np.ones_like(edges.lengths) if listed is None else listed[:, 0]
    ends = np.concatenate([edges.first, edges.second]), np.concatenate([edges.second, edges.first])
    extra = sparse.csr_array((np.tile(values, 2), ends), shape=adjacency.shape)
    joined = sparse.csr_array(adjacency + extra)
    joined.sort_indices()
    return joined
