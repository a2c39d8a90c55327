"""What an expert writes in plain torch: the forms that the native operators are measured against.

The baseline that counts is the expanded GEMM form: (s2 + m^2) iv' - 2 m (mu iv)' + mu^2 iv, matrix products and no
[N, K, D] array. It cancels far from the origin; the accuracy columns of the table show how much.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

LOG_2PI = math.log(2 * math.pi)


@functools.cache
def compiled(form: Callable[..., Any]) -> Callable[..., Any]:
    """torch.compile of the whole ``form``: what it cannot take as a whole fails instead of being timed as eager code.

    Not made at import: that alone costs seconds, also in processes that measure something else.
    """
    result: Callable[..., Any] = torch.compile(form, fullgraph=True, dynamic=False)
    return result


def gemm_energies(squares: Tensor, points: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """sum_j (squares_ij - 2 points_ij mu_cj + mu_cj^2) / var_cj + log var_cj: [N, D] x 2, [K, D] x 2 -> [N, K]."""
    precision = torch.exp(-log_vars)
    energy = squares @ precision.T - 2 * points @ (means * precision).T
    return energy + (means.square() * precision + log_vars).sum(1)


def gemm_form(mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """`gmvae_fast.ops.mixture_kl` by matrix products: [N]."""
    energy = gemm_energies(log_var.exp() + mean.square(), mean, means, log_vars)
    kl = 0.5 * (energy - log_var.sum(1, keepdim=True) - mean.shape[1])
    return -torch.logsumexp(log_weights - kl, 1)


def gemm_log_responsibilities(z: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor) -> tuple[Tensor, Tensor]:
    """`gmvae_fast.ops.log_responsibilities` by matrix products: [N, K], [N]."""
    joint = log_weights - 0.5 * (gemm_energies(z.square(), z, means, log_vars) + z.shape[1] * LOG_2PI)
    log_prob = torch.logsumexp(joint, 1)
    return joint - log_prob[:, None], log_prob


def gemm_statistics(
    mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor
) -> tuple[Tensor, ...]:
    """Weight, first and second moments about the origin: cheaper than about the means, and less exact."""
    squares = mean.square() + log_var.exp()
    gamma = torch.softmax(log_weights - 0.5 * gemm_energies(squares, mean, means, log_vars), 1)
    return gamma.sum(0), gamma.T @ mean, gamma.T @ squares


def draw(mean: Tensor, log_var: Tensor) -> Tensor:
    """Reparametrised sample of N(mean, exp(log_var)) [N, D], from torch's global generator."""
    return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


def monte_carlo_kl(
    mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor, samples: int = 1
) -> Tensor:
    """Estimate of KL(q(z) || p(z)) [N] from ``samples`` draws per row: E_q[log q(z) - log p(z)].

    Its expectation is below `mixture_kl`, which is the divergence of q(z) q(c) from p(z, c).
    """
    posterior = Independent(Normal(mean, torch.exp(0.5 * log_var), validate_args=False), 1, validate_args=False)
    components = Independent(Normal(means, torch.exp(0.5 * log_vars), validate_args=False), 1, validate_args=False)
    prior = MixtureSameFamily(Categorical(logits=log_weights, validate_args=False), components, validate_args=False)
    z = posterior.rsample((samples,))
    return (posterior.log_prob(z) - prior.log_prob(z)).mean(0)
