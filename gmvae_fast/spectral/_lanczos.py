"""The Lanczos recurrence for many start vectors at once, each with a Jacobi matrix of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._products import aligned, recurrence, subtract_scaled

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

    One product of the matrix with the whole block serves all columns. Only two blocks are held: nothing is
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
    # Lanczos vectors keep the lengths that the recurrence gives them, the off-diagonal entries, and every pass divides
    # by those: a pass that normalises would be one more through memory.
    current, other = aligned(n, width), aligned(n, width)
    np.divide(block, np.linalg.norm(block, axis=0), out=current)
    other[:] = 0.0
    inverse, ratio = np.ones(width), np.zeros(width)  # of the length of `current`; to that of the vector before
    for step in range(steps):
        product = recurrence(matrix, current, other, np.stack([inverse, np.zeros(width), -ratio]))
        diagonal[step] = product * inverse
        beta = np.sqrt(subtract_scaled(current, other, diagonal[step] * inverse))
        # Beyond an exhausted space all coefficients are zero.
        beta[(beta <= threshold) | (inverse == 0.0)] = 0.0
        off_diagonal[step] = beta
        if not beta.any():
            break
        ratio = beta * inverse
        inverse = np.divide(1.0, beta, out=np.zeros(width), where=beta > 0)
        current, other = other, current
    return [_cut(diagonal[:, column], off_diagonal[:, column]) for column in range(width)]


def _cut(diagonal: FloatArray, off_diagonal: FloatArray) -> Jacobi:
    """Drop what follows the first zero off the diagonal."""
    ends = np.flatnonzero(off_diagonal == 0.0)
    size = int(ends[0]) + 1 if len(ends) else len(diagonal)
    return Jacobi(diagonal[:size].copy(), off_diagonal[:size].copy())
