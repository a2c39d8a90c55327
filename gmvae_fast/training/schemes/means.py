"""Means in closed form from sums over the epoch, the rest of the mixture by Adam: PIMA (Trask et al. 2022)."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from gmvae_fast import ops
from gmvae_fast.mixture import MixturePrior, MixtureTuple
from gmvae_fast.model import LossTerms
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents
from gmvae_fast.training.schemes.base import Update, mean_kl
from gmvae_fast.training.schemes.joint import Joint


class Means(Joint):
    """mu_c = sum_i gamma_ic m_i / sum_i gamma_ic over the batches of an epoch, each as its encoder saw it.

    As published (arXiv 2202.03242): sums are collected while the encoder changes, so no pass over the data is added,
    and the step is not one of descent in general.
    """

    def __init__(self, prior: MixturePrior, config: TrainConfig) -> None:
        super().__init__(prior, config)
        self.free.means.requires_grad_(False)
        self._weight = torch.zeros(prior.n_components, dtype=torch.float64, device=prior.means.device)
        self._first = torch.zeros_like(prior.means, dtype=torch.float64)  # about the present means

    def parameters(self) -> list[nn.Parameter]:
        """Weights and covariances."""
        return [p for p in super().parameters() if p.requires_grad]

    def begin(self) -> None:
        """Empty the sums."""
        self._weight.zero_()
        self._first.zero_()

    def observe(self, terms: LossTerms, weight: Tensor | None) -> None:
        """Add a batch to the sums, with the assignment of the loss."""
        with torch.no_grad():
            total, first = self._sums(terms, self.mixture(), weight)
            self._weight += total
            self._first += first

    def _sums(self, terms: LossTerms, mixture: MixtureTuple, row_weight: Tensor | None) -> tuple[Tensor, Tensor]:
        """sum_i gamma_ic [K] and sum_i gamma_ic (m_i - mu_c) [K, D], float64, each row counting its weight."""
        mean = terms.mean.detach()
        if self.config.gamma == "exact":
            statistics = ops.mixture_statistics(mean, terms.log_var.detach(), *mixture, sample_weight=row_weight)
            return statistics.weight, statistics.first
        where = terms.z.detach() if self.config.gamma == "sampled" else mean
        gamma = ops.log_responsibilities(where, *mixture)[0].double().exp()
        if row_weight is not None:
            gamma = gamma * row_weight[:, None]
        weight = gamma.sum(0)
        return weight, gamma.T @ mean.double() - weight[:, None] * mixture[1].double()

    def update(self, latents: Latents, *, last: bool) -> Update:
        """Set the means; a component without weight keeps its own."""
        before = mean_kl(self.prior, latents)
        old = self.prior.get()
        total = latents.source.ranks.sum
        weight, first = total(self._weight)[:, None], total(self._first)
        shift = first / weight.clamp_min(torch.finfo(torch.float64).tiny)
        means = torch.where(weight > 0, old.means.double() + shift, old.means.double())
        with torch.no_grad():
            self.free.means.copy_(means)
        self.prior.set(dataclasses.replace(old, means=means))
        return Update(mean_kl(self.prior, latents), before)
