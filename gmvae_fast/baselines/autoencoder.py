"""The GM-VAE's networks with a point in place of the posterior, and no prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gmvae_fast._batches import Batches
from gmvae_fast.model import GMVAE

from ._networks import NetworkEmbedder
from ._protocol import Budget, Embedder

_LOG_VAR = -20.0  # the smallest that a model allows: a standard deviation of 5e-5


class PointEncoder(nn.Module):
    """Means of ``encoder`` with a posterior that is practically a point."""

    def __init__(self, encoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.latent_dim = encoder, latent_dim

    def forward(self, x: Tensor) -> Tensor:
        """[N, *input_shape] -> [N, 2 D]."""
        mean = self.encoder(x)[:, : self.latent_dim]
        return torch.cat([mean, torch.full_like(mean, _LOG_VAR)], 1)


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """Autoencoder trained on the squared error alone (beta = 0)."""
    shape, d, k = Batches(train).shape, budget.latent_dim, budget.n_components
    plain = GMVAE(shape, d, k, network=budget.network, widths=budget.widths, seed=seed)
    model = GMVAE(shape, d, k, network=(PointEncoder(plain.encoder, d), plain.decoder), seed=seed)
    return NetworkEmbedder(model, train, budget, seed, beta=0.0)
