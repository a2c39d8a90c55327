"""Sparse matrix times a block of vectors."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray


def multiply(matrix: sparse.csr_array, block: FloatArray, out: FloatArray | None = None) -> FloatArray:
    """``matrix @ block`` for a float64 block [N] or [N, S]; written to ``out`` if given."""
    product = np.asarray(matrix @ block)
    if out is None:
        return product
    np.copyto(out, product)
    return out
