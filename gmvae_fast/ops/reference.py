"""The definition of every operator, in plain torch: the native kernels are tested against these lines.

Shapes: N rows, K components, D latent coordinates. Slow and memory-hungry ([N, K, D]); correct on every device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


def log_density(z: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """log N(z_i; mu_c, diag exp(log_vars_c)): [N, D], [K, D], [K, D] -> [N, K]."""
    squares = (z[:, None] - means).square() * torch.exp(-log_vars)
    return -0.5 * (squares + log_vars + LOG_2PI).sum(-1)


def component_kl(mean: Tensor, log_var: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    """KL(N(m_i, diag s2_i) || N(mu_c, diag var_c)), closed form: [N, D] x 2, [K, D] x 2 -> [N, K]."""
    squares = log_var.exp()[:, None] + (mean[:, None] - means).square()
    return 0.5 * (log_vars - log_var[:, None] + squares * torch.exp(-log_vars) - 1).sum(-1)


def log_responsibilities(z: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor) -> tuple[Tensor, Tensor]:
    """log p(c | z) [N, K] and log p(z) [N] by Bayes' rule."""
    joint = log_weights + log_density(z, means, log_vars)
    log_prob = torch.logsumexp(joint, 1)
    return joint - log_prob[:, None], log_prob


def mixture_kl(
    mean: Tensor,
    log_var: Tensor,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor,
    *,
    assignment: str = "exact",
    z: Tensor | None = None,
    detach_assignment: bool = False,
) -> Tensor:
    """sum_c gamma_c (KL_c + log gamma_c - log pi_c) [N]; for the minimising gamma -logsumexp(log pi_c - KL_c)."""
    kl = component_kl(mean, log_var, means, log_vars)
    if assignment == "exact":
        return -torch.logsumexp(log_weights - kl, 1)
    point = mean if z is None else z
    density = log_density(point, means, log_vars)
    log_prob = torch.logsumexp(log_weights + density, 1, keepdim=True)
    gamma = torch.exp(log_weights + density - log_prob)
    ratio = density - log_prob  # log gamma_c - log pi_c, finite where pi_c = 0
    if detach_assignment:
        gamma, ratio = gamma.detach(), ratio.detach()
        # log gamma is a constant, log pi is not: d(-gamma log pi) = -gamma d log pi
        prior = torch.where(torch.isfinite(log_weights), log_weights, 0.0)
        ratio = ratio + prior.detach() - prior
    return (gamma * (kl + ratio)).sum(1)


def mixture_statistics(
    mean: Tensor, log_var: Tensor | None, log_weights: Tensor, means: Tensor, log_vars: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moments of the exact responsibilities about ``means``, in float64, and the log evidence.

    weight [K], first [K, D] = sum_i gamma_ic (m_i - mu_c), second [K, D] = sum_i gamma_ic [(m_i - mu_c)^2 + s2_i],
    evidence [] = sum_i logsumexp_c(log pi_c - KL_c); for points (log_var None) sum_i log p(m_i).
    """
    mean, log_weights, means, log_vars = (t.double() for t in (mean, log_weights, means, log_vars))
    diff = mean[:, None] - means
    squares = diff.square()
    if log_var is None:
        log_gamma, evidence = log_responsibilities(mean, log_weights, means, log_vars)
    else:
        logits = log_weights - component_kl(mean, log_var.double(), means, log_vars)
        evidence = torch.logsumexp(logits, 1)
        log_gamma = logits - evidence[:, None]
        squares = squares + log_var.double().exp()[:, None]
    gamma = log_gamma.exp()[..., None]
    return gamma[..., 0].sum(0), (gamma * diff).sum(0), (gamma * squares).sum(0), evidence.sum()
