"""The command as a function."""

import sys

import pytest

from gmvae_fast import cli


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """`gmvae-fast ARGUMENTS` in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gmvae-fast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call
