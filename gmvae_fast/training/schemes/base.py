"""What every scheme offers to the loop over epochs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior, MixtureTuple
from gmvae_fast.model import LossTerms
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents


@dataclass(frozen=True)
class Update:
    """What an update did to the mixture.

    Attributes
    ----------
    kl : float
        Mean mixture KL (exact assignment) of all snapshots after the closed-form step, nats.
    kl_before : float or None
        The same before it; None where the scheme takes no such step.
    moved : tuple of str
        Messages about components that were moved after it.
    """

    kl: float
    kl_before: float | None = None
    moved: tuple[str, ...] = ()


class Scheme(ABC):
    """Trains the mixture ``prior``. In an epoch: `begin`, `observe` after every step, `settle`, `update` when due."""

    def __init__(self, prior: MixturePrior, config: TrainConfig) -> None:
        self.prior, self.config = prior, config

    def parameters(self) -> list[nn.Parameter]:
        """What Adam trains beside the networks."""
        return []

    def mixture(self) -> MixtureTuple:
        """The mixture of the loss, differentiable in `parameters`."""
        return self.prior.parameters_tuple

    def start(self, first: MixtureParameters) -> None:
        """Take over the first mixture."""
        self.prior.set(first)

    def begin(self) -> None:  # noqa: B027 - most schemes have nothing to do
        """An epoch of descent begins."""

    def observe(self, terms: LossTerms, weight: Tensor | None) -> None:  # noqa: B027
        """A step of Adam was taken on ``terms``, whose rows count ``weight`` [n] times (None: once)."""

    def settle(self) -> None:  # noqa: B027
        """Write what was trained into the prior."""

    @abstractmethod
    def update(self, latents: Latents, *, last: bool) -> Update:
        """After the descent of an epoch in which an M-step is due; ``last`` when none follows."""

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold beside the model."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`.

        Raises
        ------
        RuntimeError
            When tensors are missing, superfluous or misshapen.
        """
        if state:
            raise RuntimeError(f"scheme {self.config.scheme!r} has no state, got {', '.join(sorted(state))}")


def mean_kl(prior: MixturePrior, latents: Latents) -> float:
    """Mean mixture KL of all snapshots under the exact assignment, summed in float64."""
    return -float(latents.statistics(prior).log_evidence) / len(latents.source)
