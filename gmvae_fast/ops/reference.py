"""The definition of every operator, in plain torch: the native kernels are tested against these lines.

Shapes: N rows, K components, D latent coordinates. Covariances are diagonal (``log_vars`` [K, D]) or dense (Cholesky
factors L, Sigma = L L', of which the lower triangle counts: ``cholesky`` [K, D, D], or [D, D] shared by all).
Slow and memory-hungry ([N, K, D]); correct on every device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


def mahalanobis(diff: Tensor, cholesky: Tensor) -> Tensor:
    """Squared lengths |L_c^-1 diff_ic|^2: [N, K, D], [K, D, D] or [D, D] -> [N, K]."""
    white: Tensor = torch.linalg.solve_triangular(cholesky, diff.permute(1, 2, 0), upper=False)
    return white.square().sum(1).T


def log_determinant(cholesky: Tensor) -> Tensor:
    """log det Sigma of a factor: [..., D, D] -> [...]."""
    return 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def precision_diagonal(cholesky: Tensor) -> Tensor:
    """Diagonal of Sigma^-1: [..., D, D] -> [..., D]."""
    eye = torch.eye(cholesky.shape[-1], dtype=cholesky.dtype, device=cholesky.device)
    whitening: Tensor = torch.linalg.solve_triangular(cholesky, eye, upper=False)
    return whitening.square().sum(-2)


def log_density(z: Tensor, means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None = None) -> Tensor:
    """log N(z_i; mu_c, Sigma_c): [N, D], [K, D], covariances -> [N, K]."""
    diff = z[:, None] - means
    if cholesky is not None:
        return -0.5 * (mahalanobis(diff, cholesky) + log_determinant(cholesky) + z.shape[1] * LOG_2PI)
    assert log_vars is not None
    return -0.5 * (diff.square() * torch.exp(-log_vars) + log_vars + LOG_2PI).sum(-1)


def component_kl(
    mean: Tensor, log_var: Tensor, means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None = None
) -> Tensor:
    """KL(N(m_i, diag s2_i) || N(mu_c, Sigma_c)), closed form: [N, D] x 2, [K, D], covariances -> [N, K]."""
    diff = mean[:, None] - means
    if cholesky is not None:
        trace = log_var.exp() @ precision_diagonal(cholesky).expand_as(means).T
        energy = trace + mahalanobis(diff, cholesky)
        return 0.5 * (log_determinant(cholesky) - log_var.sum(1, keepdim=True) + energy - mean.shape[1])
    assert log_vars is not None
    squares = log_var.exp()[:, None] + diff.square()
    return 0.5 * (log_vars - log_var[:, None] + squares * torch.exp(-log_vars) - 1).sum(-1)


def log_responsibilities(
    z: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """log p(c | z) [N, K] and log p(z) [N] by Bayes' rule."""
    joint = log_weights + log_density(z, means, log_vars, cholesky)
    log_prob = torch.logsumexp(joint, 1)
    return joint - log_prob[:, None], log_prob


def mixture_kl(
    mean: Tensor,
    log_var: Tensor,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor | None,
    cholesky: Tensor | None = None,
    *,
    assignment: str = "exact",
    z: Tensor | None = None,
    detach_assignment: bool = False,
) -> Tensor:
    """sum_c gamma_c (KL_c + log gamma_c - log pi_c) [N]; for the minimising gamma -logsumexp(log pi_c - KL_c)."""
    kl = component_kl(mean, log_var, means, log_vars, cholesky)
    if assignment == "exact":
        return -torch.logsumexp(log_weights - kl, 1)
    point = mean if z is None else z
    density = log_density(point, means, log_vars, cholesky)
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
    mean: Tensor,
    log_var: Tensor | None,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor | None,
    cholesky: Tensor | None = None,
    row_weight: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Moments of the exact responsibilities about ``means``, in float64, and the log evidence.

    weight [K], first [K, D] = sum_i gamma_ic (m_i - mu_c), second [K, D] = sum_i gamma_ic [(m_i - mu_c)^2 + s2_i], or
    for dense covariances [K, D, D] = sum_i gamma_ic [(m_i - mu_c)(m_i - mu_c)' + diag s2_i]; evidence [] =
    sum_i logsumexp_c(log pi_c - KL_c); for points (log_var None) sum_i log p(m_i). With ``row_weight`` [N] each term of
    each sum counts that often.
    """
    mean, log_weights, means = mean.double(), log_weights.double(), means.double()
    log_vars = None if log_vars is None else log_vars.double()
    cholesky = None if cholesky is None else cholesky.double()
    diff = mean[:, None] - means
    if log_var is None:
        variance = torch.zeros_like(mean)
        log_gamma, evidence = log_responsibilities(mean, log_weights, means, log_vars, cholesky)
    else:
        variance = log_var.double().exp()
        logits = log_weights - component_kl(mean, log_var.double(), means, log_vars, cholesky)
        evidence = torch.logsumexp(logits, 1)
        log_gamma = logits - evidence[:, None]
    gamma = log_gamma.exp()
    if row_weight is not None:
        gamma, evidence = gamma * row_weight.double()[:, None], evidence * row_weight.double()
    first = torch.einsum("nk,nkd->kd", gamma, diff)
    if cholesky is None:
        second = torch.einsum("nk,nkd->kd", gamma, diff.square() + variance[:, None])
    else:
        second = torch.einsum("nk,nki,nkj->kij", gamma, diff, diff) + torch.diag_embed(gamma.T @ variance)
    return gamma.sum(0), first, second, evidence.sum()


#: Codes of `Activation` in csrc/include/gmvae/dense_chain.h.
ACTIVATIONS = {"none": 0, "silu": 1, "relu": 2, "leaky_relu": 3}


def dense_chain(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[int],
    slopes: Sequence[float],
    half: bool,
) -> Tensor:
    """activation(x W' + b) of layer after layer, in float32 or bfloat16: [N, in] -> [N, out]."""
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        for weight, bias, code, slope in zip(weights, biases, activations, slopes, strict=True):
            x = nn.functional.linear(x, weight, bias)
            if code == ACTIVATIONS["silu"]:
                x = nn.functional.silu(x)
            elif code == ACTIVATIONS["relu"]:
                x = nn.functional.relu(x)
            elif code == ACTIVATIONS["leaky_relu"]:
                x = nn.functional.leaky_relu(x, slope)
    return x
