import dataclasses
import errno
import io
import json
import math
import os

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.metrics import adjusted_rand_score
from torch import nn

import gmvae_fast as gf
from gmvae_fast import _progress
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.history import History
from gmvae_fast.mixture import MixtureParameters, MixturePriors
from gmvae_fast.model import ModelFileError, read_tensors, write_tensors
from gmvae_fast.training import TrainingDiverged, fluctuation_error
from gmvae_fast.training.checkpoint import FORMAT, VERSION
from gmvae_fast.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def clusters(seed=0, n=240, d=10, k=3):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d))
    centers *= 6 / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centers[labels] + 0.5 * rng.normal(size=(n, d))).astype(np.float32), labels


def make_model(seed=0, d=10, **options):
    return gf.GMVAE((d,), **{"n_components": 3, "widths": (16,), "seed": seed, **options})


def config(**options):
    return gf.TrainConfig(**{"epochs": 10, "batch_size": 32, "learning_rate": 5e-3, "n_init": 3, **options})


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def without_times(history):
    return [dataclasses.replace(e, seconds=0.0) for e in history.epochs], history.events


class Stop(Exception):
    pass


def stop_at(epoch):
    def on_epoch(record):
        if record.epoch == epoch:
            raise Stop

    return on_epoch


# --- it learns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_three_clusters_are_found_and_every_component_is_occupied(seed):
    x, labels = clusters(seed)
    model = make_model(seed, widths=(32,))
    history = gf.fit(model, x, config(epochs=25, seed=seed, n_init=10))
    assert adjusted_rand_score(labels, model.predict(x)) == 1
    last = history.epochs[-1]
    assert min(last.occupancy) > 0.25
    assert last.loss < 0.7 * history.epochs[0].loss
    assert not any(e.kind == "reseed" for e in history.events)


@pytest.mark.parametrize("shape", [(1, 24), (2, 9, 14)])
def test_convolutional_nets_learn_a_travelling_wave(shape):
    phase = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    grid = np.linspace(0, 4 * np.pi, math.prod(shape)).reshape(shape)
    x = np.sin(grid + phase.reshape(-1, *[1] * len(shape))).astype(np.float32)
    model = gf.GMVAE(shape, n_components=2, widths=(8, 16))
    history = gf.fit(model, x, config(epochs=40, batch_size=20, learning_rate=1e-2), held_out=x[::5])
    assert history.epochs[-1].held_out_error < 0.35
    assert fluctuation_error(model, x) < 0.35


def test_a_frozen_mixture_step_never_raises_the_full_data_kl():
    x, _ = clusters()
    model = make_model()
    run = Run(model, x, config(epochs=12, warmup_epochs=2, reseed_below=0.0))
    while run.epoch < 12:
        before = model.prior.get()
        record = run.one_epoch()
        if record.phase == "warmup":
            continue
        if record.epoch > 3:  # until then the mixture before is not the fitted one
            after = model.prior.get()
            mean, log_var = model.embed_tensors(run.source.local)
            for mixture, recorded in ((before, record.mixture_kl_before), (after, record.mixture_kl)):
                model.prior.set(mixture)
                assert recorded == pytest.approx(float(model.prior.kl(mean, log_var).double().mean()), rel=1e-5)
        assert record.mixture_kl <= record.mixture_kl_before + 1e-6 * abs(record.mixture_kl_before)
    assert sum(r.mixture_kl is not None for r in run.records) == 10


def test_diagnostics_are_sane():
    x, _ = clusters()
    model = make_model(latent_dim=3)
    history = gf.fit(model, x, config())
    phases = [e.phase for e in history.epochs]
    assert phases == ["warmup"] * 4 + ["block"] * 6
    assert [e.epoch for e in history.epochs] == list(range(1, 11))
    for record in history.epochs:
        assert record.loss == pytest.approx(record.reconstruction + record.kl)
        assert record.seconds > 0
        assert record.held_out_loss is None
        if record.phase == "warmup":
            assert record.occupancy is record.active_dimensions is record.component_kl is None
            assert record.mixture_kl is record.mixture_kl_before is record.component_variance is None
            continue
        assert sum(record.occupancy) == pytest.approx(1)
        assert 0 <= record.responsibility_entropy <= math.log(3) + 1e-9
        assert len(record.component_kl) == 3
        assert min(record.component_kl) >= 0
        assert 0 <= record.active_dimensions <= 3
        assert len(record.component_variance) == 3
        assert min(record.component_variance) >= 1e-4 * (1 - 1e-5)
    assert [e.kind for e in history.events] == ["initialise"]
    np.testing.assert_allclose(history.epochs[-1].occupancy, model.predict_proba(x).mean(0), rtol=1e-5)


# --- repeatable -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_the_same_seed_repeats_bit_for_bit_and_another_differs(kind):
    x, _ = clusters(n=50, d=60)
    shape = (60,) if kind == "mlp" else (2, 5, 6)
    x = x.reshape(50, *shape)
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(results))  # the global generator must not matter
        model = gf.GMVAE(shape, widths=(4, 4))
        history = gf.fit(model, x, config(epochs=4, seed=seed))
        results.append((model, without_times(history)))
    assert states_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    assert not states_equal(results[0][0], results[2][0])


def test_global_state_is_untouched():
    x, _ = clusters(n=40)
    before = torch.random.get_rng_state()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        gf.fit(make_model(learn_noise=True), x, config(epochs=3), held_out=x)
        assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "options",
    [{}, {"assignment": "sampled", "gradient_clip": 1.0, "beta_warmup_epochs": 6, "m_step_every": 3, "damping": 0.5}],
)
@pytest.mark.parametrize("interrupted_after", [1, 4, 5, 8])
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(tmp_path, interrupted_after, options):
    x, _ = clusters(n=90)
    settings, held_out = config(validate_every=3, **options), clusters(5, n=30)[0]
    straight = make_model(learn_noise=True)
    expected = gf.fit(straight, x, settings, held_out=held_out)
    path = tmp_path / "run.ckpt"
    with pytest.raises(Stop):
        gf.fit(
            make_model(learn_noise=True),
            x,
            settings,
            held_out=held_out,
            checkpoint=path,
            checkpoint_every=1,
            on_epoch=stop_at(interrupted_after),
        )
    resumed = make_model(learn_noise=True)
    seen = []
    history = gf.fit(
        resumed, x, settings, held_out=held_out, checkpoint=path, on_epoch=lambda record: seen.append(record.epoch)
    )
    assert seen == list(range(interrupted_after + 1, 11))
    assert states_equal(straight, resumed)
    assert without_times(history) == without_times(expected)
    again = make_model(learn_noise=True)
    gf.fit(again, x, settings, held_out=held_out, checkpoint=path, on_epoch=seen.append)
    assert len(seen) == 10 - interrupted_after, "a finished run has nothing left to do"
    assert states_equal(straight, again)


def test_resuming_a_model_with_channels_last_weights(tmp_path):
    """Fused Adam pairs values by their place in memory, which a file does not keep."""

    def networks():
        torch.manual_seed(4)
        encoder = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 36, 4))
        return encoder.to(memory_format=torch.channels_last), nn.Sequential(
            nn.Linear(2, 108), nn.Unflatten(1, (3, 6, 6))
        )

    x = np.random.default_rng(0).normal(size=(40, 3, 6, 6)).astype(np.float32)
    straight, stopped, resumed = (gf.GMVAE((3, 6, 6), network=networks()) for _ in range(3))
    path = tmp_path / "run.ckpt"
    gf.fit(straight, x, config(epochs=6))
    with pytest.raises(Stop):
        gf.fit(stopped, x, config(epochs=6), checkpoint=path, checkpoint_every=3, on_epoch=stop_at(3))
    gf.fit(resumed, x, config(epochs=6), checkpoint=path)
    assert states_equal(straight, resumed)


# --- checkpoints that do not fit --------------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "run.ckpt"
    gf.fit(make_model(), clusters(n=60)[0], config(epochs=4), checkpoint=path)
    return path


def test_another_configuration_is_refused_by_the_names_of_its_fields(checkpoint):
    x, _ = clusters(n=60)
    before = checkpoint.read_bytes()
    settings = config(epochs=5, learning_rate=1e-3, priors=MixturePriors(weight_count=1.0))
    with pytest.raises(ValueError, match="another training configuration .*epochs: 4 there, 5 here") as caught:
        gf.fit(make_model(), x, settings, checkpoint=checkpoint)
    assert all(name in str(caught.value) for name in ("run.ckpt", "learning_rate", "priors", "resume=False"))
    assert "batch_size" not in str(caught.value)
    with pytest.raises(ValueError, match=r"another model configuration \(latent_dim: 2 there, 4 here\)"):
        gf.fit(make_model(latent_dim=4), x, config(epochs=4), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before
    gf.fit(make_model(latent_dim=4), x, config(epochs=4), checkpoint=checkpoint, resume=False)
    assert checkpoint.read_bytes() != before


def test_other_data_are_refused(checkpoint):
    x, _ = clusters(n=60)
    for other, message in (
        (x[:50], "60 snapshots there, 50 here"),
        (x + 1, "their mean differs"),
        (x.mean(0) + 2 * (x - x.mean(0)), "their standard deviation differs"),
    ):
        with pytest.raises(ValueError, match=f"run.ckpt belongs to other data .*{message}"):
            gf.fit(make_model(), other, config(epochs=4), checkpoint=checkpoint)


def rewrite(path, change):
    tensors, header = read_tensors(path, FORMAT, VERSION)
    change(tensors, header)
    write_tensors(path, tensors, header)


@pytest.mark.parametrize(
    "change",
    [
        lambda t, h: h.pop("history"),
        lambda t, h: h.pop("epoch"),
        lambda t, h: h.pop("training"),
        lambda t, h: h.update(history=["nonsense"]),
        lambda t, h: h.update(epoch=17),
        lambda t, h: h["history"]["epochs"][0].pop("loss"),
        lambda t, h: t.pop("generator.noise"),
        lambda t, h: t.update({"generator.order": torch.zeros(3, dtype=torch.uint8)}),
        lambda t, h: t.update({"optimizer.0.exp_avg": torch.zeros(1)}),
        lambda t, h: t.pop("optimizer.2.exp_avg_sq"),
        lambda t, h: t.update({"optimizer.99.exp_avg": torch.zeros(2)}),
        lambda t, h: t.pop("model.prior.means"),
    ],
)
def test_incomplete_checkpoints_are_reported(checkpoint, change):
    rewrite(checkpoint, change)
    with pytest.raises(ModelFileError, match="run.ckpt: (the checkpoint is incomplete|the tensors do not fit)"):
        gf.fit(make_model(), clusters(n=60)[0], config(epochs=4), checkpoint=checkpoint)


def test_damaged_and_foreign_checkpoints_are_reported(checkpoint, tmp_path):
    x, _ = clusters(n=60)
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError, match="run.ckpt: not a whole safetensors file"):
        gf.fit(make_model(), x, config(epochs=4), checkpoint=checkpoint)
    make_model().save(checkpoint)
    with pytest.raises(ModelFileError, match="run.ckpt: not a file of kind gmvae_fast.checkpoint"):
        gf.fit(make_model(), x, config(epochs=4), checkpoint=checkpoint)
    checkpoint.write_bytes(whole)
    with pytest.raises(ModelFileError, match="run.ckpt: not a file of kind gmvae_fast.model"):
        gf.load(checkpoint)
    with pytest.raises(IsADirectoryError, match="checkpoint must be a file"):
        gf.fit(make_model(), x, config(epochs=4), checkpoint=tmp_path)


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    x, _ = clusters(n=60)
    path = tmp_path / "run.ckpt"
    saved = []

    def on_epoch(record):
        if record.epoch == 3:
            saved.append(path.read_bytes())
            monkeypatch.setattr(os, "fsync", full)

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left on device: .*run.ckpt"):
        gf.fit(make_model(), x, config(epochs=6), checkpoint=path, checkpoint_every=1, on_epoch=on_epoch)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    assert path.read_bytes() == saved[0]
    resumed, straight = make_model(), make_model()
    gf.fit(resumed, x, config(epochs=6), checkpoint=path)
    gf.fit(straight, x, config(epochs=6))
    assert states_equal(resumed, straight)


# --- guards -----------------------------------------------------------------------------------------------------


class Poisoned(nn.Module):
    """A decoder that emits NaN, or spoils its own weights, from its ``after``-th training step on."""

    def __init__(self, after, how):
        super().__init__()
        self.linear, self.after, self.how, self.steps = nn.Linear(2, 10), after, how, 0

    def forward(self, z):
        out = self.linear(z)
        if self.training:
            self.steps += 1
            if self.steps == self.after and self.how == "output":
                out = out * math.nan
            if self.steps == self.after and self.how == "gradient":
                out.register_hook(lambda grad: grad * math.nan)
        return out


@pytest.mark.parametrize(("epoch", "step"), [(1, 1), (3, 0), (5, 0), (8, 1)])
@pytest.mark.parametrize("how", ["output", "gradient"])
def test_nan_stops_the_run_at_the_last_good_epoch(tmp_path, epoch, step, how):
    """Step 0 is an epoch's last: a gradient of NaN then spoils the weights after the last finite loss."""
    x, _ = clusters(n=60)
    path, states = tmp_path / "run.ckpt", {0: None}
    after = 2 * epoch - 1 if step else 2 * epoch

    def make(at):
        torch.manual_seed(0)
        return gf.GMVAE((10,), network=(nn.Linear(10, 4), Poisoned(at, how)))

    model = make(after)

    def on_epoch(record):
        states[record.epoch] = {k: v.clone() for k, v in model.state_dict().items()}

    with pytest.raises(TrainingDiverged, match="Try a smaller learning_rate") as caught:
        gf.fit(model, x, config(), checkpoint=path, checkpoint_every=1, on_epoch=on_epoch)
    assert f"in epoch {epoch} " in str(caught.value)
    assert f"set back to epoch {epoch - 1}." in str(caught.value)
    assert max(states) == epoch - 1
    assert len(caught.value.history.epochs) == epoch - 1
    assert caught.value.history.events[-1].kind == "diverged"
    assert all(bool(torch.isfinite(v).all()) for v in model.state_dict().values())
    assert not model.training
    if epoch == 1:
        assert not path.exists()
        return
    assert all(torch.equal(v, states[epoch - 1][k]) for k, v in model.state_dict().items())
    healthy, straight = make(-1), make(-1)
    gf.fit(healthy, x, config(), checkpoint=path)  # the checkpoint is whole and holds the last good epoch
    gf.fit(straight, x, config())
    assert states_equal(healthy, straight)


@pytest.mark.parametrize("learning_rate", [1e6, 1e20])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_an_absurd_learning_rate_diverges_with_advice(kind, learning_rate):
    x = clusters(n=60, d=12)[0].reshape(60, *((12,) if kind == "mlp" else (1, 3, 4)))
    model = gf.GMVAE(x.shape[1:], widths=(8,))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    states = {0: before}

    def on_epoch(record):
        states[record.epoch] = {k: v.clone() for k, v in model.state_dict().items()}

    with pytest.raises(TrainingDiverged, match=r"\(learning rate 1e\+.*Try a smaller learning_rate"):
        gf.fit(model, x, config(learning_rate=learning_rate), on_epoch=on_epoch)
    for name, value in model.state_dict().items():
        assert bool(torch.isfinite(value).all())
        if name.startswith(("encoder", "decoder")):
            assert torch.equal(value, states[max(states)][name])


def test_a_dead_component_is_moved_logged_and_lives_again():
    x, _ = clusters()
    model = make_model()
    run = Run(model, x, config(epochs=20, warmup_epochs=4))
    while run.epoch < 8:
        run.one_epoch()
    dead = model.prior.get()
    dead.means[1] = 1e3
    model.prior.set(MixtureParameters(dead.log_weights, dead.means, dead.log_vars))
    run.one_epoch()
    event = run.events[-1]
    assert (event.kind, event.epoch) == ("reseed", 9)
    assert "component 1 held 0.0000" in event.message
    while run.epoch < 20:
        record = run.one_epoch()
    assert min(record.occupancy) > 0.1


def test_a_mixture_in_a_bad_optimum_is_fitted_anew():
    """One component takes two clusters and two share the third: closed-form steps stay there, a new fit does not."""
    x, labels = clusters()
    shares = {}
    for refits in (0, 2):
        model = make_model()
        run = Run(model, x, config(epochs=26, warmup_epochs=10, refits=refits))
        while run.epoch < 12:
            run.one_epoch()
        bad, mean = model.prior.get(), model.embed_tensors(run.source.local)[0]
        first = mean[torch.from_numpy(labels == 0)]
        bad.means[0], bad.log_vars[0] = mean[torch.from_numpy(labels > 0)].mean(0), mean.var(0).log()
        for c, sign in ((1, 1.0), (2, -1.0)):
            bad.means[c] = first.mean(0) + sign * first.std(0)
            bad.log_vars[c] = first.var(0).log() - 1
        model.prior.set(bad)
        kept = run.one_epoch()  # 13, before the first refit in epoch 14
        assert max(kept.occupancy) > 0.6
        while run.epoch < 26:
            record = run.one_epoch()
        shares[refits] = max(record.occupancy)
        refitted = [event for event in run.events if event.kind == "refit"]
        assert [event.epoch for event in refitted] == ([14] if refits else [])
    assert shares[0] > 0.6
    assert shares[2] < 0.4
    assert "better than the optimum it was in by" in refitted[0].message


@pytest.mark.parametrize("m_step_every", [1, 3])
def test_fits_that_are_no_better_change_nothing(m_step_every):
    x, _ = clusters()
    results = []
    for refits in (0, 2):
        model = make_model()
        history = gf.fit(model, x, config(epochs=20, m_step_every=m_step_every, refits=refits))
        results.append((without_times(history), model))
    assert results[0][0] == results[1][0]
    assert states_equal(results[0][1], results[1][1])


def test_when_fits_are_due():
    x, _ = clusters()
    for every, expected in ((1, [18, 26]), (3, [19, 28])):
        run = Run(make_model(), x, config(epochs=42, warmup_epochs=10, m_step_every=every))
        assert [e for e in range(11, 43) if run._update_due(e) and run._refit_due(e)] == expected
    for other in ({"refits": 0}, {"scheme": "joint"}, {"mixture_start": "normal"}):
        run = Run(make_model(), x, config(epochs=42, **other))
        assert not any(run._refit_due(e) for e in range(1, 43))
    with pytest.raises(ValueError, match="refits must be an integer >= 0"):
        config(refits=-1)


def test_nothing_is_moved_after_the_last_m_step():
    run = Run(make_model(), clusters()[0], config(epochs=6))
    while run.epoch < 6:
        if run.epoch == 5:
            run.model.prior.means[1] = 1e3
        run.one_epoch()
    assert [e.kind for e in run.events] == ["initialise"]
    assert run.records[-1].occupancy[1] == 0


def test_reseeding_keeps_a_spherical_mixture_spherical_and_can_be_switched_off():
    x, _ = clusters()
    for below, moved in ((5.0, 1), (0.0, 0)):
        model = make_model(covariance_type="spherical")
        run = Run(model, x, config(epochs=9, warmup_epochs=2, reseed_below=below, refits=0))
        run.one_epoch(), run.one_epoch(), run.one_epoch()
        dead = model.prior.get()
        dead.means[0] = 1e3
        model.prior.set(dead)
        run.one_epoch()
        assert sum(e.kind == "reseed" for e in run.events) == moved
        torch.testing.assert_close(model.prior.log_vars, model.prior.log_vars[:, :1].expand(-1, 2))


# --- options ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("assignment", ["exact", "sampled", "mean"])
def test_every_assignment_trains(assignment):
    x, _ = clusters()
    history = gf.fit(make_model(), x, config(assignment=assignment))
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss


def test_beta_rises_linearly_and_weights_the_kl():
    x, _ = clusters(n=60)
    history = gf.fit(make_model(), x, config(beta=2.0, beta_warmup_epochs=4, epochs=6))
    betas = [(e.loss - e.reconstruction) / e.kl for e in history.epochs]
    np.testing.assert_allclose(betas, [0.5, 1.0, 1.5, 2.0, 2.0, 2.0], rtol=1e-6)


def test_m_step_every():
    x, _ = clusters(n=60)
    model = make_model()
    mixtures = {}
    history = gf.fit(
        model,
        x,
        config(epochs=10, warmup_epochs=2, m_step_every=3),
        on_epoch=lambda record: mixtures.update({record.epoch: model.prior.get().means}),
    )
    evaluated = [e.epoch for e in history.epochs if e.occupancy is not None]
    assert evaluated == [5, 8, 10]
    moved = [e for e in range(4, 11) if not torch.equal(mixtures[e], mixtures[e - 1])]
    assert moved == [5, 8, 10]


def test_gradient_clip_bounds_the_norm(monkeypatch):
    norms = []
    original = torch.nn.utils.clip_grad_norm_

    def watched(parameters, limit):
        parameters = list(parameters)
        original(parameters, limit)
        norms.append(float(torch.stack([p.grad.norm() for p in parameters if p.grad is not None]).norm()))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    gf.fit(make_model(), clusters(n=60)[0], config(epochs=2, gradient_clip=0.01))
    assert len(norms) == 4
    assert max(norms) <= 0.01 * (1 + 1e-4)


def test_learn_noise_finds_the_level():
    rng = np.random.default_rng(0)
    signal = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 20))
    x = signal + 0.3 * rng.normal(size=signal.shape) * signal.std(0)
    model = make_model(d=20, learn_noise=True, widths=(64,), n_components=1)
    gf.fit(model, x, config(epochs=60))
    level = 0.3**2 / (1 + 0.3**2)  # in normalised units
    assert float(model.log_noise.exp()) == pytest.approx(level, rel=0.3)
    fixed = make_model(d=20)
    gf.fit(fixed, x, config(epochs=2))
    assert float(fixed.log_noise) == 0


def test_learned_noise_minimises_the_reconstruction_of_posterior_samples():
    x = torch.from_numpy(clusters(n=200)[0])
    model = make_model(learn_noise=True)
    model.encoder[-1].bias.data[2:] = 1.0  # wide posteriors: samples are decoded far worse than means
    run = Run(model, x, config())
    run.descent.update_noise()
    z, best = model.normalise(x), float(model.log_noise)
    values = []
    for log_noise in (best - 0.1, best, best + 0.1):
        model.log_noise.fill_(log_noise)
        draws = [model.loss_terms(z, torch.Generator().manual_seed(s)).reconstruction.mean() for s in range(50)]
        values.append(float(torch.stack(draws).mean().detach()))
    assert values[1] < min(values[0], values[2])


def test_held_out_data_are_evaluated_and_never_trained_on():
    x, _ = clusters(n=90)
    other, _ = clusters(seed=8, n=30)
    alone, watched = make_model(), make_model()
    gf.fit(alone, x, config())
    history = gf.fit(watched, x, config(validate_every=4), held_out=other)
    assert states_equal(alone, watched)
    assert [e.epoch for e in history.epochs if e.held_out_loss is not None] == [4, 8, 10]
    assert history.epochs[-1].held_out_error == pytest.approx(fluctuation_error(watched, other))
    z = watched.normalise(torch.from_numpy(other))
    decoded = watched.normalise(torch.from_numpy(watched.reconstruct(other)))
    assert history.epochs[-1].held_out_error == pytest.approx(float((decoded - z).norm() / z.norm()), rel=1e-4)


def test_history_goes_through_json():
    x, _ = clusters(n=60)
    history = gf.fit(make_model(), x, config(epochs=4), held_out=x)
    again = History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again == history
    assert isinstance(again.epochs[-1].occupancy, tuple)


def test_warmup_only_is_a_plain_autoencoder_with_a_standard_prior():
    model = make_model()
    history = gf.fit(model, clusters(n=60)[0], config(epochs=3, warmup_epochs=3))
    assert history.events == ()
    assert not model.prior.means.any()
    gf.fit(model, clusters(n=60)[0], config(epochs=3, warmup_epochs=0))
    assert model.prior.means.any()


def test_progress_shows_rate_and_remaining_time(monkeypatch):
    output = io.StringIO()
    monkeypatch.setattr(
        _progress, "Console", lambda stderr: Console(file=output, force_terminal=True, width=160, height=20)
    )
    x, _ = clusters(n=60)
    gf.fit(make_model(), x, config(epochs=3), progress=False)
    assert output.getvalue() == ""
    gf.fit(make_model(), x, config(epochs=3))
    shown = output.getvalue()
    for part in ("training", "3/3", "block loss", "snapshots/s", "left", "0:00:00"):
        assert part in shown


# --- data -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f2", "i4", ">f4", "u2"])
def test_any_real_dtype_trains_as_its_float32_values_do(dtype):
    x = np.round(10 * np.abs(clusters(n=40)[0])).astype(dtype)
    a, b = make_model(), make_model()
    gf.fit(a, x, config(epochs=3))
    gf.fit(b, torch.from_numpy(x.astype(np.float32)), config(epochs=3))
    assert states_equal(a, b)


def test_every_kind_of_data_trains_alike(tmp_path):
    fields = np.random.default_rng(0).normal(size=(30, 2, 4, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", fields)
    kinds = [
        fields,
        torch.from_numpy(fields),
        Snapshots(fields=fields, field_names=("u", "v")),
        torch.utils.data.TensorDataset(torch.from_numpy(fields)),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
    ]
    models = []
    for data in kinds:
        models.append(gf.GMVAE((2, 4, 5), widths=(4,)))
        gf.fit(models[-1], data, config(epochs=2))
    assert all(states_equal(models[0], m) for m in models[1:])


def test_one_snapshot():
    model = make_model(n_components=1)
    history = gf.fit(model, clusters(n=60)[0][:1], config())
    assert all(math.isfinite(e.loss) for e in history.epochs)
    assert all(bool(torch.isfinite(v).all()) for v in model.state_dict().values())


def test_identical_snapshots():
    model = make_model()
    gf.fit(model, np.ones((20, 10)), config())
    np.testing.assert_allclose(model.reconstruct(np.ones((2, 10))), 1, atol=0.5)


@pytest.mark.parametrize("name", ["data", "held_out"])
def test_bad_data_are_named_before_anything_is_changed(name, tmp_path):
    x, _ = clusters(n=40)
    bad = x.copy()
    bad[7, 3] = np.inf
    model = make_model()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for value, error, message in (
        (bad, ValueError, f"{name} must be finite in float32, got NaN or inf in snapshot 7"),
        (x[:0], ValueError, f"{name} must hold at least one snapshot, got none"),
        (x[:, :9], ValueError, rf"{name} must hold snapshots of shape \(10,\) .* got \(9,\)"),
        (x.tolist(), TypeError, f"{name} must be an ndarray, .* got list"),
        (x.astype("c8"), TypeError, f"{name} must hold real numbers"),
    ):
        arguments = {"data": x, name: value}
        with pytest.raises(error, match=message):
            gf.fit(model, **arguments, config=config(), checkpoint=tmp_path / "never")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not (tmp_path / "never").exists()


def test_other_bad_arguments():
    x, _ = clusters(n=40)
    with pytest.raises(ValueError, match="data must hold at least n_components = 3 snapshots, got 2"):
        gf.fit(make_model(), x[:2], config())
    with pytest.raises(TypeError, match="model must be a GMVAE, got Linear"):
        gf.fit(nn.Linear(2, 2), x)
    with pytest.raises(TypeError, match="config must be a TrainConfig or None, got dict"):
        gf.fit(make_model(), x, {"epochs": 3})
    with pytest.raises(ValueError, match="checkpoint_every must be an integer >= 1, got 0"):
        gf.fit(make_model(), x, config(), checkpoint_every=0)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("scheme", ["adam", None]),
        ("assignment", ["soft", 1]),
        ("epochs", [0, -1, 2.5, "3", None, True]),
        ("batch_size", [0, 1.5]),
        ("m_step_every", [0]),
        ("n_init", [0]),
        ("validate_every", [0]),
        ("warmup_epochs", [-1, 201, 1.5]),
        ("beta_warmup_epochs", [-1, 1.5]),
        ("learning_rate", [0, -1e-3, math.nan, math.inf, "fast"]),
        ("variance_floor", [0, math.nan]),
        ("beta", [-1, math.nan, math.inf]),
        ("reseed_below", [-1, 100, math.nan]),
        ("damping", [0, 1.1, math.nan]),
        ("gradient_clip", [0, -1, math.nan]),
        ("seed", [None, 1.5]),
        ("priors", [{"weight_count": 1}]),
    ],
)
def test_config_checks_each_field(field, values):
    for value in values:
        with pytest.raises((TypeError, ValueError), match=f"{field} must be .*got "):
            gf.TrainConfig(**{field: value})


def test_config_names_the_field_that_was_meant():
    with pytest.raises(TypeError, match=r"TrainConfig has no field 'epoch'; did you mean 'epochs'\?"):
        gf.TrainConfig(epoch=3)
    with pytest.raises(TypeError, match=r"TrainConfig has no field 'zzz'$"):
        gf.TrainConfig(zzz=3)


def test_the_mean_loss_counts_every_step(monkeypatch):
    """However many steps an epoch has, and wherever their sums are put together."""
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    config = gf.TrainConfig(epochs=2, warmup_epochs=1, batch_size=4, n_init=1)
    losses = []
    for kept in (2, 6, 26, 512):
        monkeypatch.setattr("gmvae_fast.training.descent._KEPT_SUMS", kept)
        history = gf.fit(gf.GMVAE((4,), latent_dim=2, n_components=2, seed=0), x, config, progress=False)
        losses.append([epoch.loss for epoch in history.epochs])
    np.testing.assert_allclose(losses, losses[:1] * 4, rtol=1e-6)
    assert len(losses[0]) == 2
