"""The question of unseen conditions: its measures, its table, and runs that diverge."""

import dataclasses

import numpy as np
import pytest

from gmvae_fast.data import Snapshots
from gmvae_fast.studies.comparison import CASES, PROFILES
from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.questions import conditions
from gmvae_fast.studies.comparison.questions.base import Bench
from gmvae_fast.studies.comparison.questions.reconstruction import FieldScale
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Row
from gmvae_fast.training import TrainingDiverged

CASE, PROFILE = CASES["surface_reaction"], PROFILES["tiny"]


def family(n: int = 60) -> Snapshots:
    """Curves that are smooth functions of three conditions."""
    table = np.random.default_rng(0).uniform(0.5, 1, size=(n, 3))
    times = np.linspace(0, 1, 32)
    fields = np.exp(-4 * table[:, :1] * times) * table[:, 1:2] + table[:, 2:]
    quantities = dict(zip(CASE.conditions, table.T, strict=True))
    return Snapshots(
        fields[:, None].astype(np.float32), ("rho",), quantities=quantities, trajectory=np.arange(n),
        coordinates={"x": times},
    )  # fmt: skip


def bench() -> Bench:
    return Bench(CASE, PROFILE, family())


def test_smooth_fields_are_easy_for_splines_and_every_number_is_finite() -> None:
    rows = []
    for unit in conditions.plan(CASE, dataclasses.replace(PROFILE, seeds=(0,)), [REFERENCE, "pca"]):
        measures = conditions.perform(unit, bench()).measures[conditions.NAME]
        found = {(m.metric, m.detail): m.value for m in measures}
        assert sum(metric in ("error", "spectrum") for metric, _ in found) == 2 * 4
        assert all(np.isfinite(value) for value in found.values())
        assert found["error", conditions.POD] < 0.3
        rows += [Row(CASE.name, REFERENCE, unit.setting, seed, conditions.NAME, m.metric, m.detail, m.value + seed,
                     "h", "", "", 0.0) for m in measures for seed in (0, 1)]  # fmt: skip
    (table,) = conditions.tables(Results(rows), CASE)
    assert [row[0] for row in table.rows] == [
        conditions.OURS, conditions.NEIGHBOURS, conditions.POD, conditions.DECODED
    ]  # fmt: skip
    assert all(len(row) == 1 + 2 * 2 for row in table.rows)


def test_the_distance_of_spectra_is_in_decades() -> None:
    snapshots = family()
    scale = FieldScale(snapshots)
    fluctuation = snapshots.fields - scale.mean
    simulated = conditions.mean_spectra(snapshots.fields, snapshots, scale)
    assert conditions.spectral_distance(simulated, simulated) == 0
    ten_times_the_energy = (scale.mean + np.sqrt(10) * fluctuation).astype(np.float32)
    more = conditions.mean_spectra(ten_times_the_energy, snapshots, scale)
    assert conditions.spectral_distance(more, simulated) == pytest.approx(1, abs=1e-3)


def test_rows_of_the_figure_add_up() -> None:
    unit = conditions.plan(CASE, dataclasses.replace(PROFILE, seeds=(0,)), [REFERENCE])[0]
    measures = conditions.perform(unit, bench()).measures[conditions.NAME]
    by_metric: dict[str, dict[str, float]] = {}
    for m in measures:
        by_metric.setdefault(m.metric, {})[m.detail] = m.value
    errors = [v for d, v in by_metric[conditions.ERROR_AT].items() if d.startswith(conditions.POD + conditions.OF)]
    assert len(errors) == 10
    assert min(errors) <= by_metric["error"][conditions.POD] <= max(errors)
    simulated = [v for d, v in by_metric[conditions.ENERGY].items() if d.startswith(conditions.SIMULATION)]
    assert sum(simulated) < 1  # of all energy; shell 0 is left out
    (text,) = by_metric[conditions.TRAINED_AT]
    marks = [float(part) for part in text.split()]
    assert len(marks) == min(conditions.MOST_MARKS, 48)
    assert marks == sorted(marks)


def test_conditions_are_binned_where_they_are_many() -> None:
    few = list(conditions.condition_bins(np.array([3.0, 1.0, 3.0])))
    assert [(at, rows.tolist()) for at, rows in few] == [(1.0, [1]), (3.0, [0, 2])]
    values = np.random.default_rng(0).permutation(100).astype(float)
    many = list(conditions.condition_bins(values))
    assert len(many) == conditions.MOST_BINS
    assert [at for at, _ in many] == pytest.approx(np.arange(10) * 10 + 4.5)
    assert sorted(np.concatenate([rows for _, rows in many])) == list(range(100))


def test_a_run_that_diverges_is_counted_and_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(*_: object) -> None:
        raise TrainingDiverged("the loss became nan")

    arm = dataclasses.replace(conditions.ARMS[REFERENCE], fit=diverges)  # type: ignore[arg-type]
    monkeypatch.setitem(conditions.ARMS, REFERENCE, arm)
    unit = conditions.plan(CASE, PROFILE, [REFERENCE])[0]
    (measure,) = conditions.perform(unit, bench()).measures[conditions.NAME]
    assert (measure.metric, measure.value) == ("diverged", 1.0)
