"""Lowest eigenpairs of one connected component by scipy's eigsh: implicitly restarted Lanczos (ARPACK)."""

from __future__ import annotations

import inspect

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._products import multiply
from gmvae_fast.spectral._transforms import EigenConvergenceError, Transformed, spectrum_bound

RESTARTS = 300
RESIDUAL_LIMIT = 1e-5  # of lambda_max
CHECK_TOLERANCE = 1e-6
MOST_SLACK = 1e-3  # no tolerance is relaxed beyond this one
# Newer scipy draws ARPACK's restart vectors from a generator of its own: seed that too.
EIGSH_TAKES_RNG = "rng" in inspect.signature(eigsh).parameters


def eigsh_pairs(
    matrix: sparse.csr_array, operator: Transformed, k: int, seed: int, tol: float
) -> tuple[FloatArray, FloatArray]:
    """Iterate, look for missed copies of multiple eigenvalues, and polish by Rayleigh-Ritz.

    A Krylov space built from one vector holds one direction of a multiple eigenvalue; the others enter by
    rounding alone. So after convergence the pairs found are deflated and the next one is sought: if it lies
    below the highest one found, a copy was missed.

    References
    ----------
    Lehoucq, Sorensen, Yang, "ARPACK Users' Guide", SIAM (1998).
    """
    tol = max(tol, min(operator.slack * tol, MOST_SLACK))
    rng = np.random.default_rng(seed)
    n = matrix.shape[0]
    vectors = _iterate(operator, n, k, rng, tol, deflated=None)
    values, vectors = _rayleigh_ritz(matrix, vectors)
    scale = spectrum_bound(matrix)
    for _ in range(k):
        extra = _iterate(operator, n, 1, rng, max(tol, CHECK_TOLERANCE), deflated=(operator.image(values), vectors))
        candidate = float(extra[:, 0] @ multiply(matrix, extra[:, 0]))
        if candidate >= values[-1] - CHECK_TOLERANCE * max(values[-1], 1e-6 * scale):
            break
        extra = _iterate(operator, n, 1, rng, tol, deflated=(operator.image(values), vectors))
        values, vectors = _rayleigh_ritz(matrix, np.column_stack([vectors, extra]))
        values, vectors = values[:k], vectors[:, :k]
    residual = np.linalg.norm(multiply(matrix, vectors) - vectors * values, axis=0).max()
    if not residual <= RESIDUAL_LIMIT * scale:
        raise EigenConvergenceError(f"eigenpairs left a residual of {residual:.1e}; try {operator.advice}")
    return values, vectors


def _iterate(
    operator: Transformed,
    n: int,
    k: int,
    rng: np.random.Generator,
    tol: float,
    deflated: tuple[FloatArray, FloatArray] | None,
) -> FloatArray:
    """Vectors [n, k] of the ``k`` largest eigenvalues of the operator, less the deflated pairs."""

    def matvec(x: FloatArray) -> FloatArray:
        image = operator.apply(x.reshape(-1, 1)).ravel()
        if deflated is not None:
            images, basis = deflated
            image -= basis @ (images * (basis.T @ x.ravel()))
        return image

    start = rng.standard_normal(n)
    try:
        _, vectors = eigsh(
            LinearOperator((n, n), matvec=matvec, dtype=np.float64),
            k,
            which="LA",
            v0=start,
            tol=tol,
            ncv=min(n, max(2 * k + 1, 20)),
            maxiter=RESTARTS,
            **({"rng": rng} if EIGSH_TAKES_RNG else {}),
        )
    except ArpackError as error:  # covers ArpackNoConvergence
        raise EigenConvergenceError(
            f"the iteration for {k} eigenpairs of a component of {n} nodes did not converge to tol={tol:g} "
            f"in {RESTARTS} restarts; try {operator.advice}"
        ) from error
    return np.asarray(vectors)


def _rayleigh_ritz(matrix: sparse.csr_array, vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Best pairs, in ascending order, within the span of ``vectors``."""
    basis, _ = np.linalg.qr(vectors)
    projected = basis.T @ multiply(matrix, basis)
    values, rotation = eigh((projected + projected.T) / 2)
    return np.asarray(values), np.asarray(basis @ rotation)
