"""Tables of a study, made from its rows alone: what stands in a cell, and how arms compare with the reference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import PairedTest, Spread, holm, paired_test, spread

Better = Literal["higher", "lower", ""]
#: A difference counts where its adjusted p-value lies below.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Column:
    """One number of every arm.

    Attributes
    ----------
    metric, detail : str
    title : str
    better : {"higher", "lower", ""}
        Which way is better; empty where neither is.
    """

    metric: str
    title: str
    better: Better = ""
    detail: str = ""


@dataclass(frozen=True)
class Compared:
    """A number over seeds, and how it differs from that of the reference arm.

    Attributes
    ----------
    spread : Spread
    test : PairedTest or None
        Of this arm against the reference; None for the reference itself and without common seeds.
    p_t, p_wilcoxon : float
        Of the test, adjusted by Holm for the number of arms in the column.
    verdict : {"better", "worse", "equal", ""}
        Of this arm beside the reference, by the mean: empty where there is no better, or nothing to compare.
    """

    spread: Spread
    test: PairedTest | None = None
    p_t: float = math.nan
    p_wilcoxon: float = math.nan
    verdict: str = ""

    @property
    def p(self) -> float:
        """The paired t-test's, or the signed-rank test's where all differences are equal."""
        return self.p_wilcoxon if math.isnan(self.p_t) else self.p_t

    @property
    def is_clear(self) -> bool:
        """Whether the difference is significant."""
        return self.p < SIGNIFICANT


Entry = str | float | Spread | Compared


@dataclass(frozen=True)
class Table:
    """``rows`` hold text, numbers, or spreads; the first entry of a row says what it is about."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    note: str = ""


def arm_table(results: Results, case: str, question: str, columns: Sequence[Column], title: str = "") -> Table:
    """One line an arm, one column a number; arms and columns without any value are left out."""
    arms = [arm for arm in results.arms(case, question)
            if any(results.values(case, question, c.metric, arm, detail=c.detail) for c in columns)]  # fmt: skip
    kept = [c for c in columns if any(results.values(case, question, c.metric, a, detail=c.detail) for a in arms)]
    cells = [compare_arms(results, case, question, column, arms) for column in kept]
    rows: tuple[tuple[Entry, ...], ...] = tuple((arm, *(column[i] for column in cells)) for i, arm in enumerate(arms))
    return Table(title, ("arm", *(column.title for column in kept)), rows)


def compare_arms(results: Results, case: str, question: str, column: Column, arms: Sequence[str]) -> list[Compared]:
    """The number of each arm, tested against the reference arm."""
    values = [results.values(case, question, column.metric, arm, detail=column.detail) for arm in arms]
    reference = results.values(case, question, column.metric, REFERENCE, detail=column.detail)
    return compare(values, reference, column.better, [arm == REFERENCE for arm in arms])


def compare(
    values: Sequence[Mapping[int, float]],
    reference: Mapping[int, float],
    better: Better = "",
    is_reference: Sequence[bool] | None = None,
) -> list[Compared]:
    """Numbers by seed, each tested against the reference's; p-values adjusted for the number of tests.

    ``is_reference`` says which of ``values`` are the reference's own, by default those that are the same object.
    """
    own_ones = is_reference or [own is reference for own in values]
    tests = [
        None if skipped or not set(own) & set(reference) else paired_test(own, reference)
        for own, skipped in zip(values, own_ones, strict=True)
    ]
    p_t = holm([math.nan if test is None else test.p_t for test in tests])
    p_w = holm([math.nan if test is None else test.p_wilcoxon for test in tests])
    return [
        Compared(spread(list(own.values())), test, p_t[i], p_w[i], _verdict(test, better))
        for i, (own, test) in enumerate(zip(values, tests, strict=True))
    ]


def _verdict(test: PairedTest | None, better: Better) -> str:
    if test is None or not better or math.isnan(test.difference):
        return ""
    if test.difference == 0:
        return "equal"
    return "better" if (test.difference > 0) == (better == "higher") else "worse"
