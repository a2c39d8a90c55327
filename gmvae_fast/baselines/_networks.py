"""The networks and the training loop of the GM-VAE without its mixture."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.model import GMVAE
from gmvae_fast.training import fit

from ._protocol import Budget, Embedder, Latents


class NetworkEmbedder(Embedder):
    """Posterior means of a model that was trained under the prior N(0, I).

    Attributes
    ----------
    model : GMVAE
        Its K components all are the standard normal distribution.
    history : History
    """

    def __init__(self, model: GMVAE, train: Any, budget: Budget, seed: int, **changes: Any) -> None:
        epochs = budget.training.epochs
        # All epochs are warm-up, which is that prior; the mixture is never fitted.
        config = dataclasses.replace(budget.training, scheme="block", warmup_epochs=epochs, seed=seed, **changes)
        self.model = model
        self.history = fit(model, train, config, progress=False)
        self.n_fitted, self.epochs = len(train), epochs

    def embed(self, data: Any) -> Latents:
        """Posterior means."""
        return self.model.embed_tensors(self.model._source(data))[0].cpu().numpy()

    def reconstruct(self, data: Any) -> npt.NDArray[np.float32]:
        """Decoded posterior means."""
        return np.asarray(self.model.reconstruct(data))
