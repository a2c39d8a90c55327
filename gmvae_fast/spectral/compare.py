"""Several embeddings of the same snapshots, scored side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict, get_args

from gmvae_fast.spectral._arrays import as_finite, check_positive_integer
from gmvae_fast.spectral._warnings import each_once
from gmvae_fast.spectral.bootstrap import percentile_interval
from gmvae_fast.spectral.graph import SymmetrizeName, WeightsName
from gmvae_fast.spectral.neighbors import IndexName, nearest_neighbors
from gmvae_fast.spectral.results import SmoothnessResult, as_data_frame
from gmvae_fast.spectral.significance import TIE
from gmvae_fast.spectral.smoothness import smoothness

_Intervals: TypeAlias = dict[str, dict[str, tuple[float, float]]]  # variant -> signal -> lower and upper end


class _Settings(TypedDict):
    n_neighbors: int
    weights: WeightsName
    symmetrize: SymmetrizeName


@dataclass(frozen=True)
class Difference:
    """Score of one signal on one embedding less that on another.

    Attributes
    ----------
    signal, first, second : str
    value : float
        score(first) - score(second).
    lower, upper : float
        Paired bootstrap interval: each sample of trajectories (snapshots without groups) is scored on both.
    variants : mapping of str to int
        What each variant of the metric says: 1 if the first embedding is smoother, -1 if the second is, 0 if it
        cannot tell.
    """

    signal: str
    first: str
    second: str
    value: float
    lower: float
    upper: float
    variants: Mapping[str, int]

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.lower > 0 or self.upper < 0

    @property
    def variants_agree(self) -> bool:
        """Whether all variants that can tell say what the score says; where it sees no difference, none may."""
        if math.isnan(self.value):
            return False
        return set(self.variants.values()) - {0} == {self._sign} - {0}

    @property
    def _sign(self) -> int:
        return _sign((self.value, self.value), (0.0, 0.0))

    def __str__(self) -> str:
        """The statement in words."""
        if math.isnan(self.value):
            return f"{self.signal}: no score on {self.first} or {self.second}, or on both"
        sign = self._sign
        if sign == 0:
            told = [name for name, vote in self.variants.items() if vote]
            verdict = f"depends on the metric, {', '.join(told)} differ" if told else "no variant tells them apart"
            return f"{self.signal}: {self.first} and {self.second} are alike; {verdict}"
        better, worse = (self.first, self.second) if sign > 0 else (self.second, self.first)
        against = [name for name, vote in self.variants.items() if vote == -sign]
        undecided = sum(vote == 0 for vote in self.variants.values())
        if not self.is_clear:
            verdict = "not distinguishable from sampling"
        elif self.variants_agree:
            verdict = f"all {len(self.variants) - undecided} variants that can tell agree"
        else:
            verdict = f"depends on the metric, against it: {', '.join(against) or 'none can tell'}"
        low, high = sorted((sign * self.lower, sign * self.upper))
        return f"{self.signal}: {better} over {worse} by {abs(self.value):.4f} [{low:.4f}, {high:.4f}]; {verdict}"


@dataclass(frozen=True, eq=False)
class Comparison:
    """Result of `compare`.

    Attributes
    ----------
    results : mapping of str to SmoothnessResult
        One per embedding, on the graph that was asked for.
    differences : tuple of Difference
        For every signal and every pair of embeddings.
    """

    results: Mapping[str, SmoothnessResult]
    differences: tuple[Difference, ...]

    def difference(self, signal: str, first: str, second: str) -> Difference:
        """The `Difference` of one signal between two embeddings, named in the order in which they were given."""
        for found in self.differences:
            if (found.signal, found.first, found.second) == (signal, first, second):
                return found
        raise KeyError(f"no difference of {signal!r} between {first!r} and {second!r}")

    @property
    def rankings_agree(self) -> bool:
        """Whether all variants of the metric agree on every pair of embeddings and every signal that has a score."""
        return bool(self._scored) and all(found.variants_agree for found in self._scored)

    @property
    def _scored(self) -> list[Difference]:
        return [found for found in self.differences if not math.isnan(found.value)]

    def table(self, *, as_frame: bool = False) -> Any:
        """One row per embedding and signal, as `SmoothnessResult.table` with the column ``embedding`` in front."""
        rows = [{"embedding": name, **row} for name, result in self.results.items() for row in result.table()]
        return as_data_frame(rows) if as_frame else rows

    def __str__(self) -> str:
        """Every difference, and whether all variants of the metric agree on the ranking."""
        doubtful = [f"{d.signal} ({d.first}, {d.second})" for d in self._scored if not d.variants_agree]
        verdict = "all variants of the metric agree on every ranking" if self._scored else "nothing could be ranked"
        if doubtful:
            verdict = f"variants of the metric do not agree on the ranking by {', '.join(doubtful)}"
        return "\n".join([*map(str, self.differences), verdict])


def compare(
    embeddings: Mapping[str, Any],
    signals: Any = None,
    *,
    groups: Any = None,
    labels: Any = None,
    n_neighbors: int = 10,
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    min_recall: float = 0.99,
    connect: bool = False,
    bootstrap: int = 200,
    permutations: int = 0,
    confidence: float = 0.95,
    modes: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Score signals on several embeddings of the same snapshots and say which embedding is smoother, and how surely.

    Parameters
    ----------
    embeddings : mapping of str to array [N, D]
        At least two, of the same snapshots in the same order; their dimensions may differ.
    signals, groups, labels, n_neighbors, weights, symmetrize, index, min_recall, connect
        As for `smoothness`.
    permutations, confidence, seed
        As for `smoothness`.
    bootstrap : int
        Samples for the intervals, at least 1.
    modes : int, optional
        m of the low-frequency energy E_m that the score is compared with; a twentieth of the snapshots, at least 20,
        unless given.

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two embeddings or their lengths differ; and whatever `smoothness` raises.

    Notes
    -----
    Variants: the score with half, once and twice the neighbours, with every kind of weights, with both ways to
    symmetrise, and E_m on the graph that was asked for; of each the sign of the difference between two embeddings.
    E_m comes without eigenvectors, and tells nothing where the intervals of the two embeddings overlap.
    """
    if not isinstance(embeddings, Mapping) or len(embeddings) < 2:
        raise ValueError("embeddings must be a mapping with at least two entries, name to array")
    if len(set(map(str, embeddings))) < len(embeddings):
        raise ValueError("embeddings hold two names that are the same as strings")
    embeddings = {name: as_finite(latents, f"embedding {name!r}", ndim=2) for name, latents in embeddings.items()}
    sizes = {name: len(latents) for name, latents in embeddings.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"embeddings must be of the same snapshots, got lengths {sizes}")
    check_positive_integer(bootstrap, "bootstrap")
    n = next(iter(sizes.values()))
    m = min(n, max(20, n // 20)) if modes is None else check_positive_integer(modes, "modes")
    if m > n:
        raise ValueError(f"modes must be at most the number of snapshots, {n}, got {m}")
    graph: _Settings = {"n_neighbors": n_neighbors, "weights": weights, "symmetrize": symmetrize}
    results: dict[str, SmoothnessResult] = {}
    intervals: dict[str, _Intervals] = {}
    with each_once():
        for name, latents in embeddings.items():
            found = nearest_neighbors(
                latents, max(n_neighbors, min(2 * n_neighbors, n - 1)), index=index, min_recall=min_recall
            )
            results[name] = smoothness(
                latents,
                signals,
                **graph,
                labels=labels,
                neighbors=found,
                connect=connect,
                groups=groups,
                permutations=permutations,
                bootstrap=bootstrap,
                confidence=confidence,
                seed=seed,
            )
            intervals[name] = {f"energy of {m} modes": _energies(results[name], m, seed)}
            for variant, settings in _variants(graph, found.indices.shape[1]).items():
                scored = smoothness(latents, signals, **settings, labels=labels, neighbors=found, connect=connect)
                intervals[name][variant] = {signal: (s.score, s.score) for signal, s in scored.items()}
    differences = (
        _difference(signal, first, second, results, intervals, confidence)
        for first, second in itertools.combinations(embeddings, 2)
        for signal in results[first]
    )
    return Comparison(results, tuple(differences))


def _variants(graph: _Settings, most: int) -> dict[str, _Settings]:
    """Settings of the graph that change one thing at a time, and none."""
    counts = sorted({max(1, graph["n_neighbors"] // 2), graph["n_neighbors"], min(2 * graph["n_neighbors"], most)})
    found: dict[str, _Settings] = {f"score, k={k}": {**graph, "n_neighbors": k} for k in counts}
    found |= {f"score, {w} weights": {**graph, "weights": w} for w in get_args(WeightsName) if w != graph["weights"]}
    other: SymmetrizeName = "mutual" if graph["symmetrize"] == "union" else "union"
    return found | {f"score, {other}": {**graph, "symmetrize": other}}


def _energies(result: SmoothnessResult, m: int, seed: int) -> dict[str, tuple[float, float]]:
    bounds = {name: signal.energy_estimate(m, seed=seed) for name, signal in result.items()}
    return {name: (float(found.lower), float(found.upper)) for name, found in bounds.items()}


def _difference(
    signal: str,
    first: str,
    second: str,
    results: Mapping[str, SmoothnessResult],
    intervals: Mapping[str, _Intervals],
    confidence: float,
) -> Difference:
    a, b = results[first][signal], results[second][signal]
    low, high = percentile_interval((a.score_samples - b.score_samples)[:, None], confidence)
    votes = {
        variant: _sign(found[signal], intervals[second][variant][signal]) for variant, found in intervals[first].items()
    }
    return Difference(signal, first, second, a.score - b.score, float(low[0]), float(high[0]), votes)


def _sign(first: tuple[float, float], second: tuple[float, float]) -> int:
    """1 if the first interval lies above the second by more than rounding, -1 if below, otherwise or undefined 0."""
    return int(first[0] > second[1] + TIE) - int(first[1] < second[0] - TIE)
