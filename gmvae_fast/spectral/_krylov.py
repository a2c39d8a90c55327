"""Lowest eigenpairs of one connected component by implicitly restarted Lanczos (ARPACK)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh, splu

from gmvae_fast.spectral._arrays import FloatArray

RESTARTS = 300
SHIFT = 1e-6  # of lambda_max: L is singular, and a shift further off would press the lowest values together
RESIDUAL_LIMIT = 1e-5  # of lambda_max
CHECK_TOLERANCE = 1e-6
# Newer scipy draws ARPACK's restart vectors from a generator of its own: seed that too.
EIGSH_TAKES_RNG = "rng" in inspect.signature(eigsh).parameters


class EigenConvergenceError(RuntimeError):
    """The eigenvalue iteration stopped before it reached the tolerance."""


@dataclass(frozen=True)
class Transformed:
    """A function of L whose LARGEST eigenvalues, in order, belong to the lowest ones of L."""

    apply: Callable[[FloatArray], FloatArray]
    image: Callable[[FloatArray], FloatArray]  # eigenvalue of L -> eigenvalue of the operator
    advice: str


def lanczos_pairs(matrix: sparse.csr_array, k: int, seed: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """The ``k`` lowest pairs from products with c I - L.

    c = 2 max_i L_ii bounds the spectrum of L = Deg - W (by Gershgorin) and of L_sym (whose diagonal is 1).
    """
    top = 2.0 * float(matrix.diagonal().max())
    operator = Transformed(
        apply=lambda x: top * x - matrix @ x,
        image=lambda values: top - values,
        advice="method='shift-invert' (graphs of curves or sheets), a larger tol, or fewer pairs",
    )
    return lowest_pairs(matrix, operator, k, seed, tol)


def shift_invert_pairs(matrix: sparse.csr_array, k: int, seed: int, tol: float) -> tuple[FloatArray, FloatArray]:
    """The ``k`` lowest pairs from solves with L + sigma I, sigma small and positive."""
    n = matrix.shape[0]
    shift = SHIFT * 2.0 * float(matrix.diagonal().max())
    # A positive definite matrix needs no pivoting, and a symmetric ordering then keeps the fill low.
    factor = splu(
        sparse.csc_array(matrix + shift * sparse.eye_array(n)),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    operator = Transformed(
        apply=lambda x: np.asarray(factor.solve(x)),
        image=lambda values: 1.0 / (values + shift),
        advice="method='lanczos', a larger tol, or fewer pairs",
    )
    return lowest_pairs(matrix, operator, k, seed, tol)


def lowest_pairs(
    matrix: sparse.csr_array, operator: Transformed, k: int, seed: int, tol: float
) -> tuple[FloatArray, FloatArray]:
    """Iterate, look for missed copies of multiple eigenvalues, and polish by Rayleigh-Ritz.

    A Krylov space built from one vector holds one direction of a multiple eigenvalue; the others enter by
    rounding alone. So after convergence the pairs found are deflated and the next one is sought: if it lies
    below the highest one found, a copy was missed.
    """
    rng = np.random.default_rng(seed)
    n = matrix.shape[0]
    vectors = _iterate(operator, n, k, rng, tol, deflated=None)
    values, vectors = _rayleigh_ritz(matrix, vectors)
    scale = 2.0 * float(matrix.diagonal().max())
    for _ in range(k):
        extra = _iterate(operator, n, 1, rng, max(tol, CHECK_TOLERANCE), deflated=(operator.image(values), vectors))
        candidate = float(extra[:, 0] @ (matrix @ extra[:, 0]))
        if candidate >= values[-1] - CHECK_TOLERANCE * max(values[-1], 1e-6 * scale):
            break
        extra = _iterate(operator, n, 1, rng, tol, deflated=(operator.image(values), vectors))
        values, vectors = _rayleigh_ritz(matrix, np.column_stack([vectors, extra]))
        values, vectors = values[:k], vectors[:, :k]
    residual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0).max()
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
        x = x.ravel()
        if deflated is None:
            return operator.apply(x)
        images, basis = deflated
        return operator.apply(x) - basis @ (images * (basis.T @ x))

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
    projected = basis.T @ (matrix @ basis)
    values, rotation = eigh((projected + projected.T) / 2)
    return np.asarray(values), np.asarray(basis @ rotation)
