"""A mixture in unconstrained coordinates, in which any step of a gradient method leaves a mixture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior, MixtureTuple


class FreeMixture(nn.Module):
    """Weights by softmax, variances and diagonals of Cholesky factors by exp; spherical variances are [K, 1]."""

    log_vars: Tensor | None
    log_diagonal: Tensor | None
    lower: Tensor | None

    def __init__(self, prior: MixturePrior) -> None:
        super().__init__()
        self._spherical = prior.covariance_type == "spherical"
        self.logits = nn.Parameter(prior.log_weights.detach().clone())
        self.means = nn.Parameter(prior.means.detach().clone())
        for name, value in self._scale(prior.get()).items():
            self.register_parameter(name, None if value is None else nn.Parameter(value))

    def forward(self) -> MixtureTuple:
        """log_weights, means, log_vars, cholesky, differentiable in this module's parameters."""
        log_vars = None if self.log_vars is None else self.log_vars.expand_as(self.means)
        cholesky = None
        if self.log_diagonal is not None and self.lower is not None:
            cholesky = self.lower.tril(-1) + torch.diag_embed(self.log_diagonal.exp())
        return torch.log_softmax(self.logits, 0), self.means, log_vars, cholesky

    def value(self) -> MixtureParameters:
        """A copy of the mixture."""
        with torch.no_grad():
            return MixtureParameters(*self()).clone()

    def take(self, parameters: MixtureParameters) -> None:
        """Stand at ``parameters``."""
        values = {"logits": parameters.log_weights, "means": parameters.means, **self._scale(parameters)}
        with torch.no_grad():
            for name, value in values.items():
                if value is not None:
                    getattr(self, name).copy_(value)

    def _scale(self, parameters: MixtureParameters) -> dict[str, Tensor | None]:
        log_vars, cholesky = parameters.log_vars, parameters.cholesky
        if log_vars is not None and self._spherical:
            log_vars = log_vars[:, :1].clone()
        diagonal = None if cholesky is None else cholesky.diagonal(dim1=-2, dim2=-1).log()
        return {
            "log_vars": log_vars,
            "log_diagonal": diagonal,
            "lower": None if cholesky is None else cholesky.tril(-1),
        }
