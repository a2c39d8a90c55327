"""Covariances of mixture components by type: names, factors, floors, precisions."""

from __future__ import annotations

import torch
from torch import Tensor

from gmvae_fast._checks import nearest

COVARIANCE_TYPES = ("diag", "spherical", "tied", "full")
DENSE = ("tied", "full")  # held as Cholesky factors
_EPS = torch.finfo(torch.float64).eps


class CovarianceError(ValueError):
    """A component's covariance is not positive definite."""


def check_covariance_type(covariance_type: str) -> None:
    """Raise with the valid names."""
    if covariance_type not in COVARIANCE_TYPES:
        hint = nearest(covariance_type, COVARIANCE_TYPES)
        raise ValueError(f"covariance_type must be one of {', '.join(COVARIANCE_TYPES)}, got {covariance_type!r}{hint}")


def covariance_shape(covariance_type: str, k: int, d: int) -> tuple[int, ...]:
    """Shape of covariances and precisions as scikit-learn spells them."""
    return {"diag": (k, d), "spherical": (k,), "tied": (d, d), "full": (k, d, d)}[covariance_type]


def n_covariance_parameters(covariance_type: str, k: int, d: int) -> int:
    """Free parameters, as information criteria count them."""
    triangle = d * (d + 1) // 2
    return {"diag": k * d, "spherical": k, "tied": triangle, "full": k * triangle}[covariance_type]


def outer(a: Tensor, b: Tensor) -> Tensor:
    """a b' of each pair of rows: [..., D] x 2 -> [..., D, D]."""
    return a[..., :, None] * b[..., None, :]


def from_factor(cholesky: Tensor) -> Tensor:
    """L L' of the lower triangle of L [..., D, D]."""
    lower = cholesky.tril()
    return lower @ lower.mT


def raise_eigenvalues(covariances: Tensor, floor: float) -> Tensor:
    """[..., D, D] with every eigenvalue at least ``floor``: smaller ones are set to it.

    Of all covariances with that bound this one maximises the Gaussian likelihood of data with scatter
    ``covariances``, as the clamp does for variances.
    """
    if floor <= 0:
        return covariances
    values, vectors = torch.linalg.eigh(covariances)
    raised: Tensor = (vectors * values.clamp_min(floor)[..., None, :]) @ vectors.mT
    # Those already above keep their digits.
    return torch.where((values[..., :1] < floor)[..., None], raised, covariances)


def factor(covariances: Tensor) -> Tensor:
    """Cholesky factors [..., D, D] of float64 covariances.

    Raises
    ------
    CovarianceError
        Where a covariance is not positive definite, or so nearly singular that a pivot is rounding error.
    """
    cholesky, failed = torch.linalg.cholesky_ex(covariances)
    pivots = cholesky.diagonal(dim1=-2, dim2=-1).square()
    variances = covariances.diagonal(dim1=-2, dim2=-1)
    sound = (failed == 0) & (pivots > 4 * covariances.shape[-1] * _EPS * variances).all(-1)
    check_positive(sound)
    result: Tensor = cholesky
    return result


def check_positive(sound: Tensor) -> None:
    """Raise a CovarianceError that names the components [K] (or the shared covariance, []) that are not ``sound``."""
    if bool(sound.all()):
        return
    bad = sound.logical_not().nonzero().flatten().tolist()
    which = f"covariance of component {bad[0]}" if sound.ndim else "covariance shared by the components"
    raise CovarianceError(
        f"the {which} is not positive definite: the rows behind it are equal, too few, or lie on a plane (a constant "
        "column, or columns that depend on each other); increase reg_covar (added_variance) or the variance floor, "
        "set priors, reduce n_components, or choose a covariance_type with fewer parameters"
    )


def precision_factors(cholesky: Tensor) -> Tensor:
    """Upper triangular U with precision U U', scikit-learn's ``precisions_cholesky_``: U = L^-T, [..., D, D]."""
    eye = torch.eye(cholesky.shape[-1], dtype=cholesky.dtype, device=cholesky.device)
    inverse: Tensor = torch.linalg.solve_triangular(cholesky.tril(), eye, upper=False)
    return inverse.mT


def factor_of_precision(precisions: Tensor) -> Tensor:
    """Cholesky factors L of the covariances whose inverses are given, [..., D, D]; the inverse is never formed.

    With J the reversal of the coordinates and J P J = M M', U = J M J is upper triangular, P = U U', L = U^-T.
    """
    upper = torch.linalg.cholesky(precisions.flip(-1, -2)).flip(-1, -2)
    eye = torch.eye(precisions.shape[-1], dtype=precisions.dtype, device=precisions.device)
    result: Tensor = torch.linalg.solve_triangular(upper.mT, eye, upper=False)
    return result


def in_range(log_vars: Tensor | None, cholesky: Tensor | None, dtype: torch.dtype) -> bool:
    """Whether covariances and precisions are finite, and variances not zero, once rounded to ``dtype``."""
    if cholesky is None:
        assert log_vars is not None
        covariances, precisions = log_vars.exp(), torch.exp(-log_vars)
        variances = covariances
    else:
        upper = precision_factors(cholesky)
        covariances, precisions = from_factor(cholesky), upper @ upper.mT
        variances = covariances.diagonal(dim1=-2, dim2=-1)
    finite = all(bool(torch.isfinite(value.to(dtype)).all()) for value in (covariances, precisions))
    return finite and bool((variances.to(dtype) > 0).all())
