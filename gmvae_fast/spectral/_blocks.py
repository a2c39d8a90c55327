"""A block of vectors against a basis of many, in native threads. Vectors are rows, `BLOCK` of them a block."""

from __future__ import annotations

import numpy as np

from gmvae_fast._native import cpu
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray

BLOCK: int = cpu.BLOCK_ROWS


def row_products(basis: FloatArray, block: FloatArray) -> FloatArray:
    """``basis @ block.T``, float64 [M, BLOCK], of C-contiguous [M, N] and [BLOCK, N]; the same for any thread count."""
    m, n = _check(basis, block)
    coefficients = np.zeros((m, BLOCK))
    if m and n:
        partial = np.empty((-(-n // cpu.BLOCK_COLUMNS), m, BLOCK))
        cpu.row_products(
            basis.ctypes.data, block.ctypes.data, coefficients.ctypes.data, partial.ctypes.data, m, n, thread_count()
        )
    return coefficients


def subtract_rows(basis: FloatArray, block: FloatArray, coefficients: FloatArray) -> None:
    """``block -= coefficients.T @ basis`` in place; coefficients C-contiguous [M, BLOCK], else as `row_products`."""
    m, n = _check(basis, block)
    _check_rows(coefficients, "coefficients", (m, BLOCK))
    if m and n:
        cpu.subtract_rows(basis.ctypes.data, block.ctypes.data, coefficients.ctypes.data, m, n, thread_count())


def _check(basis: FloatArray, block: FloatArray) -> tuple[int, int]:
    m, n = basis.shape
    _check_rows(basis, "basis", (m, n))
    _check_rows(block, "block", (BLOCK, n))
    return m, n


def _check_rows(array: FloatArray, name: str, shape: tuple[int, int]) -> None:
    if array.shape != shape or array.dtype != np.float64 or not array.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a C-contiguous float64 array of shape {shape}, got {array.dtype} {array.shape}"
        )
