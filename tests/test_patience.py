"""Early stopping by held-out losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast.training import run as runs

DATA = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)


def trained(checkpoint: Path | None = None, **changes: Any) -> gf.History:
    settings = {"epochs": 12, "warmup_epochs": 2, "batch_size": 8, "n_init": 1, "validate_every": 1, "patience": 2}
    config = gf.TrainConfig(**{**settings, **changes})
    model = gf.GMVAE((6,), 2, 2, network="mlp", widths=(4,))
    return gf.fit(model, DATA, config, held_out=DATA, checkpoint=checkpoint, progress=False)


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Held-out losses of the epochs from the first."""
    told: list[float] = []

    def validate(self: runs.Run, *, standard_prior: bool) -> dict[str, Any]:
        due = self.epoch % self.config.validate_every == 0
        return {"held_out_loss": told[self.epoch - 1] if due else None, "held_out_error": None}

    monkeypatch.setattr(runs.Run, "_validate", validate)
    return told


@pytest.mark.parametrize(
    ("told", "changes", "last"),
    [
        ([1, 1, 9, 8, 8, 8, 7, 7, 7, 7, 7, 7], {}, 6),  # two that are no lower; the warm-up does not count
        ([1, 1, 9, 8, 8, 7, 8, 6, 8, 5, 8, 4], {}, 12),
        ([1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], {"m_step_every": 4}, 6),  # with an M-step at the end
        ([1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], {"validate_every": 3}, 9),
        ([1, 1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9], {"patience": None}, 12),
    ],
)
def test_stops_after_so_many_evaluations_without_a_lower_loss(
    losses: list[float], told: list[float], changes: dict[str, Any], last: int
) -> None:
    losses += told
    history = trained(**changes)
    assert len(history.epochs) == last
    assert history.epochs[-1].mixture_kl is not None
    assert [e.epoch for e in history.events if e.kind == "stop"] == ([last] if last < 12 else [])


def test_a_stopped_run_stays_stopped(losses: list[float], tmp_path: Path) -> None:
    losses += [1, 1] + 10 * [9]
    first = trained(tmp_path / "run.safetensors")
    assert len(first.epochs) == 5
    assert trained(tmp_path / "run.safetensors").to_dict() == first.to_dict()


def test_patience_needs_held_out_data() -> None:
    model = gf.GMVAE((6,), 2, 2, network="mlp", widths=(4,))
    with pytest.raises(ValueError, match="held_out must be given with patience = 3"):
        gf.fit(model, DATA, gf.TrainConfig(patience=3), progress=False)
    with pytest.raises(ValueError, match="patience"):
        gf.TrainConfig(patience=0)
