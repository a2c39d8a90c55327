"""A method of `gmvae_fast.baselines`, with its Gaussian mixture, as an arm."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.baselines import BASELINES
from gmvae_fast.baselines import Budget as BaselineBudget
from gmvae_fast.data import Snapshots
from gmvae_fast.model import GMVAE
from gmvae_fast.studies.comparison.arms.base import Arm, Budget, Components, Fitted, Latents
from gmvae_fast.studies.comparison.arms.gmvae import bounds_of, mixture_arrays


class FittedBaselineArm(Fitted):
    """A fitted baseline."""

    def __init__(self, train: Snapshots, budget: Budget, name: str) -> None:
        model = budget.model
        self.fitted = BASELINES[name].fit(
            train,
            budget.training.seed,
            BaselineBudget(
                latent_dim=model.latent_dim,
                n_components=model.n_components,
                network=model.network,
                widths=model.widths,
                learn_noise=model.learn_noise,
                covariance_type=model.covariance_type,
                training=budget.training,
            ),
        )
        self.history = getattr(self.fitted.embedder, "history", None)
        self._seed = budget.training.seed
        self._has_evidence = name == "vae"  # of an autoencoder the bound means nothing

    def map(self, snapshots: Snapshots) -> tuple[Latents, Components]:
        """Latents, and the components of a mixture fitted to the training latents."""
        latents = self.fitted.embed(snapshots)
        return latents, self.fitted.assign(latents)

    def reconstruct(self, snapshots: Snapshots) -> npt.NDArray[np.float32] | None:
        """Fields from latents, where the method has a way back."""
        return self.fitted.reconstruct(snapshots)

    def evidence(self, snapshots: Snapshots, *, importance_weighted: bool) -> Mapping[str, npt.NDArray[Any]] | None:
        """Of the VAE, under its prior N(0, I)."""
        model = getattr(self.fitted.embedder, "model", None)
        if not self._has_evidence or not isinstance(model, GMVAE):
            return None
        return bounds_of(model, snapshots, self._seed, importance_weighted)

    def mixture(self) -> Mapping[str, npt.NDArray[np.float64]] | None:
        """On the training latents; None where all snapshots were mapped anew."""
        if self.fitted.out_of_sample == "transductive":
            return None
        return mixture_arrays(self.fitted.mixture.parameters_)


def baseline_arm(name: str) -> Arm:
    """The arm of the baseline ``name``."""
    fit = functools.partial(FittedBaselineArm, name=name)
    return Arm(name, f"{BASELINES[name].title}, Gaussian mixture on its latents", fit, "baseline")
