"""One unit of work, done in the process that calls: train, ask, and return rows and arrays."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gmvae_fast.studies.comparison import maps
from gmvae_fast.studies.comparison.bench import Bench, train_arm
from gmvae_fast.studies.comparison.questions import QUESTIONS
from gmvae_fast.studies.comparison.questions.base import Answer
from gmvae_fast.studies.comparison.questions.stability import DIVERGED
from gmvae_fast.studies.comparison.questions.stability import NAME as STABILITY
from gmvae_fast.studies.comparison.rows import Measure, Row
from gmvae_fast.studies.comparison.units import Unit, config_hash
from gmvae_fast.training import TrainingDiverged

COSTS = "costs"


def perform(unit: Unit, bench: Bench, revision: str, versions: str) -> list[Row]:
    """Do one unit; its rows."""
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
    return [
        Row(unit.case, unit.arm, unit.setting, unit.seed, question, m.metric, m.detail, float(m.value),
            digest, revision, versions, round(seconds, 3))
        for question, measures in found.items()
        for m in measures
    ]  # fmt: skip


def _train_and_ask(unit: Unit, bench: Bench) -> Answer:
    try:
        trained, costs = train_arm(unit, bench)
    except TrainingDiverged:
        return Answer({STABILITY: DIVERGED})
    measures: dict[str, Sequence[Measure]] = {
        name: list(question.measure(trained)) for name, question in QUESTIONS.items() if question.measure is not None
    }
    if unit.seed == maps.SEED:
        measures[maps.NAME] = [Measure("latents", float(len(trained.latents)), maps.encode_points(trained.latents))]
    return Answer({**measures, COSTS: costs})
