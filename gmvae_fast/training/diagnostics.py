"""What is said about a model at the end of an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gmvae_fast._batches import Batches
from gmvae_fast._covariances import from_factor
from gmvae_fast._latent_mixture import latent_spread
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.model import GMVAE

#: Fields of `EpochRecord` that `diagnose` fills.
DIAGNOSTICS = ("occupancy", "responsibility_entropy", "component_kl", "component_variance", "active_dimensions")


@dataclass(frozen=True)
class Latents:
    """Posterior means [N, D] and log variances [N, D] of the training data; ``spread`` as `latent_spread` has it."""

    mean: Tensor
    log_var: Tensor
    spread: float

    @staticmethod
    def of(model: GMVAE, source: Batches) -> Latents:
        """Embed ``source``."""
        mean, log_var = model.embed_tensors(source, source.pass_size)
        return Latents(mean, log_var, latent_spread(mean))


def diagnose(prior: MixturePrior, latents: Latents) -> dict[str, Any]:
    """The fields `DIAGNOSTICS` of an `EpochRecord`."""
    mean, log_var = latents.mean, latents.log_var
    with torch.no_grad():
        gamma = prior.responsibilities(mean, log_var).double()
        kl = prior.component_kl(mean, log_var).double()
        occupancy = gamma.mean(0)
        per_component = (gamma * kl).sum(0) / gamma.sum(0).clamp_min(1e-300)
        entropy = -(gamma * torch.log(gamma.clamp_min(1e-300))).sum(1).mean()
        variance = mean.double().var(0, unbiased=False)
        active = variance > 0.01 * (variance + log_var.double().exp().mean(0))
    return {
        "occupancy": tuple(occupancy.tolist()),
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


def fluctuation_error(model: GMVAE, data: Any) -> float:
    """Relative L2 error of reconstructed fluctuations: |x - x_hat| / |x - training mean|, fields scaled as in training.

    Sums run over all snapshots, grid points and channels, each channel divided by its training standard deviation.
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
                error += float((decoded - x).double().square().sum())
                total += float(x.double().square().sum())
    finally:
        model.train(was_training)
    return math.sqrt(error / total) if total > 0 else math.nan
