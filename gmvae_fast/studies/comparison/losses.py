"""Where the reference arm loses: said from the rows, not by its authors."""

from __future__ import annotations

from dataclasses import dataclass

from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.cases import CASES
from gmvae_fast.studies.comparison.questions import QUESTIONS
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import Spread
from gmvae_fast.studies.comparison.tables import Column, Compared, compare_arms


@dataclass(frozen=True)
class Loss:
    """Another arm does better than the reference by the mean over seeds.

    Attributes
    ----------
    case, question : str
    column : Column
    arm : str
    found, reference : Compared, Spread
        Of the other arm, and of the reference.
    """

    case: str
    question: str
    column: Column
    arm: str
    found: Compared
    reference: Spread


def find_losses(results: Results) -> list[Loss]:
    """All of them, the significant ones first."""
    losses = []
    for name in results.systems:
        if name not in CASES:
            continue
        for question in QUESTIONS.values():
            for column in question.columns(results, CASES[name]) if question.columns is not None else ():
                if column.better:
                    losses += _losses(results, name, question.name, column)
    return sorted(losses, key=lambda loss: (not loss.found.is_clear, list(CASES).index(loss.case)))


def _losses(results: Results, case: str, question: str, column: Column) -> list[Loss]:
    arms = results.arms(case, question)
    if REFERENCE not in arms:
        return []
    cells = dict(zip(arms, compare_arms(results, case, question, column, arms), strict=True))
    return [
        Loss(case, question, column, arm, cell, cells[REFERENCE].spread)
        for arm, cell in cells.items()
        if cell.verdict == "better"
    ]
