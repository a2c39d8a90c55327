"""The Gaussian mixture: parameters, closed-form M-step, the prior of a GM-VAE and sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gmvae_fast import ops
from gmvae_fast._checks import check_damping, check_integer, check_real

COVARIANCE_TYPES = ("diag", "spherical")
_EMPTY = 1e-10  # share of the data below which a component says nothing about its own mean and variance
_TINY = 1e-300  # keeps log and division finite for components without weight, in float64


@dataclass(frozen=True)
class MixtureParameters:
    """log_weights [K], means [K, D], log_vars [K, D]: a mixture of Gaussians with diagonal covariances."""

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor

    def to(self, like: Tensor) -> MixtureParameters:
        """The same values with the dtype and device of ``like``."""
        return MixtureParameters(*(t.to(like) for t in (self.log_weights, self.means, self.log_vars)))

    def as_tuple(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars


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
        ``variance_count`` pseudo-observations of variance ``variance_location``. Together with the mean's this is
        the mode of a normal-inverse-gamma posterior.
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


def check_covariance_type(covariance_type: str) -> None:
    """Raise with the valid names."""
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type must be one of {', '.join(COVARIANCE_TYPES)}, got {covariance_type!r}")


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
       \sigma_c^2 = \sum_i \gamma_{ic} [(m_i - \mu_c)^2 + s_i^2] / N_c

    Parameters
    ----------
    statistics : MixtureStatistics
        Of the whole data set.
    previous : MixtureParameters
        The mixture at which the statistics were taken: a component without weight keeps its mean and variance where
        no prior decides them, and damping mixes it in.
    covariance_type : {"diag", "spherical"}
    priors : MixturePriors, optional
    variance_floor : float
        Smallest variance returned.
    added_variance : float
        Added to every variance (scikit-learn's ``reg_covar``).
    damping : float in (0, 1]
        Share of the new natural statistics; the rest is the previous mixture's. 1 is the plain M-step.

    Returns
    -------
    MixtureParameters
        float64.
    """
    check_covariance_type(covariance_type)
    check_damping(damping)
    if statistics.count == 0:
        raise ValueError("statistics must hold at least one row, got none")
    priors = priors or MixturePriors()
    old = previous.to(statistics.weight)
    statistics = statistics.about(old.means)
    n = float(statistics.count)
    old_weight = torch.exp(old.log_weights)
    keep = (1 - damping) * old_weight * n
    weight = damping * statistics.weight + keep
    first = damping * statistics.first
    second = damping * statistics.second + keep[:, None] * torch.exp(old.log_vars)

    count = weight[:, None]
    strength = count + priors.mean_count
    shift = (first + priors.mean_count * (priors.mean_location - old.means)) / strength.clamp_min(_TINY)
    # Scatter about the new mean, the pseudo-observations' distance from it included.
    scatter = second - 2 * shift * first + count * shift.square()
    scatter = scatter + priors.mean_count * (old.means + shift - priors.mean_location).square()
    scatter = scatter + priors.variance_count * priors.variance_location
    spread = count + priors.variance_count
    variance = scatter / spread.clamp_min(_TINY)
    if covariance_type == "spherical":
        variance = variance.mean(1, keepdim=True).expand_as(variance)
    mean = torch.where(strength < _EMPTY * n, old.means, old.means + shift)
    variance = torch.where(spread < _EMPTY * n, torch.exp(old.log_vars), variance.clamp_min(0) + added_variance)
    weights = weight + priors.weight_count
    return MixtureParameters(
        torch.log(weights.clamp_min(_TINY)) - torch.log(weights.sum()),
        mean,
        torch.log(variance.clamp_min(max(variance_floor, _TINY))),
    )


class MixturePrior(nn.Module):
    """The mixture p(c) p(z|c) as part of a model. Its parameters do not require gradients unless a scheme asks.

    Parameters
    ----------
    n_components, latent_dim : int
    covariance_type : {"diag", "spherical"}
    """

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor

    def __init__(self, n_components: int, latent_dim: int, covariance_type: str = "diag") -> None:
        super().__init__()
        n_components = check_integer("n_components", n_components, 1)
        latent_dim = check_integer("latent_dim", latent_dim, 1)
        check_covariance_type(covariance_type)
        self.n_components, self.latent_dim, self.covariance_type = n_components, latent_dim, covariance_type
        uniform = torch.full((n_components,), -math.log(n_components))
        self.log_weights = nn.Parameter(uniform, requires_grad=False)
        self.means = nn.Parameter(torch.zeros(n_components, latent_dim), requires_grad=False)
        self.log_vars = nn.Parameter(torch.zeros(n_components, latent_dim), requires_grad=False)

    @property
    def parameters_tuple(self) -> tuple[Tensor, Tensor, Tensor]:
        """log_weights, means, log_vars, in the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars

    def get(self) -> MixtureParameters:
        """A copy of the parameters."""
        return MixtureParameters(*(t.detach().clone() for t in self.parameters_tuple))

    def set(self, parameters: MixtureParameters) -> None:
        """Take over ``parameters``, converted to this module's dtype and device."""
        with torch.no_grad():
            for mine, value in zip(self.parameters_tuple, parameters.as_tuple(), strict=True):
                if mine.shape != value.shape:
                    raise ValueError(f"mixture parameter must have shape {tuple(mine.shape)}, got {tuple(value.shape)}")
                mine.copy_(value)

    def kl(
        self,
        mean: Tensor,
        log_var: Tensor,
        *,
        assignment: str = "exact",
        z: Tensor | None = None,
        detach_assignment: bool = False,
    ) -> Tensor:
        """Mixture KL of each row [N]; arguments as in `gmvae_fast.ops.mixture_kl`."""
        return ops.mixture_kl(
            mean,
            log_var,
            *self.parameters_tuple,
            assignment=assignment,
            z=z,
            detach_assignment=detach_assignment,
        )

    def statistics(self, mean: Tensor, log_var: Tensor | None) -> ops.MixtureStatistics:
        """E-step over the given rows."""
        return ops.mixture_statistics(mean, log_var, *self.parameters_tuple)

    def component_kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL of each posterior to each component [N, K]; one component at a time, so that no [N, K, D] is formed."""
        pairs = zip(self.means.split(1), self.log_vars.split(1), strict=True)
        return torch.cat([ops.reference.component_kl(mean, log_var, *pair) for pair in pairs], 1)

    def responsibilities(self, mean: Tensor, log_var: Tensor | None) -> Tensor:
        """Exact responsibilities of posteriors, or p(c | z) of points (``log_var`` None): [N, K]."""
        if log_var is None:
            return ops.log_responsibilities(mean, *self.parameters_tuple)[0].exp()
        return torch.softmax(self.log_weights - self.component_kl(mean, log_var), 1)


def sample_mixture(
    parameters: MixtureParameters, n: int, generator: torch.Generator, component: int | None = None
) -> tuple[Tensor, Tensor]:
    """Points [n, D] and components [n]; all from one component if given. The generator's draws are made on the CPU."""
    weights, means, log_vars = (t.cpu() for t in parameters.as_tuple())
    if component is None:
        labels = torch.multinomial(weights.double().exp(), n, replacement=True, generator=generator)
    else:
        k = means.shape[0]
        if not 0 <= check_integer("component", component) < k:
            raise ValueError(f"component must be in 0..{k - 1}, got {component}")
        labels = torch.full((n,), component)
    noise = torch.randn(n, means.shape[1], generator=generator, dtype=means.dtype)
    points = means[labels] + torch.exp(0.5 * log_vars[labels]) * noise
    return points.to(parameters.means.device), labels.to(parameters.means.device)
