"""How smoothly do physical quantities vary over the latent map?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from gmvae_fast import spectral
from gmvae_fast.spectral.graph import WeightsName
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions.base import Question, Trained
from gmvae_fast.studies.comparison.rankings import ranking_table
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Column, Table, arm_table
from gmvae_fast.studies.stages import usable_signals

NAME = "smoothness"
OTHER_WEIGHTS: tuple[WeightsName, ...] = ("gaussian", "distance")


def measure(trained: Trained) -> Iterator[Measure]:
    """Scores of every usable quantity on the graph of the protocol, and the variants of the metric."""
    settings = trained.bench.profile.graph
    signals = usable_signals(trained.bench.snapshots.quantities)[0]
    counts = sorted({settings.n_neighbors, *settings.other_neighbors})
    by_count = spectral.neighbor_sweep(trained.latents, signals, counts)
    result = by_count[settings.n_neighbors]
    yield Measure("graph components", float(result.n_components))
    modes = min(settings.modes, len(trained.latents))
    for name, signal in result.items():
        yield Measure("score", signal.score, name)
        yield Measure("z", signal.z_score, name)
        yield Measure(f"energy of {modes} modes", signal.low_frequency_energy(modes), name)
    for count in settings.other_neighbors:
        yield from _scores(f"score, k={count}", by_count[count])
    for weights in OTHER_WEIGHTS:
        yield from _scores(
            f"score, {weights} weights",
            spectral.smoothness(trained.latents, signals, n_neighbors=settings.n_neighbors, weights=weights),
        )
    yield from _scores(
        "score, mutual",
        spectral.smoothness(trained.latents, signals, n_neighbors=settings.n_neighbors, symmetrize="mutual"),
    )


def _scores(metric: str, result: spectral.SmoothnessResult) -> Iterable[Measure]:
    return [Measure(metric, signal.score, name) for name, signal in result.items()]


def columns(results: Results, case: StudyCase) -> Sequence[Column]:
    """The score of every quantity, the main one first."""
    return [
        *(Column("score", quantity, "higher", quantity) for quantity in _quantities(results, case)),
        Column("graph components", "graph components"),
    ]


def _quantities(results: Results, case: StudyCase) -> list[str]:
    quantities = results.details(case.name, NAME, "score")
    main = [q for q in quantities if q == case.main_quantity]
    return [*main, *(q for q in quantities if q not in main)]


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """All variants of the metric for the main quantity, and whether they rank the arms alike."""
    main = case.main_quantity
    metrics = dict.fromkeys(
        row.metric
        for row in results.rows
        if row.system == case.name and row.question == NAME and row.detail == main and not row.setting
    )
    variants = [Column(metric, metric, "higher", main) for metric in metrics]
    if not variants:
        return []
    return [
        arm_table(results, case.name, NAME, variants, f"All variants of the metric, {main}"),
        ranking_table(results, case.name, NAME, list(metrics), _quantities(results, case)),
    ]


QUESTION = Question(
    name=NAME,
    title="Smoothness of physical quantities",
    about="The score is 1 - S / E[S] with S the Dirichlet energy of a quantity on the graph of nearest neighbours of "
    "all snapshots' latents, held-out ones included: 1 is perfectly smooth, 0 what chance gives. A map in several "
    "pieces (graph components) looks smoother than it is.",
    measure=measure,
    columns=columns,
    tables=tables,
)
