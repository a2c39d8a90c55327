"""How well are unseen trajectories reconstructed, and how likely are they?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots
from gmvae_fast.metrics import relative_l2
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions.base import Question, Trained
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Column

NAME = "reconstruction"
HELD_OUT = "held out"


def measure(trained: Trained) -> Iterator[Measure]:
    """Errors and bounds of training and held-out snapshots; of arms without a way back, nothing."""
    snapshots = trained.bench.snapshots
    scale = FieldScale(snapshots[trained.train])
    for name, rows in (("training", trained.train), (HELD_OUT, trained.test)):
        part = snapshots[rows]
        fields = trained.fitted.reconstruct(part)
        if fields is not None:
            yield Measure("error", scale.error(part.fields, fields), name)
        bounds = trained.fitted.evidence(part, importance_weighted=name == HELD_OUT)
        if bounds is not None:
            for bound, values in bounds.items():
                yield Measure(bound, float(np.mean(values)), name)


class FieldScale:
    """Fluctuations about the training mean, each channel over its training standard deviation; fluid cells only."""

    def __init__(self, train: Snapshots) -> None:
        self.mask = np.ones(train.grid, dtype=bool) if train.mask is None else train.mask
        self.mean = train.fields.mean(0, dtype=np.float64)
        deviation = (train.fields - self.mean)[..., self.mask]
        self.std = deviation.std(axis=(0, 2))  # [C]

    def error(self, fields: npt.NDArray[np.float32], rebuilt: npt.NDArray[np.float32]) -> float:
        """|rebuilt - fields| / |fields - training mean| over all snapshots."""
        scale = np.where(self.std > 0, self.std, 1.0).reshape(-1, *(1,) * self.mask.ndim)
        return float(relative_l2(rebuilt, fields, offset=self.mean, scale=scale, mask=self.mask))


def columns(results: Results, case: StudyCase) -> Sequence[Column]:
    """Held-out numbers first."""
    parts = (HELD_OUT, "training")
    return [
        *(Column("error", f"relative error, {part}", "lower", part) for part in parts),
        *(Column("elbo", f"ELBO, {part}", "higher", part) for part in parts),
        Column("importance_weighted", f"importance-weighted bound, {HELD_OUT}", "higher", HELD_OUT),
    ]


QUESTION = Question(
    name=NAME,
    title="Reconstruction and evidence of unseen trajectories",
    about="Whole trajectories are held out. Relative L2 error of the fluctuation about the training mean, each channel "
    "over its training standard deviation; evidence lower bound (exact assignment, noise variance 1 on normalised "
    "snapshots), in nats a snapshot, and the importance-weighted bound, which lies above it and below the evidence.",
    measure=measure,
    columns=columns,
)
