"""The GM-VAE's networks under a standard normal prior."""

from __future__ import annotations

from typing import Any

from gmvae_fast._batches import Batches
from gmvae_fast.model import GMVAE

from ._networks import NetworkEmbedder
from ._protocol import Budget, Embedder


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """Variational autoencoder (Kingma & Welling 2013, arXiv 1312.6114) with the budget's beta."""
    model = GMVAE(
        Batches(train).shape,
        budget.latent_dim,
        budget.n_components,
        network=budget.network,
        widths=budget.widths,
        learn_noise=budget.learn_noise,
        seed=seed,
    )
    return NetworkEmbedder(model, train, budget, seed)
