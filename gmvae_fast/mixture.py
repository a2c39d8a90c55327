"""The Gaussian mixture as the prior of a GM-VAE, and draws from it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from gmvae_fast import ops
from gmvae_fast._checks import check_integer
from gmvae_fast._covariances import COVARIANCE_TYPES as COVARIANCE_TYPES
from gmvae_fast._covariances import DENSE, check_covariance_type, covariance_shape
from gmvae_fast._covariances import CovarianceError as CovarianceError
from gmvae_fast.m_step import MixtureParameters as MixtureParameters
from gmvae_fast.m_step import MixturePriors as MixturePriors
from gmvae_fast.m_step import MixtureTuple as MixtureTuple
from gmvae_fast.m_step import log_prior as log_prior
from gmvae_fast.m_step import m_step as m_step


class MixturePrior(nn.Module):
    """The mixture p(c) p(z|c) as part of a model. Its parameters do not require gradients unless a scheme asks.

    Parameters
    ----------
    n_components, latent_dim : int
    covariance_type : {"diag", "spherical", "tied", "full"}
        The first two have a parameter ``log_vars`` [K, D], the others ``cholesky``: [D, D] and [K, D, D].
    """

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor | None
    cholesky: Tensor | None

    def __init__(self, n_components: int, latent_dim: int, covariance_type: str = "diag") -> None:
        super().__init__()
        k = check_integer("n_components", n_components, 1)
        d = check_integer("latent_dim", latent_dim, 1)
        check_covariance_type(covariance_type)
        self.n_components, self.latent_dim, self.covariance_type = k, d, covariance_type
        uniform = torch.full((k,), -math.log(k))
        log_vars = None if covariance_type in DENSE else torch.zeros(k, d)
        cholesky = torch.eye(d).expand(covariance_shape(covariance_type, k, d)).clone() if log_vars is None else None
        values = {"log_weights": uniform, "means": torch.zeros(k, d), "log_vars": log_vars, "cholesky": cholesky}
        for name, value in values.items():
            self.register_parameter(name, None if value is None else nn.Parameter(value, requires_grad=False))

    @property
    def parameters_tuple(self) -> MixtureTuple:
        """log_weights, means, log_vars, cholesky, in the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars, self.cholesky

    def get(self) -> MixtureParameters:
        """A copy of the parameters."""
        return MixtureParameters(*self.parameters_tuple).clone()

    def set(self, parameters: MixtureParameters) -> None:
        """Take over ``parameters``, converted to this module's dtype and device."""
        names = ("log_weights", "means", "log_vars", "cholesky")
        with torch.no_grad():
            for name, mine, value in zip(names, self.parameters_tuple, parameters.as_tuple(), strict=True):
                wanted = None if mine is None else tuple(mine.shape)
                got = None if value is None else tuple(value.shape)
                if wanted != got:
                    raise ValueError(
                        f"mixture parameter {name} must have shape {wanted} "
                        f"(covariance_type={self.covariance_type!r}), got {got}"
                    )
                if mine is not None and value is not None:
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

    def statistics(self, mean: Tensor, log_var: Tensor | None, weight: Tensor | None = None) -> ops.MixtureStatistics:
        """E-step over the given rows, each counting ``weight`` [N] times."""
        return ops.mixture_statistics(mean, log_var, *self.parameters_tuple, sample_weight=weight)

    def component_kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL of each posterior to each component [N, K]; one component at a time, so that no [N, K, D] is formed."""
        columns = []
        for c in range(self.n_components):
            log_vars = None if self.log_vars is None else self.log_vars[c : c + 1]
            cholesky = (
                self.cholesky[c] if self.covariance_type == "full" and self.cholesky is not None else self.cholesky
            )
            columns.append(ops.reference.component_kl(mean, log_var, self.means[c : c + 1], log_vars, cholesky))
        return torch.cat(columns, 1)

    def responsibilities(self, mean: Tensor, log_var: Tensor | None) -> Tensor:
        """Exact responsibilities of posteriors, or p(c | z) of points (``log_var`` None): [N, K]."""
        if log_var is None:
            return ops.log_responsibilities(mean, *self.parameters_tuple)[0].exp()
        return self.assigned(self.component_kl(mean, log_var))

    def assigned(self, kl: Tensor) -> Tensor:
        """Exact responsibilities of posteriors whose `component_kl` [N, K] is known: [N, K]."""
        return torch.softmax(self.log_weights - kl, 1)


def sample_mixture(
    parameters: MixtureParameters, n: int, generator: torch.Generator, component: int | None = None
) -> tuple[Tensor, Tensor]:
    """Points [n, D] and components [n]; all from one component if given. The generator's draws are made on the CPU."""
    means = parameters.means.cpu()
    weights = parameters.log_weights.cpu()
    if component is None:
        labels = torch.multinomial(weights.double().exp(), n, replacement=True, generator=generator)
    else:
        k = means.shape[0]
        if not 0 <= check_integer("component", component) < k:
            raise ValueError(f"component must be in 0..{k - 1}, got {component}")
        labels = torch.full((n,), component)
    noise = torch.randn(n, means.shape[1], generator=generator, dtype=means.dtype)
    return (means[labels] + _spread(parameters, labels, noise)).to(parameters.means), labels.to(parameters.means.device)


def _spread(parameters: MixtureParameters, labels: Tensor, noise: Tensor) -> Tensor:
    """Standard normal ``noise`` [n, D] with the covariances of ``labels`` [n], on the CPU."""
    if parameters.cholesky is None:
        assert parameters.log_vars is not None
        return torch.exp(0.5 * parameters.log_vars.cpu()[labels]) * noise
    cholesky = parameters.cholesky.cpu().tril()
    if cholesky.ndim == 2:
        return noise @ cholesky.T
    for c in labels.unique().tolist():  # by component: no factor per row
        mine = labels == c
        noise[mine] = noise[mine] @ cholesky[c].T
    return noise
