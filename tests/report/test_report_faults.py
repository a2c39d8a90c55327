"""What is missing or malformed is named; an older report survives a failure."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gmvae_fast._io import write_npz
from gmvae_fast.report import ReportError, build_report, load_study

MANDATORY = ["study.json"] + [
    f"seed_0/{name}" for name in ("config.json", "history.json", "embedding.npz", "mixture.npz", "scores.json")
]
ALL_JSON = [*(n for n in MANDATORY if n.endswith("json")), "validation.json", "summary.json", "seed_0/metrics.json"]
ALL_NPZ = ["coordinates.npz"] + [
    f"seed_0/{name}.npz" for name in ("embedding", "mixture", "reconstructions", "samples")
]


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def edit_npz(path: Path, **arrays: Any) -> None:
    with np.load(path) as archive:
        held = dict(archive)
    write_npz(path, held | {key: np.asarray(value) for key, value in arrays.items()})


def test_a_complete_study_loads(study: Path) -> None:
    loaded = load_study(study)
    assert loaded.runs[0].latents.mean.shape == (40, 2)
    assert loaded.runs[0].reconstructions is not None


@pytest.mark.parametrize("name", MANDATORY)
def test_missing_mandatory_file(study: Path, name: str) -> None:
    (study / name).unlink()
    with pytest.raises(ReportError, match=f"{name}: missing"):
        load_study(study)


def test_missing_folder_and_missing_seed(study: Path, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="no such study folder"):
        build_report(tmp_path / "nowhere")
    edit_json(study / "study.json", lambda value: value.update(seeds=[0, 5]))
    with pytest.raises(ReportError, match="seed_5/history.json: missing"):
        load_study(study)


@pytest.mark.parametrize("name", ALL_JSON)
@pytest.mark.parametrize("text", ["{", "[1, 2]", "", '{"a": \xff'], ids=["cut", "list", "empty", "latin"])
def test_malformed_json(study: Path, name: str, text: str) -> None:
    (study / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(ReportError, match=f"^{name}: "):
        load_study(study)


@pytest.mark.parametrize("name", ALL_NPZ)
@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.95])
def test_truncated_npz(study: Path, name: str, keep: float) -> None:
    data = (study / name).read_bytes()
    (study / name).write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(ReportError, match=f"^{name}: not readable as npz"):
        load_study(study)


def test_damaged_npz(study: Path) -> None:
    path = study / "seed_0/embedding.npz"
    data = bytearray(path.read_bytes())
    data[300:340] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(ReportError, match=r"embedding\.npz"):
        load_study(study)


def test_pickles_are_refused(study: Path) -> None:
    np.savez(study / "seed_0/mixture.npz", weights=np.array([{}], dtype=object))
    with pytest.raises(ReportError, match=r"mixture\.npz: not readable"):
        load_study(study)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("study.json", {"title": 3}, "'title' should be a string, got int 3"),
        ("study.json", {"seeds": []}, "at least one seed"),
        ("study.json", {"seeds": ["../x"]}, "whole numbers"),
        ("study.json", {"notes": "one"}, "'notes' should be a list"),
        ("study.json", {"targets": [{"name": "a", "value": "big", "passed": True}]}, r"targets\[0\]: 'value'"),
        ("validation.json", {"passed": "yes"}, "'passed' should be true or false"),
        ("seed_0/history.json", {"epochs": [{"epoch": 0, "loss": "low"}]}, r"epochs\[0\]: 'loss'"),
        ("seed_0/scores.json", {"n_components": None}, "'n_components' should be a whole number"),
        ("seed_0/scores.json", {"rows": [{}]}, r"rows\[0\]: 'signal' is missing"),
        ("seed_0/metrics.json", {"contingency": {"a": {"rows": ["x"], "table": [[1, 2]]}}}, "3 counts per row"),
        ("seed_0/metrics.json", {"contingency": {"a": {"rows": ["x"], "table": [["?"]]}}}, "whole numbers"),
    ],
)
def test_wrong_values_are_named(study: Path, name: str, change: dict[str, Any], message: str) -> None:
    edit_json(study / name, lambda value: value.update(change))
    with pytest.raises(ReportError, match=message) as caught:
        load_study(study)
    assert str(caught.value).startswith(name)


@pytest.mark.parametrize(
    ("name", "arrays", "message"),
    [
        ("seed_0/embedding.npz", {"component": np.full(40, 3)}, r"component.* 0\.\.2"),
        ("seed_0/embedding.npz", {"mean": np.zeros((40, 3))}, r"'mean' should have shape \[any, 2\]"),
        ("seed_0/embedding.npz", {"is_test": np.zeros(40)}, "should hold bool values"),
        ("seed_0/embedding.npz", {"quantity_Re": np.zeros(39)}, "'quantity_Re' should have shape"),
        ("seed_0/mixture.npz", {"weights": np.ones(2)}, "'weights' should have shape"),
        ("seed_0/samples.npz", {"fields": np.zeros((2, 2, 6, 15))}, "'fields' should have shape"),
        ("coordinates.npz", {"solid": np.zeros((16, 6), bool)}, "'solid' should have shape"),
    ],
)
def test_wrong_arrays_are_named(study: Path, name: str, arrays: dict[str, Any], message: str) -> None:
    edit_npz(study / name, **arrays)
    with pytest.raises(ReportError, match=message):
        load_study(study)


def test_a_failure_leaves_the_old_report(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gmvae_fast.report import page

    old = study / "report.html"
    old.write_text("old")
    files = sorted(study.iterdir())

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(page, "render_page", lambda _: "new")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            build_report(study)
    assert old.read_text() == "old"
    assert sorted(study.iterdir()) == files
    (study / "seed_0/scores.json").unlink()
    with pytest.raises(ReportError):
        build_report(study)
    assert old.read_text() == "old"


@pytest.mark.parametrize("name", ["matplotlib", "jinja2"])
def test_missing_extra_says_what_to_install(study: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'pip install "gmvae_fast\[report\]"'):
        build_report(study)
