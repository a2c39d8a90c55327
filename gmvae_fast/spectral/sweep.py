"""Whether a ranking of signals depends on how the graph was made: on the number of neighbours, or on the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmvae_fast.spectral._arrays import FloatArray, check_positive_integer, check_sequence
from gmvae_fast.spectral._warnings import each_once
from gmvae_fast.spectral.graph import SymmetrizeName, WeightsName
from gmvae_fast.spectral.neighbors import IndexName, nearest_neighbors
from gmvae_fast.spectral.results import SmoothnessResult, as_data_frame
from gmvae_fast.spectral.smoothness import smoothness


@dataclass(frozen=True, eq=False)
class Sweep:
    """Smoothness of the same signals on graphs that differ in one setting.

    Attributes
    ----------
    setting : str
        What differs: ``"n_neighbors"`` or ``"weights"``.
    values : tuple
        Its values.
    results : tuple of SmoothnessResult
        One per entry of ``values``.
    """

    setting: str
    values: tuple[Any, ...]
    results: tuple[SmoothnessResult, ...]

    def __iter__(self) -> Iterator[SmoothnessResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, value: Any) -> SmoothnessResult:
        """The result for this value of the setting."""
        try:
            return self.results[self.values.index(value)]
        except ValueError:
            raise KeyError(f"no result for {self.setting}={value}; the sweep holds {self.values}") from None

    @property
    def scores(self) -> dict[str, FloatArray]:
        """Score of every signal along the sweep, float64 [len(values)]."""
        return {name: np.array([result[name].score for result in self.results]) for name in self.results[0]}

    @property
    def ranking_is_stable(self) -> bool:
        """Whether the signals have the same order, by score, for every value."""
        return len({result.ranking for result in self.results}) == 1

    def table(self, *, energies: Sequence[int] = (), as_frame: bool = False) -> Any:
        """Rows of all results, each with its value of the setting; see `SmoothnessResult.table`."""
        rows = [
            {self.setting: value, **row}
            for value, result in zip(self.values, self.results, strict=True)
            for row in result.table(energies=energies)
        ]
        return as_data_frame(rows) if as_frame else rows

    def __str__(self) -> str:
        width = max([len("n_neighbors"), *map(len, self.results[0])])
        lines = [f"{self.setting:<{width}}" + "".join(f"  {value!s:>8}" for value in self.values)]
        lines += [f"{name:<{width}}" + "".join(f"  {s:8.4f}" for s in scores) for name, scores in self.scores.items()]
        lines.append(f"{'components':<{width}}" + "".join(f"  {r.n_components:>8}" for r in self.results))
        lines.append(f"ranking {'does not depend' if self.ranking_is_stable else 'depends'} on {self.setting}")
        return "\n".join(lines)


class NeighborSweep(Sweep):
    """`Sweep` over the number of neighbours."""

    @property
    def n_neighbors(self) -> tuple[int, ...]:
        return self.values


def _distinct(values: Any, name: str, what: str) -> tuple[Any, ...]:
    found = check_sequence(values, name, what)
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{name} must hold at least one {what} and none twice, got {found}")
    return found


def neighbor_sweep(
    latents: Any,
    signals: Any = None,
    n_neighbors: Sequence[int] = (5, 10, 20, 40),
    *,
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    min_recall: float = 0.99,
    **options: Any,
) -> NeighborSweep:
    """`smoothness` for several numbers of neighbours, from one search.

    Parameters
    ----------
    latents, signals, weights, symmetrize, index, min_recall
        As for `smoothness`.
    n_neighbors : sequence of int
        Distinct numbers of neighbours.
    **options
        Further ones of `smoothness`: ``connect``, ``labels``, ``groups``, ``permutations``, ``bootstrap``, ...

    Returns
    -------
    NeighborSweep

    Raises
    ------
    TypeError, ValueError
        If ``n_neighbors`` is empty or repeats itself; and whatever `smoothness` raises.
    """
    counts = _distinct(n_neighbors, "n_neighbors", "number")
    largest = max(check_positive_integer(k, "n_neighbors") for k in counts)
    with each_once():
        found = nearest_neighbors(latents, largest, index=index, min_recall=min_recall)
        fixed = {"weights": weights, "symmetrize": symmetrize, "neighbors": found, **options}
        results = tuple(smoothness(latents, signals, n_neighbors=k, **fixed) for k in counts)
    return NeighborSweep("n_neighbors", counts, results)


def weights_sweep(
    latents: Any,
    signals: Any = None,
    weights: Sequence[WeightsName] = ("binary", "gaussian", "distance"),
    *,
    n_neighbors: int = 10,
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    min_recall: float = 0.99,
    **options: Any,
) -> Sweep:
    """`smoothness` for several kinds of edge weights, from one search.

    Parameters
    ----------
    latents, signals, n_neighbors, symmetrize, index, min_recall
        As for `smoothness`.
    weights : sequence of str
        Distinct kinds, see `knn_graph`.
    **options
        Further ones of `smoothness`: ``connect``, ``labels``, ``groups``, ``permutations``, ``bootstrap``, ...

    Returns
    -------
    Sweep

    Raises
    ------
    TypeError, ValueError
        If ``weights`` is empty or repeats itself; and whatever `smoothness` raises.
    """
    kinds = _distinct(weights, "weights", "kind")
    with each_once():
        found = nearest_neighbors(latents, n_neighbors, index=index, min_recall=min_recall)
        fixed = {"n_neighbors": n_neighbors, "symmetrize": symmetrize, "neighbors": found, **options}
        results = tuple(smoothness(latents, signals, weights=kind, **fixed) for kind in kinds)
    return Sweep("weights", kinds, results)
