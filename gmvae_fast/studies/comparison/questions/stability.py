"""Does training end well, and on the same answer from every seed?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gmvae_fast.history import History
from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions.base import Question, Trained
from gmvae_fast.studies.comparison.questions.regimes import BY_RUN
from gmvae_fast.studies.comparison.questions.regimes import NAME as REGIMES
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.statistics import spread
from gmvae_fast.studies.comparison.tables import Entry, Table, compare

NAME = "stability"
#: A component that holds less than this share of 1 / K of the snapshots is dead.
DEAD = 0.05
#: A component whose smallest variance is below this share of the mean variance of the latents has collapsed: the floor
#: of the M-step is 1e-4 of it.
COLLAPSED = 2e-4
#: Rises of the objective below this share of its size are rounding.
ROUNDING = 1e-6

DIVERGED = (Measure("diverged", 1.0),)


def measure(trained: Trained) -> Iterator[Measure]:
    """What can go wrong in a run that ends."""
    k = trained.n_components
    shares = np.bincount(trained.components, minlength=k) / len(trained.components)
    mixture = trained.fitted.mixture()
    yield Measure("diverged", 0.0)
    yield Measure("dead components", float((shares < DEAD / k).sum()))
    if mixture is not None:
        smallest = np.linalg.eigvalsh(mixture["covariances"])[:, 0]
        scale = float(trained.latents[trained.train].var(0, dtype=np.float64).mean())
        yield Measure("collapsed components", float((smallest < COLLAPSED * scale).sum()))
    history = trained.fitted.history
    if history is not None:
        yield Measure("final loss", history.epochs[-1].loss)
        yield Measure("components moved", float(sum(event.kind == "reseed" for event in history.events)))
        yield from _monotonicity(history)


def _monotonicity(history: History) -> Iterator[Measure]:
    """Rises of the full-data objective over the closed-form steps, each with its epoch's encoder."""
    rises = [
        epoch.mixture_kl - epoch.mixture_kl_before
        for epoch in history.epochs
        if epoch.mixture_kl is not None and epoch.mixture_kl_before is not None
    ]
    if not rises:
        return
    scale = max(1.0, *(abs(e.mixture_kl) for e in history.epochs if e.mixture_kl is not None))
    yield Measure("steps in closed form", float(len(rises)))
    yield Measure("steps that raised the objective", float(sum(rise > ROUNDING * scale for rise in rises)))
    yield Measure("largest rise", max(rises))


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """One line an arm: shares of its runs, sums, and spreads over seeds."""
    label = next(
        (d for d in (case.regime + BY_RUN, case.regime) if d in results.details(case.name, REGIMES, "ARI")), ""
    )
    rows = []
    for arm in results.arms(case.name, NAME):
        diverged = results.values(case.name, NAME, "diverged", arm)
        entries: list[Entry] = [arm, float(len(diverged)), 100 * float(np.mean(list(diverged.values())))]
        for metric in ("dead components", "collapsed components", "components moved",
                       "steps in closed form", "steps that raised the objective"):  # fmt: skip
            entries.append(_total(results, case, metric, arm))
        entries.append(_std(results.values(case.name, NAME, "final loss", arm)))
        entries.append(_std(results.values(case.name, REGIMES, "ARI", arm, detail=label)))
        rows.append(tuple(entries))
    head = (
        "arm", "runs", "diverged, %", "dead components", "collapsed components", "components moved",
        "steps in closed form", "steps that raised the objective",
        "spread of the final loss", f"spread of the ARI with {label}",
    )  # fmt: skip
    return [
        Table("", head, tuple(rows), "Counts are sums over runs; spreads are standard deviations over seeds."),
        _deviations(results, case, label),
    ]


def _deviations(results: Results, case: StudyCase, label: str) -> Table:
    """Whether an arm's runs differ more than the reference's: Brown and Forsythe's measure, paired by seed."""
    measures = {
        "final loss": (NAME, "final loss", ""),
        "ELBO held out": ("reconstruction", "elbo", "held out"),
        f"ARI with {label}": (REGIMES, "ARI", label),
    }
    arms = results.arms(case.name, NAME)
    columns = []
    for question, metric, detail in measures.values():
        values = {arm: deviations(results.values(case.name, question, metric, arm, detail=detail)) for arm in arms}
        reference = values.get(REFERENCE, {})
        columns.append(compare(list(values.values()), reference, "lower", [arm == REFERENCE for arm in arms]))
    return Table(
        "How far runs lie from each other",
        ("arm", *measures),
        tuple((arm, *cells) for arm, *cells in zip(arms, *columns, strict=True)),
        "Distance of a run from the median of its arm, mean and standard deviation over seeds; p against "
        f"{REFERENCE} as elsewhere.",
    )


def deviations(values: Mapping[int, float]) -> dict[int, float]:
    """Distances from the median, by seed."""
    middle = float(np.median(list(values.values()))) if values else math.nan
    return {seed: abs(value - middle) for seed, value in values.items()}


def _total(results: Results, case: StudyCase, metric: str, arm: str) -> float:
    values = results.values(case.name, NAME, metric, arm)
    return float(sum(values.values())) if values else math.nan


def _std(values: dict[int, float]) -> float:
    return spread(list(values.values())).std


QUESTION = Question(
    name=NAME,
    title="Stability of training",
    about="A run diverges where the loss or the model is no longer finite. A component is dead that holds less than a "
    "twentieth of its fair share of the snapshots, and has collapsed where its smallest variance is below 2e-4 of the "
    "latents'. An exact M-step with the encoder held still cannot raise the objective over all data; steps that did "
    "are counted for the schemes that take one, PIMA's steps in the means among them.",
    measure=measure,
    tables=tables,
)
