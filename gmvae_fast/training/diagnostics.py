"""What is said about a model at the end of an epoch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmvae_fast._covariances import from_factor
from gmvae_fast._latent_mixture import spread_of
from gmvae_fast.distributed import Ranks, Share
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.model import GMVAE
from gmvae_fast.ops import MixtureStatistics

#: Fields of `EpochRecord` that `diagnose` fills.
DIAGNOSTICS = ("occupancy", "responsibility_entropy", "component_kl", "component_variance", "active_dimensions")


@dataclass(frozen=True)
class Latents:
    """Posteriors of the training data.

    Attributes
    ----------
    mean, log_var : Tensor [n, D]
        Of this process's snapshots.
    source : Share
        Which those are.
    variance : float64 [D]
        Of the means of all snapshots, weighted.
    spread : float
        Its mean over the coordinates: 1 where they do not vary, not finite where they are not.
    """

    mean: Tensor
    log_var: Tensor
    source: Share
    variance: Tensor
    spread: float

    @staticmethod
    def of(model: GMVAE, source: Share) -> Latents:
        """Embed ``source``."""
        mean, log_var = model.embed_tensors(source.local, source.local.pass_size)
        centre = source.total(mean) / len(source)
        variance = source.total((mean.double() - centre).square()) / len(source)
        return Latents(mean, log_var, source, variance, spread_of(variance))

    def statistics(self, prior: MixturePrior) -> MixtureStatistics:
        """E-step over all snapshots, weighted."""
        weight, ranks = self.source.weight, self.source.ranks
        own = prior.statistics(self.mean, self.log_var, None if weight is None else weight.to(self.mean.device))
        names = ("weight", "first", "second", "log_evidence") if not ranks.alone else ()
        sums = {name: ranks.sum(getattr(own, name)) for name in names}
        return dataclasses.replace(own, **sums, count=len(self.source))  # all stand about the same means


def diagnose(prior: MixturePrior, latents: Latents) -> dict[str, Any]:
    """The fields `DIAGNOSTICS` of an `EpochRecord`."""
    mean, log_var = latents.mean, latents.log_var
    with torch.no_grad():
        kl = prior.component_kl(mean, log_var)
        gamma, kl = prior.assigned(kl).double(), kl.double()
        n, total = len(latents.source), latents.source.total
        weight = total(gamma)
        per_component = total(gamma * kl) / weight.clamp_min(1e-300)
        entropy = -total((gamma * torch.log(gamma.clamp_min(1e-300))).sum(1)) / n
        active = latents.variance > 0.01 * (latents.variance + total(log_var.double().exp()) / n)
    return {
        "occupancy": tuple((weight / n).tolist()),
        "responsibility_entropy": float(entropy),
        "component_kl": tuple(per_component.tolist()),
        "component_variance": tuple((smallest_variances(prior) / latents.spread).tolist()),
        "active_dimensions": int(active.sum()),
    }


def smallest_variances(prior: MixturePrior) -> Tensor:
    """Smallest variance, or eigenvalue of the covariance, of each component: float64 [K]."""
    if prior.log_vars is not None:
        return prior.log_vars.detach().double().exp().amin(1)
    assert prior.cholesky is not None
    values: Tensor = torch.linalg.eigvalsh(from_factor(prior.cholesky.detach().double()))
    return values[..., 0].expand(prior.n_components)


def fluctuation_error(model: GMVAE, data: Any, ranks: Ranks | None = None) -> float:
    """Relative L2 error of reconstructed fluctuations: |x - x_hat| / |x - training mean|, fields scaled as in training.

    Sums run over all snapshots, grid points and channels, each channel divided by its training standard deviation.
    With ``ranks``, ``data`` are this process's snapshots, and the error is that of all.
    """
    source = model._source(data)
    error = total = 0.0
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for x in source.ordered(source.pass_size, model.device):
                x = model.normalise(x)
                decoded = model.decode(model.encode(x)[0])
                error += float(model.differences(decoded, x).double().square().sum())
                total += float(model.filled(x).double().square().sum())
    finally:
        model.train(was_training)
    error, total = (
        (ranks or Ranks()).sum(torch.tensor([error, total], dtype=torch.float64, device=model.device)).tolist()
    )
    return math.sqrt(error / total) if total > 0 else math.nan
