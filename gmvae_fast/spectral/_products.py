"""Sparse matrix times a block of vectors in native threads; scipy's product uses one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray

CACHE_LINE = 64  # bytes


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
    block = np.ascontiguousarray(block, np.float64)
    rows, inner = matrix.shape
    if block.ndim not in (1, 2) or len(block) != inner:
        raise ValueError(f"block must have shape [{inner}] or [{inner}, S], got {block.shape}")
    shape = (rows, *block.shape[1:])
    if out is None:
        out = np.empty(shape)
    else:
        _check_block(out, "out", shape)
    starts, columns, values = csr_arrays(matrix)
    product = cpu.csr_product_i32 if columns.dtype == np.int32 else cpu.csr_product_i64
    product(
        starts.ctypes.data,
        columns.ctypes.data,
        values.ctypes.data,
        block.ctypes.data,
        out.ctypes.data,
        rows,
        block.shape[1] if block.ndim == 2 else 1,
        thread_count(),
    )
    return out


def recurrence(matrix: sparse.csr_array, x: FloatArray, y: FloatArray, coefficients: FloatArray) -> FloatArray:
    """``y = a A x + b x + c y`` in place and the sums of x y over the rows, in one pass.

    Bit-identical for every number of threads.

    Parameters
    ----------
    matrix : scipy.sparse.csr_array [N, N]
        As for `multiply`.
    x, y : float64 [N, S], C-contiguous
        They must not overlap.
    coefficients : float64 [3, S]
        a, b and c of every column.

    Returns
    -------
    float64 [S]
        Scalar products of the columns of ``x`` with those of the new ``y``.

    Raises
    ------
    TypeError, ValueError
        If the dtype of the matrix is not float64, or shapes do not fit.
    """
    n = matrix.shape[0]
    width = x.shape[1]
    if matrix.shape != (n, n):
        raise ValueError(f"matrix must be square, got shape {matrix.shape}")
    _check_block(x, "x", (n, width))
    _check_block(y, "y", (n, width))
    _check_block(coefficients, "coefficients", (3, width))
    starts, columns, values = csr_arrays(matrix)
    sums = _sums(n, width)
    step = cpu.csr_recurrence_i32 if columns.dtype == np.int32 else cpu.csr_recurrence_i64
    step(
        starts.ctypes.data,
        columns.ctypes.data,
        values.ctypes.data,
        x.ctypes.data,
        y.ctypes.data,
        coefficients.ctypes.data,
        sums.ctypes.data,
        n,
        width,
        thread_count(),
    )
    return np.asarray(sums.sum(axis=0))


def subtract_scaled(x: FloatArray, y: FloatArray, coefficients: FloatArray) -> FloatArray:
    """``y -= coefficients * x`` in place and the squared norms of the new columns of ``y``, float64 [S].

    Arguments are float64 and C-contiguous, [N, S], [N, S] and [S]; ``ValueError`` otherwise.
    """
    n, width = x.shape
    _check_block(x, "x", (n, width))
    _check_block(y, "y", (n, width))
    _check_block(coefficients, "coefficients", (width,))
    sums = _sums(n, width)
    cpu.subtract_scaled(
        x.ctypes.data, y.ctypes.data, coefficients.ctypes.data, sums.ctypes.data, n, width, thread_count()
    )
    return np.asarray(sums.sum(axis=0))


def aligned(n: int, width: int) -> FloatArray:
    """Uninitialised float64 [N, S] that starts with a cache line, so that rows straddle no more lines than they must.

    numpy's own arrays start 16 bytes off: a gathered row of 8 values then takes two lines from memory in place of one.
    """
    memory = np.empty(8 * n * width + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return np.asarray(memory[start : start + 8 * n * width].view(np.float64).reshape(n, width))


def _sums(n: int, width: int) -> FloatArray:
    return np.zeros((-(-n // cpu.SUM_ROWS), width))


def csr_arrays(matrix: sparse.csr_array) -> tuple[NDArray[np.integer], NDArray[np.integer], FloatArray]:
    """Starts, columns and values, contiguous; keep them in variables, since the native call sees addresses only."""
    if matrix.data.dtype != np.float64:
        raise TypeError(f"matrix must be float64, got {matrix.data.dtype}")
    starts = np.ascontiguousarray(matrix.indptr, matrix.indices.dtype)
    return starts, np.ascontiguousarray(matrix.indices), np.ascontiguousarray(matrix.data)


def _check_block(array: FloatArray, name: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a C-contiguous float64 array of shape {shape}, got {array.dtype} {array.shape}"
        )
