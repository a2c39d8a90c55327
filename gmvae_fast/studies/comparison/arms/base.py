"""What an arm is: a way from training data to a latent map with components."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots
from gmvae_fast.history import History
from gmvae_fast.studies.stages import ModelConfig
from gmvae_fast.train_config import TrainConfig

Latents = npt.NDArray[np.floating[Any]]
Components = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Budget:
    """What every arm gets: the networks, D and K, and the settings of training, its seed included."""

    model: ModelConfig
    training: TrainConfig


class Fitted(ABC):
    """A trained arm.

    What an arm does not have is None, and questions about it have no answer.
    """

    #: Of training; None for arms without networks.
    history: History | None = None

    @abstractmethod
    def map(self, snapshots: Snapshots) -> tuple[Latents, Components]:
        """Latents [N, D] and components [N] of all snapshots of the study at once."""

    def reconstruct(self, snapshots: Snapshots) -> npt.NDArray[np.float32] | None:
        """Fields from latents, in data units [N, C, *grid]."""
        return None

    def evidence(self, snapshots: Snapshots, *, importance_weighted: bool) -> Mapping[str, npt.NDArray[Any]] | None:
        """Per snapshot [N], in nats: ``elbo``, and if asked for ``importance_weighted``, a tighter bound."""
        return None

    def mixture(self) -> Mapping[str, npt.NDArray[np.float64]] | None:
        """``weights`` [K], ``means`` [K, D], ``covariances`` [K, D, D] of the components on the map."""
        return None

    def sample(self, n: int, component: int, seed: int) -> npt.NDArray[np.float32] | None:
        """New fields of one component, in data units [n, C, *grid]."""
        return None


@dataclass(frozen=True)
class Arm:
    """One contender.

    Attributes
    ----------
    name : str
    title : str
        What it is, in a line.
    fit : callable
        (training data, Budget) -> Fitted. What it raises as `TrainingDiverged` counts as a failed run.
    family : {"GM-VAE", "baseline"}
    """

    name: str
    title: str
    fit: Callable[[Snapshots, Budget], Fitted]
    family: str
