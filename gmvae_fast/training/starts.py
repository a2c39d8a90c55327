"""The first mixture of a run."""

from __future__ import annotations

import math

import torch

from gmvae_fast._latent_mixture import fit_latent_mixture
from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents


def from_latents(prior: MixturePrior, latents: Latents, config: TrainConfig) -> tuple[MixtureParameters, str]:
    """Fit to the latents, EM restarts on the package's kernels, the most likely kept; and what to say about it."""
    mixture = fit_latent_mixture(
        latents.mean,
        latents.log_var,
        n_components=prior.n_components,
        covariance_type=prior.covariance_type,
        n_init=config.n_init,
        floor=config.variance_floor * latents.spread,
        seed=config.seed,
    )
    shares = ", ".join(f"{float(w):.2f}" for w in mixture.weights_)
    return mixture.parameters_, f"mixture from {config.n_init} EM starts on the latents, weights {shares}"


def from_normal(prior: MixturePrior, config: TrainConfig) -> tuple[MixtureParameters, str]:
    """Means from N(0, I), standard deviations K^(-1/D), equal weights: the start of PIMA (arXiv 2202.03242).

    The components' boxes of that width together cover the volume of a unit box.
    """
    k, d = prior.n_components, prior.latent_dim
    means = torch.randn(k, d, generator=torch.Generator().manual_seed(config.seed + 3))
    first = prior.get()
    scale = k ** (-1 / d)
    if first.log_vars is not None:
        first.log_vars.fill_(2 * math.log(scale))
    if first.cholesky is not None:
        first.cholesky.copy_(scale * torch.eye(d).expand_as(first.cholesky))
    weights = torch.full((k,), -math.log(k))
    return (
        MixtureParameters(weights, means, first.log_vars, first.cholesky).to(prior.means),
        f"means from N(0, I), standard deviations {scale:.3g}",
    )
