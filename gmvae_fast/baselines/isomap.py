"""Isomap: geodesic distances on a neighbour graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmvae_fast._optional import require

from ._features import Neighbourhood, legacy_seed, warnings_as_notes
from ._protocol import Budget, Embedder, Latents


class IsomapEmbedder(Embedder):
    """scikit-learn's Isomap on leading principal components (Tenenbaum, de Silva & Langford 2000, Science 290)."""

    def __init__(self, train: Any, seed: int, budget: Budget) -> None:
        manifold = require("sklearn.manifold", "Isomap", "baselines")
        around = Neighbourhood(train, seed, budget, budget.max_points)
        neighbors = min(budget.n_neighbors, len(around.rows) - 1)
        self._projection = around.projection
        self._isomap = manifold.Isomap(n_neighbors=neighbors, n_components=budget.latent_dim)
        with warnings_as_notes(around.notes), legacy_seed(seed):
            self._isomap.fit(around.rows)
        self.n_fitted, self.notes = len(around.rows), tuple(around.notes)

    def embed(self, data: Any) -> Latents:
        """Placed by geodesic distances to the fitted snapshots."""
        return np.asarray(self._isomap.transform(self._projection.embed(data)), dtype=np.float32)


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """Isomap of at most ``max_points`` snapshots: all pairs of distances are held."""
    return IsomapEmbedder(train, seed, budget)
