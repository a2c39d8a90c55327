"""The Lanczos recurrence for many start vectors at once, each with a Jacobi matrix of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import NamedTuple

import numpy as np
from scipy import sparse

from gmvae_fast._threads import thread_count
from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._products import multiply

CHUNK_BYTES = 1 << 16  # of one array: a pass over three of them and its scratch stays in the second-level cache
EXHAUSTED = 1e-12  # of the matrix's norm: an off-diagonal this small says that the Krylov space is invariant


class Jacobi(NamedTuple):
    """What the recurrence leaves of a matrix, seen from one start vector.

    ``diagonal`` [n] and ``off_diagonal`` [n]; the last off-diagonal entry leads on to the next vector and is 0 where
    there is none, that is where the quadrature is exact.
    """

    diagonal: FloatArray
    off_diagonal: FloatArray


def jacobi_matrices(matrix: sparse.csr_array, block: FloatArray, steps: int) -> list[Jacobi]:
    """Up to ``steps`` steps of Lanczos from every column of ``block`` [N, S], none of them zero.

    One product of the matrix with the whole block serves all columns. Only three blocks are held: nothing is
    reorthogonalised. In floating point the vectors then lose their orthogonality as Ritz values converge, and
    copies of those appear. That spoils eigenvectors, not quadrature: the computed matrix is exactly that of a measure
    whose atoms are smeared over clusters of tiny width and keep their weight, so copies share one weight between them
    (Greenbaum 1989; Knizhnerman 1996). What is lost is a few nodes.

    References
    ----------
    Greenbaum, "Behavior of slightly perturbed Lanczos and conjugate-gradient recurrences", Linear Algebra and its
    Applications 113 (1989). Paige, "The computation of eigenvalues and eigenvectors of very large sparse matrices",
    PhD thesis, London (1971), for the order of the operations.
    """
    n, width = block.shape
    steps = min(steps, n)
    diagonal, off_diagonal = np.zeros((steps, width)), np.zeros((steps, width))
    threshold = EXHAUSTED * 2.0 * float(matrix.diagonal().max())
    with ThreadPoolExecutor(thread_count()) as pool:
        recurrence = _Recurrence(block, pool)
        for step in range(steps):
            diagonal[step], beta = recurrence.advance(matrix, threshold)
            off_diagonal[step] = beta
            if not beta.any():
                break
    return [_cut(diagonal[:, column], off_diagonal[:, column]) for column in range(width)]


def _cut(diagonal: FloatArray, off_diagonal: FloatArray) -> Jacobi:
    """Drop what follows the first zero off the diagonal."""
    ends = np.flatnonzero(off_diagonal == 0.0)
    size = int(ends[0]) + 1 if len(ends) else len(diagonal)
    return Jacobi(diagonal[:size].copy(), off_diagonal[:size].copy())


class _Recurrence:
    """Three blocks of vectors and the passes over them, in row ranges that stay in cache.

    The passes see the blocks as flat arrays and one coefficient per entry: numpy broadcasts a short last axis six times
    slower.
    """

    def __init__(self, block: FloatArray, pool: ThreadPoolExecutor) -> None:
        n, self._width = block.shape
        self._before = np.zeros(block.shape)
        self._current = np.ascontiguousarray(block / np.linalg.norm(block, axis=0))
        self._product = np.empty(block.shape)
        self._coefficients = np.zeros(self._width)
        self._beta = np.zeros(self._width)
        rows = max(1, CHUNK_BYTES // (8 * self._width))
        self._ones = np.ones(min(rows, n))
        ranges = [slice(start, min(start + rows, n)) for start in range(0, n, rows)]
        share = -(-len(ranges) // thread_count())
        self._shares = [ranges[i : i + share] for i in range(0, len(ranges), share)]
        self._pool = pool

    def advance(self, matrix: sparse.csr_array, threshold: float) -> tuple[FloatArray, FloatArray]:
        """One step: the diagonal and the off-diagonal entries [S] it gives."""
        multiply(matrix, self._current, self._product)
        alpha = np.sum(self._over_rows(self._subtract_before, self._beta), axis=0)
        beta = np.sqrt(np.sum(self._over_rows(self._subtract_current, alpha), axis=0))
        beta[beta <= threshold] = 0.0
        # The vector of an exhausted space becomes zero, and with it all its later coefficients.
        self._over_rows(self._scale, np.divide(1.0, beta, out=np.zeros_like(beta), where=beta > 0))
        self._before, self._current, self._product = self._current, self._product, self._before
        self._beta = beta
        return alpha, beta

    def _over_rows(self, function: Callable[[slice], FloatArray], coefficients: FloatArray) -> list[FloatArray]:
        """Results in the order of the rows, whatever the number of threads."""
        self._coefficients = np.tile(coefficients, len(self._ones))
        if len(self._shares) == 1:
            return [function(rows) for rows in self._shares[0]]
        return list(chain(*self._pool.map(lambda share: [function(rows) for rows in share], self._shares)))

    def _subtract_before(self, rows: slice) -> FloatArray:
        part = self._product[rows].ravel()
        scratch = self._before[rows].ravel()  # a view, and free: the block is written next
        scratch *= self._coefficients[: len(part)]
        part -= scratch
        return self._column_sums(part * self._current[rows].ravel())

    def _subtract_current(self, rows: slice) -> FloatArray:
        part = self._product[rows].ravel()
        part -= self._coefficients[: len(part)] * self._current[rows].ravel()
        return self._column_sums(part * part)

    def _scale(self, rows: slice) -> FloatArray:
        part = self._product[rows].ravel()
        part *= self._coefficients[: len(part)]
        return part

    def _column_sums(self, flat: FloatArray) -> FloatArray:
        part = flat.reshape(-1, self._width)
        return np.asarray(self._ones[: len(part)] @ part)
