"""Neighbour lists to symmetric adjacency to Laplacian, in native threads, straight to compressed rows.

Everything here is deterministic: the bits do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray, IntArray, address

NODE_OUT_OF_RANGE, BAD_WEIGHT, BAD_LIST = 1, 2, 3  # NeighborGraphStatus in csrc/include/gmvae/graph.h
NARROW_LIMIT = int(np.iinfo(np.int32).max)  # entries that 32-bit indices can count


def symmetric_adjacency(neighbors: IntArray, weights: FloatArray | None = None, *, mutual: bool) -> sparse.csr_array:
    """Adjacency matrix of neighbour lists: the union of both directions, or their intersection.

    Parameters
    ----------
    neighbors : int64 [N, k]
        Different nodes in each row, none its own, in any order.
    weights : float64 [N, k], optional
        Positive weight of each entry; 1 by default. Where the two directions of an edge differ, the union takes
        the larger and the intersection the smaller weight.
    mutual : bool
        Keep an edge only if both ends name each other.

    Returns
    -------
    scipy.sparse.csr_array
        float64 [N, N], exactly symmetric, sorted indices, no explicit zeros; int32 indices where they suffice.

    Raises
    ------
    ValueError
        If a node is out of range, named twice in a row or its own neighbour, if the shapes differ, or if a weight is
        not positive and finite.
    """
    n, k = neighbors.shape
    if weights is not None:
        if weights.shape != neighbors.shape:
            raise ValueError(f"weights must have the shape of neighbors, {neighbors.shape}, got {weights.shape}")
        weights = np.ascontiguousarray(weights, np.float64)
    neighbors = np.ascontiguousarray(neighbors, np.int64)
    dtype = index_dtype((1 if mutual else 2) * n * k)
    starts = np.empty(n + 1, dtype)
    scratch = [
        np.empty(n * k, dtype),
        None if weights is None else np.empty(n * k),
        np.empty(n * k, np.uint16),
        np.empty(n + 1, dtype),
    ]
    inputs = [address(neighbors), address(weights), mutual, *map(address, scratch), address(starts)]
    status = _function("neighbor_graph_starts", dtype)(*inputs, n, k, thread_count())
    if status == NODE_OUT_OF_RANGE:
        raise ValueError(_out_of_range(neighbors, n))
    if status == BAD_WEIGHT:
        raise ValueError("weights must be positive and finite")
    if status == BAD_LIST:
        raise ValueError("neighbors must name different nodes in each row, and never the row's own")
    columns, values = np.empty(int(starts[-1]), dtype), np.empty(int(starts[-1]))
    _function("neighbor_graph_entries", dtype)(*inputs, address(columns), address(values), n, k, thread_count())
    return _sorted_csr(starts, columns, values)


def self_tuned_weights(nodes: IntArray, lengths: FloatArray, here: FloatArray, scales: FloatArray) -> FloatArray:
    """exp(-d² / (s t)) for the edges of lists, with s and t the local scales of both ends.

    Copies can make a local scale zero; it is then that of the other end. Between two such points d = 0 and the weight
    is 1. Underflow is held at the smallest normal number, so that the components are those of the binary graph.

    Parameters
    ----------
    nodes : int64 [N, k]
        The far ends.
    lengths : float64 [N, k]
        d of each edge.
    here : float64 [N]
        Scale of the near end of each list.
    scales : float64 [M]
        Scales of all nodes.

    Returns
    -------
    float64 [N, k]

    Raises
    ------
    ValueError
        If a node is not in 0 .. M - 1.

    References
    ----------
    Zelnik-Manor & Perona, "Self-tuning spectral clustering", NeurIPS 17 (2004).
    """
    n, k = nodes.shape
    nodes = np.ascontiguousarray(nodes, np.int64)
    lengths, here, scales = (np.ascontiguousarray(array, np.float64) for array in (lengths, here, scales))
    weights = np.empty((n, k))
    inputs = map(address, (nodes, lengths, here, scales, weights))
    if not cpu.self_tuned_weights(*inputs, n, k, len(scales), thread_count()):
        raise ValueError(_out_of_range(nodes, len(scales)))
    return weights


def assemble_laplacian(adjacency: sparse.csr_array, *, symmetric: bool) -> sparse.csr_array:
    """Deg - W, or I - Deg^(-1/2) W Deg^(-1/2) with zero rows at isolated nodes.

    ``adjacency`` [N, N] must be canonical (sorted, no repetitions), with positive float64 weights and without diagonal.
    """
    n = adjacency.shape[0]
    dtype = index_dtype(adjacency.nnz + n)
    parts = _csr_parts(adjacency, dtype)
    inverse_root = np.empty(n) if symmetric else None
    starts = np.empty(n + 1, dtype)
    inputs = [*map(address, parts), n, symmetric, address(inverse_root), address(starts)]
    _function("laplacian_starts", dtype)(*inputs, thread_count())
    columns, values = np.empty(int(starts[-1]), dtype), np.empty(int(starts[-1]))
    _function("laplacian_entries", dtype)(*inputs, address(columns), address(values), thread_count())
    matrix = _sorted_csr(starts, columns, values)
    if symmetric and not values.all():  # products of tiny weights can underflow
        matrix.eliminate_zeros()
    return matrix


def asymmetry(matrix: sparse.csr_array) -> float:
    """Largest |a_ij - a_ji| of a square canonical float64 matrix."""
    dtype = index_dtype(matrix.nnz)
    parts = _csr_parts(matrix, dtype)
    return float(_function("asymmetry", dtype)(*map(address, parts), matrix.shape[0], thread_count()))


def index_dtype(entries: int) -> type[np.int32] | type[np.int64]:
    """The narrowest index type for this many entries: half the memory traffic where it is int32."""
    return np.int32 if entries <= NARROW_LIMIT else np.int64


def _out_of_range(neighbors: IntArray, n: int) -> str:
    return f"neighbors must lie in 0 .. {n - 1}, got {neighbors.min()} .. {neighbors.max()}"


def _csr_parts(matrix: sparse.csr_array, dtype: Any) -> tuple[NDArray[Any], NDArray[Any], FloatArray]:
    """Starts, columns and values, contiguous; the caller holds them while native code reads them."""
    return (
        np.ascontiguousarray(matrix.indptr, dtype),
        np.ascontiguousarray(matrix.indices, dtype),
        np.ascontiguousarray(matrix.data, np.float64),
    )


def _sorted_csr(starts: NDArray[Any], columns: NDArray[Any], values: FloatArray) -> sparse.csr_array:
    """A square matrix whose rows are known to be canonical, so that scipy need not look."""
    n = len(starts) - 1
    matrix = sparse.csr_array((values, columns, starts), shape=(n, n), copy=False)
    matrix.has_canonical_format = True  # includes sorted indices
    return matrix


def _function(name: str, dtype: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(cpu, f"{name}_{'i32' if dtype is np.int32 else 'i64'}")
    return function
