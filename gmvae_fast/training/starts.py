"""The first mixture of a run."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmvae_fast._latent_mixture import fit_latent_mixture
from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents

#: Snapshots to which the first mixture is fitted at most; a share of a component then is known to 0.1 %.
MOST_ROWS = 2**20


def from_latents(prior: MixturePrior, latents: Latents, config: TrainConfig) -> tuple[MixtureParameters, str]:
    """Fit to the latents, EM restarts on the package's kernels, the most likely kept; and what to say about it.

    Of more than `MOST_ROWS` snapshots, as many are taken, evenly spaced. The first process fits, for all.
    """
    source, ranks = latents.source, latents.source.ranks
    n = len(source)
    taken = torch.arange(n) if n <= MOST_ROWS else torch.linspace(0, n - 1, MOST_ROWS, dtype=torch.float64).long()
    here = torch.isin(source.rows, taken).to(latents.mean.device)
    mean, log_var = (torch.cat(ranks.gather(rows[here])) for rows in (latents.mean, latents.log_var))
    if ranks.size > 1:  # in the order of the snapshots, on which k-means++ depends
        order = torch.cat(ranks.gather(source.rows.to(here.device)[here])).argsort()
        mean, log_var = mean[order], log_var[order]
    found = prior.get()
    if ranks.first:
        found = _fitted(prior, mean, log_var, latents.spread, config)
    parts = (None if part is None else ranks.share(part.to(prior.means)) for part in found.as_tuple())
    found = MixtureParameters(*parts)  # type: ignore[arg-type]
    shares = ", ".join(f"{w:.2f}" for w in found.log_weights.exp().tolist())
    return found, f"mixture from {config.n_init} EM starts on the latents, weights {shares}"


def _fitted(
    prior: MixturePrior, mean: Tensor, log_var: Tensor, spread: float, config: TrainConfig
) -> MixtureParameters:
    mixture = fit_latent_mixture(
        mean,
        log_var,
        n_components=prior.n_components,
        covariance_type=prior.covariance_type,
        n_init=config.n_init,
        floor=config.variance_floor * spread,
        seed=config.seed,
    )
    return mixture.parameters_


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
