"""Lowest eigenpairs of one connected component by a restarted block Lanczos iteration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import splu

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._products import multiply

BLOCK = 4  # vectors that are multiplied together: one pass over the matrix, and four copies of an eigenvalue
RESTARTS = 300
SHIFT = 1e-6  # of lambda_max: L is singular, and a shift further off would press the lowest values together
TIE = 1e-6  # relative distance of eigenvalues that counts as none
EXHAUSTED = 1e-13  # of the operator's norm: what is left of a direction that the space holds already


class EigenConvergenceError(RuntimeError):
    """The eigenvalue iteration stopped before it reached the tolerance."""


@dataclass(frozen=True)
class Transformed:
    """A function of L whose LARGEST eigenvalues, in order, belong to the lowest ones of L."""

    apply: Callable[[FloatArray], FloatArray]  # [n, BLOCK] -> [n, BLOCK], a new array
    gain: Callable[[FloatArray], FloatArray]  # eigenvalue of the operator -> residual of L over that of the operator
    advice: str


def lanczos_pairs(matrix: sparse.csr_array, k: int, seed: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """The ``k`` lowest pairs from products with c I - L.

    c = 2 max_i L_ii bounds the spectrum of L = Deg - W (by Gershgorin) and of L_sym (whose diagonal is 1).
    """
    top = spectrum_bound(matrix)
    operator = Transformed(
        apply=lambda x: top * x - multiply(matrix, x),
        gain=np.ones_like,
        advice="method='shift-invert' (graphs of curves or sheets), a larger tol, or fewer pairs",
    )
    return lowest_pairs(matrix, operator, k, seed, tol)


def shift_invert_pairs(matrix: sparse.csr_array, k: int, seed: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """The ``k`` lowest pairs from solves with L + sigma I, sigma small and positive."""
    n = matrix.shape[0]
    top = spectrum_bound(matrix)
    shift = SHIFT * top
    # A positive definite matrix needs no pivoting, and a symmetric ordering then keeps the fill low.
    factor = splu(
        sparse.csc_array(matrix + shift * sparse.eye_array(n)),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    operator = Transformed(
        apply=lambda x: np.ascontiguousarray(factor.solve(np.asfortranarray(x))),
        # (L - lambda) u = -(L + sigma) r / theta for a residual r of the inverse.
        gain=lambda images: top / images,
        advice="method='lanczos', a larger tol, or fewer pairs",
    )
    return lowest_pairs(matrix, operator, k, seed, tol)


def spectrum_bound(matrix: sparse.csr_array) -> float:
    """2 max_i L_ii, which no eigenvalue of a graph Laplacian exceeds."""
    return 2.0 * float(matrix.diagonal().max())


def lowest_pairs(
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
    basis = np.empty((n, most + BLOCK))  # row-major: its blocks are factors of products that BLAS does in place
    projected = np.zeros((most + BLOCK, most + BLOCK))
    block, _ = np.linalg.qr(rng.standard_normal((n, BLOCK)))
    basis[:, :BLOCK] = block
    size, recent, restarts = BLOCK, 0, 0
    while True:
        image = operator.apply(np.ascontiguousarray(block))
        # Coefficients on the last two blocks are large, all others but rounding, save after a restart: take those off
        # first, and the pass over the whole basis is a reorthogonalisation.
        coefficients = np.zeros((size, BLOCK))
        for first in (recent, 0):
            part = (image.T @ basis[:, first:size]).T
            image -= basis[:, first:size] @ part
            coefficients[first:] += part
        last = slice(size - BLOCK, size)
        projected[:size, last] = coefficients
        projected[last, :size] = coefficients.T
        block, onward = _orthonormal(image, basis[:, :size], rng, EXHAUSTED * float(np.abs(projected).max()))
        basis[:, size : size + BLOCK] = block
        ritz, rotation = (a[..., ::-1] for a in eigh(projected[:size, :size]))
        if size >= k + BLOCK or size == most:
            error = np.linalg.norm(onward @ rotation[last, :k], axis=0) * operator.gain(ritz[:k])
            if error.max() <= limit:  # an estimate, and blind to different eigenvalues with one image
                values, vectors, residual = _rayleigh_ritz(matrix, basis[:, :size] @ rotation[:, :k])
                if residual <= limit:
                    return values, vectors
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
        basis[:, :kept] = basis[:, :size] @ rotation[:, :kept]
        basis[:, kept : kept + BLOCK] = block
        projected[:] = 0.0
        projected[range(kept), range(kept)] = ritz[:kept]
        projected[kept : kept + BLOCK, :kept] = coupling
        projected[:kept, kept : kept + BLOCK] = coupling.T
        size, recent = kept + BLOCK, 0


def smallest_size(k: int) -> int:
    """Nodes below which the space of the iteration would hold nearly all vectors there are."""
    return 3 * k + 4 * BLOCK


def _orthonormal(
    image: FloatArray, basis: FloatArray, rng: np.random.Generator, floor: float
) -> tuple[FloatArray, FloatArray]:
    """Q [n, b] and R [b, b] with ``image`` = Q R, Q orthonormal and orthogonal to the basis.

    Directions of length up to ``floor`` are exhausted: random ones take their place, with rows of zeros in R.
    """
    q, r = np.linalg.qr(image)
    lost = np.abs(np.diag(r)) <= floor
    if lost.any():
        q[:, lost] = rng.standard_normal((len(q), int(lost.sum())))
        r[lost] = 0.0
        for _ in range(2):
            q -= basis @ (basis.T @ q)
            q, step = np.linalg.qr(q)
            r = step @ r
    return np.asarray(q), np.asarray(r)


def _rayleigh_ritz(matrix: sparse.csr_array, basis: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Best pairs, in ascending order, within the span of orthonormal columns, and the largest residual."""
    product = multiply(matrix, basis)
    projected = basis.T @ product
    values, rotation = eigh((projected + projected.T) / 2)
    vectors = basis @ rotation
    residual = np.linalg.norm(product @ rotation - vectors * values, axis=0).max()
    return np.asarray(values), np.asarray(vectors), float(residual)
