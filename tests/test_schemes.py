"""The three schemes: what each trains, that its checkpoints resume bit for bit, and files of earlier formats."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from test_training import Stop, clusters, config, make_model, states_equal, stop_at, without_times

import gmvae_fast as gf
from gmvae_fast import ops
from gmvae_fast.mixture import MixtureParameters, MixturePrior, MixturePriors
from gmvae_fast.model import ModelFileError, read_tensors, write_tensors
from gmvae_fast.train_config import SCHEMES
from gmvae_fast.training import TrainingDiverged, checkpoint, run, starts
from gmvae_fast.training.diagnostics import Latents, smallest_variances
from gmvae_fast.training.schemes import REGISTRY
from gmvae_fast.training.schemes.free import FreeMixture

pytestmark = pytest.mark.usefixtures("one_thread")
FORMATS = Path(__file__).parent / "formats"
COVARIANCES = ["diag", "spherical", "tied", "full"]


def random_mixture(kind, k=3, d=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    weights = torch.log_softmax(draw(k), 0)
    if kind in ("diag", "spherical"):
        log_vars = draw(k, d) if kind == "diag" else draw(k, 1).expand(k, d).clone()
        return MixtureParameters(weights, draw(k, d), log_vars)
    factors = draw(*((k, d, d) if kind == "full" else (d, d))).tril(-1) + 0.3 * torch.eye(d)
    return MixtureParameters(weights, draw(k, d), None, factors)


def test_every_scheme_has_defaults_and_a_class():
    assert SCHEMES.keys() == REGISTRY.keys()


@pytest.mark.parametrize("kind", COVARIANCES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_and_covariance_type_learns(scheme, kind):
    x, _ = clusters()
    model = make_model(covariance_type=kind)
    history = gf.fit(model, x, config(scheme=scheme, epochs=12, beta=0.1))
    assert history.epochs[-1].loss < 0.8 * history.epochs[0].loss
    for record in history.epochs:
        if record.phase == "warmup":
            continue
        assert record.phase == scheme
        assert sum(record.occupancy) == pytest.approx(1)
        assert record.mixture_kl > 0
        assert (record.mixture_kl_before is None) == (scheme == "joint")
        assert min(record.component_variance) > 0
    assert float(model.prior.log_weights.exp().sum()) == pytest.approx(1, abs=1e-6)
    if kind == "spherical":
        assert torch.equal(model.prior.log_vars, model.prior.log_vars[:, :1].expand(-1, 2))


def test_joint_finds_three_clusters_from_a_fit_to_the_latents():
    x, labels = clusters()
    model = make_model(widths=(32,))
    history = gf.fit(model, x, config(scheme="joint", epochs=25, n_init=10))
    assert adjusted_rand_score(labels, model.predict(x)) == 1
    assert [e.kind for e in history.events] == ["initialise"]


def test_warm_up_leaves_the_mixture_alone_and_joint_then_moves_all_of_it():
    x, _ = clusters(n=60)
    model, seen = make_model(), {}
    settings = config(scheme="joint", epochs=6, warmup_epochs=3)
    gf.fit(model, x, settings, on_epoch=lambda record: seen.update({record.epoch: model.prior.get()}))
    untouched = make_model().prior.get()
    for value, other in zip(seen[3].as_tuple()[:3], untouched.as_tuple()[:3], strict=True):
        assert torch.equal(value, other)
    for a, b in zip(seen[5].as_tuple()[:3], seen[6].as_tuple()[:3], strict=True):
        assert not torch.equal(a, b)


@pytest.mark.parametrize("assignment", ["exact", "sampled", "mean"])
def test_means_come_from_the_sums_of_the_epoch(assignment):
    """One batch an epoch: the sums are those of one pass, over the encoder before the step."""
    x, _ = clusters(n=60)
    settings = config(scheme="means", assignment=assignment, epochs=3, batch_size=60)
    model = make_model()
    trained = run.Run(model, x, settings, None)
    trained.one_epoch()
    with torch.no_grad():
        before = model.prior.get()
        noise = torch.Generator()
        noise.set_state(trained.descent.noise.get_state())
        order = torch.Generator()
        order.set_state(trained.descent.order.get_state())
        rows = torch.from_numpy(x)[torch.randperm(60, generator=order)]
        terms = model.loss_terms(model.normalise(rows), noise, assignment=assignment)
        # Adam moves weights and variances before the sums are taken, so gamma is that of the mixture after the step.
    trained.one_epoch()
    after = model.prior.get()
    mixture = (after.log_weights, before.means, after.log_vars)
    if assignment == "exact":
        gamma = ops.mixture_statistics(terms.mean, terms.log_var, *mixture)
        expected = before.means + gamma.first / gamma.weight[:, None]
    else:
        where = terms.z if assignment == "sampled" else terms.mean
        gamma = ops.log_responsibilities(where, *mixture)[0].exp()
        expected = gamma.T @ terms.mean / gamma.sum(0)[:, None]
    torch.testing.assert_close(after.means, expected.float(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(after.log_vars, before.log_vars)
    assert not torch.equal(after.log_weights, before.log_weights)


def test_a_mean_without_snapshots_stays():
    x, _ = clusters(n=60)
    model = make_model()
    trained = run.Run(model, x, config(scheme="means"))
    trained.one_epoch()
    trained.scheme.free.means.data[1] = 1e4
    trained.one_epoch()
    assert bool((model.prior.means[1] == 1e4).all())
    assert trained.records[-1].occupancy[1] == 0
    assert trained.events[-1].kind == "initialise"


def test_defaults_of_each_scheme():
    block, means, joint = (gf.TrainConfig(scheme=s) for s in ("block", "means", "joint"))
    assert (block.warmup, means.warmup, joint.warmup) == (80, 0, 80)
    assert (block.gamma, means.gamma, joint.gamma) == ("exact", "sampled", "exact")
    assert (block.start, means.start, joint.start) == ("latents", "normal", "latents")
    given = gf.TrainConfig(scheme="means", warmup_epochs=5, assignment="mean", mixture_start="latents")
    assert (given.warmup, given.gamma, given.start) == (5, "mean", "latents")
    for scheme in ("means", "joint"):
        for options in ({"damping": 0.5}, {"priors": MixturePriors(weight_count=1)}):
            with pytest.raises(ValueError, match=f"{next(iter(options))} must be left out with scheme='{scheme}'"):
                gf.TrainConfig(scheme=scheme, **options)
    with pytest.raises(TypeError, match="detach_assignment must be True or False, got 1"):
        gf.TrainConfig(detach_assignment=1)
    with pytest.raises(ValueError, match="mixture_start must be one of latents, normal, got 'kmeans'"):
        gf.TrainConfig(mixture_start="kmeans")


def test_config_as_a_dictionary_and_back():
    settings = config(scheme="joint", warmup_epochs=2)
    assert gf.TrainConfig.from_dict(dataclasses.asdict(settings)) == settings
    block = config(priors=MixturePriors(mean_count=2.0))
    assert gf.TrainConfig.from_dict(dataclasses.asdict(block)) == block
    assert gf.TrainConfig.from_dict({"epochs": 7}) == gf.TrainConfig(epochs=7)
    with pytest.raises(ValueError, match="TrainConfig has no field epoch; it has .*epochs"):
        gf.TrainConfig.from_dict({"epoch": 7})


@pytest.mark.parametrize("kind", COVARIANCES)
def test_start_from_the_normal_distribution(kind):
    prior = MixturePrior(400, 3, kind)
    first, message = starts.from_normal(prior, gf.TrainConfig(seed=1))
    assert "N(0, I)" in message
    assert float(first.means.mean()) == pytest.approx(0, abs=0.1)
    assert float(first.means.std()) == pytest.approx(1, abs=0.1)
    prior.set(first)
    np.testing.assert_allclose(smallest_variances(prior), 400 ** (-2 / 3), rtol=1e-5)
    np.testing.assert_allclose(prior.log_weights, -math.log(400), rtol=1e-6)
    again, _ = starts.from_normal(prior, gf.TrainConfig(seed=1))
    other, _ = starts.from_normal(prior, gf.TrainConfig(seed=2))
    assert torch.equal(first.means, again.means)
    assert not torch.equal(first.means, other.means)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_either_start_can_be_chosen_for_every_scheme(scheme):
    x, _ = clusters(n=60)
    for start in ("latents", "normal"):
        history = gf.fit(make_model(), x, config(scheme=scheme, epochs=4, warmup_epochs=2, mixture_start=start))
        assert ("N(0, I)" in history.events[0].message) == (start == "normal")


def test_a_detached_assignment_gives_another_gradient_where_it_must():
    x, _ = clusters(n=60)
    for assignment, same in (("exact", True), ("sampled", False), ("mean", False)):
        models = [make_model(), make_model()]
        for model, detach in zip(models, (False, True), strict=True):
            gf.fit(model, x, config(epochs=3, warmup_epochs=0, assignment=assignment, detach_assignment=detach))
        assert states_equal(*models) == same


# --- unconstrained coordinates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COVARIANCES)
def test_a_free_mixture_is_the_mixture_it_was_given(kind):
    given = random_mixture(kind)
    free = FreeMixture(MixturePrior(3, 2, kind))
    free.take(given)
    for mine, theirs in zip(free.value().as_tuple(), given.as_tuple(), strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_a_step_in_free_coordinates_leaves_a_mixture(kind):
    prior = MixturePrior(3, 2, kind)
    free = FreeMixture(prior)
    optimizer = torch.optim.SGD(free.parameters(), lr=0.5)
    mean, log_var = torch.randn(50, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(50, 2)
    for _ in range(5):
        optimizer.zero_grad()
        ops.mixture_kl(mean, log_var, *free()).mean().backward()
        assert all(p.grad is not None for p in free.parameters())
        optimizer.step()
    value = free.value()
    assert float(value.log_weights.exp().sum()) == pytest.approx(1, abs=1e-6)
    assert float(torch.linalg.eigvalsh(value.covariances()).min()) > 0
    prior.set(value)


@pytest.mark.parametrize("kind", COVARIANCES)
def test_smallest_variances(kind):
    prior = MixturePrior(3, 2, kind)
    prior.set(random_mixture(kind))
    expected = torch.linalg.eigvalsh(prior.get().covariances().double())[:, 0]
    torch.testing.assert_close(smallest_variances(prior), expected, rtol=1e-4, atol=0)


# --- checkpoints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interrupted_after", [2, 4, 7])
@pytest.mark.parametrize(
    ("scheme", "kind", "options"),
    [
        ("means", "diag", {}),
        ("means", "spherical", {"warmup_epochs": 3, "m_step_every": 2, "assignment": "exact"}),
        ("joint", "diag", {"assignment": "sampled", "gradient_clip": 1.0}),
        ("joint", "full", {"detach_assignment": True, "assignment": "mean"}),
        ("joint", "tied", {"mixture_start": "normal", "warmup_epochs": 0}),
    ],
)
def test_resuming_equals_the_uninterrupted_run_bit_for_bit(tmp_path, scheme, kind, options, interrupted_after):
    x, _ = clusters(n=90)
    settings, path = config(scheme=scheme, **options), tmp_path / "run.ckpt"
    straight, stopped, resumed = (make_model(covariance_type=kind) for _ in range(3))
    expected = gf.fit(straight, x, settings)
    with pytest.raises(Stop):
        gf.fit(stopped, x, settings, checkpoint=path, checkpoint_every=1, on_epoch=stop_at(interrupted_after))
    history = gf.fit(resumed, x, settings, checkpoint=path)
    assert states_equal(straight, resumed)
    assert without_times(history) == without_times(expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.pop("scheme.logits"),
        lambda t: t.update({"scheme.extra": torch.zeros(1)}),
        lambda t: t.update({"scheme.means": torch.zeros(1)}),
    ],
)
def test_a_checkpoint_with_another_scheme_state_is_incomplete(tmp_path, change):
    path, x = tmp_path / "run.ckpt", clusters(n=60)[0]
    gf.fit(make_model(), x, config(scheme="joint", epochs=3), checkpoint=path)
    tensors, header = read_tensors(path, checkpoint.FORMAT, checkpoint.VERSION)
    change(tensors)
    write_tensors(path, tensors, header)
    with pytest.raises(ModelFileError, match="run.ckpt: the checkpoint is incomplete"):
        gf.fit(make_model(), x, config(scheme="joint", epochs=3), checkpoint=path)


def test_a_state_where_the_scheme_has_none_is_reported(tmp_path):
    path, x = tmp_path / "run.ckpt", clusters(n=60)[0]
    gf.fit(make_model(), x, config(epochs=3), checkpoint=path)
    tensors, header = read_tensors(path, checkpoint.FORMAT, checkpoint.VERSION)
    write_tensors(path, tensors | {"scheme.means": torch.zeros(1)}, header)
    with pytest.raises(ModelFileError, match="scheme 'block' has no state, got means"):
        gf.fit(make_model(), x, config(epochs=3), checkpoint=path)


def test_a_default_spelled_out_is_the_same_configuration(tmp_path):
    path, x = tmp_path / "run.ckpt", clusters(n=60)[0]
    gf.fit(make_model(), x, config(epochs=5), checkpoint=path)
    spelled = config(epochs=5, warmup_epochs=2, assignment="exact", mixture_start="latents")
    assert len(gf.fit(make_model(), x, spelled, checkpoint=path).epochs) == 5
    with pytest.raises(ValueError, match="another training configuration .*scheme: 'block' there, 'joint' here"):
        gf.fit(make_model(), x, config(epochs=5, scheme="joint"), checkpoint=path)


def test_a_checkpoint_of_format_1_is_read_and_continued(tmp_path):
    """Written by the release whose only scheme was "block", after 12 of 20 epochs."""
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes((FORMATS / "v1" / "checkpoint.safetensors").read_bytes())
    x, settings = clusters(n=60, d=6)[0], config(epochs=20, beta=0.2, learning_rate=2e-2)
    resumed, straight = (gf.GMVAE((6,), n_components=3, widths=(8,)) for _ in range(2))
    seen = []
    history = gf.fit(resumed, x, settings, checkpoint=path, on_epoch=lambda record: seen.append(record.epoch))
    assert seen == list(range(13, 21))
    expected = gf.fit(straight, x, settings)
    for mine, theirs in zip(history.epochs, expected.epochs, strict=True):
        assert mine.phase == theirs.phase
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert (mine.mixture_kl is None) == (mine.epoch <= 12)
    np.testing.assert_allclose(resumed.predict_proba(x), straight.predict_proba(x), atol=0.02)
    _, header = read_tensors(path, checkpoint.FORMAT, checkpoint.VERSION)
    assert header["version"] == checkpoint.VERSION == 3


def test_a_model_of_format_1_is_read():
    """The result of the same run."""
    model = gf.load(FORMATS / "v1" / "model.safetensors")
    x, labels = clusters(n=60, d=6)
    assert adjusted_rand_score(labels, model.predict(x)) > 0.9
    assert float(model.offset[0]) == pytest.approx(float(x[:, 0].mean()), rel=1e-4)


# --- guards -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_stops_at_the_last_good_state(scheme):
    x, _ = clusters(n=60)
    model, states = make_model(), {}

    def on_epoch(record):
        states[record.epoch] = {k: v.clone() for k, v in model.state_dict().items()}
        if record.epoch == 5:
            model.decoder[-2].weight.data[0] = math.nan

    with pytest.raises(TrainingDiverged, match="in epoch 6 .*set back to epoch 5") as caught:
        gf.fit(model, x, config(scheme=scheme), on_epoch=on_epoch)
    assert all(torch.equal(v, states[5][k]) for k, v in model.state_dict().items())
    assert len(caught.value.history.epochs) == 5


def test_a_mixture_that_becomes_nan_stops_joint_training():
    x, _ = clusters(n=60)
    trained = run.Run(make_model(), x, config(scheme="joint", warmup_epochs=0, m_step_every=3))
    trained.one_epoch()
    trained.scheme.free.means.data[0, 0] = math.nan
    with pytest.raises(TrainingDiverged):
        trained.one_epoch()
    assert bool(torch.isfinite(trained.model.prior.means).all())


def test_latents_of_equal_snapshots_have_spread_one():
    model = make_model()
    trained = run.Run(model, np.ones((9, 10), dtype=np.float32), config())
    assert Latents.of(model, trained.source).spread == 1
