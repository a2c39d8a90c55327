"""The command line, run in-process on the tiny wake: every command, exit codes and messages."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from gmvae_fast import cli
from gmvae_fast.data import Snapshots


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One cache of simulated runs for the whole module."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("GMVAE_FAST_CACHE")
    os.environ["GMVAE_FAST_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["GMVAE_FAST_CACHE"]
    else:
        os.environ["GMVAE_FAST_CACHE"] = before


def run(monkeypatch, *arguments):
    """Exit code of `gmvae-fast ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["gmvae-fast", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_stages_one_by_one_end_in_a_report(tmp_path, cache, monkeypatch, capsys):
    data, study = tmp_path / "wake.npz", tmp_path / "study"
    assert run(monkeypatch, "simulate", "wake", "--size", "tiny", "--runs", 16, "--out", data) == 0
    assert len(Snapshots.load(data)) == 16
    for seed in (0, 1):
        options = ["--network", "mlp", "--widths", "8", "--epochs", 4, "--stratify", "re_group", "--seed", seed]
        assert run(monkeypatch, "train", data, "--out", study, *options) == 0
    assert run(monkeypatch, "embed", study) == 0
    assert run(monkeypatch, "score", study, "--neighbors", 4) == 0
    assert "score log_Re" in capsys.readouterr().out
    assert run(monkeypatch, "report", study) == 0
    page = (study / "report.html").read_text()
    assert "gmvae-fast" in page
    assert "data:image/png;base64" in page
    scores = json.loads((study / "seed_1" / "scores.json").read_text())
    assert scores["n_neighbors"] == 4
    assert {row["signal"] for row in scores["rows"]} >= {"Re", "drag", "lift"}
    assert scores["skipped"] == {"time": "constant"}
    summary = json.loads((study / "summary.json").read_text())["metrics"]
    assert len(summary["held_out_error"]["values"]) == 2
    with np.load(study / "seed_0" / "embedding.npz") as latents:
        assert latents["mean"].shape == (16, 2)
        np.testing.assert_allclose(latents["responsibilities"].sum(1), 1, atol=1e-5)


def test_demo_runs_and_says_which_targets_are_missed(tmp_path, cache, monkeypatch, capsys):
    small = ["--size", "tiny", "--runs", 16, "--seeds", "0", "--epochs", 2, "--quiet"]
    code = run(monkeypatch, "demo", "--out", tmp_path / "demo", *small)
    printed = capsys.readouterr().out
    assert code == 1  # two epochs cannot reach the targets
    assert "MISS  relative L2 error of held-out fluctuations" in printed
    assert (tmp_path / "demo" / "report.html").exists()
    study = json.loads((tmp_path / "demo" / "study.json").read_text())
    assert len(study["targets"]) == 4
    assert study["versions"]["torch"]
    validation = json.loads((tmp_path / "demo" / "validation.json").read_text())
    assert validation["quick"]
    assert validation["passed"]


def test_the_surface_reaction_by_the_command_line(tmp_path, cache, monkeypatch, capsys):
    data = tmp_path / "reaction.npz"
    options = ["--design", "bistable", "--size", "tiny", "--set", "noise=0.02", "--set", "monostable=true"]
    assert run(monkeypatch, "simulate", "surface_reaction", *options, "--seed", 3, "--out", data) == 0
    made = Snapshots.load(data)
    assert made.fields.shape == (64, 1, 128)
    assert made.attributes["noise"] == 0.02
    assert set(made.labels["branch"]) == {0, 1, 2}
    small = ["--runs", 80, "--seeds", "0", "--epochs", 2, "--quiet", "--out", tmp_path / "demo"]
    assert run(monkeypatch, "demo", "--system", "surface_reaction", *small) == 1  # two epochs reach no targets
    assert "ARI against the side of the unstable state" in capsys.readouterr().out
    assert "a surface reaction in time" in (tmp_path / "demo" / "report.html").read_text()


def test_validate_prints_the_table(monkeypatch, capsys):
    from gmvae_fast.data.systems import surface_reaction

    for value, code in ((0.5, 0), (2.0, 1)):
        row = surface_reaction.ValidationRow("case", "quantity", value, 0.0, 1.0, "source")
        report = surface_reaction.ValidationReport((row,), {"case": 0.0}, quick=True, system="surface_reaction")
        monkeypatch.setattr(surface_reaction, "validate", lambda quick, progress, report=report: report)
        assert run(monkeypatch, "validate", "surface_reaction", "--quick") == code
        verdict = "FAILED" if code else "passed"
        assert f"validation of the surface reaction (quick): {verdict}" in capsys.readouterr().out


def test_info_as_json(monkeypatch, capsys):
    assert run(monkeypatch, "info", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["cpu_instruction_set"] in status["cpu_instruction_sets"]
    assert status["versions"]["gmvae_fast"] == status["version"]


def test_info_for_people(monkeypatch, capsys):
    assert run(monkeypatch, "info") == 0
    assert "cpu instruction set" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["simulate", "pipe", "--out", "x.npz"],
            "system must be one of ['ignition', 'surface_reaction', 'wake'], got 'pipe'",
        ),
        (["simulate", "wake", "--geometry", "box", "--out", "x.npz"], "got 'box'"),
        (["simulate", "wake", "--runs", "0", "--out", "x.npz"], "n_runs"),
        (
            ["simulate", "surface_reaction", "--geometry", "channel", "--out", "x.npz"],
            "surface_reaction has no option 'geometry'; it takes design, n_runs, seed, size, noise, kappa, monostable",
        ),
        (["simulate", "wake", "--set", "noise=0.1", "--out", "x.npz"], "wake has no option 'noise'; it takes geometry"),
        (["simulate", "wake", "--set", "noise", "--out", "x.npz"], "--set must be NAME=VALUE"),
        (["simulate", "surface_reaction", "--set", "noise=loud", "--out", "x.npz"], "noise must be a finite number"),
        (["simulate", "surface_reaction", "--design", "clustered", "--out", "x.npz"], "'bistable', 'oscillating'"),
        (["train", "missing.npz", "--out", "s"], "missing.npz"),
        (["embed", "nothing"], "study.json: no such file"),
        (["score", "nothing"], "study.json: no such file"),
        (["report", "nothing"], "nothing: no such study folder"),
        (["demo", "--system", "tank"], "system must be one of channel, free_stream, surface_reaction, got 'tank'"),
        (["demo", "--seeds", "a,b"], "--seeds must be integers separated by commas, got 'a,b'"),
        (["validate", "pipe"], "system must be one of ['ignition', 'surface_reaction', 'wake'], got 'pipe'"),
    ],
)
def test_expected_failures_are_one_line_and_exit_1(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, *arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("gmvae-fast: error: ")
    assert message in error
    assert error.count("\n") == 1


def test_bad_training_options_name_the_option(tmp_path, cache, monkeypatch, capsys):
    data = tmp_path / "wake.npz"
    assert run(monkeypatch, "simulate", "wake", "--size", "tiny", "--runs", 6, "--out", data) == 0
    for options, message in (
        (["--components", "60"], "at least n_components = 60 snapshots"),
        (["--network", "rnn"], "network must be 'auto', 'mlp', 'conv'"),
        (["--epochs", "0"], "epochs must be an integer >= 1, got 0"),
        (["--stratify", "colour"], "colour"),
    ):
        assert run(monkeypatch, "train", data, "--out", tmp_path / "s", *options) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("command", ["simulate", "validate"])
def test_the_help_names_every_system(command, monkeypatch, capsys):
    from gmvae_fast.data.systems import SYSTEMS

    assert run(monkeypatch, command, "--help") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert all(name in printed for name in SYSTEMS)


def test_the_installed_command_exists():
    result = subprocess.run(
        [sys.executable, "-m", "gmvae_fast.cli", "--help"], capture_output=True, text=True, timeout=120, check=True
    )
    for command in ("simulate", "train", "embed", "score", "report", "demo", "validate", "info"):
        assert command in result.stdout


def test_training_splits_by_condition_and_by_time_and_refuses_leakage(tmp_path, monkeypatch, capsys):
    """Every way to split from the command line, and what reaches the study folder."""
    frames, runs = 12, 6
    reynolds = np.repeat(100.0 * (1 + np.arange(runs)), frames)
    time = np.tile(0.5 * np.arange(frames), runs)
    fields = np.sin(time[:, None, None] + np.linspace(0, 3, 8)) * np.sqrt(reynolds)[:, None, None]
    data, study = tmp_path / "runs.npz", tmp_path / "study"
    Snapshots(fields, ("u",), {"Re": reynolds}, trajectory=np.repeat(np.arange(runs), frames), time=time).save(data)
    small = ["--components", 2, "--widths", "8", "--epochs", 3, "--quiet", "--network", "mlp"]

    def train(seed, *options):
        return run(monkeypatch, "train", data, "--out", study, "--seed", seed, *small, *options)

    by_re = ["--split", "condition", "--quantity", "Re"]
    assert train(0, *by_re, "--hold-out", "150:250,600") == 0
    assert train(1, *by_re, "--hold-out", "above", "--validation-fraction", 0.2) == 0
    assert train(2, "--split", "time", "--gap", 1.5, "--test-fraction", 0.25) == 0
    assert train(3, "--split", "frame", "--allow-leakage") == 0
    parts = {}
    for seed in range(4):
        with np.load(study / f"seed_{seed}" / "split.npz") as archive:
            parts[seed] = {name: archive[name] for name in archive.files}
    assert set(reynolds[parts[0]["test"]]) == {200, 600}
    assert set(reynolds[parts[1]["test"]]) == {600}
    assert set(reynolds[parts[1]["validation"]]) == {500}
    assert time[parts[2]["test"]].min() - time[parts[2]["train"]].max() == 1.5
    assert len(parts[3]["test"]) == 14
    config = json.loads((study / "seed_1" / "config.json").read_text())["split"]
    assert config["by"] == "condition"
    assert config["details"]["test_outside_train_range"] == 1
    assert run(monkeypatch, "embed", study) == run(monkeypatch, "score", study) == 0
    with np.load(study / "seed_1" / "embedding.npz") as latents:
        np.testing.assert_array_equal(np.flatnonzero(latents["is_train"]), parts[1]["train"])
    capsys.readouterr()
    for options, message in (
        (["--split", "frame"], "memorised"),
        (["--split", "time"], "needs gap"),
        (["--split", "time", "--gap", 0], "allow_leakage=True"),
        (["--split", "condition"], "needs quantity"),
        (["--split", "condition", "--quantity", "Re", "--hold-out", "1:x"], "--hold-out must be a rule"),
        (["--quantity", "Re"], "a split by trajectory has no quantity"),
    ):
        assert train(9, *options) == 1
        assert message in capsys.readouterr().err
