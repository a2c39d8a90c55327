"""Weights of snapshots in training and in EM: what they must equal."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import gmvae_fast as gf
from gmvae_fast.data import Snapshots, balanced_weights
from gmvae_fast.training.run import Run

pytestmark = pytest.mark.usefixtures("one_thread")


def clusters(counts=(160, 40, 40), seed=0):
    """Snapshots [N, 10] about three centres, so many each, shuffled, with their labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, 10))
    centres *= 6 / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.permutation(np.repeat(np.arange(3), counts))
    return (centres[labels] + 0.5 * rng.normal(size=(len(labels), 10))).astype(np.float32), labels


def make_model(**options):
    return gf.GMVAE((10,), latent_dim=2, n_components=3, widths=(16,), seed=0, **options)


def config(**options):
    return gf.TrainConfig(**{"epochs": 8, "batch_size": 32, "learning_rate": 5e-3, "n_init": 3, **options})


def without_times(history):
    return [dataclasses.replace(e, seconds=0.0) for e in history.epochs], history.events


def as_snapshots(x, trajectory=None):
    return Snapshots(x[:, None], ("u",), trajectory=np.arange(len(x)) if trajectory is None else trajectory)


@pytest.mark.parametrize("kind", ["array", "tensor", "dataset", "snapshots"])
def test_weights_of_0_and_1_are_training_on_the_others_bit_for_bit(kind):
    x, _ = clusters()
    keep = np.arange(len(x)) % 3 > 0
    make = {
        "array": lambda part: part,
        "tensor": torch.from_numpy,
        "dataset": lambda part: TensorDataset(torch.from_numpy(part)),
        "snapshots": as_snapshots,
    }[kind]
    shape = (1, 10) if kind == "snapshots" else (10,)
    models = [gf.GMVAE(shape, latent_dim=2, n_components=3, network="mlp", widths=(16,), seed=0) for _ in range(2)]
    weighted = gf.fit(models[0], make(x), config(), sample_weight=keep, progress=False)
    subset = gf.fit(models[1], make(x[keep]), config(), sample_weight=np.full(keep.sum(), 7.0), progress=False)
    assert without_times(weighted) == without_times(subset)
    for a, b in zip(models[0].state_dict().values(), models[1].state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scheme", ["block", "means", "joint"])
def test_equal_weights_are_no_weights(scheme):
    """Up to rounding: log evidence is summed another way."""
    x, _ = clusters()
    histories, models = [], [make_model() for _ in range(2)]
    for model, weight in zip(models, (None, np.full(len(x), 0.25)), strict=True):
        histories.append(gf.fit(model, x, config(scheme=scheme), sample_weight=weight, progress=False))
    for name in ("loss", "mixture_kl"):
        values = [[getattr(e, name) or 0.0 for e in h.epochs] for h in histories]
        np.testing.assert_allclose(*values, rtol=1e-4)


def test_a_step_weighs_losses_and_gradients():
    """One full batch: the gradient is that of sum_i w_i L_i / N with the weights' mean 1."""
    x, _ = clusters((20, 10, 10))
    weight = np.random.default_rng(1).uniform(0.2, 3, len(x))
    model = make_model()
    run = Run(model, x, config(batch_size=64), sample_weight=weight)
    taken = {}
    original = run.descent.optimizer.step

    def keep_gradients():
        taken.update({i: p.grad.clone() for i, p in enumerate(run.descent.trained)})
        return original()

    run.descent.optimizer.step = keep_gradients
    before = {k: v.clone() for k, v in model.state_dict().items()}
    order, noise = (torch.Generator().set_state(g.get_state()) for g in (run.descent.order, run.descent.noise))
    reconstruction, kl = run.descent.run(1, standard_prior=True)
    model.load_state_dict(before)
    rows = torch.randperm(len(x), generator=order)
    eps = torch.empty(len(x), 2).normal_(generator=noise)
    terms = model.loss_terms(model.normalise(torch.from_numpy(x)[rows]), None, noise=eps, standard_prior=True)
    w = torch.from_numpy(weight / weight.mean())[rows].float()
    model.zero_grad()
    (w * (terms.reconstruction + terms.kl)).mean().backward()
    for i, p in enumerate(p for p in model.parameters() if p.requires_grad):
        torch.testing.assert_close(taken[i], p.grad, rtol=1e-4, atol=1e-5)
    assert reconstruction == pytest.approx(float((w * terms.reconstruction).mean().detach()), rel=1e-5)
    assert kl == pytest.approx(float((w * terms.kl).mean().detach()), rel=1e-5)


@pytest.mark.parametrize("scheme", ["block", "means", "joint"])
def test_balanced_groups_share_the_mixture(scheme):
    """Four fifths of the data stand in one group; balanced, each group has a third of the mixture."""
    x, labels = clusters((240, 30, 30))
    weight = balanced_weights(as_snapshots(x), labels)
    shares = []
    for sample_weight in (None, weight):
        model = make_model()
        settings = config(scheme=scheme, epochs=30, warmup_epochs=10, mixture_start="latents")
        history = gf.fit(model, x, settings, sample_weight=sample_weight, progress=False)
        shares.append(np.sort(history.epochs[-1].occupancy))
        if scheme == "block":
            np.testing.assert_allclose(np.sort(model.prior.log_weights.exp()), shares[-1], atol=0.02)
    np.testing.assert_allclose(shares[0], [0.1, 0.1, 0.8], atol=0.02)
    np.testing.assert_allclose(shares[1], [1 / 3] * 3, atol=0.03)


def test_the_closed_form_step_is_the_weighted_one():
    x, _ = clusters()
    weight = np.random.default_rng(2).uniform(0.1, 2, len(x))
    model = make_model()
    run = Run(model, x, config(warmup_epochs=1), sample_weight=weight)
    for _ in range(3):
        run.one_epoch()
    latents = run._latents()
    with torch.no_grad():
        gamma = model.prior.responsibilities(latents.mean, latents.log_var).double()
    w = torch.from_numpy(weight / weight.mean())[:, None] * gamma
    run.scheme.update(latents, last=True)
    after = model.prior.get()
    torch.testing.assert_close(after.log_weights.exp().double(), w.sum(0) / len(x), rtol=1e-4, atol=1e-6)
    means = w.T @ latents.mean.double() / w.sum(0)[:, None]
    torch.testing.assert_close(after.means.double(), means, rtol=1e-4, atol=1e-5)
    spread = (latents.mean[:, None].double() - means).square() + latents.log_var[:, None].double().exp()
    variances = (w[:, :, None] * spread).sum(0) / w.sum(0)[:, None]
    torch.testing.assert_close(after.log_vars.exp().double(), variances, rtol=1e-3, atol=1e-6)


def test_the_learnt_noise_is_that_of_the_weighted_errors():
    """Snapshots that cannot be described have no say where they do not count."""
    x, _ = clusters()
    x[::4] += 20 * np.random.default_rng(3).normal(size=x[::4].shape).astype(np.float32)
    weight = np.where(np.arange(len(x)) % 4 == 0, 1e-3, 1.0)
    noise = []
    for sample_weight in (None, weight):
        model = make_model(learn_noise=True)
        gf.fit(model, x, config(), sample_weight=sample_weight, progress=False)
        noise.append(float(model.log_noise.exp()))
    assert noise[1] < 0.5 * noise[0]


def test_a_checkpoint_knows_its_weights(tmp_path):
    x, _ = clusters()
    weight = 1.0 + np.arange(len(x)) % 3
    whole, parts = make_model(), make_model()
    path = tmp_path / "run.safetensors"
    expected = gf.fit(whole, x, config(), sample_weight=weight, progress=False)

    class Stop(Exception):
        pass

    def stop(record):
        if record.epoch == 5:
            raise Stop

    options = {"checkpoint": path, "checkpoint_every": 1, "progress": False}
    with pytest.raises(Stop):
        gf.fit(parts, x, config(), sample_weight=weight, on_epoch=stop, **options)
    for other in (None, weight[::-1]):
        with pytest.raises(ValueError, match="sample_weight differs"):
            gf.fit(make_model(), x, config(), sample_weight=other, **options)
    assert without_times(gf.fit(parts, x, config(), sample_weight=2 * weight, **options)) == without_times(expected)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(3), r"sample_weight must have shape \(240,\), got \(3,\)"),
        (np.full(240, -1.0), "not negative, got -1.0 for row 0"),
        (np.full(240, np.inf), "finite"),
        (np.zeros(240), "above 0 in at least one row"),
    ],
)
def test_bad_weights(weight, message):
    x, _ = clusters()
    with pytest.raises(ValueError, match=message):
        gf.fit(make_model(), x, config(), sample_weight=weight, progress=False)
    with pytest.raises(ValueError, match=message):
        gf.GaussianMixture(3).fit(x, sample_weight=weight)


@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied", "spherical"])
@pytest.mark.parametrize("tensor", [False, True])
def test_em_with_whole_weights_is_em_on_repeats(covariance_type, tensor):
    x, labels = clusters()
    x = x[:, :3].astype(np.float64)
    log_var = np.random.default_rng(4).normal(size=x.shape) - 2
    times = np.arange(len(x)) % 3
    repeats = np.repeat(np.arange(len(x)), times)
    means = np.stack([x[labels == k].mean(0) for k in range(3)])
    options = {"covariance_type": covariance_type, "means_init": means, "max_iter": 5, "tol": 0.0, "n_init": 1}
    as_given = torch.from_numpy if tensor else np.asarray
    weights_init = np.array([0.5, 0.25, 0.25])
    precisions = {
        "diag": np.ones((3, 3)), "spherical": np.ones(3), "tied": np.eye(3), "full": np.stack([np.eye(3)] * 3),
    }[covariance_type]  # fmt: skip
    options |= {"weights_init": weights_init, "precisions_init": precisions}
    weighted = gf.GaussianMixture(3, chunk_size=50, **options)
    weighted.fit(as_given(x), log_var=as_given(log_var), sample_weight=times)
    repeated = gf.GaussianMixture(3, **options).fit(x[repeats], log_var=log_var[repeats])
    for name in ("weights_", "means_", "covariances_"):
        np.testing.assert_allclose(getattr(weighted, name), getattr(repeated, name), rtol=1e-8)
    np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-8)


def test_em_with_weights_of_0_and_1_starts_from_the_others():
    x, _ = clusters()
    keep = np.arange(len(x)) % 4 > 0
    weighted = gf.GaussianMixture(3, n_init=3, random_state=5).fit(x, sample_weight=keep)
    subset = gf.GaussianMixture(3, n_init=3, random_state=5).fit(x[keep])
    first, second = (m.means_[np.argsort(m.means_[:, 0])] for m in (weighted, subset))  # equal starts may swap
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
    assert weighted.lower_bound_ == pytest.approx(subset.lower_bound_, rel=1e-5)
