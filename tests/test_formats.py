"""Files of every earlier format are read; those of later ones are refused in words."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.data import SnapshotFileError
from gmvae_fast.generation import conditional
from gmvae_fast.model import FORMAT, FORMAT_VERSION, ModelFileError, read_tensors, write_tensors
from gmvae_fast.training import checkpoint

FORMATS = Path(__file__).parent / "formats"
MODELS, CHECKPOINTS, SNAPSHOTS, GENERATORS = (
    sorted(FORMATS.glob(f"v*/{kind}"))
    for kind in ("model.safetensors", "checkpoint.safetensors", "snapshots.npz", "generator.safetensors")
)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def generate(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FORMATS), *sys.path])
    import generate

    return generate


def _array(path):
    with np.load(path, allow_pickle=False) as archive:
        return archive["arr_0"]


def test_every_version_up_to_the_newest_is_here(generate):
    """After raising a version run tests/formats/generate.py."""
    for kind, newest in generate.VERSIONS.items():
        found = sorted(int(path.parent.name[1:]) for path in FORMATS.glob(f"v*/{kind}"))
        assert found == list(range(1, newest + 1)), kind


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_models_give_what_they_gave(path):
    assert read_tensors(path, FORMAT, FORMAT_VERSION)[1]["version"] == int(path.parent.name[1:])
    model, x = gf.load(path), _array(path.parent / "model_data.npz")
    np.testing.assert_allclose(model.embed(x).mean, _array(path.parent / "model_embedding.npz"), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", CHECKPOINTS, ids=lambda path: path.parent.name)
def test_checkpoints_are_continued(path, tmp_path):
    tensors, header = read_tensors(path, checkpoint.FORMAT, checkpoint.VERSION)
    assert header["version"] == int(path.parent.name[1:])
    assert any(name.startswith("optimizer.") for name in tensors)
    config, model = gf.TrainConfig.from_dict(header["training"]), gf.GMVAE(**header["model"])
    x = _array(path.parent / "checkpoint_data.npz")
    shutil.copy(path, tmp_path / "c.safetensors")
    seen = []
    history = gf.fit(
        model, x, config, checkpoint=tmp_path / "c.safetensors", on_epoch=lambda r: seen.append(r.epoch), progress=False
    )
    assert seen == list(range(header["epoch"] + 1, config.epochs + 1))
    assert [e.loss for e in history.epochs[: header["epoch"]]] == [e["loss"] for e in header["history"]["epochs"]]
    assert np.isfinite([e.loss for e in history.epochs]).all()
    assert history.epochs[-1].loss < history.epochs[0].loss


@pytest.mark.parametrize("path", SNAPSHOTS, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("lazy", [False, True])
def test_snapshots_hold_what_they_held(path, lazy, generate):
    found, expected = gf.open_snapshots(path, lazy=lazy), generate.snapshots()
    fields = np.where(expected.mask, expected.fields, 0) if lazy else expected.fields
    np.testing.assert_array_equal(found.read(np.arange(12)), fields)
    np.testing.assert_array_equal(found.mask, expected.mask)
    for name in ("trajectory", "time"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for name in ("quantities", "labels", "coordinates"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.keys() == theirs.keys()
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])
    assert found.attributes["label_names"] == expected.attributes["label_names"]


@pytest.mark.parametrize("path", GENERATORS, ids=lambda path: path.parent.name)
def test_generators_give_what_they_gave(path):
    assert read_tensors(path, conditional.FORMAT, conditional.FORMAT_VERSION)[1]["version"] == int(path.parent.name[1:])
    model = gf.load(path.parent / "generator_model.safetensors")
    generator = conditional.ConditionalGenerator.load(path, model)
    assert generator.scale.names == ("alpha", "gamma")
    fields = generator.predict(_array(path.parent / "generator_data.npz"))
    np.testing.assert_allclose(fields, _array(path.parent / "generator_fields.npz"), rtol=1e-4, atol=1e-5)


def _from_the_future(path, kind, newest, tmp_path):
    tensors, header = read_tensors(path, kind, newest)
    write_tensors(tmp_path / path.name, tensors, {**header, "version": newest + 1})
    return (
        header,
        rf"{path.name}: format version {newest + 1}, this gmvae_fast reads up to {newest}; use a newer release",
    )


def test_models_from_the_future_are_refused(tmp_path):
    _, message = _from_the_future(MODELS[-1], FORMAT, FORMAT_VERSION, tmp_path)
    with pytest.raises(ModelFileError, match=message):
        gf.load(tmp_path / "model.safetensors")


def test_checkpoints_from_the_future_are_refused(tmp_path):
    path = CHECKPOINTS[-1]
    header, message = _from_the_future(path, checkpoint.FORMAT, checkpoint.VERSION, tmp_path)
    config, model = gf.TrainConfig.from_dict(header["training"]), gf.GMVAE(**header["model"])
    with pytest.raises(ModelFileError, match=message):
        gf.fit(model, _array(path.parent / "checkpoint_data.npz"), config, checkpoint=tmp_path / path.name)


def test_generators_from_the_future_are_refused(tmp_path):
    path = GENERATORS[-1]
    _, message = _from_the_future(path, conditional.FORMAT, conditional.FORMAT_VERSION, tmp_path)
    with pytest.raises(ModelFileError, match=message):
        conditional.ConditionalGenerator.load(
            tmp_path / path.name, gf.load(path.parent / "generator_model.safetensors")
        )


@pytest.mark.parametrize("lazy", [False, True])
def test_snapshots_from_the_future_are_refused(tmp_path, lazy):
    with np.load(SNAPSHOTS[-1], allow_pickle=False) as archive:
        arrays = dict(archive)
    metadata = json.loads(str(arrays["metadata"])) | {"format_version": 99}
    np.savez(tmp_path / "s.npz", **{**arrays, "metadata": np.array(json.dumps(metadata))})
    with pytest.raises(SnapshotFileError, match=r"s\.npz: layout version 99"):
        gf.open_snapshots(tmp_path / "s.npz", lazy=lazy)


def test_a_model_without_gaps_is_written_in_the_older_format(tmp_path):
    """So that earlier releases read it."""
    model = gf.GMVAE((5,), widths=[4])
    model.save(tmp_path / "m.safetensors")
    assert read_tensors(tmp_path / "m.safetensors", FORMAT, FORMAT_VERSION)[1]["version"] == 1
    model.gaps = torch.ones((), dtype=torch.bool)
    model.save(tmp_path / "m.safetensors")
    assert read_tensors(tmp_path / "m.safetensors", FORMAT, FORMAT_VERSION)[1]["version"] == FORMAT_VERSION
