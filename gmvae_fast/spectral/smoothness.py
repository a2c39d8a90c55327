"""Scores of how smoothly physical quantities vary over a latent space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from gmvae_fast.spectral._arrays import FloatArray, IntArray, as_finite, to_numpy, unit_exponent
from gmvae_fast.spectral.geary import (
    NullTest,
    WeightSums,
    kurtosis,
    normality_variance,
    randomization_variance,
)
from gmvae_fast.spectral.graph import SymmetrizeName, WeightsName, check_graph, knn_graph
from gmvae_fast.spectral.laplacian import connected_components
from gmvae_fast.spectral.neighbors import IndexName
from gmvae_fast.spectral.results import LazySpectrum, SignalSmoothness, SmoothnessResult

CONSTANT_TOLERANCE = 8 * float(np.finfo(np.float64).eps)  # of the largest magnitude: what rounding alone can leave


def smoothness(
    latents: Any,
    signals: Any = None,
    *,
    n_neighbors: int = 10,
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    graph: Any = None,
    labels: Any = None,
) -> SmoothnessResult:
    """Score signals by their smoothness over the nearest-neighbour graph of the latents.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points, usually posterior means. May be None if ``graph`` is given.
    signals : mapping of str to array [N], data frame, or array [N] or [N, S]
        Physical quantities, one value per latent. An array is named ``"signal"``, its columns ``"signal_0"``,
        ...
    n_neighbors, weights, symmetrize, index
        The graph, see `knn_graph`.
    graph : sparse array [N, N], optional
        A graph made before, used instead; symmetric, non-negative, zero diagonal.
    labels : array [N], optional
        Categories; each is scored against the rest, under the name ``"label=<value>"``, see `one_vs_rest`.

    Returns
    -------
    SmoothnessResult
        A mapping from signal name to `SignalSmoothness`.

    Raises
    ------
    TypeError, ValueError
        If an input has the wrong type or shape or holds NaN or infinities, if names collide, or if there is
        nothing to score; and whatever `knn_graph` raises.

    Warns
    -----
    UserWarning
        If a signal is constant or the graph has no edges: the score is then undefined, and every number is
        NaN.

    Notes
    -----
    S(f) = f'Lf / f'f with f centred and L = Deg - W. Over all permutations of f its mean is tr(L) / (N - 1),
    and score = 1 - S / E[S] = 1 - C, with C the contiguity ratio of Geary (1954). Variances: Cliff & Ord
    (1981).

    References
    ----------
    Geary, "The contiguity ratio and statistical mapping", The Incorporated Statistician 5 (1954).
    Cliff & Ord, "Spatial Processes: Models and Applications", Pion (1981).
    Shuman et al., "The emerging field of signal processing on graphs", IEEE Signal Processing
    Magazine 30 (2013).
    """
    settings: dict[str, Any] = {}
    if graph is None:
        adjacency = knn_graph(latents, n_neighbors, index=index, weights=weights, symmetrize=symmetrize)
        settings = {"n_neighbors": n_neighbors, "weights": weights, "symmetrize": symmetrize}
    else:
        adjacency = check_graph(graph)
        if latents is not None and len(to_numpy(latents)) != adjacency.shape[0]:
            raise ValueError(f"graph has {adjacency.shape[0]} nodes, but there are {len(to_numpy(latents))} latents")
    fields = _collect(signals, labels, adjacency.shape[0])
    prepared = _PreparedGraph.of(adjacency)
    spectrum = LazySpectrum(adjacency)
    scored = {name: _score(name, values, prepared, spectrum) for name, values in fields.items()}
    undefined = [name for name, signal in scored.items() if math.isnan(signal.score)]
    if undefined:
        reason = "the graph has no edges" if adjacency.nnz == 0 else "they are constant"
        warnings.warn(f"no score for {', '.join(map(repr, undefined))}: {reason}", UserWarning, stacklevel=2)
    return SmoothnessResult(adjacency, connected_components(adjacency).n_components, settings, scored, spectrum)


def one_vs_rest(labels: Any, *, prefix: str = "label") -> dict[str, FloatArray]:
    """Indicator signals of the categories.

    Parameters
    ----------
    labels : array [N]
        Integers, booleans, strings, or floats with whole values.
    prefix : str
        Signals are named ``"<prefix>=<value>"``.

    Returns
    -------
    dict of str to float64 [N]
        1 where the label has the value, 0 elsewhere; in sorted order of the values.

    Raises
    ------
    TypeError, ValueError
        If the labels are not one-dimensional and sortable, hold NaN, look continuous, or name fewer than two
        categories.
    """
    array = to_numpy(labels)
    if array.ndim != 1:
        raise ValueError(f"labels must have shape [N], got {array.shape}")
    if array.dtype.kind in "fc":
        values = as_finite(array, "labels", ndim=1)
        if (values != np.round(values)).any():
            raise ValueError("labels hold fractional values; pass a continuous quantity as a signal")
        array = values.astype(np.int64)
    try:
        categories, inverse = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise TypeError("labels must be of one sortable type, such as all strings or all integers") from error
    if len(categories) < 2:
        raise ValueError(f"labels must hold at least two categories, got {len(categories)}")
    return {f"{prefix}={value}": (inverse == code).astype(np.float64) for code, value in enumerate(categories)}


@dataclass(frozen=True)
class _PreparedGraph:
    """What every signal needs of the graph: computed once."""

    first: IntArray  # [E], one end of each undirected edge
    second: IntArray  # [E]
    weight: FloatArray  # [E]
    degree: FloatArray  # [N]
    sums: WeightSums

    @classmethod
    def of(cls, graph: sparse.csr_array) -> _PreparedGraph:
        upper = sparse.triu(graph, k=1, format="coo")
        degree = np.asarray(graph.sum(axis=1), np.float64)
        return cls(upper.row, upper.col, upper.data, degree, WeightSums.of_checked(graph))


def _collect(signals: Any, labels: Any, n: int) -> dict[str, FloatArray]:
    """All signals by name, as finite float64 arrays [N]."""
    named: dict[str, Any] = {}
    if isinstance(signals, Mapping) or hasattr(signals, "columns"):  # a data frame is a mapping in all but type
        pairs = list(signals.items())
        named.update({str(name): values for name, values in pairs})
        if len(named) < len(pairs):
            raise ValueError("signals hold two names that are the same as strings")
    elif signals is not None:
        array = to_numpy(signals)
        if array.ndim not in (1, 2):
            raise ValueError(f"signals must be a mapping or have shape [N] or [N, S], got {array.shape}")
        named.update({"signal": array} if array.ndim == 1 else {f"signal_{i}": a for i, a in enumerate(array.T)})
    if labels is not None:
        indicators = one_vs_rest(labels)
        if clash := named.keys() & indicators.keys():
            raise ValueError(f"signals and labels share the names {sorted(clash)}; rename those signals")
        named.update(indicators)
    if not named:
        raise ValueError("signals and labels are both empty: give at least one quantity to score")
    return {name: _as_signal(name, values, n) for name, values in named.items()}


def _as_signal(name: str, values: Any, n: int) -> FloatArray:
    array = to_numpy(values)
    if array.dtype.kind in "USO":
        raise TypeError(f"signal {name!r} must hold real numbers, got dtype {array.dtype}; pass categories as labels")
    signal = as_finite(array, f"signal {name!r}", ndim=1)
    if len(signal) != n:
        raise ValueError(f"signal {name!r} must have one value per latent, {n}, got {len(signal)}")
    return signal


def _score(name: str, values: FloatArray, graph: _PreparedGraph, spectrum: LazySpectrum) -> SignalSmoothness:
    """All numbers of one signal. They do not depend on its scale, so it is brought to order one first."""
    centred = _centre(values)
    sums = graph.sums
    expected = sums.s0 / (sums.n - 1) if sums.n > 1 else math.nan
    if centred is None or not expected > 0:
        score = dirichlet = geary_c = kurt = math.nan
        centred = np.zeros_like(values)
    else:
        # The sum over edges, not the product f'Lf: no cancellation, and exactly 0 where no edge sees a
        # difference.
        jumps = centred[graph.first] - centred[graph.second]
        dirichlet = float(graph.weight @ (jumps * jumps) / (centred @ centred))
        geary_c = dirichlet / expected
        score, kurt = 1.0 - geary_c, kurtosis(centred)
    randomized = NullTest.of(geary_c, randomization_variance(sums, kurt))
    normal = NullTest.of(geary_c, normality_variance(sums))
    return SignalSmoothness(
        name=name,
        score=score,
        dirichlet=dirichlet,
        expected_dirichlet=expected,
        geary_c=geary_c,
        z_score=randomized.z,
        p_value=randomized.p,
        log10_p=randomized.log10_p,
        z_normal=normal.z,
        p_normal=normal.p,
        log10_p_normal=normal.log10_p,
        _weighted=_degree_weighted(centred, graph.degree),
        _spectrum=spectrum,
    )


def _centre(values: FloatArray) -> FloatArray | None:
    """``values`` less their mean, scaled to order one; None if they are constant up to rounding."""
    scaled = np.ldexp(values, -unit_exponent(values))
    if np.ptp(scaled) <= CONSTANT_TOLERANCE:
        return None
    scaled = scaled - scaled.mean()
    scaled = np.ldexp(scaled, -unit_exponent(scaled))
    return np.asarray(scaled - scaled.mean(), np.float64)  # the first mean was rounded at the scale of the offset


def _degree_weighted(centred: FloatArray, degree: FloatArray) -> FloatArray:
    """x = Deg^(1/2) (f - f_bar), f_bar the mean of f weighted by degree [N]."""
    total = degree.sum()
    mean = float(degree @ centred) / total if total > 0 else 0.0
    return np.asarray(np.sqrt(degree) * (centred - mean), np.float64)
