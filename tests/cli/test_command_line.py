"""Exit codes, suggestions, completion, JSON, devices, TensorBoard."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gmvae_fast import __version__, smoothness
from gmvae_fast._checks import nearest
from gmvae_fast._device import resolve_device
from gmvae_fast.cli._app import printable
from gmvae_fast.data import Snapshots, open_snapshots

SCRIPT = Path(sys.executable).with_name("gmvae-fast")


@pytest.fixture
def snapshots(tmp_path):
    """A file of 40 small fields in two groups, each a trajectory of its own."""
    generator = np.random.default_rng(0)
    group = np.arange(40) % 2
    fields = generator.normal(size=(40, 1, 8)) * 0.1 + group[:, None, None]
    path = tmp_path / "data.npz"
    Snapshots(fields, ("u",), {"level": fields.mean((1, 2))}, {"group": group}).save(path)
    return path


SMALL = ["--out", "s", "--network", "mlp", "--widths", "8", "--components", 2, "--epochs", 4, "--quiet"]


def test_json_of_every_stage(run, snapshots):
    def result(*arguments):
        code, out, _ = run(*arguments, "--json")
        assert code == 0
        return json.loads(out)  # one document and nothing else

    trained = result("train", snapshots, *SMALL, "--seed", 3)
    assert trained["folder"] == "s/seed_3"
    assert trained["last_epoch"]["epoch"] == 4
    assert result("embed", "s")["seeds"] == [{"folder": "s/seed_3", "seed": 3, "snapshots": 40}]
    assert 0 < result("score", "s", "--neighbors", 4)["metrics"]["held_out_error"]["mean"] < 2
    assert result("report", "s") == {"report": "s/report.html"}
    assert result("inspect", snapshots)["recognised"] is True
    assert result("convert", snapshots, "--out", "c.h5")["snapshots"] == 40
    assert result("info")["versions"]["gmvae_fast"]


@pytest.mark.filterwarnings("error", "ignore::ResourceWarning")  # files that other tests left to the collector
def test_data_without_quantities_are_scored_by_time_or_not_at_all(run, tmp_path):
    """To the report in both cases: files of others often hold fields and times only."""
    fields = np.random.default_rng(0).normal(size=(40, 1, 6, 6)).astype(np.float32)
    np.save(tmp_path / "bare.npy", fields)
    Snapshots(fields, ("u",), trajectory=np.arange(40) // 8, time=np.arange(40.0) % 8).save(tmp_path / "timed.npz")
    for name, signals in (("bare.npy", []), ("timed.npz", ["time"])):
        small = ["--out", f"s_{name}", *SMALL[2:]]
        for command in (("train", name, *small), ("embed", f"s_{name}"), ("score", f"s_{name}", "--neighbors", 4)):
            code, _, err = run(*command)
            assert code == 0, err
        scores = json.loads((tmp_path / f"s_{name}/seed_0/scores.json").read_text())
        assert [row["signal"] for row in scores["rows"]] == signals
        assert all(list(point["scores"]) == signals for point in scores["neighbor_sweep"])
        assert scores["n_components"] >= 1
        assert run("report", f"s_{name}")[0] == 0


def test_scores_by_other_graphs_with_whole_runs_permuted(run, tmp_path):
    rng = np.random.default_rng(0)
    level = np.repeat(rng.random(8), 5)
    fields = level[:, None, None, None] + 0.1 * rng.normal(size=(40, 1, 4, 4))
    Snapshots(fields, ("u",), {"level": level, "noise": rng.normal(size=40)}, trajectory=np.arange(40) // 5).save(
        "r.npz"
    )
    assert run("train", "r.npz", *SMALL)[0] == run("embed", "s")[0] == 0
    asked = ("--neighbors", 4, "--weights", "gaussian", "--symmetrize", "mutual", "--connect")
    code, out, err = run("score", "s", *asked, "--permutations", 19, "--bootstrap", 9)
    assert code == 0, err
    assert "p permuted level" in out
    assert "score from level" in out
    scores = json.loads((tmp_path / "s/seed_0/scores.json").read_text())
    assert (scores["weights"], scores["symmetrize"], scores["n_components"]) == ("gaussian", "mutual", 1)
    rows = {row["signal"]: row for row in scores["rows"]}
    latents = np.load(tmp_path / "s/seed_0/embedding.npz")["mean"]
    graph = {"n_neighbors": 4, "weights": "gaussian", "symmetrize": "mutual", "connect": True}
    expected = smoothness(latents, level, **graph, groups=np.arange(40) // 5, permutations=19, bootstrap=9)["signal"]
    for key in ("score", "p_permutation", "score_lower", "score_upper"):
        assert rows["level"][key] == pytest.approx(getattr(expected, key))
    assert run("report", "s")[0] == 0
    assert run("score", "s", "--neighbors", 4)[0] == 0
    again = json.loads((tmp_path / "s/seed_0/scores.json").read_text())
    assert "p_permutation" not in again["rows"][0]
    code, _, err = run("score", "s", "--weights", "gausian")
    assert code == 1
    assert "did you mean 'gaussian'?" in err


def test_quantities_that_cannot_be_scored_are_named(run):
    quantities = {"level": np.arange(40.0), "still": np.ones(40), "gaps": np.where(np.arange(40) < 3, np.nan, 1.0)}
    Snapshots(np.random.default_rng(0).normal(size=(40, 1, 8)), ("u",), quantities).save("named.npz")
    assert run("train", "named.npz", *SMALL)[0] == run("embed", "s")[0] == 0
    code, out, _ = run("score", "s", "--neighbors", 4)
    assert code == 0
    assert out.splitlines()[-2:] == ["not scored: still, constant", "not scored: gaps, not defined for 3 snapshots"]


def test_volumes_are_shown_by_their_middle_plane(run, tmp_path):
    fields = np.random.default_rng(0).normal(size=(20, 2, 3, 4, 5))
    Snapshots(fields, ("u", "v"), {"Re": np.arange(20.0)}, mask=np.arange(60).reshape(3, 4, 5) > 0).save("volumes.npz")
    assert run("train", "volumes.npz", *SMALL)[0] == 0
    assert run("embed", "s")[0] == run("score", "s", "--neighbors", 4)[0] == run("report", "s")[0] == 0
    page = (tmp_path / "s" / "report.html").read_text()
    assert "shape [C, D, H, W]" in page
    assert "20 snapshots, each holding u and v on 3 × 4 × 5 points" in page
    assert "the plane in the middle of z" in page


def test_a_study_goes_on_with_its_own_data_only(run, snapshots, tmp_path):
    assert run("train", snapshots, *SMALL)[0] == 0
    whole = Snapshots.load(snapshots)
    whole[:20].save("half.npz")
    Snapshots(whole.fields, ("v",)).save("other.npz")
    for name, message in (("half.npz", "snapshots 40, got 20"), ("other.npz", "fields ['u'], got ['v']")):
        for command in ("embed", "score"):
            code, _, err = run(command, "s", "--data", name)
            assert code == 1
            assert message in err
    snapshots.rename(tmp_path / "moved.npz")
    code, _, err = run("embed", "s")
    assert code == 1
    assert "pass --data FILE" in err
    assert run("embed", "s", "--data", "moved.npz")[0] == 0


@pytest.mark.parametrize("given", ["data.npz", "dat?.npz"])
def test_a_study_finds_its_data_from_every_folder(run, snapshots, tmp_path, monkeypatch, given):
    """Trained by a relative path: embedded from elsewhere, and after study and data have moved together."""
    home = tmp_path / "home [1]"  # brackets are a pattern's
    (home / "runs").mkdir(parents=True)
    snapshots.rename(home / "data.npz")
    monkeypatch.chdir(home)
    arguments = ["train", given, "--out", "runs/s", *SMALL[2:]]
    assert run(*arguments)[0] == 0
    monkeypatch.chdir(home / "runs")
    assert run("embed", "s")[0] == 0
    home.rename(tmp_path / "away")
    monkeypatch.chdir(tmp_path)
    assert run("embed", "away/runs/s")[0] == run("score", "away/runs/s", "--neighbors", 4)[0] == 0
    assert run("report", "away/runs/s")[0] == 0
    arguments[1:4] = ["away/data.npz", "--out", "away/runs/s"]
    assert run(*arguments)[0] == 0  # goes on from its checkpoint
    study = json.loads((tmp_path / "away/runs/s/study.json").read_text())
    assert study["data_path"] == str(tmp_path / "away" / "data.npz")


def test_simulations_are_written_in_the_format_of_their_name(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "cache"))
    small = ["surface_reaction", "--size", "tiny", "--quiet", "--out"]
    for name in ("r.npz", "r.h5", "r.zarr"):
        assert run("simulate", *small, name)[0] == 0
        np.testing.assert_array_equal(open_snapshots(name).fields, open_snapshots("r.npz").fields)
    code, _, err = run("simulate", *small, "r.nc")
    assert code == 1
    assert "--out must end in .npz, .h5, .hdf5, .zarr, got 'r.nc'" in err


def test_a_single_run_is_told_how_it_can_be_split(run, tmp_path):
    Snapshots(np.zeros((9, 1, 4, 4)), ("u",), trajectory=np.zeros(9, np.int64), time=np.arange(9.0)).save("one.npz")
    code, _, err = run("train", "one.npz", *SMALL)
    assert code == 1
    assert "--split time" in err


def test_json_of_a_system(run, tmp_path, monkeypatch):
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "cache"))
    arguments = ["simulate", "surface_reaction", "--size", "tiny", "--out", "r.npz", "--json"]
    code, out, _ = run(*arguments)
    assert code == 0
    assert json.loads(out)["field_names"] == ["rho"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["simulate", "wkae", "--out", "x.npz"], 1, "got 'wkae'; did you mean 'wake'?"),
        (["simulate", "wake", "--design", "Clustered", "--out", "x.npz"], 1, "did you mean 'clustered'?"),
        (["simulate", "wake", "--geometry", "free-stream", "--out", "x.npz"], 1, "did you mean 'free_stream'?"),
        (["simulate", "ignition", "--set", "nife=x", "--out", "x.npz"], 1, "did you mean 'knife'?"),
        (["simulate", "wake", "--size", "papr", "--out", "x.npz"], 1, "did you mean 'paper'?"),
        (["validate", "ignitoin"], 1, "did you mean 'ignition'?"),
        (["demo", "--system", "chanel"], 1, "did you mean 'channel'?"),
        (["train", "data.npz", *SMALL, "--covariance-type", "fulll"], 1, "did you mean 'full'?"),
        (["train", "data.npz", *SMALL, "--assignment", "exct"], 1, "did you mean 'exact'?"),
        (["train", "data.npz", *SMALL, "--stratify", "gruop"], 1, "did you mean 'group'?"),
        (["train", "data.npz", *SMALL, "--device", "cude"], 1, "did you mean 'cuda'?"),
        (["inspect", "data.npz", "--format", "the-well"], 1, "did you mean 'the_well'?"),
        (["convert", "data.npz", "--out", "c.h5", "--dtype", "float61"], 1, "did you mean 'float16'?"),
        (["convert", "data.npz", "--out", "c.h5", "--compression", "gizp"], 1, "did you mean 'gzip'?"),
        (["study", "wake", "--profile", "tni"], 1, "did you mean 'tiny'?"),
        (["completion", "fihs"], 1, "did you mean 'fish'?"),
        (["inspect", "dtaa.npz"], 1, "dtaa.npz: no such file or folder; did you mean 'data.npz'?"),
        (["simulate", "wake", "--out", "data.npz/c.h5"], 1, "Not a directory: 'data.npz/c.h5'"),
        (["trian"], 2, "Did you mean 'train'?"),
        (["train", "data.npz", *SMALL, "--epoch", 3], 2, "--epochs"),
        (["train", "data.npz", *SMALL, "--epochs", "many"], 2, "--epochs"),
        (["train"], 2, "data"),
        ([], 2, "Commands"),
    ],
)
def test_exit_codes_and_the_nearest_name(run, snapshots, arguments, code, message):
    ended, out, err = run(*arguments)
    assert ended == code
    assert message in out + err


def test_a_name_like_no_other_gets_no_advice():
    assert nearest("pipe", ["wake", "ignition"]) == ""
    assert nearest(3, ["wake"]) == ""


def test_text_out_of_files_cannot_steer_the_terminal(run, tmp_path):
    assert printable("a\x1b[2J\x07b\n\u202ec é") == "a\\x1b[2J\\x07b\n\\u202ec é"
    np.savez(tmp_path / "evil.npz", **{"\x1b[2Ju": np.zeros((3, 2, 2, 2, 2, 2))})
    _, out, err = run("inspect", "evil.npz")
    assert "\\x1b[2Ju" in out + err
    assert "\x1b" not in out + err


def test_completion_of_commands_options_and_names(run, monkeypatch):
    def completed(words):
        monkeypatch.setenv("_GMVAE_FAST_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
        return run()[1].split()

    assert completed("gmvae-fast tr") == ["train"]
    assert completed("gmvae-fast simulate w") == ["wake"]
    assert "--learning-rate" in completed("gmvae-fast train --l")
    assert completed("gmvae-fast simulate wake --design clus") == ["clustered"]
    assert completed("gmvae-fast inspect --format the") == ["the_well"]


def test_the_version_and_the_whole_list_of_commands(run):
    assert run("--version")[:2] == (0, f"gmvae-fast {__version__}\n")
    code, out, _ = run("--help")
    assert code == 0
    assert "..." not in out.partition("Commands:")[2]  # no summary is cut


def test_a_report_without_scores_says_what_makes_them(run, snapshots):
    assert run("train", snapshots, *SMALL)[0] == 0
    code, _, err = run("report", "s")
    assert code == 1
    assert "missing from s; `gmvae-fast embed` and `gmvae-fast score`" in err


def test_a_constant_field_goes_through_every_stage(run, tmp_path):
    """Its relative error is not defined: NaN for people, null for programs, a dash on the page."""
    Snapshots(np.ones((40, 1, 8), np.float32), ("u",), {"level": np.arange(40.0)}).save(tmp_path / "flat.npz")
    assert run("train", "flat.npz", *SMALL)[0] == run("embed", "s")[0] == 0
    with pytest.warns(UserWarning, match="identical points"):
        code, out, _ = run("score", "s")
    assert code == 0
    assert "nan +- " in next(line for line in out.splitlines() if line.startswith("held_out_error"))
    with pytest.warns(UserWarning, match="identical points"):
        code, out, _ = run("score", "s", "--json")
    assert code == 0
    assert json.loads(out)["metrics"]["held_out_error"]["values"] == [None]
    assert run("report", "s")[0] == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell", "pwsh"])
def test_the_completion_script_of_every_shell(run, shell):
    code, script, _ = run("completion", shell)
    assert code == 0
    assert "_GMVAE_FAST_COMPLETE" in script
    assert f"complete_{shell.replace('pwsh', 'powershell')}" in script
    program = shutil.which(shell)
    if program and shell in ("bash", "zsh", "fish"):  # -n: parsed, not run
        subprocess.run([program, "-n"], input=script, text=True, check=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_output_that_cannot_be_written_is_named(options):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "gmvae_fast.cli", "info", *options]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ended.returncode == 1
    assert "No space left on device: 'standard output'" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_completion_script_is_shown():
    shown = subprocess.run(
        [SCRIPT, "--show-completion", "bash"],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert "_GMVAE_FAST_COMPLETE" in shown.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_cleanly(snapshots, tmp_path, number, code):
    command = [SCRIPT, "train", snapshots, *map(str, SMALL), "--epochs", "1000000"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "s" / "seed_0" / ".lock").exists():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        time.sleep(0.5)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert {130: "interrupted", 143: "terminated"}[code] in err
    assert "Traceback" not in err
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".partial", ".lock")]


def test_devices():
    assert resolve_device("cpu") == torch.device("cpu")
    if not torch.cuda.is_available():
        assert resolve_device("auto") == torch.device("cpu")
        with pytest.raises(ValueError, match="device 'cuda' is not there: .*; use cpu or auto"):
            resolve_device("cuda")
    for name in ("gpu", "cuda:x", "cpu:0", ""):
        with pytest.raises(ValueError, match="device must be auto, cpu, cuda or cuda:N"):
            resolve_device(name)


def test_tensorboard_holds_every_epoch(run, snapshots, tmp_path):
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert run("train", snapshots, *SMALL, "--tensorboard", "logs")[0] == 0
    events = loader.EventAccumulator(str(tmp_path / "logs" / "seed_0"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4]
    assert {"kl", "occupancy/0", "occupancy/1", "active_dimensions"} <= set(events.Tags()["scalars"])
    stored = json.loads((tmp_path / "s" / "seed_0" / "history.json").read_text())["epochs"]
    assert events.Scalars("loss")[-1].value == pytest.approx(stored[-1]["loss"], rel=1e-6)


def test_tensorboard_missing_names_the_extra(run, snapshots, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = run("train", snapshots, *SMALL, "--tensorboard", "logs")
    assert code == 1
    assert "pip install 'gmvae_fast[tensorboard]'" in err


def test_gaps_in_the_data_are_refused_dropped_or_masked(run, tmp_path):
    fields = np.random.default_rng(0).normal(size=(40, 1, 8, 8))
    fields[[3, 7], 0, 2, 2] = np.nan
    Snapshots(fields, ("u",), {"level": np.arange(40.0)}).save(tmp_path / "gaps.npz")
    code, _, err = run("train", "gaps.npz", *SMALL)
    assert code == 1
    assert "NaN or inf in snapshot 7, field 'u' (trajectory 7" in err  # numbered as in the file
    assert "field 'u'" in err
    for seed, policy, words, left_out in (
        (0, "drop", "snapshots hold NaN or inf and are left out", 2),
        (1, "mask", "NaN and infinite values are left out of the loss", 0),
    ):
        code, out, _ = run("train", "gaps.npz", *SMALL, "--on-nan", policy, "--seed", seed, "--json")
        assert code == 0
        notes = json.loads(out)["notes"]
        assert any(words in note for note in notes)
        if policy == "drop":  # of both parts
            assert sorted(int(n) for note in notes for n in note.rpartition(": ")[2].split(", ")) == [3, 7]
        assert run("embed", "s")[0] == run("score", "s")[0] == 0
        scores = json.loads((tmp_path / "s" / f"seed_{seed}" / "scores.json").read_text())
        assert (scores["n_nodes"], scores["left_out"]) == (40 - left_out, left_out)
        assert np.isfinite(scores["rows"][0]["score"])
    code, _, err = run("report", "s")
    assert code == 0, err
