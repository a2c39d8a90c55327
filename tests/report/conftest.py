"""A small synthetic study folder with every file of the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmvae_fast._io import write_json, write_npz

SIGNALS = {"log Re": 0.9971, "phase": 0.4123, "drag": -0.0123}


def make_study(
    root: Path, *, seeds: tuple[int, ...] = (0,), dim: int = 2, one_d: bool = False, hostile: str = ""
) -> Path:
    """Write a study of 40 snapshots; ``hostile`` is appended to every string that comes from data."""
    rng = np.random.default_rng(0)
    shape = (2, 16) if one_d else (2, 6, 16)
    h = hostile
    root.mkdir(parents=True, exist_ok=True)
    write_json(root / "study.json", _study(shape, seeds, h))
    grid: dict[str, Any] = {"x": np.linspace(0, 2.2, 16)}
    if not one_d:
        grid |= {"y": np.linspace(0, 0.41, 6), "solid": np.pad(np.ones((2, 2), bool), ((2, 2), (3, 11)))}
    write_npz(root / "coordinates.npz", grid)
    row = {"case": "2D-1" + h, "quantity": "Cd" + h, "value": 5.58, "low": 5.5, "high": 5.6, "source": "ST" + h}
    write_json(root / "validation.json", {"rows": [{**row, "passed": True}], "passed": True, "quick": True})
    spread = {"mean": 0.0213, "std": 0.0017, "values": [0.0211 + 0.001 * s for s in seeds]}
    write_json(root / "summary.json", {"metrics": {"held_out_error": spread, "odd" + h: {"mean": None}}})
    for seed in seeds:
        _write_run(root / f"seed_{seed}", shape, dim, h, rng)
    return root


def _study(shape: tuple[int, ...], seeds: tuple[int, ...], h: str) -> dict[str, Any]:
    return {
        "title": "Wake regimes" + h,
        "system": "wake",
        "geometry": "channel",
        "design": "clustered" + h,
        "command": "gmvae-fast demo --seeds 0" + h,
        "created": "2026-01-02T03:04:05",
        "seeds": list(seeds),
        "versions": {"numpy" + h: "2.0" + h},
        "machine": {"cpu" + h: "two cores" + h},
        "data": {
            "n_snapshots": 40,
            "n_train": 30,
            "n_test": 10,
            "shape": list(shape),
            "field_names": ["u" + h, "v" + h],
            "attributes": {"mach" + h: 0.06, "text": "free" + h},
        },
        "notes": ["two-dimensional" + h],
        "targets": [{"name": "error" + h, "value": 0.0213, "bound": "<= 0.05" + h, "passed": False}],
        "timings_s": {"train" + h: 12.5},
    }


def _write_run(folder: Path, shape: tuple[int, ...], dim: int, h: str, rng: np.random.Generator) -> None:
    n, k = 40, 3
    folder.mkdir(exist_ok=True)
    component = np.arange(n) % 2
    mean = rng.normal(size=(n, dim)) + 4 * component[:, None]
    arrays: dict[str, Any] = {
        "mean": mean,
        "log_var": np.full((n, dim), -4.0),
        "responsibilities": np.eye(k)[component],
        "component": component,
        "is_test": np.arange(n) % 4 == 0,
        "label_group" + h: np.array(["Re 1500" + h, "Re 250" + h])[component],
    }
    arrays |= {f"quantity_{name}{h}": rng.uniform(0, 1, n) for name in SIGNALS}
    write_npz(folder / "embedding.npz", arrays)
    means = np.stack([np.zeros(dim), np.full(dim, 4.0), np.full(dim, 9.0)])
    write_npz(folder / "mixture.npz", {"weights": [0.5, 0.5, 0.0], "means": means, "log_vars": 0 * means})
    write_json(folder / "config.json", {"model": {"network" + h: "conv" + h}, "training": {"scheme": "block"}})
    write_json(folder / "history.json", _history(h))
    fields = rng.normal(size=(2, *shape))
    titles = np.array(["Re 250" + h, "Re 1500" + h])
    rebuilt = {"index": [4, 8], "original": fields, "reconstruction": 0.9 * fields, "title": titles}
    write_npz(folder / "reconstructions.npz", {key: np.asarray(value) for key, value in rebuilt.items()})
    write_npz(folder / "samples.npz", {"component": np.arange(2), "fields": fields})
    write_json(folder / "scores.json", _scores(h))
    write_json(folder / "metrics.json", _metrics(h))


def _history(h: str) -> dict[str, Any]:
    def epoch(i: int) -> dict[str, Any]:
        late = i >= 2
        return {
            "epoch": i,
            "phase": "block" if late else "warmup" + h,
            "loss": 100.0 / (i + 1),
            "reconstruction": 90.0 / (i + 1),
            "kl": 3.0,
            "held_out_loss": None,
            "held_out_error": 0.5 / (i + 1) if late else None,
            "responsibility_entropy": 0.2 if late else None,
            "occupancy": [0.5, 0.5, 0.0] if late else None,
            "active_dimensions": 2,
            "seconds": 1.0,
        }

    events = [
        {"epoch": 3, "kind": "m_step", "message": "full"},
        {"epoch": 4, "kind": "reseed" + h, "message": "c 2" + h},
    ]
    return {"epochs": [epoch(i) for i in range(6)], "events": events}


def _scores(h: str) -> dict[str, Any]:
    rows = [
        {
            "signal": name + h,
            "score": score,
            "dirichlet": 11.3 * (1 - score),
            "z_score": 61.7 * score,
            "p_value": 0.0 if score > 0.9 else 0.0321,
            "log10_p": -831.25 if score > 0.9 else -1.49,
            "z_normal": 62.9 * score,
            "p_normal": 0.0 if score > 0.9 else 0.0456,
            "low_frequency_energy": None if score < 0 else 0.871 * score,
        }
        for name, score in SIGNALS.items()
    ]
    sweep = [
        {"n_neighbors": k, "n_components": 20 // k, "scores": {name + h: s for name, s in SIGNALS.items()}}
        for k in (5, 10)
    ]
    head = {"n_neighbors": 10, "n_components": 2, "n_nodes": 40, "weights": "binary" + h}
    return {**head, "rows": rows, "neighbor_sweep": sweep}


def _metrics(h: str) -> dict[str, Any]:
    group = "group" + h
    table = {"rows": ["Re 1500" + h, "Re 250" + h], "table": [[20, 0, 0], [0, 20, 0]]}
    return {
        "held_out_error": 0.0213,
        "train_error": 0.0187,
        "held_out_error_by_field": {"u" + h: 0.0119, "v" + h: None},
        "ari": {group: 0.953},
        "nmi": {group: 0.931},
        "ari_held_out": {},
        "occupancy": [0.5, 0.5, 0.0],
        "contingency": {group: table},
    }


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return make_study(tmp_path / "study")


@pytest.fixture(scope="session")
def study_maker() -> Callable[..., Path]:
    return make_study
