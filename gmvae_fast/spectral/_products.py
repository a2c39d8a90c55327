"""Sparse matrix times a block of vectors in native threads; scipy's product uses one."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray


def multiply(matrix: sparse.csr_array, block: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """``matrix @ block``, bit-identical for every number of threads.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array [M, N]
        float64, int32 or int64 indices; the entries of a row in any order. Its indices are trusted.
    block : float64 [N] or [N, S]
        Row-major blocks are used in place, others are copied first.
    out : float64 like the result, C-contiguous, optional
        Where to write; must not overlap ``block``.

    Returns
    -------
    float64 [M] or [M, S]
        ``out`` if it was given.

    Raises
    ------
    TypeError, ValueError
        If the dtype of the matrix is not float64, or shapes do not fit.
    """
    if matrix.data.dtype != np.float64:
        raise TypeError(f"matrix must be float64, got {matrix.data.dtype}")
    block = np.ascontiguousarray(block, np.float64)
    rows, inner = matrix.shape
    if block.ndim not in (1, 2) or len(block) != inner:
        raise ValueError(f"block must have shape [{inner}] or [{inner}, S], got {block.shape}")
    shape = (rows, *block.shape[1:])
    if out is None:
        out = np.empty(shape)
    elif out.shape != shape or out.dtype != np.float64 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a C-contiguous float64 array of shape {shape}, got {out.dtype} {out.shape}")
    product = cpu.csr_product_i32 if matrix.indices.dtype == np.int32 else cpu.csr_product_i64
    # Kept in variables: a converted copy must live until the call returns.
    starts = np.ascontiguousarray(matrix.indptr, matrix.indices.dtype)
    columns, values = np.ascontiguousarray(matrix.indices), np.ascontiguousarray(matrix.data)
    width = block.shape[1] if block.ndim == 2 else 1
    product(
        starts.ctypes.data,
        columns.ctypes.data,
        values.ctypes.data,
        block.ctypes.data,
        out.ctypes.data,
        rows,
        width,
        thread_count(),
    )
    return out
