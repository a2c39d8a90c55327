"""The mixture of a latent map, found the same way for every method that has one."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from gmvae_fast.gaussian_mixture import GaussianMixture
from gmvae_fast.m_step import MixtureParameters


def latent_spread(mean: Tensor) -> float:
    """Mean variance of the coordinates of ``mean`` [N, D]: 1 where they do not vary, not finite where they are not."""
    return spread_of(mean.double().var(0, unbiased=False))


def spread_of(variance: Tensor) -> float:
    """`latent_spread` of the variance [D] of each coordinate."""
    spread = float(variance.mean())
    return spread if spread > 0 or not math.isfinite(spread) else 1.0


def fit_latent_mixture(
    mean: Any,
    log_var: Any = None,
    *,
    n_components: int,
    covariance_type: str,
    n_init: int,
    floor: float,
    seed: int,
    weight: Tensor | None = None,
) -> GaussianMixture:
    """EM restarts on the package's kernels, the most likely kept.

    ``mean`` [N, D] are latents; with ``log_var`` they are the means of posteriors. ``floor`` is added to variances;
    ``weight`` [N] says how often each row counts.
    """
    mixture = _mixture(n_components, covariance_type, floor, n_init=n_init, random_state=seed)
    return mixture.fit(mean, log_var=log_var, sample_weight=weight)


def continue_latent_mixture(
    mean: Any,
    log_var: Any,
    start: MixtureParameters,
    *,
    covariance_type: str,
    floor: float,
    weight: Tensor | None = None,
) -> GaussianMixture:
    """The optimum that EM finds from ``start``, under the settings of `fit_latent_mixture`.

    Raises
    ------
    ValueError
        Where it finds none: a component shrinks to a point.
    """
    mixture = _mixture(len(start.means), covariance_type, floor, warm_start=True)
    mixture.parameters_, mixture.lower_bound_ = start, -math.inf
    return mixture.fit(mean, log_var=log_var, sample_weight=weight)


def _mixture(n_components: int, covariance_type: str, floor: float, **settings: Any) -> GaussianMixture:
    return GaussianMixture(
        n_components, covariance_type=covariance_type, max_iter=300, tol=1e-6, reg_covar=floor, **settings
    )
