"""Whether a ranking of signals depends on the number of neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gmvae_fast.spectral._arrays import FloatArray
from gmvae_fast.spectral.graph import SymmetrizeName, WeightsName
from gmvae_fast.spectral.neighbors import IndexName
from gmvae_fast.spectral.results import SmoothnessResult, as_data_frame
from gmvae_fast.spectral.smoothness import smoothness


@dataclass(frozen=True, eq=False)
class NeighborSweep:
    """Smoothness of the same signals on graphs with different numbers of neighbours.

    Attributes
    ----------
    n_neighbors : tuple of int
    results : tuple of SmoothnessResult
        One per entry of ``n_neighbors``.
    """

    n_neighbors: tuple[int, ...]
    results: tuple[SmoothnessResult, ...]

    def __iter__(self) -> Iterator[SmoothnessResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, n_neighbors: int) -> SmoothnessResult:
        """The result for this number of neighbours."""
        try:
            return self.results[self.n_neighbors.index(n_neighbors)]
        except ValueError:
            raise KeyError(f"no result for n_neighbors={n_neighbors}; the sweep holds {self.n_neighbors}") from None

    @property
    def scores(self) -> dict[str, FloatArray]:
        """Score of every signal along the sweep, float64 [len(n_neighbors)]."""
        return {name: np.array([result[name].score for result in self.results]) for name in self.results[0]}

    @property
    def ranking_is_stable(self) -> bool:
        """Whether the signals have the same order, by score, for every number of neighbours."""
        return len({result.ranking for result in self.results}) == 1

    def table(self, *, energies: Sequence[int] = (), as_frame: bool = False) -> Any:
        """Rows of all results, each with its ``n_neighbors``; see `SmoothnessResult.table`."""
        rows = [
            {"n_neighbors": k, **row}
            for k, result in zip(self.n_neighbors, self.results, strict=True)
            for row in result.table(energies=energies)
        ]
        return as_data_frame(rows) if as_frame else rows

    def __str__(self) -> str:
        width = max([len("components"), *map(len, self.results[0])])
        lines = [f"{'n_neighbors':<{width}}" + "".join(f"  {k:>8}" for k in self.n_neighbors)]
        lines += [f"{name:<{width}}" + "".join(f"  {s:8.4f}" for s in scores) for name, scores in self.scores.items()]
        lines.append(f"{'components':<{width}}" + "".join(f"  {r.n_components:>8}" for r in self.results))
        lines.append(f"ranking {'does not depend' if self.ranking_is_stable else 'depends'} on n_neighbors")
        return "\n".join(lines)


def neighbor_sweep(
    latents: Any,
    signals: Any = None,
    n_neighbors: Sequence[int] = (5, 10, 20, 40),
    *,
    weights: WeightsName = "binary",
    symmetrize: SymmetrizeName = "union",
    index: IndexName = "auto",
    labels: Any = None,
) -> NeighborSweep:
    """`smoothness` for several numbers of neighbours.

    Parameters
    ----------
    latents, signals, weights, symmetrize, index, labels
        As for `smoothness`.
    n_neighbors : sequence of int
        Distinct numbers of neighbours.

    Returns
    -------
    NeighborSweep

    Raises
    ------
    TypeError, ValueError
        If ``n_neighbors`` is empty or repeats itself; and whatever `smoothness` raises.
    """
    counts = tuple(n_neighbors)
    if not counts or len(set(counts)) < len(counts):
        raise ValueError(f"n_neighbors must hold at least one number and none twice, got {counts}")
    results = [
        smoothness(
            latents,
            signals,
            n_neighbors=k,
            weights=weights,
            symmetrize=symmetrize,
            index=index,
            labels=labels,
        )
        for k in counts
    ]
    return NeighborSweep(counts, tuple(results))
