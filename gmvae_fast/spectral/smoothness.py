"""Scores of how smoothly physical quantities vary over a latent space."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral._arrays import (
    FloatArray,
    IntArray,
    as_categories,
    as_finite,
    check_count,
    check_seed,
    check_unit,
    to_numpy,
    unit_exponent,
)
from gmvae_fast.spectral.bootstrap import bootstrap_scores, percentile_interval
from gmvae_fast.spectral.geary import (
    NullTest,
    WeightSums,
    kurtosis,
    normality_variance,
    randomization_variance,
)
from gmvae_fast.spectral.graph import KnnGraph, SymmetrizeName, WeightsName, as_graph, build_graph
from gmvae_fast.spectral.neighbors import IndexName, Neighbors
from gmvae_fast.spectral.results import LazySpectrum, SignalSmoothness, SmoothnessResult
from gmvae_fast.spectral.significance import (
    adjusted_log10_p,
    count_arrangements,
    group_codes,
    permutation_p_values,
    permuted_geary,
)

FEWEST_ARRANGEMENTS = 20  # of trajectories, for a p-value of 0.05
CONSTANT_TOLERANCE = 8 * float(np.finfo(np.float64).eps)  # of the largest magnitude: what rounding alone can leave
EDGES = 1 << 15  # summed together


def smoothness(
    latents: Any,
    signals: Any = None,
    *,
    n_neighbors: int = 10,
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    connect: bool = False,
    min_recall: float = 0.99,
    neighbors: Neighbors | None = None,
    graph: Any = None,
    labels: Any = None,
    groups: Any = None,
    permutations: int = 0,
    bootstrap: int = 0,
    confidence: float = 0.95,
    seed: int = 0,
) -> SmoothnessResult:
    """Score signals by their smoothness over the nearest-neighbour graph of the latents.

    Parameters
    ----------
    latents : array or tensor [N, D]
        Points, usually posterior means. May be None if ``graph`` is given.
    signals : mapping of str to array [N], data frame, or array [N] or [N, S]
        Physical quantities, one value per latent. An array is named ``"signal"``, its columns ``"signal_0"``,
        ...
    n_neighbors, weights, symmetrize, index, connect, min_recall
        The graph, see `knn_graph`.
    neighbors : Neighbors, optional
        Of these latents, at least ``n_neighbors`` of them: no search is then made.
    graph : sparse array [N, N], optional
        A graph made before, used instead; symmetric, non-negative, zero diagonal.
    labels : array [N], optional
        Categories; each is scored against the rest, under the name ``"label=<value>"``, see `one_vs_rest`.
    groups : array [N], optional
        Trajectory of every snapshot. Frames of one run are not independent: with groups, permutations exchange and
        bootstrap samples draw whole trajectories, their frames in row order. Only trajectories of similar length are
        exchanged, see `permutations_of`.
    permutations : int
        Number of random permutations for a Monte Carlo p-value, such as 999; 0 for none. See `permutations_of`.
    bootstrap : int
        Number of bootstrap samples for an interval of the score, such as 200; 0 for none. See `bootstrap_scores`.
    confidence : float
        Of the bootstrap interval.
    seed : int
        Of permutations and bootstrap.

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
        NaN. If permutations are asked for and the trajectories can be exchanged in fewer than 20 ways: no p-value
        is then below 0.05.

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
    built: KnnGraph | None = None
    if graph is None and latents is None:
        raise ValueError("latents must be given, or a graph made before")
    if graph is None:
        built = build_graph(
            latents,
            n_neighbors,
            index=index,
            connect=connect,
            min_recall=min_recall,
            neighbors=neighbors,
            weights=weights,
            symmetrize=symmetrize,
        )
        adjacency = built.adjacency
        settings = {"n_neighbors": n_neighbors, "weights": weights, "symmetrize": symmetrize}
    else:
        adjacency = as_graph(graph)
        if latents is not None and len(to_numpy(latents)) != adjacency.shape[0]:
            raise ValueError(f"graph has {adjacency.shape[0]} nodes, but there are {len(to_numpy(latents))} latents")
    plan = _Resampling.of(adjacency.shape[0], groups, permutations, bootstrap, confidence, seed)
    ways = count_arrangements(plan.groups) if plan.permutations and plan.groups is not None else math.inf
    if ways < FEWEST_ARRANGEMENTS:
        warnings.warn(
            f"trajectories of similar length can be exchanged in {ways:.0f} way(s) only: p_permutation cannot be "
            f"below {1 / ways:.2g}; it takes more runs of similar length",
            UserWarning,
            stacklevel=2,
        )
    fields = _collect(signals, labels, adjacency.shape[0])
    prepared = _PreparedGraph.of(adjacency)
    centred = {name: _centre(values) for name, values in fields.items()}
    weighted = {name: _degree_weighted(values, prepared.degree) for name, values in centred.items()}
    spectrum = LazySpectrum(adjacency, weighted)
    scored = {name: _score(name, values, prepared, weighted[name], spectrum) for name, values in centred.items()}
    scored = plan.applied(adjacency, centred, scored)
    undefined = [name for name, signal in scored.items() if math.isnan(signal.score)]
    if undefined:
        reason = "the graph has no edges" if adjacency.nnz == 0 else "they are constant"
        warnings.warn(f"no score for {', '.join(map(repr, undefined))}: {reason}", UserWarning, stacklevel=2)
    n_components = int(csgraph.connected_components(adjacency, directed=False)[0])
    return SmoothnessResult(adjacency, n_components, settings, scored, spectrum, built)


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
    array = as_categories(labels, "labels")
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

    def squared_jumps(self, values: FloatArray) -> float:
        """f'Lf as the sum over edges: no cancellation, and exactly 0 where no edge sees a difference.

        By pieces that stay in the cache: arrays as long as the list of edges cost more to touch than to compute.
        """
        total = 0.0
        for begin in range(0, len(self.weight), EDGES):
            piece = slice(begin, begin + EDGES)
            jumps = values[self.first[piece]] - values[self.second[piece]]
            jumps *= jumps
            jumps *= self.weight[piece]
            total += float(jumps.sum())
        return total


def _collect(signals: Any, labels: Any, n: int) -> dict[str, FloatArray]:
    """All signals by name, as finite float64 arrays [N]."""
    named: dict[str, Any] = {}
    if isinstance(signals, Mapping) or hasattr(signals, "columns"):  # a data frame is a mapping in all but type
        pairs = list(signals.items())
        named.update({str(name): values for name, values in pairs})
        if len(named) < len(pairs):
            raise ValueError("signals hold two names that are the same as strings")
    elif signals is not None:
        array = to_numpy(signals, "signals")
        if array.ndim not in (1, 2):
            raise ValueError(f"signals must be a mapping or have shape [N] or [N, S], got {array.shape}")
        named.update({"signal": array} if array.ndim == 1 else {f"signal_{i}": a for i, a in enumerate(array.T)})
    if labels is not None:
        indicators = one_vs_rest(labels)
        if (given := len(next(iter(indicators.values())))) != n:
            raise ValueError(f"labels must have one value per latent, {n}, got {given}")
        if clash := named.keys() & indicators.keys():
            raise ValueError(f"signals and labels share the names {sorted(clash)}; rename those signals")
        named.update(indicators)
    if not named:
        raise ValueError("signals and labels are both empty: give at least one quantity to score")
    return {name: _as_signal(name, values, n) for name, values in named.items()}


def _as_signal(name: str, values: Any, n: int) -> FloatArray:
    array = to_numpy(values, f"signal {name!r}")
    if array.dtype.kind in "USO":
        raise TypeError(f"signal {name!r} must hold real numbers, got dtype {array.dtype}; pass categories as labels")
    signal = as_finite(array, f"signal {name!r}", ndim=1)
    if len(signal) != n:
        raise ValueError(f"signal {name!r} must have one value per latent, {n}, got {len(signal)}")
    return signal


@dataclass(frozen=True)
class _Resampling:
    """Which tests by resampling are wanted, and how they are added to the scores."""

    groups: IntArray | None
    permutations: int
    bootstrap: int
    confidence: float
    seed: int

    @classmethod
    def of(cls, n: int, groups: Any, permutations: int, bootstrap: int, confidence: float, seed: int) -> _Resampling:
        return cls(
            group_codes(groups, n),
            check_count(permutations, "permutations"),
            check_count(bootstrap, "bootstrap"),
            check_unit(confidence, "confidence"),
            check_seed(seed),
        )

    def applied(
        self, graph: sparse.csr_array, centred: Mapping[str, FloatArray], scored: Mapping[str, SignalSmoothness]
    ) -> dict[str, SignalSmoothness]:
        """``scored`` with adjusted p-values, and what else is wanted; signals without a score stay as they are."""
        adjusted = adjusted_log10_p(np.array([signal.log10_p for signal in scored.values()]))
        found = {
            name: replace(signal, log10_p_adjusted=float(log10_p), p_adjusted=float(10.0**log10_p))
            for (name, signal), log10_p in zip(scored.items(), adjusted, strict=True)
        }
        names = [name for name, signal in found.items() if not math.isnan(signal.score)]
        if not names or not (self.permutations or self.bootstrap):
            return found
        block = np.stack([centred[name] for name in names], axis=1)
        changes: list[dict[str, Any]] = [{} for _ in names]
        if self.permutations:
            observed = np.array([found[name].geary_c for name in names])
            permuted = permuted_geary(graph, block, self.permutations, self.seed, self.groups)
            p_values = permutation_p_values(observed, permuted)
            adjusted = 10.0 ** adjusted_log10_p(np.log10(p_values))
            for change, p, q in zip(changes, p_values.tolist(), adjusted.tolist(), strict=True):
                change |= {"p_permutation": p, "p_permutation_adjusted": q}
        if self.bootstrap:
            samples = bootstrap_scores(graph, block, self.bootstrap, self.seed, self.groups)
            low, high = percentile_interval(samples, self.confidence)
            for change, lower, upper, column in zip(changes, low.tolist(), high.tolist(), samples.T, strict=True):
                defined = column[np.isfinite(column)]
                change |= {"score_lower": lower, "score_upper": upper, "score_samples": column}
                change["score_error"] = float(defined.std(ddof=1)) if len(defined) > 1 else math.nan
        return found | {name: replace(found[name], **change) for name, change in zip(names, changes, strict=True)}


def _score(
    name: str, centred: FloatArray, graph: _PreparedGraph, weighted: FloatArray, spectrum: LazySpectrum
) -> SignalSmoothness:
    """All numbers of one signal in closed form. They do not depend on its scale: it was brought to order one."""
    sums = graph.sums
    expected = sums.s0 / (sums.n - 1) if sums.n > 1 else math.nan
    if not centred.any() or not expected > 0:
        score = dirichlet = geary_c = kurt = math.nan
    else:
        dirichlet = graph.squared_jumps(centred) / float(centred @ centred)
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
        _weighted=weighted if not math.isnan(score) else np.zeros_like(weighted),
        _spectrum=spectrum,
    )


def _centre(values: FloatArray) -> FloatArray:
    """``values`` less their mean, scaled to order one; zeros if they are constant up to rounding."""
    scaled = np.ldexp(values, -unit_exponent(values))
    if np.ptp(scaled) <= CONSTANT_TOLERANCE:
        return np.zeros_like(values)
    scaled = scaled - scaled.mean()
    scaled = np.ldexp(scaled, -unit_exponent(scaled))
    return np.asarray(scaled - scaled.mean(), np.float64)  # the first mean was rounded at the scale of the offset


def _degree_weighted(centred: FloatArray, degree: FloatArray) -> FloatArray:
    """x = Deg^(1/2) (f - f_bar), f_bar the mean of f weighted by degree [N]."""
    total = degree.sum()
    mean = float(degree @ centred) / total if total > 0 else 0.0
    return np.asarray(np.sqrt(degree) * (centred - mean), np.float64)
