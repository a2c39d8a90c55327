"""A factorised Laplacian, for solves with a block of right sides."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

from gmvae_fast._native import cpu
from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._blocks import BLOCK


class Factor:
    """L D L' of a sparse symmetric positive definite matrix, by SuperLU; its solves by our own kernel.

    SuperLU takes the vectors of a block one after the other, and reads two factors where one and its transpose do.
    """

    def __init__(self, matrix: sparse.csr_array) -> None:
        # A positive definite matrix needs no pivoting, and a symmetric ordering then keeps the fill low. The factor of
        # a curve or sheet has short columns, which panels of several do not pay for: 0.22 s by the column, 0.34 s in
        # scipy's panels of ten, for curves of 1e5 nodes; 0.51 and 0.61 s for a sheet.
        self._lu: SuperLU | None = splu(
            sparse.csc_array(matrix),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            panel_size=1,
            options={"SymmetricMode": True},
        )
        self._symmetric = bool(np.array_equal(self._lu.perm_r, self._lu.perm_c))

    def solve(self, right: FloatArray) -> FloatArray:
        """A^-1 ``right``, float64 [N, S]; blocks of `BLOCK` columns by the kernel, all else by SuperLU."""
        if not self._symmetric or (self._lu is not None and right.shape[1] != BLOCK):
            assert self._lu is not None
            return np.asarray(self._lu.solve(np.asfortranarray(right)))
        if self._lu is not None:
            self._unpack(self._lu)
            self._lu = None  # as large as what was unpacked
        padded = np.zeros((-(-right.shape[1] // BLOCK) * BLOCK, len(right)))
        padded[: right.shape[1]] = right.T
        solution = np.empty_like(padded)
        for first in range(0, len(padded), BLOCK):
            self._solve_rows(padded[first : first + BLOCK], solution[first : first + BLOCK])
        return solution[: right.shape[1]].T

    def _unpack(self, lu: SuperLU) -> None:
        lower = lu.L  # compressed columns, unit diagonal
        self._starts = np.ascontiguousarray(lower.indptr, np.int32)
        self._rows = np.ascontiguousarray(lower.indices, np.int32)
        self._values = np.ascontiguousarray(lower.data, np.float64)
        self._inverse_diagonal = 1.0 / lu.U.diagonal()
        self._order = np.argsort(lu.perm_c).astype(np.int64)
        self._scratch = np.empty((len(self._order), BLOCK))

    def _solve_rows(self, right: FloatArray, solution: FloatArray) -> None:
        cpu.factor_solve(
            self._starts.ctypes.data,
            self._rows.ctypes.data,
            self._values.ctypes.data,
            self._inverse_diagonal.ctypes.data,
            self._order.ctypes.data,
            right.ctypes.data,
            solution.ctypes.data,
            self._scratch.ctypes.data,
            len(self._order),
        )
