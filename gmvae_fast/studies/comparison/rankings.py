"""Do variants of the metric put the arms in the same order? From the rows alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import spread
from gmvae_fast.studies.comparison.tables import Entry, Table

#: By seed, by arm.
Scores = Mapping[int, Mapping[str, float]]


def rank_correlation(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Kendall's tau-b (Biometrika 33, 239 (1945)) of the arms that both have; NaN where either is flat."""
    from scipy.stats import kendalltau

    arms = [arm for arm in first if arm in second]
    columns = [[scores[arm] for arm in arms] for scores in (first, second)]
    if any(len(set(column)) < 2 for column in columns):
        return math.nan
    return float(kendalltau(*columns).statistic)


def ranking_table(
    results: Results, case: str, question: str, metrics: Sequence[str], quantities: Sequence[str]
) -> Table:
    """One line a variant: how far its order of the arms agrees with the first's, and which arm leads by the mean.

    ``metrics`` are the variants, the protocol's own first; ``quantities`` have the main one first.
    """
    rows: list[tuple[Entry, ...]] = []
    for metric in metrics:
        taus: dict[str, list[float]] = {}
        for quantity in quantities:
            own, reference = (_scores(results, case, question, name, quantity) for name in (metric, metrics[0]))
            taus[quantity] = [rank_correlation(reference[seed], own[seed]) for seed in own if seed in reference]
        together = [spread([taus[q][i] for q in quantities if i < len(taus[q])]).mean
                    for i in range(max(map(len, taus.values()), default=0))]  # fmt: skip
        lead = _leader(results, case, question, metric, quantities[0])
        rows.append((metric, spread(taus[quantities[0]]), spread(together), lead))
    return Table(
        "Do the variants agree on the order of the arms?",
        ("variant", f"tau, {quantities[0]}", "tau, mean over quantities", f"smoothest in {quantities[0]} by the mean"),
        tuple(rows),
        f"Kendall's tau of the arms' order by a variant and by {metrics[0]}, seed by seed: 1 is the same order, 0 "
        "chance, -1 the opposite one. A ranking counts only where the variants agree.",
    )


def _scores(results: Results, case: str, question: str, metric: str, quantity: str) -> Scores:
    found: dict[int, dict[str, float]] = {}
    for arm in results.arms(case, question):
        for seed, value in results.values(case, question, metric, arm, detail=quantity).items():
            found.setdefault(seed, {})[arm] = value
    return found


def _leader(results: Results, case: str, question: str, metric: str, quantity: str) -> str:
    means = {
        arm: float(np.mean(list(values.values())))
        for arm in results.arms(case, question)
        if (values := results.values(case, question, metric, arm, detail=quantity))
    }
    return max(means, key=lambda arm: means[arm]) if means else ""
