"""--config and --dump-config: precedence, round trips, and what is refused."""

import tomllib

import pytest
from typer.main import get_command

from gmvae_fast import cli


def dumped(run, *arguments):
    code, out, err = run(*arguments, "--dump-config")
    assert (code, err) == (0, "")
    return tomllib.loads(out)


COMMANDS = {
    "info": [],
    "simulate": ["wake", "--out", "w.npz", "--set", "noise=0.1", "--set", "name=a b"],
    "validate": ["wake", "--quick"],
    "train": ["w.npz", "--out", "s", "--widths", "8,4", "--no-resume", "--learning-rate", "1e-3"],
    "embed": ["s", "--device", "cpu"],
    "score": ["s", "--neighbors", "4", "--json"],
    "report": ["s"],
    "study": ["wake", "--arms", "pca,ae", "--plan"],
    "completion": ["zsh"],
    "demo": ["--seeds", "3,4"],
    "inspect": ["a.h5", "b.h5", "--fields", "u,v"],
    "convert": ["a.h5", "--out", "b.h5", "--dims", "b t x y c", "--overwrite"],
}


@pytest.mark.parametrize("command", sorted(get_command(cli.app).commands))
def test_every_command_dumps_its_defaults(run, command):
    assert list(dumped(run, command)) == [command]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_dump_reads_back_to_itself(run, tmp_path, command):
    code, out, _ = run(command, *COMMANDS[command], "--dump-config")
    assert code == 0
    (tmp_path / "run.toml").write_text(out)
    assert list(tomllib.loads(out)) == [command]
    assert run(command, "--config", "run.toml", "--dump-config") == (0, out, "")


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(run, tmp_path):
    (tmp_path / "run.toml").write_text('[train]\ndata = "w.npz"\nout = "s"\nepochs = 7\nbatch-size = 9\n')
    values = dumped(run, "train", "--config", "run.toml", "--epochs", 3)["train"]
    assert (values["epochs"], values["batch_size"], values["components"]) == (3, 9, 3)
    assert dumped(run, "train", "other.npz", "--config", "run.toml")["train"]["data"] == "other.npz"


def test_flags_can_be_set_and_unset(run, tmp_path):
    (tmp_path / "run.toml").write_text('data = "w.npz"\nout = "s"\nresume = false\nquiet = true\n')
    values = dumped(run, "train", "--config", "run.toml", "--resume")["train"]
    assert (values["resume"], values["quiet"]) == (True, True)
    assert dumped(run, "train", "--config", "run.toml")["train"]["resume"] is False


def test_one_file_serves_several_commands(run, tmp_path):
    text = '[simulate]\nsystem = "wake"\nout = "w.npz"\n[train]\ndata = "w.npz"\nout = "s"\n'
    (tmp_path / "run.toml").write_text(text)
    assert dumped(run, "simulate", "--config", "run.toml")["simulate"]["system"] == "wake"
    assert dumped(run, "train", "--config", "run.toml")["train"]["out"] == "s"


def test_lists_and_tables_stand_for_what_the_command_line_spells_as_text(run, tmp_path):
    (tmp_path / "run.toml").write_text('[train]\ndata = "w.npz"\nout = "s"\nwidths = [64, 32]\n')
    assert dumped(run, "train", "--config", "run.toml")["train"]["widths"] == "64,32"
    (tmp_path / "run.toml").write_text('[simulate.set]\nnoise = 0.02\nmonostable = true\ngas = "air"\n')
    values = dumped(run, "simulate", "--config", "run.toml")["simulate"]
    assert values["set"] == ["noise=0.02", "monostable=true", 'gas="air"']


def test_what_is_missing_is_listed(run):
    code, out, _ = run("train", "--dump-config")
    assert code == 0
    assert "# data: required. Snapshot file, folder, store or pattern" in out
    assert "# out: required." in out
    assert run("train")[0] == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train]\nepoch = 3\n", "run.toml: [train] train has no option 'epoch'; did you mean 'epochs'?"),
        ("epocs = 3\n", "run.toml: train has no option 'epocs'; did you mean 'epochs'?"),
        ("[trian]\nepochs = 3\n", "run.toml: train has no option 'trian'; did you mean 'train'?"),
        ("[train]\nconfig = 'x.toml'\n", "train has no option 'config'"),
        ("[embed]\nstudy = 's'\n", "run.toml: no table [train]; there are embed"),
        ("[train]\nepochs = 2.5\n", "run.toml: [train] epochs must be an integer, got 2.5"),
        ("[train]\nepochs = true\n", "epochs must be an integer, got True"),
        ("[train]\nepochs = '3'\n", "epochs must be an integer, got '3'"),
        ("[train]\nresume = 1\n", "resume must be true or false, got 1"),
        ("[train]\nlearning_rate = 'high'\n", "learning_rate must be a number, got 'high'"),
        ("[train]\ndata = 3\n", "data must be a path, got 3"),
        ("[train]\nwidths = [[1]]\n", "widths must be text, got [1]"),
        ("[train]\nnetwork = 2020-01-01\n", "network must be text"),
        ("[train\n", "run.toml: not TOML"),
        ("a = " + "[" * 20_000, "run.toml: not TOML"),
        ("a = '\udcff'\n", "run.toml: not TOML, which is UTF-8"),
        ("# " + "x" * 2**20, "larger than 1048576 bytes"),
    ],
)
def test_a_wrong_file_is_wrong_usage(run, tmp_path, text, message):
    (tmp_path / "run.toml").write_bytes(text.encode(errors="surrogateescape"))
    code, out, err = run("train", "--config", "run.toml")
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_a_missing_file_is_wrong_usage(run, tmp_path):
    assert "absent.toml" in run("train", "--config", "absent.toml")[2]
    assert run("train", "--config", tmp_path)[0] == 2
