"""Mixtures that lose components: EM under a Dirichlet prior below 1, which empties redundant ones."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gmvae_fast import ops
from gmvae_fast._covariances import DENSE, covariance_shape, n_covariance_parameters
from gmvae_fast._mixture_start import kmeans_plus_plus
from gmvae_fast.m_step import MixtureParameters, m_step

_STEPS = 500  # of EM between two removals
_TOLERANCE = 1e-6  # change of the mean log likelihood


@dataclass(frozen=True)
class Pruned:
    """One mixture of the path and its Bayesian information criterion, lower is better."""

    parameters: MixtureParameters
    bic: float

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.parameters.log_weights)


def prune(
    points: Tensor, largest: int, smallest: int, covariance_type: str, *, added_variance: float, seed: int
) -> Iterator[Pruned]:
    r"""Mixtures of fewer and fewer components, each brought to convergence, from at most ``largest`` to ``smallest``.

    The weights maximise the likelihood under a Dirichlet prior of concentration 1 - T/2, with T the parameters of one
    component (Figueiredo & Jain 2002, IEEE PAMI 24(3), 381-396):

    .. math:: \pi_c \propto \max(0, N_c - T / 2)

    A component without the data of T/2 rows is removed, the weakest first and one at a time, so that its rows can keep
    another alive. At convergence the weakest is removed by force, and the next mixture follows. The first one has
    means by k-means++ and one covariance, a tenth of the mean variance.

    The mixtures are compared by BIC. The message length of that article charges T/2 log(n pi_c / 12) for a component
    instead of T/2 log n, so little for a small one that spurious components of a few rows pay for themselves.

    Parameters
    ----------
    points : Tensor [N, D], float64
    largest, smallest : int
        Numbers of components at which the path begins and ends.
    covariance_type : {"diag", "spherical", "tied", "full"}
    added_variance : float
        Added to variances in every M-step.
    seed : int
        Of the first means.

    Raises
    ------
    CovarianceError
    """
    dimension = points.shape[1]
    # A tied covariance is no component's own.
    own = 0 if covariance_type == "tied" else n_covariance_parameters(covariance_type, 1, dimension)
    parameters: MixtureParameters | None = _start(points, largest, covariance_type, seed)
    while parameters is not None and len(parameters.log_weights) >= smallest:
        parameters, log_likelihood = _converge(
            points, parameters, covariance_type, (dimension + own) / 2, smallest, added_variance
        )
        k = len(parameters.log_weights)
        free = k - 1 + k * dimension + n_covariance_parameters(covariance_type, k, dimension)
        yield Pruned(parameters, free * math.log(len(points)) - 2 * log_likelihood)
        parameters = _without(parameters, int(parameters.log_weights.argmin()))


def _start(points: Tensor, k: int, kind: str, seed: int) -> MixtureParameters:
    dimension = points.shape[1]
    means = kmeans_plus_plus(points, k, torch.Generator().manual_seed(seed))
    variance = (points.var(0, unbiased=False).mean() / 10).clamp_min(torch.finfo(points.dtype).tiny)
    weights = torch.full((k,), -math.log(k), dtype=points.dtype, device=points.device)
    if kind in DENSE:
        eye = torch.eye(dimension, dtype=points.dtype, device=points.device)
        cholesky = (variance.sqrt() * eye).expand(covariance_shape(kind, k, dimension))
        return MixtureParameters(weights, means, None, cholesky).clone()
    return MixtureParameters(weights, means, variance.log().expand(k, dimension)).clone()


def _converge(
    points: Tensor, parameters: MixtureParameters, kind: str, threshold: float, smallest: int, added_variance: float
) -> tuple[MixtureParameters, float]:
    """EM until the log likelihood settles; components with less data than ``threshold`` rows are removed on the way."""
    previous, value = -math.inf, -math.inf
    for _ in range(_STEPS):
        statistics = ops.mixture_statistics(points, None, *parameters.as_tuple())
        value = float(statistics.log_evidence)
        if abs(value - previous) < _TOLERANCE * len(points):
            break
        previous = value
        parameters = m_step(statistics, parameters, covariance_type=kind, added_variance=added_variance)
        remaining = statistics.weight - threshold
        weakest = int(remaining.argmin())
        fewer = _without(parameters, weakest) if float(remaining[weakest]) <= 0 else None
        if fewer is not None and len(remaining) > smallest:
            parameters, previous = fewer, -math.inf
            remaining = torch.cat([remaining[:weakest], remaining[weakest + 1 :]])
        # The others that lack data stay, at the weight of one row, until it is their turn.
        remaining = remaining.clamp_min(1.0)
        parameters = dataclasses.replace(parameters, log_weights=torch.log(remaining / remaining.sum()))
    return parameters, value


def _without(parameters: MixtureParameters, component: int) -> MixtureParameters | None:
    """The mixture of the other components; None if there is no other."""
    k = len(parameters.log_weights)
    if k == 1:
        return None
    keep = [c for c in range(k) if c != component]
    cholesky = parameters.cholesky
    return MixtureParameters(
        torch.log_softmax(parameters.log_weights[keep], 0),
        parameters.means[keep],
        None if parameters.log_vars is None else parameters.log_vars[keep],
        cholesky[keep] if cholesky is not None and cholesky.ndim == 3 else cholesky,
    )
