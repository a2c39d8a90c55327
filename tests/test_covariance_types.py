"""A GM-VAE with every type of component covariances: train, resume, save, load, use, study, report, command line."""

import sys

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast import cli
from gmvae_fast.data import Snapshots
from gmvae_fast.mixture import COVARIANCE_TYPES
from gmvae_fast.report.latent_figures import latent_map
from gmvae_fast.report.loading import load_study
from gmvae_fast.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def clusters(n=150, d=10, k=3):
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(k, d))
    centers *= 6 / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centers[labels] + 0.5 * rng.normal(size=(n, d))).astype(np.float32), labels


def make_model(covariance_type, **options):
    return gf.GMVAE((10,), n_components=3, widths=(16,), covariance_type=covariance_type, **options)


def config(**options):
    return gf.TrainConfig(**{"epochs": 30, "batch_size": 32, "learning_rate": 5e-3, "n_init": 3, **options})


@pytest.fixture(scope="module", params=COVARIANCE_TYPES)
def trained(request):
    torch.set_num_threads(1)
    x, labels = clusters()
    model = make_model(request.param)
    history = gf.fit(model, x, config(), progress=False)
    return model, history, x, labels


def test_clusters_are_found_and_the_loss_falls(trained):
    model, history, x, labels = trained
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss
    assert len(set(zip(labels, model.predict(x), strict=True))) == 3
    assert min(history.epochs[-1].occupancy) > 0.2
    covariances = model.prior.get().covariances()
    assert covariances.shape == (3, 2, 2)
    assert float(torch.linalg.eigvalsh(covariances).min()) > 0
    off_diagonal = covariances[:, 0, 1].abs().max()
    assert (off_diagonal > 1e-4) == (model.prior.covariance_type in ("tied", "full"))
    if model.prior.covariance_type == "tied":
        assert torch.equal(covariances[0], covariances[2])


def test_saved_and_loaded_it_gives_the_same_numbers(trained, tmp_path):
    model, _, x, _ = trained
    model.save(tmp_path / "model")
    loaded = gf.load(tmp_path / "model")
    assert loaded.config["covariance_type"] == model.prior.covariance_type
    np.testing.assert_array_equal(loaded.predict_proba(x), model.predict_proba(x))
    np.testing.assert_array_equal(loaded.score_samples(x), model.score_samples(x))
    np.testing.assert_array_equal(loaded.sample(7, component=1)[0], model.sample(7, component=1)[0])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(covariance_type, tmp_path):
    class Stop(Exception):
        pass

    def stop(record):
        if record.epoch == 6:
            raise Stop

    x, _ = clusters(60)
    settings = config(epochs=9, warmup_epochs=2, damping=0.7, priors=gf.MixturePriors(1.0, 0.5, 0.0, 1.0, 0.5))
    straight, stopped, resumed = (make_model(covariance_type) for _ in range(3))
    gf.fit(straight, x, settings, progress=False)
    options = {"checkpoint": tmp_path / "run", "checkpoint_every": 1, "progress": False}
    with pytest.raises(Stop):
        gf.fit(stopped, x, settings, on_epoch=stop, **options)
    gf.fit(resumed, x, settings, **options)
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_dead_component_is_moved_and_lives_again(covariance_type):
    run = Run(make_model(covariance_type), clusters()[0], config(warmup_epochs=4, epochs=40), None)
    while run.epoch < 6:
        run.one_epoch()
    dead = run.model.prior.get()
    dead.means[1] = 1e3
    run.model.prior.set(dead)
    run.one_epoch()
    assert run.events[-1].kind == "reseed"
    while run.epoch < 40:
        record = run.one_epoch()
    assert min(record.occupancy) > 0.1


def test_command_line_to_report(tmp_path, monkeypatch):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gmvae-fast", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code

    x, labels = clusters(60)
    Snapshots(
        fields=x[:, None, :],
        field_names=("u",),
        quantities={"label": labels.astype(float)},
        trajectory=np.arange(60),
    ).save(tmp_path / "data.npz")
    for covariance_type in ("tied", "full"):
        study = tmp_path / covariance_type
        options = ["--network", "mlp", "--widths", "8", "--epochs", 6, "--latent-dim", 3, "--quiet"]
        train = ["train", tmp_path / "data.npz", "--out", study, "--covariance-type", covariance_type]
        assert run(*train, *options) == 0
        assert run("embed", study) == 0
        assert run("score", study, "--neighbors", 4) == 0
        assert run("report", study) == 0
        model = gf.load(study / "seed_0" / "model.safetensors")
        (shown,) = load_study(study).runs
        np.testing.assert_allclose(shown.mixture.covariances, model.prior.get().covariances().numpy())
        view = latent_map(shown.latents, shown.mixture)
        assert view.covariances.shape == (3, 2, 2)
        assert np.all(np.linalg.eigvalsh(view.covariances) > 0)
    assert run(*train[:-1], "round", *options) != 0
