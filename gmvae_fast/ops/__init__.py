"""Public operators of the Gaussian mixture: native where a kernel exists, the torch reference elsewhere.

Shapes: N rows, K components, D coordinates. A mixture is ``log_weights`` [K], ``means`` [K, D] and one of

- ``log_vars`` [K, D], the logarithms of the variances of diagonal covariances, or [K] for spherical ones;
- ``cholesky`` [K, D, D], factors L of full covariances L L', or [D, D], one factor tied over the components. Only the
  lower triangle counts; the gradient of the rest is zero.

A weight may be zero (``-inf``). float32 and float64 run native kernels (`gmvae_fast.native_status` says where);
float16 and bfloat16 are computed in float32. Non-finite inputs give non-finite outputs, as in torch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmvae_fast import _native
from gmvae_fast.ops import _library, reference
from gmvae_fast.ops._checks import check_assignment, check_mixture_call
from gmvae_fast.ops._statistics import MixtureStatistics as MixtureStatistics

__all__ = ["MixtureStatistics", "log_responsibilities", "mixture_kl", "mixture_statistics", "reference"]

_HALF = (torch.float16, torch.bfloat16)


def _widen(*tensors: Tensor | None) -> list[Tensor | None]:
    """Half precision to float32."""
    return [None if t is None else t.float() for t in tensors]


def _per_coordinate(log_vars: Tensor | None, means: Tensor) -> Tensor | None:
    """Log variances [K, D] of diagonal or spherical covariances."""
    return log_vars[:, None].expand_as(means) if log_vars is not None and log_vars.ndim == 1 else log_vars


def _scale(means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None) -> Tensor:
    """Covariances as the native operators take them: log variances [K, D], or whitening factors [K or 1, D, D]."""
    diagonal = _per_coordinate(log_vars, means)
    if diagonal is not None:
        return diagonal
    assert cholesky is not None
    eye = torch.eye(means.shape[1], dtype=torch.float64, device=means.device)
    whitening: Tensor = torch.linalg.solve_triangular(cholesky.double(), eye, upper=False).to(means.dtype)
    return whitening if whitening.ndim == 3 else whitening[None]


def log_responsibilities(
    z: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor | None = None, cholesky: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Log responsibilities log p(c | z) and log density log p(z) of a Gaussian mixture.

    Parameters
    ----------
    z : Tensor [N, D]
    log_weights : Tensor [K]
    means : Tensor [K, D]
    log_vars : Tensor [K, D] or [K]
        Diagonal or spherical covariances, or
    cholesky : Tensor [K, D, D] or [D, D]
        full or tied ones.

    Returns
    -------
    log_resp : Tensor [N, K]
        Rows are normalised: logsumexp over K is 0. A component of zero weight has ``-inf``.
    log_prob : Tensor [N]

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose dtype, device or shape does not fit.

    Notes
    -----
    Differentiable once in every argument. Forward keeps ``log_resp`` (N K values) and references to the inputs;
    backward is one pass over the rows that computes only the gradients asked for.
    """
    check_mixture_call({"z": z}, log_weights, means, log_vars, cholesky)
    if z.dtype in _HALF:
        wide = log_responsibilities(*_widen(z, log_weights, means, log_vars, cholesky))  # type: ignore[arg-type]
        return wide[0].to(z.dtype), wide[1].to(z.dtype)
    if not _native.supports(z.device.type, z.dtype):
        log_vars = _per_coordinate(log_vars, means)
        return reference.log_responsibilities(z, log_weights, means, log_vars, cholesky)
    scale = _scale(means, log_vars, cholesky)
    result: tuple[Tensor, Tensor] = torch.ops.gmvae_fast.log_responsibilities(z, log_weights, means, scale)
    return result


def mixture_kl(
    mean: Tensor,
    log_var: Tensor,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor | None = None,
    cholesky: Tensor | None = None,
    *,
    assignment: str = "exact",
    z: Tensor | None = None,
    detach_assignment: bool = False,
) -> Tensor:
    r"""KL divergence of q(z|x) q(c|x) from the mixture prior p(z, c), per row.

    .. math:: KL_i = \sum_c \gamma_{ic} [ KL(N(m_i, s_i^2) \| N(\mu_c, \Sigma_c)) + \log \gamma_{ic} - \log \pi_c ]

    Parameters
    ----------
    mean, log_var : Tensor [N, D]
        Posterior means m and log variances log s^2.
    log_weights : Tensor [K]
    means : Tensor [K, D]
    log_vars : Tensor [K, D] or [K]
        Diagonal or spherical covariances, or
    cholesky : Tensor [K, D, D] or [D, D]
        full or tied ones.
    assignment : {"exact", "sampled", "mean"}
        Responsibilities gamma: the minimiser of the sum, proportional to pi_c exp(-KL_c), for which the value is
        -logsumexp_c(log pi_c - KL_c); p(c | z) of the sample ``z`` (VaDE, Jiang et al. 2017, arXiv 1611.05148;
        PIMA, Trask et al. 2022, arXiv 2202.03242); or p(c | z = mean).
    z : Tensor [N, D], for ``assignment="sampled"`` only
    detach_assignment : bool
        Treat gamma as a constant in the backward pass. For "exact" this changes nothing: at the minimum the
        derivative through gamma is zero.

    Returns
    -------
    kl : Tensor [N]

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose dtype, device or shape does not fit.

    Notes
    -----
    Differentiable once in every floating argument. One pass computes the value and, when ``mean``, ``log_var`` or
    ``z`` need it, their gradients up to the upstream factor; these are all that is kept for backward (2 N D values,
    3 N D with an attached ``z``), no [N, K] array is formed, and backward only scales. When the mixture needs a
    gradient the inputs are kept by reference, and the same pass takes its K (2 D + 1) moments in float64
    (K (1 + D + D (D + 1) / 2) for dense covariances), twice as many for an attached assignment: where all rows have
    one upstream gradient, as in a sum or mean, backward scales them. Where rows differ, under torch.compile, and on
    CUDA, backward takes them in one more pass.
    """
    check_assignment(assignment, z)
    rows = {"mean": mean, "log_var": log_var}
    if z is not None:
        rows["z"] = z
    check_mixture_call(rows, log_weights, means, log_vars, cholesky)
    if mean.dtype in _HALF:
        *wide, wide_z = _widen(mean, log_var, log_weights, means, log_vars, cholesky, z)
        options = {"assignment": assignment, "z": wide_z, "detach_assignment": detach_assignment}
        return mixture_kl(*wide, **options).to(mean.dtype)  # type: ignore[arg-type]
    if not _native.supports(mean.device.type, mean.dtype):
        log_vars = _per_coordinate(log_vars, means)
        arguments = (mean, log_var, log_weights, means, log_vars, cholesky)
        return reference.mixture_kl(*arguments, assignment=assignment, z=z, detach_assignment=detach_assignment)
    with_grad = torch.is_grad_enabled() and any(t.requires_grad for t in rows.values())
    code = _library.ASSIGNMENTS[assignment]
    scale = _scale(means, log_vars, cholesky)
    native_arguments = (mean, log_var, z, log_weights, means, scale, code, detach_assignment, with_grad)
    result: Tensor
    if _library.plain_eager(mean):
        result = _library.EagerMixtureKl.apply(*native_arguments)  # type: ignore[no-untyped-call]
    else:
        result = torch.ops.gmvae_fast.mixture_kl(*native_arguments)[0]
    return result


def mixture_statistics(
    mean: Tensor,
    log_var: Tensor | None,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor | None = None,
    cholesky: Tensor | None = None,
    *,
    sample_weight: Tensor | None = None,
) -> MixtureStatistics:
    """Statistics of one exact E-step: all that the closed-form M-step needs, in one pass and without an [N, K] array.

    Parameters
    ----------
    mean : Tensor [N, D]
        Posterior means, or points.
    log_var : Tensor [N, D] or None
        Posterior log variances; None for points (s2 = 0), where responsibilities are p(c | x).
    log_weights : Tensor [K]
    means : Tensor [K, D]
    log_vars : Tensor [K, D] or [K]
        Diagonal or spherical covariances, or
    cholesky : Tensor [K, D, D] or [D, D]
        full or tied ones.
    sample_weight : Tensor [N], optional
        How often each row counts, at least 0; rounded to the dtype of ``mean``.

    Returns
    -------
    MixtureStatistics
        float64, taken about ``means``; mergeable with ``+``. Not differentiable. Second moments are [K, D] for
        diagonal and spherical covariances, [K, D, D] for dense ones.

    Raises
    ------
    TypeError, ValueError
        Naming the argument whose dtype, device or shape does not fit.
    """
    rows = {"mean": mean} if log_var is None else {"mean": mean, "log_var": log_var}
    check_mixture_call(rows, log_weights, means, log_vars, cholesky)
    (n, d), k, dense = mean.shape, means.shape[0], cholesky is not None
    count = n if sample_weight is None else _total_weight(sample_weight, mean)
    with torch.no_grad():
        if mean.dtype in _HALF:
            wide = _widen(mean, log_var, log_weights, means, log_vars, cholesky)
            return mixture_statistics(*wide, sample_weight=sample_weight)  # type: ignore[arg-type]
        row_weight = None if sample_weight is None else sample_weight.to(mean)
        if _native.supports(mean.device.type, mean.dtype):
            scale = _scale(means, log_vars, cholesky)
            moments, evidence = torch.ops.gmvae_fast.mixture_statistics(
                mean, log_var, log_weights, means, scale, row_weight
            )
            weight, first, second = _library.split_moments(moments, k, d, dense)
            if row_weight is not None:
                evidence = _weighted_evidence(mean, log_var, log_weights, means, log_vars, cholesky, row_weight)
        else:
            log_vars = _per_coordinate(log_vars, means)
            weight, first, second, evidence = reference.mixture_statistics(
                mean, log_var, log_weights, means, log_vars, cholesky, row_weight
            )
        return MixtureStatistics(weight, first, second, evidence, means.detach().double(), count)


def _total_weight(sample_weight: Tensor, mean: Tensor) -> float:
    """Sum of the weights; ValueError where they do not fit the rows or are not weights."""
    if sample_weight.shape != mean.shape[:1]:
        raise ValueError(f"sample_weight must have shape {tuple(mean.shape[:1])}, got {tuple(sample_weight.shape)}")
    total = float(sample_weight.sum(dtype=torch.float64))
    # By two reductions, as EM asks in every sweep; NaN is in the sum and in the minimum, infinity in the sum.
    if not math.isfinite(total) or (len(sample_weight) and float(sample_weight.min()) < 0):
        raise ValueError("sample_weight must be finite and at least 0 in every row, and so must be its sum")
    return total


def _weighted_evidence(
    mean: Tensor,
    log_var: Tensor | None,
    log_weights: Tensor,
    means: Tensor,
    log_vars: Tensor | None,
    cholesky: Tensor | None,
    row_weight: Tensor,
) -> Tensor:
    """sum_i w_i log p_i in a second pass: the kernels of the moments sum the evidence of all rows alike."""
    if log_var is None:
        evidence = log_responsibilities(mean, log_weights, means, log_vars, cholesky)[1]
    else:
        evidence = -mixture_kl(mean, log_var, log_weights, means, log_vars, cholesky)
    return (evidence.double() * row_weight.double()).sum()
