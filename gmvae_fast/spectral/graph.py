"""The symmetric nearest-neighbour graph of a set of latents."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray, IntArray, as_finite, check_choice, unit_exponent
from gmvae_fast.spectral.neighbors import IndexName, Neighbors, nearest_neighbors

WeightsName: TypeAlias = Literal["binary", "gaussian"]
SymmetrizeName: TypeAlias = Literal["union", "mutual"]

SCALE_NEIGHBOR = 7  # the local scale of Zelnik-Manor & Perona is the distance to the 7th neighbour


def knn_graph(
    latents: Any,
    n_neighbors: int = 10,
    *,
    index: IndexName = "auto",
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
) -> sparse.csr_array:
    """Symmetric k-nearest-neighbour graph of the latents.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points, usually posterior means; any real dtype.
    n_neighbors : int
        Neighbours searched per point, at least 1 and below N.
    index : {"auto", "exact", "kdtree"}
        How neighbours are searched, see `nearest_neighbors`; all are exact.
    weights : {"binary", "gaussian"}
        1 for every edge, or exp(-d_ij² / (sigma_i sigma_j)) with sigma_i the distance from i to its 7th
        neighbour (the last one if there are fewer).
    symmetrize : {"union", "mutual"}
        Keep an edge if either end names the other, or only if both do. ``"mutual"`` may isolate points.

    Returns
    -------
    scipy.sparse.csr_array
        float64 [N, N]; exactly symmetric, no diagonal, positive weights, sorted indices. Deterministic.

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
    check_choice(weights, "weights", ("binary", "gaussian"))
    check_choice(symmetrize, "symmetrize", ("union", "mutual"))
    points = as_finite(latents, "latents", ndim=2)
    found = nearest_neighbors(points, n_neighbors, index=index)
    graph = _symmetric_pattern(found.indices, mutual=symmetrize == "mutual")
    if weights == "gaussian":
        exponent = unit_exponent(points)
        scaled = Neighbors(found.indices, np.ldexp(found.distances, -exponent))
        _self_tuned_weights(graph, np.ldexp(points, -exponent), scaled)
    return graph


def check_graph(graph: Any) -> sparse.csr_array:
    """``graph`` as a float64 CSR adjacency matrix [N, N].

    Raises
    ------
    TypeError
        If it is neither a scipy sparse array nor a 2-D array of numbers.
    ValueError
        If it is not square, not symmetric, has a diagonal, or has weights that are negative or not finite.
    """
    if not sparse.issparse(graph):
        graph = as_finite(graph, "graph", ndim=2)
    matrix = sparse.csr_array(graph, dtype=np.float64, copy=True)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"graph must be square, got shape {matrix.shape}")
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise ValueError("graph must have finite, non-negative weights")
    if matrix.diagonal().any():
        raise ValueError("graph must have a zero diagonal; remove self-loops with graph.setdiag(0)")
    if matrix.nnz and abs(matrix - matrix.T).max() > 1e-12 * matrix.data.max():
        raise ValueError("graph must be symmetric; use graph.maximum(graph.T) for the union of its edges")
    return matrix


def _symmetric_pattern(neighbors: IntArray, *, mutual: bool) -> sparse.csr_array:
    """Binary graph from neighbour lists [N, k]: the union of both directions, or their intersection."""
    n, k = neighbors.shape
    # The narrowest index type that holds both directions of all edges: half the memory traffic where it is
    # int32.
    dtype = np.int32 if 2 * n * k < np.iinfo(np.int32).max else np.int64
    columns = neighbors.astype(dtype).ravel()
    starts = np.arange(0, n * k + 1, k, dtype=dtype)
    directed = sparse.csr_array((np.ones(n * k), columns, starts), shape=(n, n))
    directed.sort_indices()
    both = sparse.csr_array(directed + directed.T)
    if mutual:
        both.data -= 1.0
        both.eliminate_zeros()
    both.data[:] = 1.0
    both.sort_indices()
    return both


def _self_tuned_weights(graph: sparse.csr_array, points: FloatArray, found: Neighbors) -> None:
    """Replace the ones of ``graph`` by exp(-d² / (sigma_i sigma_j)), in place.

    Copies can make a local scale zero. It is then the nearest positive distance in the row; where a point has
    only copies around it, it takes the scale of the other end of the edge; between two such points d = 0 and
    the weight is 1. Underflow is held at the smallest normal number, so that the components are those of the
    binary graph.
    """
    scales = _local_scales(found.distances)
    columns = graph.indices
    for start, stop in _row_blocks(graph):
        rows = np.repeat(np.arange(start, stop), np.diff(graph.indptr[start : stop + 1]))
        entries = slice(graph.indptr[start], graph.indptr[stop])
        difference = points[rows] - points[columns[entries]]
        squared = np.einsum("ed,ed->e", difference, difference)
        here, there = scales[rows], scales[columns[entries]]
        product = np.where(here > 0, here, there) * np.where(there > 0, there, here)
        exponent = np.divide(squared, product, out=np.zeros_like(squared), where=product > 0)
        graph.data[entries] = np.maximum(np.exp(-exponent), np.finfo(np.float64).tiny)


def _local_scales(distances: FloatArray) -> FloatArray:
    """Distance to the 7th neighbour [N]; the nearest positive one if that is zero, 0 if all are zero."""
    scales = distances[:, min(SCALE_NEIGHBOR, distances.shape[1]) - 1].copy()
    flat = scales == 0.0
    if flat.any():
        nearest = np.where(distances[flat] > 0, distances[flat], np.inf).min(axis=1)
        scales[flat] = np.where(np.isfinite(nearest), nearest, 0.0)
    return scales


def _row_blocks(graph: sparse.csr_array, rows: int = 65_536) -> list[tuple[int, int]]:
    """Row ranges small enough that the coordinate differences of their edges stay out of the peak memory."""
    n = graph.shape[0]
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]
