"""t-SNE: a map of the given snapshots only."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from gmvae_fast._optional import require

from ._features import Neighbourhood, sample, warnings_as_notes
from ._protocol import Budget, Embedder, Latents

_BARNES_HUT = 3  # most latent coordinates of the fast algorithm


class TsneEmbedder(Embedder):
    """scikit-learn's t-SNE on leading principal components (van der Maaten & Hinton 2008, JMLR 9).

    It has no map for new snapshots: each set of snapshots gets its own, all together. It starts from the first
    principal components, so that the seed matters little (Kobak & Berens 2019, Nature Communications 10).
    """

    def __init__(self, train: Any, seed: int, budget: Budget) -> None:
        self._manifold = require("sklearn.manifold", "t-SNE", "baselines")
        self._neighbors = require("sklearn.neighbors", "t-SNE", "baselines")
        self._threads = require("threadpoolctl", "t-SNE", "baselines")
        around = Neighbourhood(train, seed, budget, budget.max_points)
        self._seed, self._budget, self._projection = seed, budget, around.projection
        self._known: tuple[bytes, Latents] = (b"", around.rows)  # the last map and what it is a map of
        self.n_fitted = len(around.rows)
        with warnings_as_notes(around.notes):
            self.embed(train)
        self.notes = tuple(around.notes)

    def embed(self, data: Any) -> Latents:
        """A map of ``data`` alone, the same whenever these data are given.

        More than ``max_points`` snapshots are sampled; the others stand at the mean of their three nearest sampled
        ones, weighted by inverse distance.
        """
        rows = self._projection.embed(data)
        digest = hashlib.blake2b(rows.tobytes()).digest()
        if digest != self._known[0]:
            self._known = digest, self._map(rows)
        return self._known[1].copy()

    def _map(self, rows: Latents) -> Latents:
        limit = self._budget.max_points
        if len(rows) <= limit:
            return self._tsne(rows)
        chosen = sample(len(rows), limit, self._seed)
        places = self._neighbors.KNeighborsRegressor(3, weights="distance").fit(rows[chosen], self._tsne(rows[chosen]))
        return np.asarray(places.predict(rows), dtype=np.float32)

    def _tsne(self, rows: Latents) -> Latents:
        d = self._budget.latent_dim
        tsne = self._manifold.TSNE(
            d,
            perplexity=min(self._budget.perplexity, (len(rows) - 1) / 3),
            method="barnes_hut" if d <= _BARNES_HUT else "exact",
            random_state=self._seed,
        )
        # The sums of several threads differ in their last digits from run to run, and t-SNE amplifies them.
        with self._threads.threadpool_limits(1, user_api="openmp"):
            return np.asarray(tsne.fit_transform(rows), dtype=np.float32)


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """t-SNE of at most ``max_points`` snapshots."""
    return TsneEmbedder(train, seed, budget)
