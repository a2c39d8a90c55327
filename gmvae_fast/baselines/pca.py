"""Principal components."""

from __future__ import annotations

from typing import Any

from ._features import PrincipalComponents
from ._protocol import Budget, Embedder


def build(train: Any, seed: int, budget: Budget) -> Embedder:
    """Principal component analysis of normalised snapshots."""
    return PrincipalComponents(train, budget.latent_dim, seed)
