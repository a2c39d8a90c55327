"""How many components? Criteria against the number that is known to be right."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from gmvae_fast.data import split_by_trajectory
from gmvae_fast.model import GMVAE
from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.bench import budget_of
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.questions.base import Answer, Bench, Question
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.statistics import spread
from gmvae_fast.studies.comparison.tables import Entry, Table, compare
from gmvae_fast.studies.comparison.units import Unit
from gmvae_fast.training import TrainingDiverged
from gmvae_fast.tuning import tune_components

NAME = "components"
SETTING = "number of components"
#: Beyond the right number.
MORE = 2
CRITERIA = {
    "bic": "BIC on the latents of a VAE",
    "icl": "ICL on the latents of a VAE",
    "pruning": "pruning from the most, BIC along the path",
    "held_out_elbo": "held-out ELBO of trained models",
}


def plan(case: StudyCase, profile: Profile, arms: Sequence[str]) -> list[Unit]:
    """One unit a seed, where the right number is known."""
    if case.n_regimes is None or REFERENCE not in arms:
        return []
    return [Unit(case.name, REFERENCE, seed, NAME, SETTING) for seed in profile.seeds]


def perform(unit: Unit, bench: Bench) -> Answer:
    """Latents, mixtures and models of 1 to two more than the right number of components."""
    case, budget = bench.case, budget_of(bench, unit.seed)
    assert case.n_regimes is not None
    train, test = split_by_trajectory(bench.snapshots, bench.profile.test_fraction, unit.seed, case.stratify)
    ks = [k for k in range(1, case.n_regimes + MORE + 1) if k <= len(train)]

    def model(k: int) -> GMVAE:
        settings = {**dataclasses.asdict(budget.model), "n_components": k}
        return GMVAE(bench.snapshots.shape, seed=unit.seed, **settings)

    try:
        choice = tune_components(
            bench.snapshots[train],
            ks,
            model=model,
            config=budget.training,
            held_out=bench.snapshots[test],
            seed=unit.seed,
            progress=False,
        )
    except TrainingDiverged:
        return Answer({NAME: [Measure("diverged", 1.0)]})
    found = [Measure("diverged", 0.0)]
    for criterion, k in choice.chosen.items():
        found += [Measure("chosen", float(k), criterion), Measure("right", float(k == case.n_regimes), criterion)]
    for candidate in choice.candidates:
        found += [
            Measure(name, float(getattr(candidate, name)), f"K = {candidate.n_components}")
            for name in ("bic", "icl", "pruned_bic", "held_out_elbo")
        ]
    return Answer({NAME: found})


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """One line a criterion, then the criteria themselves by number."""
    chosen = {
        title: found
        for criterion, title in CRITERIA.items()
        if (found := results.values(case.name, NAME, "chosen", REFERENCE, detail=criterion, setting=SETTING))
    }
    if not chosen or case.n_regimes is None:
        return []
    off = {title: {seed: abs(k - case.n_regimes) for seed, k in found.items()} for title, found in chosen.items()}
    last = list(off)[-1]
    cells = compare(list(off.values()), off[last], "lower")
    rows: list[tuple[Entry, ...]] = [
        (
            title,
            ", ".join(f"{k:.0f}" for k in found.values()),
            spread(list(found.values())),
            100 * float(np.mean([distance == 0 for distance in off[title].values()])),
            cell,
        )
        for (title, found), cell in zip(chosen.items(), cells, strict=True)
    ]
    by_k: list[tuple[Entry, ...]] = [
        (detail, *(
            spread(list(results.values(case.name, NAME, name, REFERENCE, detail=detail, setting=SETTING).values()))
            for name in ("bic", "icl", "pruned_bic", "held_out_elbo")
        ))
        for detail in results.details(case.name, NAME, "bic")
    ]  # fmt: skip
    return [
        Table(
            "",
            ("criterion", "chosen, seed by seed", "chosen", "right, %", "off by"),
            tuple(rows),
            f"Right is K = {case.n_regimes}. p-values are of the distance from it, against the {last}, adjusted by "
            "Holm.",
        ),
        Table("Criteria by number", ("", "BIC", "ICL", "BIC, pruned path", "held-out ELBO"), tuple(by_k)),
    ]


QUESTION = Question(
    name=NAME,
    title="Choice of the number of components",
    about="`tune_components` on the training trajectories, from 1 to two more than the number of regimes. BIC and ICL "
    "are of mixtures on the latents of a VAE, which favours no number; the pruned path starts from the largest and "
    "removes the component that BIC misses least; the last criterion trains a model for each number and takes the "
    "smallest whose bound on held-out trajectories is within a standard error of the best. BIC counts Gaussians, of "
    "which a curved regime needs several; ICL counts clusters.",
    tables=tables,
    plan=plan,
    perform=perform,
)
