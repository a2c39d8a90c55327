"""Does training depend on the learning rate and on how the mixture starts?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.bench import budget_of, train_arm
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.questions import regimes, stability
from gmvae_fast.studies.comparison.questions.base import Answer, Bench, Question
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Entry, Table, compare
from gmvae_fast.studies.comparison.units import Unit
from gmvae_fast.training import TrainingDiverged

NAME = "sensitivity"
#: Where the right regimes are known and a training takes seconds.
CASES = ("surface_reaction", "channel")
ARMS = (REFERENCE, "joint")
STARTS = ("latents", "normal")
METRICS = ("diverged", "dead components", "ARI")


def _setting(factor: float, start: str) -> str:
    return f"learning rate x {factor:g}, start {start}"


def plan(case: StudyCase, profile: Profile, arms: Sequence[str]) -> list[Unit]:
    """Every arm of `ARMS` that is compared, at every point of the grid but the arm's own, rate 1 from the latents."""
    return [
        Unit(case.name, arm, seed, NAME, _setting(factor, start), (("factor", factor), ("mixture_start", start)))
        for seed in profile.seeds
        for arm in ARMS
        if case.name in CASES and arm in arms
        for factor in profile.learning_rates
        for start in STARTS
        if (factor, start) != (1.0, STARTS[0])
    ]


def perform(unit: Unit, bench: Bench) -> Answer:
    """Train at one point of the grid."""
    options = dict(unit.options)
    budget = budget_of(bench, unit.seed)
    training = dataclasses.replace(
        budget.training,
        learning_rate=budget.training.learning_rate * options["factor"],
        mixture_start=options["mixture_start"],
    )
    try:
        trained, _ = train_arm(unit, bench, dataclasses.replace(budget, training=training))
    except TrainingDiverged:
        return Answer({NAME: stability.DIVERGED})
    kept = [
        *(m for m in stability.measure(trained) if m.metric in ("diverged", "dead components")),
        *(m for m in regimes.measure(trained) if m.metric == "ARI" and m.detail == bench.case.regime),
    ]
    return Answer({NAME: [Measure(m.metric, m.value) for m in kept]})


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """One line an arm and a point of the grid."""
    settings = list(dict.fromkeys(s for arm in ARMS for s in results.settings(case.name, NAME, arm)))
    if not settings:
        return []
    points = [(arm, setting) for arm in ARMS for setting in ("", *settings)]
    found = {point: _runs(results, case, *point) for point in points}
    points = [point for point in points if found[point]["diverged"]]
    cells = {
        arm: compare(
            [found[point]["ARI"] for point in points if point[0] == arm],
            found[REFERENCE, ""]["ARI"],
            "higher",
            [point == (REFERENCE, "") for point in points if point[0] == arm],
        )
        for arm in ARMS
    }
    rows: list[tuple[Entry, ...]] = []
    for arm in ARMS:
        for (_, setting), cell in zip([p for p in points if p[0] == arm], cells[arm], strict=True):
            runs = found[arm, setting]
            rows.append(
                (
                    arm,
                    setting or _setting(1.0, STARTS[0]),
                    float(len(runs["diverged"])),
                    100 * float(np.mean(list(runs["diverged"].values()))),
                    float(sum(runs["dead components"].values())),
                    cell,
                )
            )
    head = ("arm", "setting", "runs", "diverged, %", "dead components", f"ARI with {case.regime}")
    return [Table("", head, tuple(rows), f"p-values are against {REFERENCE} at {_setting(1.0, STARTS[0])}, adjusted by "
                  "Holm for the settings of an arm.")]  # fmt: skip


def _runs(results: Results, case: StudyCase, arm: str, setting: str) -> dict[str, dict[int, float]]:
    """Values by seed at one point of the grid; at the arm's own point those of its common unit."""
    if setting:
        return {m: results.values(case.name, NAME, m, arm, setting=setting) for m in METRICS}
    return {
        **{m: results.values(case.name, stability.NAME, m, arm) for m in METRICS[:2]},
        "ARI": results.values(case.name, regimes.NAME, "ARI", arm, detail=case.regime),
    }


QUESTION = Question(
    name=NAME,
    title="Sensitivity to the learning rate and the start of the mixture",
    about="The same training with a quarter and four times the learning rate, and with a mixture that starts from "
    "means drawn from N(0, I) instead of from EM on the latents. Dead components are sums over runs, the agreement is "
    "a mean over seeds.",
    tables=tables,
    plan=plan,
    perform=perform,
)
