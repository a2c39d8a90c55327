"""Which units a study consists of, in the order in which they are done."""

from __future__ import annotations

from collections.abc import Sequence

from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.questions import QUESTIONS
from gmvae_fast.studies.comparison.units import Unit


def plan_units(cases: Sequence[StudyCase], profile: Profile, arms: Sequence[str]) -> list[Unit]:
    """All of them; none needs another.

    Seeds come first in the order, so a study that is stopped early has every arm on some seeds, and the time that is
    left can be told from the time that has passed.
    """
    trained = [Unit(case.name, arm, seed) for seed in profile.seeds for case in cases for arm in arms]
    own = [
        unit
        for case in cases
        for question in QUESTIONS.values()
        for unit in (question.plan(case, profile, arms) if question.plan is not None else ())
    ]
    return [*trained, *sorted(own, key=lambda unit: unit.seed)]
