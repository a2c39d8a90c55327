"""One EM sweep, E- and M-step over all rows, by matrix products in plain torch, for the four covariance types.

As in scikit-learn: moments about the origin for "diag", "spherical" and "tied", about the new means for "full".
"""

from __future__ import annotations

import torch
from torch import Tensor

from forms import LOG_2PI, gemm_log_responsibilities

#: weights [K], means [K, D], covariances: diag [K, D], spherical [K], tied [D, D], full [K, D, D]
Mixture = tuple[Tensor, Tensor, Tensor]


def gemm_sweep(x: Tensor, mixture: Mixture, covariance_type: str, added_variance: float) -> Mixture:
    """The mixture after one sweep over ``x`` [N, D]."""
    gamma = _responsibilities(x, mixture, covariance_type)
    weight = gamma.sum(0)
    means = (gamma.T @ x) / weight[:, None]
    return weight / len(x), means, _covariances(x, gamma, weight, means, covariance_type, added_variance)


def _responsibilities(x: Tensor, mixture: Mixture, covariance_type: str) -> Tensor:
    weights, means, covariances = mixture
    if covariance_type in ("diag", "spherical"):
        log_vars = torch.log(covariances if covariance_type == "diag" else covariances[:, None].expand_as(means))
        return gemm_log_responsibilities(x, weights.log(), means, log_vars)[0].exp()
    factors = torch.linalg.cholesky(covariances).expand(len(weights), -1, -1)
    identity = torch.eye(x.shape[1], dtype=x.dtype).expand_as(factors)
    whitening = torch.linalg.solve_triangular(factors, identity, upper=False)  # [K, D, D]
    log_det = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    joint = torch.empty(len(x), len(weights), dtype=x.dtype)
    for c, (white, mean) in enumerate(zip(whitening, means, strict=True)):  # one [N, D] at a time
        joint[:, c] = weights[c].log() - log_det[c] - 0.5 * (x @ white.T - white @ mean).square().sum(1)
    return torch.softmax(joint - 0.5 * x.shape[1] * LOG_2PI, 1)


def _covariances(
    x: Tensor, gamma: Tensor, weight: Tensor, means: Tensor, covariance_type: str, added_variance: float
) -> Tensor:
    identity = torch.eye(x.shape[1], dtype=x.dtype)
    if covariance_type == "tied":
        return (x.T @ x - (weight * means.T) @ means) / len(x) + added_variance * identity
    if covariance_type == "full":
        scatters = []
        for c, mean in enumerate(means):
            diff = x - mean
            scatters.append((gamma[:, c, None] * diff).T @ diff / weight[c] + added_variance * identity)
        return torch.stack(scatters)
    variances = (gamma.T @ x.square()) / weight[:, None] - means.square() + added_variance
    return variances if covariance_type == "diag" else variances.mean(1)
