"""UMAP: a map that keeps a fuzzy neighbour graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmvae_fast._optional import require

from ._features import Neighbourhood, warnings_as_notes
from ._protocol import Budget, Embedder, Latents


class UmapEmbedder(Embedder):
    """umap-learn's UMAP on leading principal components (McInnes, Healy & Melville 2018, arXiv 1802.03426)."""

    def __init__(self, train: Any, seed: int, budget: Budget) -> None:
        umap = require("umap", "UMAP", "baselines")
        around = Neighbourhood(train, seed, budget, None)
        neighbors = max(2, min(budget.n_neighbors, len(around.rows) - 1))
        self._projection = around.projection
        # A seeded UMAP optimises on one thread; saying so spares its warning.
        self._umap = umap.UMAP(
            n_neighbors=neighbors, n_components=budget.latent_dim, random_state=seed, transform_seed=seed, n_jobs=1
        )
        with warnings_as_notes(around.notes):
            self._umap.fit(around.rows)
        self.n_fitted, self.notes = len(around.rows), tuple(around.notes)

    def embed(self, data: Any) -> Latents:
        """Training snapshots as they were fitted; others placed by further optimisation."""
        return np.asarray(self._umap.transform(self._projection.embed(data)), dtype=np.float32)


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """UMAP of all training snapshots."""
    return UmapEmbedder(train, seed, budget)
