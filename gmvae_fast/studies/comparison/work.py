"""One unit of work, done in the process that calls: train, ask, and return rows and arrays."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import split_by_trajectory
from gmvae_fast.studies.comparison.arms import ARMS, Budget
from gmvae_fast.studies.comparison.questions import QUESTIONS
from gmvae_fast.studies.comparison.questions.base import Answer, Arrays, Bench, Trained
from gmvae_fast.studies.comparison.questions.stability import DIVERGED
from gmvae_fast.studies.comparison.questions.stability import NAME as STABILITY
from gmvae_fast.studies.comparison.rows import Measure, Row
from gmvae_fast.studies.comparison.units import Unit, config_hash
from gmvae_fast.training import TrainingDiverged

COSTS = "costs"


def budget_of(bench: Bench, seed: int) -> Budget:
    """What every arm gets on this case and seed."""
    scale = bench.case.scales[bench.profile.name]
    return Budget(bench.case.model, dataclasses.replace(bench.case.training, epochs=scale.epochs, seed=seed))


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


def train_arm(unit: Unit, bench: Bench, budget: Budget | None = None) -> tuple[Trained, list[Measure]]:
    """Split, train and embed; what that took.

    Raises
    ------
    TrainingDiverged
    """
    budget = budget or budget_of(bench, unit.seed)
    snapshots = bench.snapshots
    train, test = split_by_trajectory(snapshots, bench.profile.test_fraction, unit.seed, bench.case.stratify)
    started = time.perf_counter()
    fitted = ARMS[unit.arm].fit(snapshots[train], budget)
    trained_s = time.perf_counter() - started
    latents, components = fitted.map(snapshots)
    costs = [Measure("training, wall s", trained_s)]
    if fitted.history is not None:
        costs.append(Measure("epochs", float(len(fitted.history.epochs))))
    return Trained(bench, unit, budget, fitted, latents, components, train, test), costs


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
