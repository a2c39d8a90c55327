"""The mixture of a latent map, found the same way for every method that has one."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gmvae_fast.gaussian_mixture import GaussianMixture


def latent_spread(mean: Tensor) -> float:
    """Mean variance of the coordinates of ``mean`` [N, D]: 1 where they do not vary, not finite where they are not."""
    return spread_of(mean.double().var(0, unbiased=False))


def spread_of(variance: Tensor) -> float:
    """`latent_spread` of the variance [D] of each coordinate."""
    spread = float(variance.mean())
    return spread if spread > 0 or not math.isfinite(spread) else 1.0


def fit_latent_mixture(
    mean: Any, log_var: Any = None, *, n_components: int, covariance_type: str, n_init: int, floor: float, seed: int
) -> GaussianMixture:
    """EM restarts on the package's kernels, the most likely kept.

    ``mean`` [N, D] are latents; with ``log_var`` they are the means of posteriors. ``floor`` is added to variances.
    """
    return GaussianMixture(
        n_components,
        covariance_type=covariance_type,
        n_init=n_init,
        max_iter=300,
        tol=1e-6,
        reg_covar=floor,
        random_state=seed,
    ).fit(mean, log_var=log_var)
