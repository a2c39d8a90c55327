"""How much of a study is done and how long the rest takes: by what its own units took, else by earlier runs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmvae_fast.data.systems._runs import default_workers
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.scope import Scope
from gmvae_fast.studies.comparison.store import ResultStore
from gmvae_fast.studies.comparison.study import data_path
from gmvae_fast.studies.comparison.units import Unit, config_hash


@dataclass(frozen=True)
class PlannedCase:
    """One case of a study.

    Attributes
    ----------
    name : str
    units, done : int
    seconds : float
        Estimated wall time of what is left, simulation included, with the workers that were asked for.
    """

    name: str
    units: int
    done: int
    seconds: float


def plan_study(
    system: str,
    out: str | os.PathLike[str],
    *,
    profile: str | Profile = "quick",
    arms: Sequence[str] | None = None,
    workers: int | None = None,
) -> tuple[PlannedCase, ...]:
    """What `run_study` with the same arguments would do, without doing it; nothing is written.

    Estimates are processor seconds over ``workers``: of a unit, the mean of the same arm's on the case in ``out``, or
    of the case's; before any is finished, `Scale.unit_s` of the case. Runs in the simulation cache are not looked for.

    Raises
    ------
    ValueError, StudyError
        As `run_study`.
    """
    scope = Scope.of(system, profile, arms)
    store = ResultStore(out)
    results = store.results() if store.path.is_file() else Results([])
    units = scope.units()
    count = workers or default_workers()
    found = []
    for name, case in scope.cases.items():
        scale = case.scales[scope.profile.name]
        own = [unit for unit in units if unit.case == name]
        left = [unit for unit in own if config_hash(unit, case, scope.profile) not in store]
        seconds = sum(_unit_seconds(unit, results, scale.unit_s) for unit in left)
        if left and not data_path(case, scope.profile, Path(out)).is_file():
            seconds += scale.simulate_s
        found.append(PlannedCase(name, len(own), len(own) - len(left), seconds / count))
    return tuple(found)


def _unit_seconds(unit: Unit, results: Results, otherwise: float) -> float:
    """Means over seeds of finished units that are alike."""
    measured = _processor_seconds(results, unit.case, [unit.arm], unit.setting) or _processor_seconds(
        results, unit.case, results.arms(unit.case, "costs", unit.setting), unit.setting
    )
    return float(np.mean(measured)) if measured else otherwise


def _processor_seconds(results: Results, case: str, arms: Iterable[str], setting: str) -> list[float]:
    return [
        value
        for arm in arms
        for value in results.values(case, "costs", "unit, processor s", arm, setting=setting).values()
    ]
