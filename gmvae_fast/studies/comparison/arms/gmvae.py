"""The GM-VAE under one training scheme and assignment."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots
from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.model import GMVAE
from gmvae_fast.studies.comparison.arms.base import Arm, Budget, Components, Fitted, Latents
from gmvae_fast.training import fit

#: Draws of the two bounds.
ELBO_SAMPLES, IMPORTANCE_SAMPLES = 8, 32


class FittedGMVAE(Fitted):
    """A trained model."""

    def __init__(self, model: GMVAE, train: Snapshots, budget: Budget) -> None:
        self.model, self.seed = model, budget.training.seed
        self.history = fit(model, train, budget.training, progress=False)

    def map(self, snapshots: Snapshots) -> tuple[Latents, Components]:
        """Posterior means, and the components of largest responsibility."""
        return self.model.embed(snapshots).mean, self.model.predict(snapshots)

    def reconstruct(self, snapshots: Snapshots) -> npt.NDArray[np.float32]:
        """Decoded posterior means."""
        fields: npt.NDArray[np.float32] = self.model.reconstruct(snapshots)
        return fields

    def evidence(self, snapshots: Snapshots, *, importance_weighted: bool) -> Mapping[str, npt.NDArray[Any]]:
        """Under the exact assignment, whatever the one of training."""
        return bounds_of(self.model, snapshots, self.seed, importance_weighted)

    def mixture(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """The prior."""
        return mixture_arrays(self.model.prior.get())

    def sample(self, n: int, component: int, seed: int) -> npt.NDArray[np.float32]:
        """Decoded draws from one component."""
        fields: npt.NDArray[np.float32] = self.model.sample(n, component, seed=seed)[0]
        return fields


def bounds_of(model: GMVAE, snapshots: Snapshots, seed: int, importance_weighted: bool) -> dict[str, npt.NDArray[Any]]:
    """See `Fitted.evidence`."""
    bounds = {"elbo": model.elbo(snapshots, n_samples=ELBO_SAMPLES, seed=seed)}
    if importance_weighted:
        bounds["importance_weighted"] = model.log_evidence(snapshots, n_samples=IMPORTANCE_SAMPLES, seed=seed)
    return bounds


def mixture_arrays(parameters: MixtureParameters) -> dict[str, npt.NDArray[np.float64]]:
    """See `Fitted.mixture`."""
    parts = {
        "weights": parameters.log_weights.exp(),
        "means": parameters.means,
        "covariances": parameters.covariances(),
    }
    return {name: part.double().cpu().numpy() for name, part in parts.items()}


def train(train: Snapshots, budget: Budget, *, scheme: str, assignment: str) -> FittedGMVAE:
    """Train on ``train``; settings of the budget that are not the arm's own stay."""
    training = dataclasses.replace(budget.training, scheme=scheme, assignment=assignment)
    model = GMVAE(train.shape, seed=training.seed, **dataclasses.asdict(budget.model))
    return FittedGMVAE(model, train, dataclasses.replace(budget, training=training))


def gmvae_arm(name: str, title: str, scheme: str, assignment: str) -> Arm:
    """The arm that trains by ``scheme`` with ``assignment``."""
    return Arm(name, title, functools.partial(train, scheme=scheme, assignment=assignment), "GM-VAE")
