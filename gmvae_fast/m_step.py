"""The closed-form M-step of a Gaussian mixture: parameters, priors, update."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gmvae_fast import ops
from gmvae_fast._checks import check_damping, check_real
from gmvae_fast._covariances import (
    DENSE,
    check_covariance_type,
    check_positive,
    factor,
    from_factor,
    outer,
    precision_factors,
    raise_eigenvalues,
)

_EMPTY = 1e-10  # share of the data below which a component says nothing about its own mean and covariance
_TINY = 1e-300  # keeps log and division finite for components without weight, in float64


#: log_weights, means, log_vars, cholesky, in the order of the operators' arguments.
MixtureTuple = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class MixtureParameters:
    """A mixture of K Gaussians in D dimensions.

    Attributes
    ----------
    log_weights : Tensor [K]
    means : Tensor [K, D]
    log_vars : Tensor [K, D] or None
        Diagonal covariances, equal along a row when spherical; or
    cholesky : Tensor [K, D, D] or [D, D] or None
        Lower triangular factors of full covariances, or of one tied over the components.
    """

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor | None = None
    cholesky: Tensor | None = None

    def __post_init__(self) -> None:
        if (self.log_vars is None) == (self.cholesky is None):
            given = "neither" if self.log_vars is None else "both"
            raise ValueError(f"exactly one of log_vars and cholesky must be given, got {given}")

    def to(self, like: Tensor) -> MixtureParameters:
        """The same values with the dtype and device of ``like``."""
        return MixtureParameters(*(None if t is None else t.to(like) for t in self.as_tuple()))  # type: ignore[arg-type]

    def clone(self) -> MixtureParameters:
        """A copy that shares no memory."""
        return MixtureParameters(*(None if t is None else t.detach().clone() for t in self.as_tuple()))  # type: ignore[arg-type]

    def as_tuple(self) -> MixtureTuple:
        """In the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars, self.cholesky

    def covariances(self) -> Tensor:
        """Covariance matrices [K, D, D], whatever the type."""
        if self.cholesky is None:
            assert self.log_vars is not None
            return torch.diag_embed(self.log_vars.exp())
        return from_factor(self.cholesky).expand(*self.means.shape, self.means.shape[1])


@dataclass(frozen=True)
class MixturePriors:
    """Priors of the M-step as pseudo-observations; the defaults switch them off (maximum likelihood).

    Attributes
    ----------
    weight_count : float
        Pseudo-observations added to every component (Dirichlet concentration minus one).
    mean_count, mean_location : float
        ``mean_count`` pseudo-observations at ``mean_location`` in every coordinate.
    variance_count, variance_location : float
        ``variance_count`` pseudo-observations of variance ``variance_location`` in every coordinate, of covariance
        ``variance_location`` times the identity for dense types. A tied covariance gets them once, any other type
        for each component.

    Notes
    -----
    The M-step is the mode of the posterior under `log_prior`: normal-inverse-gamma for diagonal and spherical,
    normal-inverse-Wishart for dense covariances (Murphy 2012, Machine Learning, sections 4.6 and 11.4.2.8; here each
    count is the number by which the denominator of an estimate grows).
    """

    weight_count: float = 0.0
    mean_count: float = 0.0
    mean_location: float = 0.0
    variance_count: float = 0.0
    variance_location: float = 1.0

    def __post_init__(self) -> None:
        for name in ("weight_count", "mean_count", "variance_count"):
            check_real(name, getattr(self, name), at_least=0)
        check_real("mean_location", self.mean_location)
        check_real("variance_location", self.variance_location, above=0)


def m_step(
    statistics: ops.MixtureStatistics,
    previous: MixtureParameters,
    *,
    covariance_type: str = "diag",
    priors: MixturePriors | None = None,
    variance_floor: float = 0.0,
    added_variance: float = 0.0,
    damping: float = 1.0,
) -> MixtureParameters:
    r"""Mixture that minimises sum_i KL_mix for the responsibilities behind ``statistics``, in closed form.

    .. math:: \pi_c = N_c / N, \quad \mu_c = \sum_i \gamma_{ic} m_i / N_c, \quad
       \Sigma_c = \sum_i \gamma_{ic} [(m_i - \mu_c)(m_i - \mu_c)' + \mathrm{diag}\, s_i^2] / N_c

    of which "diag" keeps the diagonal, "spherical" its mean, and "tied" the average over the components, weighted by
    N_c (Bishop 2006, Pattern Recognition and Machine Learning, section 9.2; the term s^2 belongs to posteriors).

    Parameters
    ----------
    statistics : MixtureStatistics
        Of the whole data set.
    previous : MixtureParameters
        The mixture at which the statistics were taken: a component without weight keeps its mean and covariance where
        no prior decides them, and damping mixes it in.
    covariance_type : {"diag", "spherical", "tied", "full"}
    priors : MixturePriors, optional
    variance_floor : float
        Smallest variance returned; smallest eigenvalue for "tied" and "full", where smaller ones are set to it.
    added_variance : float
        Added to every variance, or to the diagonal (scikit-learn's ``reg_covar``).
    damping : float in (0, 1]
        Share of the new natural statistics; the rest is the previous mixture's. 1 is the plain M-step.

    Returns
    -------
    MixtureParameters
        float64.

    Raises
    ------
    CovarianceError
        A ValueError: a covariance is not positive definite; the message says what to try.
    """
    check_covariance_type(covariance_type)
    check_damping(damping)
    if statistics.count == 0:
        raise ValueError("statistics must hold at least one row, got none")
    dense = covariance_type in DENSE
    if dense != (previous.cholesky is not None) or dense != (statistics.second.ndim == 3):
        kind = "dense covariances (cholesky)" if dense else "diagonal covariances (log_vars)"
        raise ValueError(f"previous and statistics must be of {kind} for covariance_type={covariance_type!r}")
    priors = priors or MixturePriors()
    old = previous.to(statistics.weight)
    statistics = statistics.about(old.means)
    n = float(statistics.count)
    kept = (1 - damping) * torch.exp(old.log_weights) * n  # pseudo-observations of the old mixture
    weight = damping * statistics.weight + kept
    first = damping * statistics.first

    strength = (weight + priors.mean_count)[:, None]
    shift = (first + priors.mean_count * (priors.mean_location - old.means)) / strength.clamp_min(_TINY)
    shift = torch.where(strength < _EMPTY * n, 0.0, shift)
    weights = weight + priors.weight_count
    log_weights = torch.log(weights.clamp_min(_TINY)) - torch.log(weights.sum())
    moments = _Moments(n, weight, first, damping * statistics.second, kept, shift)
    update = _dense_covariances if dense else _diagonal_covariances
    log_vars, cholesky = update(moments, old, covariance_type, priors, variance_floor, added_variance)
    return MixtureParameters(log_weights, old.means + shift, log_vars, cholesky)


@dataclass(frozen=True)
class _Moments:
    """What the update of the covariances starts from: damped statistics about the old means."""

    n: float
    weight: Tensor  # [K]
    first: Tensor  # [K, D]
    second: Tensor  # [K, D] or [K, D, D], without the old covariances
    kept: Tensor  # [K] pseudo-observations of the old covariances
    shift: Tensor  # [K, D] new minus old means


def _diagonal_covariances(
    moments: _Moments, old: MixtureParameters, kind: str, priors: MixturePriors, floor: float, added: float
) -> tuple[Tensor, None]:
    """Log variances [K, D]."""
    assert old.log_vars is not None
    shift, count = moments.shift, moments.weight[:, None]
    # Scatter about the new mean, the pseudo-observations' distance from it included.
    scatter = moments.second + moments.kept[:, None] * torch.exp(old.log_vars)
    scatter = scatter - 2 * shift * moments.first + count * shift.square()
    scatter = scatter + priors.mean_count * (old.means + shift - priors.mean_location).square()
    scatter = scatter + priors.variance_count * priors.variance_location
    spread = count + priors.variance_count
    variance = scatter / spread.clamp_min(_TINY)
    if kind == "spherical":
        variance = variance.mean(1, keepdim=True).expand_as(variance)
    variance = torch.where(spread < _EMPTY * moments.n, torch.exp(old.log_vars), variance.clamp_min(0) + added)
    variance = variance.clamp_min(floor)
    check_positive((variance > 0).all(1))
    return torch.log(variance), None


def _dense_covariances(
    moments: _Moments, old: MixtureParameters, kind: str, priors: MixturePriors, floor: float, added: float
) -> tuple[None, Tensor]:
    """Cholesky factors [K, D, D] ("full") or [D, D] ("tied")."""
    assert old.cholesky is not None
    shift, old_covariances = moments.shift, from_factor(old.cholesky)
    cross = outer(shift, moments.first)
    scatter = moments.second + moments.kept[:, None, None] * old_covariances - cross - cross.mT
    scatter = scatter + moments.weight[:, None, None] * outer(shift, shift)
    distance = old.means + shift - priors.mean_location
    scatter = scatter + priors.mean_count * outer(distance, distance)
    spread = moments.weight
    if kind == "tied":
        scatter, spread = scatter.sum(0), spread.sum()
    eye = torch.eye(shift.shape[1], dtype=shift.dtype, device=shift.device)
    scatter = scatter + priors.variance_count * priors.variance_location * eye
    spread = (spread + priors.variance_count)[..., None, None]
    covariances = 0.5 * (scatter + scatter.mT) / spread.clamp_min(_TINY) + added * eye
    empty = spread < _EMPTY * moments.n
    cholesky = factor(raise_eigenvalues(torch.where(empty, old_covariances, covariances), floor))
    return None, cholesky


def log_prior(parameters: MixtureParameters, priors: MixturePriors) -> float:
    r"""Logarithm of the prior density, up to a constant, that `m_step` maximises together with the likelihood.

    .. math:: \sum_c [ a \log\pi_c - \tfrac b2 (\mu_c - l)' \Sigma_c^{-1} (\mu_c - l)
       - \tfrac v2 (\log\det\Sigma_c + u\, \mathrm{tr}\, \Sigma_c^{-1}) ]

    with the counts a, b, v of weight, mean and variance and the locations l and u. The last term stands once for a
    tied covariance.
    """
    value = 0.0
    log_weights, means, log_vars, cholesky = (None if t is None else t.double() for t in parameters.as_tuple())
    assert log_weights is not None
    assert means is not None
    distance = means - priors.mean_location
    if cholesky is None:
        assert log_vars is not None
        energy = (distance.square() * torch.exp(-log_vars)).sum()
        volume = (log_vars + priors.variance_location * torch.exp(-log_vars)).sum()
    else:
        upper = precision_factors(cholesky)
        energy = (distance[:, None] @ upper).square().sum()
        volume = ops.reference.log_determinant(cholesky).sum() + priors.variance_location * upper.square().sum()
    for count, term in ((priors.weight_count, log_weights.sum()), (-priors.mean_count / 2, energy)):
        value += count * float(term) if count else 0.0  # 0 * inf is no term
    return value - (0.5 * priors.variance_count * float(volume) if priors.variance_count else 0.0)
