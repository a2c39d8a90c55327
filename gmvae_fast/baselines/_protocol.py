"""The protocol of the baselines: a budget, a fit, and what a fit returns."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from gmvae_fast._batches import Batches
from gmvae_fast._checks import check_integer, check_real
from gmvae_fast._latent_mixture import fit_latent_mixture, latent_spread
from gmvae_fast.gaussian_mixture import GaussianMixture
from gmvae_fast.train_config import TrainConfig

Latents = npt.NDArray[np.float32]
OutOfSample = Literal["map", "placed", "transductive"]


@dataclass(frozen=True)
class Budget:
    """What every method of a comparison gets.

    Attributes
    ----------
    latent_dim, n_components : int
        D and K.
    network, widths, learn_noise
        Of the methods with networks, as in `gmvae_fast.GMVAE`.
    covariance_type : {"diag", "spherical", "tied", "full"}
        Of the mixture on the latents.
    training : TrainConfig
        Epochs, batches, learning rate, beta of the methods with networks; ``n_init`` and ``variance_floor`` of the
        mixture on the latents of all. Its scheme, warm-up and seed do not matter.
    n_neighbors : int
        Of Isomap and UMAP; fewer where there are not as many snapshots.
    perplexity : float
        Of t-SNE; at most a third of the snapshots.
    n_features : int
        Principal components on which Isomap, UMAP and t-SNE measure distances.
    max_points : int
        Most snapshots that Isomap and t-SNE, whose cost grows faster than their number, are fitted on.
    """

    latent_dim: int = 2
    n_components: int = 3
    network: str = "auto"
    widths: tuple[int, ...] | None = None
    learn_noise: bool = False
    covariance_type: str = "diag"
    training: TrainConfig = field(default_factory=TrainConfig)
    n_neighbors: int = 15
    perplexity: float = 30.0
    n_features: int = 50
    max_points: int = 5000

    def __post_init__(self) -> None:
        for name in ("latent_dim", "n_components", "n_neighbors", "n_features"):
            check_integer(name, getattr(self, name), 1)
        check_integer("max_points", self.max_points, 10)
        check_real("perplexity", self.perplexity, at_least=1)
        if not isinstance(self.training, TrainConfig):
            raise TypeError(f"training must be a TrainConfig, got {type(self.training).__name__}")


class Embedder(ABC):
    """A fitted method before its clusters.

    Attributes
    ----------
    n_fitted : int
        Training snapshots that decided the map.
    epochs : int
        Of training; 0 for methods without any.
    notes : tuple of str
        What a reader of a result should know: subsampling, warnings of the library used.
    """

    n_fitted: int
    epochs: int = 0
    notes: tuple[str, ...] = ()

    @abstractmethod
    def embed(self, data: Any) -> Latents:
        """Latents [N, D] of snapshots in data units."""

    def reconstruct(self, data: Any) -> npt.NDArray[np.float32] | None:
        """Snapshots [N, *input_shape] from their latents, in data units; None where the method has no way back."""
        return None


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline fitted to training data.

    Attributes
    ----------
    name : str
    out_of_sample : {"map", "placed", "transductive"}
        "map": every snapshot is mapped by itself. "placed": new snapshots are placed among the training snapshots.
        "transductive": the method has no map; `embed` makes a new map of the snapshots it is given, all together, so
        maps of different data are not comparable: give all snapshots of a comparison at once.
    budget : Budget
    seed : int
    n_train, n_fitted : int
        Training snapshots given, and those that the map was fitted on.
    epochs : int
        0 for methods without training epochs.
    seconds : float
        Wall time of the fit, clusters included.
    notes : tuple of str
        Subsampling and other things a reader should know.
    mixture : GaussianMixture
        Fitted to the training latents.
    embedder : Embedder
        The method itself (its ``model`` is the GMVAE of "ae" and "vae").
    """

    name: str
    out_of_sample: OutOfSample
    budget: Budget
    seed: int
    n_train: int
    n_fitted: int
    epochs: int
    seconds: float
    notes: tuple[str, ...]
    mixture: GaussianMixture
    embedder: Embedder

    def embed(self, data: Any) -> Latents:
        """Latents [N, D] of snapshots in data units."""
        return self.embedder.embed(data)

    def assign(self, latents: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Component [N] of each of the latents [N, D] that `embed` gave.

        Transductive methods have a new map for new data, so there the mixture is fitted to ``latents`` themselves.
        """
        points = np.asarray(latents)
        own = self.mixture
        if self.out_of_sample == "transductive":
            own = _mixture_of(points, self.budget, self.seed)
        return np.asarray(own.predict(points))

    def predict(self, data: Any) -> npt.NDArray[np.int64]:
        """Component [N] of each snapshot."""
        return self.assign(self.embed(data))

    def reconstruct(self, data: Any) -> npt.NDArray[np.float32] | None:
        """Snapshots from their latents, in data units [N, *input_shape]; None where the method has no way back."""
        return self.embedder.reconstruct(data)


Build = Callable[[Any, int, Budget], Embedder]


@dataclass(frozen=True)
class Baseline:
    """One entry of the registry.

    Attributes
    ----------
    name, title : str
        For programs and for readers.
    out_of_sample : {"map", "placed", "transductive"}
        See `FittedBaseline`.
    build : callable
        (training data, seed, Budget) -> Embedder.
    """

    name: str
    title: str
    out_of_sample: OutOfSample
    build: Build

    def fit(self, train: Any, seed: int = 0, budget: Budget | None = None) -> FittedBaseline:
        """Fit the map to ``train``, then a Gaussian mixture to its latents.

        Parameters
        ----------
        train : ndarray, Tensor, torch Dataset, Snapshots or another SnapshotSource
            Snapshots [N, *input_shape] in their own units. They are normalised as `gmvae_fast.GMVAE` does, and cells
            outside their mask do not count.
        seed : int
        budget : Budget, optional

        Raises
        ------
        ValueError
            For fewer snapshots than components or than latent coordinates + 2, or values that are not finite.
        ImportError
            Where the method's library is not installed.
        """
        budget = budget or Budget()
        seed = check_integer("seed", seed)
        started = time.perf_counter()
        n_train = len(Batches(train, "train"))
        least = max(budget.n_components, budget.latent_dim + 2)
        if n_train < least:
            raise ValueError(
                f"train must hold at least {least} snapshots for n_components = {budget.n_components} and "
                f"latent_dim = {budget.latent_dim}, got {n_train}"
            )
        embedder = self.build(train, seed, budget)
        mixture = _mixture_of(embedder.embed(train), budget, seed)
        return FittedBaseline(
            name=self.name,
            out_of_sample=self.out_of_sample,
            budget=budget,
            seed=seed,
            n_train=n_train,
            n_fitted=embedder.n_fitted,
            epochs=embedder.epochs,
            seconds=time.perf_counter() - started,
            notes=embedder.notes,
            mixture=mixture,
            embedder=embedder,
        )


def _mixture_of(latents: npt.NDArray[Any], budget: Budget, seed: int) -> GaussianMixture:
    spread = latent_spread(torch.as_tensor(latents))
    return fit_latent_mixture(
        latents,
        n_components=budget.n_components,
        covariance_type=budget.covariance_type,
        n_init=budget.training.n_init,
        floor=budget.training.variance_floor * spread,
        seed=seed,
    )
