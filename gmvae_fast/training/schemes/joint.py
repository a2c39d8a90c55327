"""Everything by Adam, as VaDE (Jiang et al. 2017, arXiv 1611.05148)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gmvae_fast.m_step import MixtureParameters
from gmvae_fast.mixture import MixturePrior, MixtureTuple
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.diagnostics import Latents
from gmvae_fast.training.schemes.base import Scheme, Update, mean_kl
from gmvae_fast.training.schemes.free import FreeMixture


class Joint(Scheme):
    """Weights, means and covariances descend with the networks; no closed-form step, no floor, nothing is moved."""

    def __init__(self, prior: MixturePrior, config: TrainConfig) -> None:
        super().__init__(prior, config)
        self.free = FreeMixture(prior)

    def parameters(self) -> list[nn.Parameter]:
        """Weights, means and covariances in unconstrained coordinates."""
        return list(self.free.parameters())

    def mixture(self) -> MixtureTuple:
        """The mixture of the loss, differentiable in `parameters`."""
        mixture: MixtureTuple = self.free()
        return mixture

    def start(self, first: MixtureParameters) -> None:
        """Take over the first mixture."""
        super().start(first)
        self.free.take(self.prior.get())

    def settle(self) -> None:
        """Write what was trained into the prior."""
        self.prior.set(self.free.value())

    def update(self, latents: Latents, *, last: bool) -> Update:
        """Nothing but the KL."""
        return Update(mean_kl(self.prior, latents))

    def state(self) -> dict[str, Tensor]:
        """The unconstrained coordinates: taken from the prior again they would differ by rounding."""
        return dict(self.free.state_dict())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of `state`."""
        self.free.load_state_dict(dict(state))
