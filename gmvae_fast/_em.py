"""Passes over rows in memory or on disk: expectation-maximisation, densities, likelihood."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmvae_fast import _native, ops
from gmvae_fast._rows import Rows
from gmvae_fast.m_step import MixtureParameters, MixturePriors, log_prior, m_step


@dataclass(frozen=True)
class EmSettings:
    """When to stop, and what the M-step is given."""

    covariance_type: str
    tol: float
    max_iter: int
    added_variance: float
    priors: MixturePriors | None


@dataclass(frozen=True)
class EmRun:
    """One start of expectation-maximisation, brought to its end: mean log likelihood before each M-step, result."""

    bounds: list[float]
    parameters: MixtureParameters
    converged: bool


def run_em(
    rows: Rows,
    spread: Rows | None,
    start: MixtureParameters,
    settings: EmSettings,
    previous: float = -math.inf,
    weight: Tensor | None = None,
) -> EmRun:
    """Iterate from ``start`` until the bound changes by less than ``tol``, counting the change from ``previous``.

    ``weight`` [N] says how often each row counts.

    It also ends where the bound is not finite, which is then the last of ``bounds``.

    Raises
    ------
    CovarianceError
        From the M-step.
    """
    parameters, bounds, converged = start, list[float](), False
    like = torch.empty(0, dtype=rows.dtype, device=rows.device)
    while len(bounds) < settings.max_iter and not converged:
        rounded = parameters.to(like)
        statistics = e_step(rows, spread, rounded, weight)
        prior = log_prior(rounded, settings.priors) if settings.priors else 0.0
        bounds.append((float(statistics.log_evidence) + prior) / statistics.count)
        if not math.isfinite(bounds[-1]):
            break
        parameters = m_step(
            statistics,
            rounded,
            covariance_type=settings.covariance_type,
            priors=settings.priors,
            added_variance=settings.added_variance,
        )
        converged = abs(bounds[-1] - previous) < settings.tol
        previous = bounds[-1]
    return EmRun(bounds, parameters, converged)


def e_step(
    rows: Rows, spread: Rows | None, parameters: MixtureParameters, weight: Tensor | None = None
) -> ops.MixtureStatistics:
    """Statistics of all rows (with log variances ``spread`` and weights [N]), merged over chunks."""
    step = _sweep_rows(rows, parameters)
    if spread is not None and not spread.whole_fits:
        step = min(step, spread.chunk_rows())
    total: ops.MixtureStatistics | None = None
    for first, chunk in rows.chunks(step):
        log_var = None if spread is None else spread.read(first, first + len(chunk)).to(chunk)
        scale = None if weight is None else weight[first : first + len(chunk)]
        part = ops.mixture_statistics(chunk, log_var, *parameters.as_tuple(), sample_weight=scale)
        total = part if total is None else total + part
        del chunk, log_var  # one of each at a time is in memory
    assert total is not None
    return total


def evaluate(rows: Rows, parameters: MixtureParameters) -> Iterator[tuple[int, Tensor, Tensor]]:
    """First row, log responsibilities [., K] and log densities [.] of every chunk; rows are checked for finiteness."""
    rounded = parameters.to(torch.empty(0, dtype=rows.dtype, device=rows.device))
    step = rows.chunk_rows(_row_bytes(rows, rounded))
    with torch.no_grad():
        for first, chunk in rows.chunks(step, check=True):
            yield first, *ops.log_responsibilities(chunk, *rounded.as_tuple())
            del chunk


def log_likelihood(rows: Rows, parameters: MixtureParameters) -> float:
    """Sum of log p(x), in one pass without an [N, K] array; rows are checked for finiteness."""
    rounded = parameters.to(torch.empty(0, dtype=rows.dtype, device=rows.device))
    total = 0.0
    for _, chunk in rows.chunks(_sweep_rows(rows, rounded), check=True):
        total += float(ops.mixture_statistics(chunk, None, *rounded.as_tuple()).log_evidence)
        del chunk
    return total


def _native_kernel(rows: Rows, parameters: MixtureParameters) -> bool:
    return _native.supports(rows.device.type, rows.dtype)


def _row_bytes(rows: Rows, parameters: MixtureParameters) -> int:
    """Bytes that a row costs where responsibilities [N, K], or the reference's [N, K, D], are formed."""
    k, d = parameters.means.shape
    return 8 * (d + k) if _native_kernel(rows, parameters) else 32 * k * d


def _sweep_rows(rows: Rows, parameters: MixtureParameters) -> int:
    """Rows of one call of the statistics operator: all that lie in memory, where a native kernel forms no array."""
    if _native_kernel(rows, parameters):
        return rows.chunk_rows(whole=rows.whole_fits)
    return rows.chunk_rows(_row_bytes(rows, parameters))
