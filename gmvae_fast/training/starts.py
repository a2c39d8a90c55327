"""The first mixture of a run."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gmvae_fast._latent_mixture import continue_latent_mixture, fit_latent_mixture
from gmvae_fast.distributed import Ranks
from gmvae_fast.gaussian_mixture import GaussianMixture
from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents

#: Snapshots to which the first mixture is fitted at most; a share of a component then is known to 0.1 %.
MOST_ROWS = 2**20
#: Nats a snapshot: EM ends within 1e-6 of an optimum, so that this is another one.
REFIT_GAIN = 0.01


def from_latents(prior: MixturePrior, latents: Latents, config: TrainConfig) -> tuple[MixtureParameters, str]:
    """Fit to the latents, EM restarts on the package's kernels, the most likely kept; and what to say about it."""
    rows, ranks = _Rows.of(latents), latents.source.ranks
    found = prior.get()
    with ranks.agreeing():
        if ranks.first:
            found = rows.fitted(prior, latents.spread, config).parameters_
    found = _shared(found, prior, ranks)
    shares = ", ".join(f"{w:.2f}" for w in found.log_weights.exp().tolist())
    return found, f"mixture from {config.n_init} EM starts on the latents, weights {shares}"


def refit(prior: MixturePrior, latents: Latents, config: TrainConfig) -> str:
    """Take over a new fit to the latents where no EM from the present mixture gets as far; what to say then, or "".

    Both optima are compared, because the present mixture only follows the latents, one M-step at a time.
    """
    rows, ranks = _Rows.of(latents), latents.source.ranks
    found, gain = prior.get(), 0.0
    if ranks.first:
        with contextlib.suppress(ValueError):  # no start gave a mixture: the present one stays
            fresh = rows.fitted(prior, latents.spread, config)
            gain = fresh.lower_bound_ - rows.continued_bound(prior, latents.spread, config)
            found = fresh.parameters_
    gain = ranks.tell(gain)[0]
    if gain <= REFIT_GAIN:
        return ""
    prior.set(_shared(found, prior, ranks))
    return f"mixture fitted anew to the latents, better than the optimum it was in by {gain:.3g} nats a snapshot"


@dataclass(frozen=True)
class _Rows:
    """Posteriors that a mixture is fitted to: means, log variances [N, D], weights [N] or None, on every process.

    Of more than `MOST_ROWS` snapshots, as many, evenly spaced.
    """

    mean: Tensor
    log_var: Tensor
    weight: Tensor | None

    @staticmethod
    def of(latents: Latents) -> _Rows:
        source, ranks = latents.source, latents.source.ranks
        n = len(source)
        taken = torch.arange(n) if n <= MOST_ROWS else torch.linspace(0, n - 1, MOST_ROWS, dtype=torch.float64).long()
        here = torch.isin(source.rows, taken).to(latents.mean.device)
        weight = torch.ones(len(here)) if source.weight is None else source.weight
        mean, log_var, weight = (
            torch.cat(ranks.gather(rows.to(here.device)[here])) for rows in (latents.mean, latents.log_var, weight)
        )
        if not ranks.alone:  # in the order of the snapshots, on which k-means++ depends
            order = torch.cat(ranks.gather(source.rows.to(here.device)[here])).argsort()
            mean, log_var, weight = mean[order], log_var[order], weight[order]
        return _Rows(mean, log_var, None if source.weight is None else weight)

    def fitted(self, prior: MixturePrior, spread: float, config: TrainConfig) -> GaussianMixture:
        """The best of ``config.n_init`` starts."""
        return fit_latent_mixture(
            self.mean,
            self.log_var,
            n_components=prior.n_components,
            covariance_type=prior.covariance_type,
            n_init=config.n_init,
            floor=config.variance_floor * spread,
            seed=config.seed,
            weight=self.weight,
        )

    def continued_bound(self, prior: MixturePrior, spread: float, config: TrainConfig) -> float:
        """Nats a snapshot at the optimum that EM reaches from the present mixture; -inf where it reaches none."""
        try:
            return continue_latent_mixture(
                self.mean,
                self.log_var,
                prior.get(),
                covariance_type=prior.covariance_type,
                floor=config.variance_floor * spread,
                weight=self.weight,
            ).lower_bound_
        except ValueError:
            return -math.inf


def _shared(found: MixtureParameters, prior: MixturePrior, ranks: Ranks) -> MixtureParameters:
    """What the first process found, on every process."""
    parts = (None if part is None else ranks.share(part.to(prior.means)) for part in found.as_tuple())
    return MixtureParameters(*parts)  # type: ignore[arg-type]


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
