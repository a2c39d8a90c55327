"""The examples run, in a quick form, and find what is in their data."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parent.parent / "examples"


def example(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_own_hdf5_data(capsys, one_thread):
    result = example("own_hdf5_data").main(["--epochs", "20", "--runs", "24"])
    assert result["energy"].score > 0.5
    assert "shares of the regimes" in capsys.readouterr().out


def test_score_my_embedding(capsys):
    example("score_my_embedding").main(["--runs", "150"])
    printed = capsys.readouterr().out
    assert "PCA: 1 is smooth" in printed
    assert "random projection" in printed


def test_score_my_embedding_from_files(tmp_path, capsys):
    latents = np.random.default_rng(0).standard_normal((200, 2))
    np.save(tmp_path / "latents.npy", latents)
    np.savez(tmp_path / "q.npz", across=latents[:, 0], noise=np.random.default_rng(1).standard_normal(200))
    result = example("score_my_embedding").main([str(tmp_path / "latents.npy"), str(tmp_path / "q.npz")])
    assert result["across"].score > 0.8
    assert result["noise"].score < 0.3
    with pytest.raises(SystemExit):
        example("score_my_embedding").main([str(tmp_path / "latents.npy")])
    assert "quantities: a .npz" in capsys.readouterr().err
