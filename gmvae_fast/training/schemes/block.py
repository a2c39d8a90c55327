"""Block-coordinate descent: the mixture stands still while the networks descend, then takes one closed-form EM step."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from gmvae_fast.m_step import m_step
from gmvae_fast.training.diagnostics import Latents
from gmvae_fast.training.schemes.base import Scheme, Update


class Block(Scheme):
    """Full M-step over the whole data set; components without data are moved."""

    def update(self, latents: Latents, *, last: bool) -> Update:
        """Exact E-step, M-step, and, unless ``last``, new places for empty components."""
        prior, config, n = self.prior, self.config, len(latents.source)
        statistics = latents.statistics(prior)
        parameters = m_step(
            statistics,
            prior.get(),
            covariance_type=prior.covariance_type,
            priors=config.priors,
            variance_floor=config.variance_floor * latents.spread,
            damping=config.damping,
        )
        prior.set(parameters)
        after = latents.statistics(prior)
        # A moved component stands at a guess, which only an M-step makes good.
        moved = () if last else self._reseed(latents, after.weight / n)
        return Update(-float(after.log_evidence) / n, -float(statistics.log_evidence) / n, moved)

    def _reseed(self, latents: Latents, share: Tensor) -> tuple[str, ...]:
        """Move components without data to the snapshots that the mixture describes worst; what to say about it."""
        prior, k = self.prior, self.prior.n_components
        empty = (share < self.config.reseed_below / 100 / k).nonzero().flatten().tolist()
        if not empty:
            return ()
        parameters = prior.get()
        source = latents.source
        worst = source.gathered(prior.kl(latents.mean, latents.log_var)).argsort(descending=True)
        chosen = torch.tensor([rank * len(worst) // (4 * len(empty) * k) for rank in range(len(empty))])
        places = source.selected(latents.mean, worst.cpu()[chosen])
        variance = latents.variance.clamp_min(1e-12).to(parameters.means) / k
        if prior.covariance_type == "spherical":
            variance = variance.mean().expand_as(variance)
        factors = parameters.cholesky if prior.covariance_type == "full" else None  # a tied one is the others' too
        for rank, component in enumerate(empty):
            parameters.means[component] = places[rank]
            if parameters.log_vars is not None:
                parameters.log_vars[component] = torch.log(variance)
            if factors is not None:
                factors[component] = torch.diag(variance.sqrt())
            parameters.log_weights[component] = -math.log(k)
        weights = torch.log_softmax(parameters.log_weights, 0)
        prior.set(dataclasses.replace(parameters, log_weights=weights))
        return tuple(f"component {c} held {float(share[c]):.4f} of the data, moved" for c in empty)
