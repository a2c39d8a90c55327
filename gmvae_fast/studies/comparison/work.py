"""One unit of work, done in the process that calls: train, ask, and return rows and arrays."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.studies.comparison.bench import Arrays, Bench, Trained, train_arm
from gmvae_fast.studies.comparison.questions import QUESTIONS
from gmvae_fast.studies.comparison.questions.base import Answer
from gmvae_fast.studies.comparison.questions.stability import DIVERGED
from gmvae_fast.studies.comparison.questions.stability import NAME as STABILITY
from gmvae_fast.studies.comparison.rows import Measure, Row
from gmvae_fast.studies.comparison.units import Unit, config_hash
from gmvae_fast.training import TrainingDiverged

COSTS = "costs"


def perform(unit: Unit, bench: Bench, revision: str, versions: str) -> tuple[list[Row], Arrays]:
    """Do one unit.

    Returns
    -------
    rows, arrays
        ``arrays`` are for figures; they may be empty.
    """
    wall, processor = time.perf_counter(), time.process_time()
    if unit.task == "arm":
        answer = _train_and_ask(unit, bench)
    else:
        question = QUESTIONS[unit.task]
        assert question.perform is not None, unit.task
        answer = question.perform(unit, bench)
    seconds = time.perf_counter() - wall
    costs = [
        *answer.measures.get(COSTS, ()),
        Measure("unit, wall s", seconds),
        Measure("unit, processor s", time.process_time() - processor),
    ]
    found = {**answer.measures, COSTS: costs}
    digest = config_hash(unit, bench.case, bench.profile)
    rows = [
        Row(unit.case, unit.arm, unit.setting, unit.seed, question, m.metric, m.detail, float(m.value),
            digest, revision, versions, round(seconds, 3))
        for question, measures in found.items()
        for m in measures
    ]  # fmt: skip
    return rows, answer.arrays


def _train_and_ask(unit: Unit, bench: Bench) -> Answer:
    try:
        trained, costs = train_arm(unit, bench)
    except TrainingDiverged:
        return Answer({STABILITY: DIVERGED})
    measures: dict[str, Sequence[Measure]] = {
        name: list(question.measure(trained)) for name, question in QUESTIONS.items() if question.measure is not None
    }
    return Answer({**measures, COSTS: costs}, _arrays(trained))


def _arrays(trained: Trained) -> Arrays:
    """The latent map, small: float32, and the mixture on it."""
    is_test = np.zeros(len(trained.latents), dtype=bool)
    is_test[trained.test] = True
    arrays: dict[str, npt.NDArray[Any]] = {
        "latents": trained.latents.astype(np.float32),
        "components": trained.components.astype(np.int16),
        "is_test": is_test,
    }
    mixture = trained.fitted.mixture()
    return arrays if mixture is None else {**arrays, **{f"mixture_{k}": v for k, v in mixture.items()}}
