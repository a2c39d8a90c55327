"""Numbering the nodes of a graph so that neighbours lie close in memory."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import IntArray
from gmvae_fast.spectral._products import csr_arrays


def local_order(matrix: sparse.csr_array) -> IntArray:
    """Nodes [N] in the reverse order of a breadth-first search, component by component.

    Snapshots come in any order, so that a product with the matrix of their graph gathers from everywhere. In this order
    neighbours are at most two levels of the search apart.

    References
    ----------
    Cuthill & McKee, "Reducing the bandwidth of sparse symmetric matrices", ACM (1969).
    """
    return np.asarray(csgraph.reverse_cuthill_mckee(matrix, symmetric_mode=True), np.int64)


def permuted(matrix: sparse.csr_array, order: IntArray) -> sparse.csr_array:
    """``matrix[order][:, order]``, with ascending columns in every row.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array [N, N]
        float64. The rows named must have no entries in columns that are not named.
    order : int64 [M]
        Different nodes.
    """
    starts, columns, values = csr_arrays(matrix)
    places = np.full(matrix.shape[0], -1, columns.dtype)
    places[order] = np.arange(len(order), dtype=columns.dtype)
    new_starts = np.zeros(len(order) + 1, columns.dtype)
    np.cumsum(np.diff(starts)[order], out=new_starts[1:])
    new_columns, new_values = np.empty(new_starts[-1], columns.dtype), np.empty(new_starts[-1])
    permute = cpu.csr_permute_i32 if columns.dtype == np.int32 else cpu.csr_permute_i64
    order = np.ascontiguousarray(order, np.int64)
    permute(
        starts.ctypes.data,
        columns.ctypes.data,
        values.ctypes.data,
        matrix.shape[0],
        order.ctypes.data,
        places.ctypes.data,
        new_starts.ctypes.data,
        new_columns.ctypes.data,
        new_values.ctypes.data,
        len(order),
        thread_count(),
    )
    return sparse.csr_array((new_values, new_columns, new_starts), shape=(len(order), len(order)))
