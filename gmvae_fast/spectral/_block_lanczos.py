"""Lowest eigenpairs of one connected component by a restarted block Lanczos iteration."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._blocks import BLOCK, row_products, subtract_rows
from gmvae_fast.spectral._products import multiply
from gmvae_fast.spectral._transforms import EigenConvergenceError, Transformed, spectrum_bound

RESTARTS = 300
TIE = 1e-6  # relative distance of eigenvalues that counts as none
# Decimal digits that an application gains at most, seen on sheets, cubes and blobs: tests that cannot succeed are left.
DIGITS = 2.0
CHUNK = 4096  # rows whose products with 20 vectors stay in the second cache
EXHAUSTED, CANCELLED = 1e-13, 1e-6  # what is left of a direction after the basis was taken off, over what was there


def block_pairs(
    matrix: sparse.csr_array, operator: Transformed, k: int, seed: int, tol: float
) -> tuple[FloatArray, FloatArray]:
    """Iterate, and where a multiple eigenvalue fills the block look for further copies of it.

    From a random block of b vectors the Krylov space holds b directions of every eigenspace, so that an eigenvalue
    found fewer than b times has no other copy. One found b times below the highest value may have: then the pairs
    found are deflated and the next one is sought, until it lies no lower than the highest one found.
    """
    rng = np.random.default_rng(seed)
    limit = tol * spectrum_bound(matrix)
    values, vectors = _iterate(matrix, operator, k, rng, limit)
    for _ in range(k):
        if not _may_have_copies(values, limit):
            break
        deflated = _deflate(operator, vectors)
        _, extra = _iterate(matrix, deflated, 1, rng, limit)
        candidate = float(extra[:, 0] @ multiply(matrix, extra[:, 0]))
        if candidate >= values[-1] - TIE * max(values[-1], TIE * spectrum_bound(matrix)):
            break
        values, vectors, _ = _rayleigh_ritz(matrix, np.linalg.qr(np.column_stack([vectors, extra]))[0])
        values, vectors = values[:k], vectors[:, :k]
    return values, vectors


def _may_have_copies(values: FloatArray, limit: float) -> bool:
    """Whether an eigenvalue below the highest one occurs as often as the block has vectors, or more."""
    tie = np.maximum(TIE * values, 10.0 * limit)
    equal = values[: 1 - BLOCK] >= values[BLOCK - 1 :] - tie[BLOCK - 1 :] if len(values) >= BLOCK else np.zeros(0, bool)
    below = values[: len(equal)] < values[-1] - tie[-1]
    return bool((equal & below).any())


def _deflate(operator: Transformed, vectors: FloatArray) -> Transformed:
    """The operator between projections that take the vectors found off.

    To subtract their eigenvalues instead would leave rounding errors as large as those are: of the null vector
    1 / shift.
    """

    def rest(x: FloatArray) -> FloatArray:
        return x - vectors @ (vectors.T @ x)

    return replace(operator, apply=lambda x: rest(operator.apply(rest(x))))


def _iterate(
    matrix: sparse.csr_array, operator: Transformed, k: int, rng: np.random.Generator, limit: float
) -> tuple[FloatArray, FloatArray]:
    """The pairs of the ``k`` largest eigenvalues of the operator, with residuals of L up to ``limit``.

    Block Lanczos with full orthogonalisation and thick restarts. Needs at least `smallest_size` nodes.

    References
    ----------
    Golub & Underwood, "The block Lanczos method for computing eigenvalues", Mathematical Software III (1977).
    Wu & Simon, "Thick-restart Lanczos method for large symmetric eigenvalue problems", SIAM Journal on Matrix Analysis
    and Applications 22 (2000).
    """
    n = matrix.shape[0]
    most = min(4 * k + 8 * BLOCK, n - BLOCK)
    basis = np.empty((most + BLOCK, n))  # rows are vectors: the longest way to go lies in memory
    projected = np.zeros((most + BLOCK, most + BLOCK))
    block = _orthonormal(rng.standard_normal((BLOCK, n)), basis[:0], rng, 0.0)[0]
    basis[:BLOCK] = block
    size, recent, restarts = BLOCK, 0, 0
    next_test = k + BLOCK
    while True:
        image = np.array(operator.apply(block.T).T, order="C", copy=None)
        # Coefficients on the last two blocks are large, all others but rounding, save after a restart: take those off
        # first, and the pass over the whole basis is a reorthogonalisation.
        length = float(np.linalg.norm(image, axis=1).max())
        coefficients = np.zeros((size, BLOCK))
        for first in (recent, 0):
            part = row_products(basis[first:size], image)
            subtract_rows(basis[first:size], image, part)
            coefficients[first:] += part
        last = slice(size - BLOCK, size)
        projected[:size, last] = coefficients
        projected[last, :size] = coefficients.T
        block, onward = _orthonormal(image, basis[:size], rng, length)
        basis[size : size + BLOCK] = block
        if size >= next_test or size + BLOCK > most:
            ritz, rotation = (a[..., ::-1] for a in eigh(projected[:size, :size]))
            error = float((np.linalg.norm(onward @ rotation[last, :k], axis=0) * operator.gain(ritz[:k])).max())
            if error <= limit:  # an estimate, and blind to different eigenvalues with one image
                rotated = np.ascontiguousarray((rotation[:, :k].T @ basis[:size]).T)
                values, vectors, residual = _rayleigh_ritz(matrix, rotated)
                if residual <= limit:
                    return values, vectors
            missing = math.log10(max(error / limit, 1.0)) if error < math.inf else 0.0
            next_test = size + BLOCK * max(1, int(missing / DIGITS))
        if size + BLOCK <= most:
            projected[size : size + BLOCK, last] = onward
            projected[last, size : size + BLOCK] = onward.T
            size, recent = size + BLOCK, size - BLOCK
            continue
        restarts += 1
        if restarts > RESTARTS:
            raise EigenConvergenceError(
                f"the iteration for {k} eigenpairs of a component of {n} nodes did not converge to residuals of "
                f"{limit:.1e} in {RESTARTS} restarts; try {operator.advice}"
            )
        kept = (k + size) // 2 - BLOCK
        coupling = onward @ rotation[last, :kept]
        basis[:kept] = rotation[:, :kept].T @ basis[:size]
        basis[kept : kept + BLOCK] = block
        projected[:] = 0.0
        projected[range(kept), range(kept)] = ritz[:kept]
        projected[kept : kept + BLOCK, :kept] = coupling
        projected[:kept, kept : kept + BLOCK] = coupling.T
        size, recent, next_test = kept + BLOCK, 0, 0


def smallest_size(k: int) -> int:
    """Nodes below which the space of the iteration would hold nearly all vectors there are."""
    return 3 * k + 4 * BLOCK


def _orthonormal(
    image: FloatArray, basis: FloatArray, rng: np.random.Generator, length: float
) -> tuple[FloatArray, FloatArray]:
    """Rows Q [b, n] and R [b, b] with ``image`` = R' Q, Q orthonormal and orthogonal to the basis.

    ``length`` is that of the image before the basis was taken off it. What is left of a direction that the space holds
    already is rounding: random ones take the place of such, with rows of zeros in R. Where less than `CANCELLED` is
    left, rounding is too large a part of it, and the basis is taken off once more.
    """
    q, r = np.linalg.qr(image.T)
    left = np.abs(np.diag(r))
    lost = left <= EXHAUSTED * length
    if lost.any():
        q[:, lost] = rng.standard_normal((len(q), int(lost.sum())))
        r[lost] = 0.0
    if left.min() <= CANCELLED * length:
        for _ in range(2):
            q -= basis.T @ (basis @ q)
            q, step = np.linalg.qr(q)
            r = step @ r
    return np.ascontiguousarray(q.T), np.asarray(r)


def _rayleigh_ritz(matrix: sparse.csr_array, basis: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Best pairs, in ascending order, within the span of orthonormal columns [n, k], and the largest residual.

    Vectors come as columns that lie in one piece. Rows are rotated by the chunk, while they are in the cache: to touch
    arrays of the size of the basis for the first time costs more than to compute.
    """
    product = multiply(matrix, basis)
    projected = basis.T @ product
    values, rotation = eigh((projected + projected.T) / 2)
    n, k = basis.shape
    vectors, squares = np.empty((k, n)), np.zeros(k)
    for first in range(0, n, CHUNK):
        rows = slice(first, first + CHUNK)
        rotated = basis[rows] @ rotation
        vectors[:, rows] = rotated.T
        rotated *= values
        squares += np.square(product[rows] @ rotation - rotated).sum(axis=0)
    return np.asarray(values), vectors.T, math.sqrt(squares.max())
