"""Do the components find the known regimes?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gmvae_fast.metrics import cluster_agreement
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions.base import Question, Trained
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Better, Column

NAME = "regimes"
BY_RUN = ", by run"


def measure(trained: Trained) -> Iterator[Measure]:
    """Agreement with every label of more than one class, and how full the components are."""
    snapshots, found, k = trained.bench.snapshots, trained.components, trained.n_components
    for label, known in snapshots.labels.items():
        if np.ptp(known) == 0:
            continue
        yield from _agreement(label, known, found, k)
        held_out = trained.test
        if np.ptp(known[held_out]) > 0:
            yield Measure("ARI held out", cluster_agreement(known[held_out], found[held_out], k).ari, label)
    if trained.bench.case.by_run:
        label = trained.bench.case.regime
        known, of_runs = (majority_by_run(snapshots.trajectory, values) for values in (snapshots.labels[label], found))
        yield from _agreement(label + BY_RUN, known, of_runs, k)
    shares = np.bincount(found, minlength=k) / len(found)
    yield Measure("smallest share", float(shares.min()))
    yield Measure("largest share", float(shares.max()))


def _agreement(label: str, known: npt.NDArray[np.int64], found: npt.NDArray[np.int64], k: int) -> Iterator[Measure]:
    agreement = cluster_agreement(known, found, k)
    yield Measure("ARI", agreement.ari, label)
    yield Measure("NMI", agreement.nmi, label)
    yield Measure("accuracy", agreement.accuracy, label)


def majority_by_run(trajectory: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The most frequent class of each trajectory, the smallest of equals: [runs], ascending by trajectory."""
    runs, inverse = np.unique(trajectory, return_inverse=True)
    counts = np.zeros((len(runs), int(classes.max()) + 1), dtype=np.int64)
    np.add.at(counts, (inverse, classes), 1)
    return np.asarray(counts.argmax(1), np.int64)


def columns(results: Results, case: StudyCase) -> Sequence[Column]:
    """Agreement with the regime first; higher is better where the regime is a known number of classes."""
    labels = results.details(case.name, NAME, "ARI")
    first = [label for label in (case.regime + BY_RUN, case.regime) if label in labels]
    found: list[Column] = []
    for label in [*first, *(other for other in labels if other not in first)]:
        better: Better = "higher" if label in first and case.n_regimes is not None else ""
        found += [Column(metric, f"{metric} {label}", better, label)
                  for metric in ("ARI", "NMI", "accuracy", "ARI held out")]  # fmt: skip
    return [
        *found,
        Column("smallest share", "smallest share of a component"),
        Column("largest share", "largest share of a component"),
    ]


QUESTION = Question(
    name=NAME,
    title="Regimes",
    about="Agreement of the components (of the GM-VAE its own, of other arms those of a Gaussian mixture on their "
    "latents) with classes that no arm was told: adjusted Rand index (0 is chance), normalised mutual information, "
    "share of snapshots in the right class under the best matching. All snapshots, and the held-out ones alone.",
    measure=measure,
    columns=columns,
)
