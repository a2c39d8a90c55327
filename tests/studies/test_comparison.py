"""The comparison from end to end on the smallest profile: store, resuming, tables, page, command."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import multiprocessing
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from typer.testing import CliRunner

from gmvae_fast.cli import app
from gmvae_fast.data import Snapshots
from gmvae_fast.report import build_comparison
from gmvae_fast.studies.comparison import (
    CASES,
    PROFILES,
    PlannedCase,
    ResultStore,
    check_targets,
    load_results,
    plan_study,
    run_study,
)
from gmvae_fast.studies.comparison.arms import ARMS, REFERENCE, Arm
from gmvae_fast.studies.comparison.bench import Bench
from gmvae_fast.studies.comparison.preparation import thinned
from gmvae_fast.studies.comparison.questions import components, sensitivity
from gmvae_fast.studies.comparison.questions.regimes import majority_by_run
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Row
from gmvae_fast.studies.comparison.runner import Setting, _outcomes
from gmvae_fast.studies.comparison.statistics import holm, paired_test, spread
from gmvae_fast.studies.comparison.study import data_path
from gmvae_fast.studies.comparison.tables import Compared
from gmvae_fast.studies.comparison.units import Unit
from gmvae_fast.studies.folder import StudyError
from gmvae_fast.training import TrainingDiverged

SYSTEM = "surface_reaction"
ARM_UNITS, UNITS = 6, 16  # three arms on two seeds; choice of K, two arms from another start, two held-out ranges


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    again(folder, folder / "out")
    return folder


def again(study: Path, out: Path) -> list[str]:
    """Run the study of the fixture in ``out``; what was said."""
    said: list[str] = []
    outcome = run_study(
        SYSTEM,
        out,
        profile="tiny",
        arms=["pca", "joint"],
        workers=1,
        progress=False,
        cache_dir=study / "cache",
        say=said.append,
    )
    assert not outcome.failures
    return said


def test_every_arm_answers_on_every_seed(study: Path) -> None:
    results = load_results(study / "out" / "results.csv")
    assert results.systems == (SYSTEM,)
    assert set(results.arms(SYSTEM)) == {"block", "joint", "pca"}
    for arm in ("block", "joint", "pca"):
        for question, metric, detail in (
            ("smoothness", "score", "rho_final"),
            ("regimes", "ARI", "branch"),
            ("regimes", "accuracy", "branch"),
            ("stability", "dead components", ""),
            ("reconstruction", "error", "held out"),
        ):
            assert set(results.values(SYSTEM, question, metric, arm, detail=detail)) == {0, 1}, (arm, metric)
    assert results.arms(SYSTEM, "samples") == ("block", "joint")
    back = results.values(SYSTEM, "samples", "classified back", "block")
    assert set(back) == {0, 1}
    assert all(0 <= share <= 1 for share in back.values())
    for rule in ("held out between", "held out beyond"):
        for method in ("GM-VAE", "interpolated neighbours", "POD + regression", "GM-VAE, fields encoded"):
            for metric in ("error", "spectrum"):
                found = results.values(SYSTEM, "conditions", metric, "block", detail=method, setting=rule)
                assert set(found) == {0, 1}
                assert all(0 <= value < 10 for value in found.values())


def test_the_choice_of_k_and_the_grid_are_answered(study: Path) -> None:
    results = load_results(study / "out" / "results.csv")
    for criterion in components.CRITERIA:
        chosen = results.values(SYSTEM, "components", "chosen", "block", detail=criterion, setting=components.SETTING)
        right = results.values(SYSTEM, "components", "right", "block", detail=criterion, setting=components.SETTING)
        assert set(chosen) == {0, 1}
        assert all(right[seed] == (k == 2) and 1 <= k <= 4 for seed, k in chosen.items())
    first, second = components.tables(results, CASES[SYSTEM])
    assert len(first.rows) == len(components.CRITERIA)
    assert [row[0] for row in second.rows] == ["K = 1", "K = 2", "K = 3", "K = 4"]
    (grid,) = sensitivity.tables(results, CASES[SYSTEM])
    assert [row[:3] for row in grid.rows] == [
        (arm, f"learning rate x 1, start {start}", 2.0) for arm in ("block", "joint") for start in ("latents", "normal")
    ]
    own = results.values(SYSTEM, "regimes", "ARI", "block", detail="branch")
    cells = [row[-1] for row in grid.rows]
    assert isinstance(cells[0], Compared)
    assert isinstance(cells[2], Compared)
    assert cells[0].spread.mean == pytest.approx(np.mean(list(own.values())))
    assert (cells[0].test is None, cells[2].test is None) == (True, False)
    assert components.plan(CASES["free_stream"], PROFILES["quick"], ["block"]) == []  # no right number there
    assert len(sensitivity.plan(CASES["channel"], PROFILES["quick"], ["block", "joint", "pca"])) == 2 * 5 * 5


def test_a_run_of_the_grid_that_diverges_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges(*_: object) -> None:
        raise TrainingDiverged("the loss became nan")

    monkeypatch.setattr(sensitivity, "train_arm", diverges)
    unit = sensitivity.plan(CASES[SYSTEM], PROFILES["tiny"], ["block"])[0]
    bench = Bench(CASES[SYSTEM], PROFILES["tiny"], None)  # type: ignore[arg-type]
    assert [(m.metric, m.value) for m in sensitivity.perform(unit, bench).measures["sensitivity"]] == [
        ("diverged", 1.0)
    ]


def test_rows_carry_where_they_come_from(study: Path) -> None:
    rows = load_results(study / "out" / "results.csv").rows
    assert all(len(row.config_hash) == 16 and "torch=" in row.versions for row in rows)
    hashes = {(row.arm, row.setting, row.seed): row.config_hash for row in rows if row.seed >= 0}
    assert len(set(hashes.values())) == len(hashes) == UNITS
    assert sum(not setting for _, setting, _ in hashes) == ARM_UNITS


def test_finished_units_are_not_done_again(study: Path) -> None:
    before = (study / "out" / "results.csv").read_bytes()
    assert f"{UNITS} units, {UNITS} of them done before" in again(study, study / "out")
    assert (study / "out" / "results.csv").read_bytes() == before


def test_a_unit_that_was_cut_off_is_done_again_with_the_same_numbers(study: Path, tmp_path: Path) -> None:
    whole = (study / "out" / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(whole[: len(whole) - 200])
    assert f"{UNITS} units, {UNITS - 1} of them done before" in again(study, tmp_path)
    first, second = (load_results(path / "results.csv") for path in (study / "out", tmp_path))
    for question, metric, detail in (("regimes", "ARI", "branch"), ("smoothness", "score", "rho_final")):
        for arm in ("block", "joint", "pca"):
            found = first.values(SYSTEM, question, metric, arm, detail=detail)
            assert found == second.values(SYSTEM, question, metric, arm, detail=detail)


def test_a_plan_says_what_is_left_and_writes_nothing(study: Path, tmp_path: Path) -> None:
    def plan(out: Path, workers: int) -> PlannedCase:
        (found,) = plan_study(SYSTEM, out, profile="tiny", arms=["pca", "joint"], workers=workers)
        return found

    assert plan(study / "out", 1) == PlannedCase(SYSTEM, UNITS, UNITS, 0.0)
    assert plan(tmp_path / "none", 1).seconds == pytest.approx(2 * plan(tmp_path / "none", 2).seconds)
    assert not (tmp_path / "none").exists()
    whole = (study / "out" / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(whole[: len(whole) - 200])
    cut = plan(tmp_path, 1)
    assert (cut.units, cut.done) == (UNITS, UNITS - 1)
    last = load_results(study / "out" / "results.csv").rows[-1]
    first = load_results(tmp_path / "results.csv").values(
        SYSTEM, "costs", "unit, processor s", last.arm, setting=last.setting
    )
    scale = CASES[SYSTEM].scales["tiny"]
    assert cut.seconds == pytest.approx(first[0] + scale.simulate_s)  # the other seed's unit


def test_a_unit_runs_on_one_thread_and_the_callers_setting_stays(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def looks(*_: object) -> None:
        seen.append(torch.get_num_threads())
        raise ValueError("enough")

    monkeypatch.setitem(ARMS, REFERENCE, Arm(REFERENCE, "looks", looks, "GM-VAE"))  # type: ignore[arg-type]
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_study(SYSTEM, tmp_path, profile="tiny", arms=[], workers=1, progress=False, cache_dir=study / "cache",
                  say=lambda line: None)  # fmt: skip
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1] * 8  # two seeds, each from two starts and without two ranges


def test_thinned_snapshots_keep_every_second_point() -> None:
    fields = np.arange(2 * 3 * 5 * 6, dtype=np.float32).reshape(2, 3, 5, 6)
    mask = np.ones((5, 6), dtype=bool)
    mask[2, 4] = False
    snapshots = Snapshots(fields, ("u", "v", "p"), mask=mask, coordinates={"y": np.arange(5.0), "x": np.arange(6.0)})
    found = thinned(snapshots, 2)
    np.testing.assert_array_equal(found.fields, fields[:, :, ::2, ::2])
    assert not found.mask[1, 2]
    assert found.mask.sum() == 8
    assert found.coordinates["x"].tolist() == [0, 2, 4]
    assert thinned(snapshots, 1) is snapshots


def test_a_compressed_file_says_the_same(study: Path, tmp_path: Path) -> None:
    whole = (study / "out" / "results.csv").read_bytes()
    path = tmp_path / "results.csv.gz"
    path.write_bytes(gzip.compress(whole))
    assert load_results(path).rows == load_results(study / "out" / "results.csv").rows
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StudyError, match="not readable"):
        load_results(path)


def test_another_file_in_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(StudyError, match="not a result file of a study"):
        ResultStore(tmp_path)
    with pytest.raises(StudyError, match="no such file"):
        load_results(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("system", "profile", "arms", "message"),
    [
        ("turbine", "tiny", None, "system must be one of"),
        ("chanel", "tiny", None, "did you mean 'channel'"),
        (SYSTEM, "slow", None, "profile must be one of"),
        (SYSTEM, "Quick", None, "did you mean 'quick'"),
        (SYSTEM, "tiny", ["vqvae"], "arms must be of"),
        (SYSTEM, "tiny", ["pca", "t-sne"], "got 't-sne'; did you mean 'tsne'"),
    ],
)
def test_unknown_names(tmp_path: Path, system: str, profile: str, arms: list[str] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_study(system, tmp_path, profile=profile, arms=arms, progress=False)


def test_who_stops_a_study_does_not_wait_for_its_units(study: Path) -> None:
    case, profile = CASES[SYSTEM], PROFILES["tiny"]
    setting = Setting(study, {SYSTEM: data_path(case, profile, study / "out")}, {SYSTEM: case}, profile, "", "")
    outcomes = _outcomes([Unit(SYSTEM, "pca", seed) for seed in range(20)], setting, 2)
    before = set(multiprocessing.active_children())
    next(outcomes)
    workers = set(multiprocessing.active_children()) - before
    assert len(workers) == 2
    with pytest.raises(KeyboardInterrupt):
        outcomes.throw(KeyboardInterrupt())
    # the pool's own thread may be the one that reaps a worker: `join` returns then before its exit code is known
    deadline = time.monotonic() + 60
    while any(process.exitcode is None for process in workers) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {process.exitcode for process in workers} == {-signal.SIGTERM}


def test_a_diverged_run_counts_and_an_error_does_not_end_the_study(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverges(*_: object) -> None:
        raise TrainingDiverged("the loss became nan")

    def fails(*_: object) -> None:
        raise ValueError("no such luck")

    monkeypatch.setitem(ARMS, "joint", Arm("joint", "diverges", diverges, "GM-VAE"))  # type: ignore[arg-type]
    monkeypatch.setitem(ARMS, "pca", Arm("pca", "fails", fails, "baseline"))  # type: ignore[arg-type]
    outcome = run_study(
        SYSTEM,
        tmp_path,
        profile=dataclasses.replace(PROFILES["tiny"], seeds=(0,)),
        arms=["pca", "joint"],
        workers=1,
        progress=False,
        cache_dir=study / "cache",
        say=lambda line: None,
    )
    assert [str(f.unit) for f in outcome.failures] == ["surface_reaction, pca, seed 0"]
    assert outcome.failures[0].message == "ValueError: no such luck"
    assert not outcome.passed
    results = load_results(tmp_path / "results.csv")
    assert results.values(SYSTEM, "stability", "diverged", "joint") == {0: 1.0}
    assert results.values(SYSTEM, "stability", "diverged", "block") == {0: 0.0}


def test_the_page_is_made_from_the_folder_alone_and_escapes(study: Path, tmp_path: Path) -> None:
    page = build_comparison(study / "out", tmp_path / "page.html").read_text()
    for said in ("What must hold", "Where block loses", "Smoothness of physical quantities", "Regimes", "rho_final"):
        assert said in page
    # maps by quantity and regime, errors and spectra, confusion; scores, criteria, range of values
    assert page.count("data:image/png;base64,") == 4
    assert page.count("data:image/svg+xml;base64,") == 3
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "results.csv").write_bytes((study / "out" / "results.csv").read_bytes())
    assert build_comparison(tmp_path / "alone").read_text() == page
    (tmp_path / "alone" / "report.html").unlink()
    done = CliRunner().invoke(app, ["report", str(tmp_path / "alone")])  # on the command line too
    assert done.exit_code == 0, done.output
    assert (tmp_path / "alone" / "report.html").read_text() == page
    text = (study / "out" / "results.csv").read_text()
    (tmp_path / "results.csv").write_text(text.replace("rho_final", "<script>x</script>"))
    assert "<script>" not in build_comparison(tmp_path).read_text()


def test_the_command(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(study / "cache"))
    arguments = ["study", SYSTEM, "--profile", "tiny", "--arms", "pca,joint", "--workers", "1", "--quiet"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(study / "out"), "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == (0 if found["passed"] else 1)
    planned = CliRunner().invoke(app, [*arguments, "--out", str(study / "out"), "--plan"])
    assert "together" in planned.stdout
    assert planned.exit_code == 0
    assert Path(found["report"]).is_file()
    assert found["targets"][0]["name"] == "surface_reaction: ARI with branch, mean over seeds"


def row(arm: str, seed: int, value: float) -> Row:
    return Row(SYSTEM, arm, "", seed, "regimes", "ARI", "branch", value, "h", "", "", 0.0)


def test_targets_say_what_is_missed() -> None:
    rows = [row(REFERENCE, s, 0.9 + 0.01 * s) for s in range(5)] + [row("joint", s, 0.9 + 0.001 * s) for s in range(5)]
    targets = {t.name: t for t in check_targets(Results(rows))}
    ari = targets["surface_reaction: ARI with branch, mean over seeds"]
    assert ari.value == pytest.approx(0.92)
    assert ari.verdict == "MISS"
    steady = targets["spread of the ARI over seeds, block"]
    assert steady.value == pytest.approx(np.std([0.9, 0.91, 0.92, 0.93, 0.94], ddof=1))
    assert not steady.passed
    assert not targets["block: runs that diverged, all systems and seeds"].passed  # not measured


@pytest.mark.parametrize(("ours", "count"), [(0.99, 1), (0.984, 1), (0.9839, 0)])
def test_how_far_the_reference_is_from_the_best_baseline(ours: float, count: int) -> None:
    scores = {REFERENCE: ours, "pca": 0.98, "vae": 0.984, "joint": 1.0}
    rows = [
        dataclasses.replace(row(arm, s, score), question="smoothness", metric="score", detail="rho_final")
        for arm, score in scores.items()
        for s in range(2)
    ]
    targets = {t.name: t for t in check_targets(Results(rows))}
    lead = targets[f"{SYSTEM}: score of the main quantity, block less the best baseline (vae)"]
    assert lead.value == pytest.approx(ours - 0.984)
    assert lead.passed
    kept_up = targets["systems on which no baseline is smoother in the main quantity"]
    assert (kept_up.value, kept_up.bound, kept_up.verdict) == (count, "reported; aimed at >= 1", "reported")


def test_a_lead_within_the_noise_is_told_from_a_clear_one() -> None:
    noise = (0.01, -0.012, 0.004, -0.001, 0.002)
    for shift, clear in ((0.001, 1), (0.05, 0)):
        rows = [
            dataclasses.replace(row(arm, s, value), question="smoothness", metric="score", detail="rho_final")
            for s in range(5)
            for arm, value in ((REFERENCE, 0.9), ("vae", 0.9 + shift + noise[s]))
        ]
        targets = {t.name: t for t in check_targets(Results(rows))}
        assert targets["systems on which no baseline is smoother in the main quantity"].value == 0
        assert targets["systems on which no baseline is clearly smoother in the main quantity"].value == clear
        lead = targets[f"{SYSTEM}: score of the main quantity, block less the best baseline (vae)"]
        assert lead.bound.startswith("reported; p = ")


def test_statistics_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=8), rng.normal(0.4, 1, size=8)
    found = paired_test(dict(enumerate(a)), dict(enumerate(b)))
    assert found.n == 8
    assert found.difference == pytest.approx((a - b).mean())
    assert found.p_t == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found.p_wilcoxon == pytest.approx(stats.wilcoxon(a, b).pvalue)
    only_common = paired_test({0: 1.0, 1: 2.0, 5: 9.0}, {0: 0.5, 1: 1.0, 7: 3.0})
    assert (only_common.n, only_common.difference) == (2, 0.75)
    assert paired_test({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0}).p_t == 1
    assert math.isnan(paired_test({0: 1.0}, {0: 2.0}).p_t)
    assert spread([1.0, 3.0, math.nan]).std == pytest.approx(math.sqrt(2))
    assert spread([]).n == 0


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_the_majority_of_a_run() -> None:
    trajectory = np.array([5, 5, 5, 2, 2, 9])
    assert majority_by_run(trajectory, np.array([1, 0, 1, 2, 0, 1])).tolist() == [0, 1, 1]
