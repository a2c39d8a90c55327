"""Functions of a Laplacian that turn its lowest eigenvalues into the largest, for iterations that find those."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral._factor import Factor
from gmvae_fast.spectral._products import multiply

SHIFT = 1e-6  # of lambda_max: L is singular, and a shift further off would press the lowest values together


class EigenConvergenceError(RuntimeError):
    """The eigenvalue iteration stopped before it reached the tolerance."""


@dataclass(frozen=True)
class Transformed:
    """A function of L whose LARGEST eigenvalues, in order, belong to the lowest ones of L."""

    apply: Callable[[FloatArray], FloatArray]  # [n, b] in any memory order -> [n, b], a new array
    image: Callable[[FloatArray], FloatArray]  # eigenvalue of L -> eigenvalue of the operator
    gain: Callable[[FloatArray], FloatArray]  # eigenvalue of the operator -> residual of L over that of the operator
    advice: str  # what to try when an iteration with it does not converge
    slack: float = 1.0  # an error of the operator's eigenvalue is so many times one of L's


def mirrored(matrix: sparse.csr_array) -> Transformed:
    """c I - L with c = 2 max_i L_ii, which bounds the spectrum."""
    top = spectrum_bound(matrix)
    return Transformed(
        apply=lambda x: top * x - multiply(matrix, x),
        image=lambda values: top - values,
        gain=np.ones_like,
        advice="method='shift-invert' (graphs of curves or sheets), a larger tol, or fewer pairs",
    )


def inverted(matrix: sparse.csr_array) -> Transformed:
    """The inverse of L + sigma I, sigma small and positive: a shift just below the spectrum."""
    top = spectrum_bound(matrix)
    shift = SHIFT * top
    factor = Factor(sparse.csr_array(matrix + shift * sparse.eye_array(matrix.shape[0])))
    return Transformed(
        apply=factor.solve,
        image=lambda values: 1.0 / (values + shift),
        # (L - lambda) u = -(L + sigma) r / theta for a residual r of the inverse.
        gain=lambda images: top / images,
        advice="method='lanczos', a larger tol, or fewer pairs",
    )


def spectrum_bound(matrix: sparse.csr_array) -> float:
    """2 max_i L_ii, which no eigenvalue of L = Deg - W (by Gershgorin) or of L_sym (whose diagonal is 1) exceeds."""
    return 2.0 * float(matrix.diagonal().max())
