"""Data and settings that go wrong numerically: stopped with advice, or recovered from and said so."""

import math
import warnings

import numpy as np
import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.data import Snapshots
from gmvae_fast.data.incomplete import IncompleteMoments
from gmvae_fast.data.moments import Moments
from gmvae_fast.training import TrainingDiverged
from gmvae_fast.training.run import Run

CONFIG = {"epochs": 6, "warmup_epochs": 2, "batch_size": 16, "n_init": 2}


def _waves(n=60, seed=0, size=16):
    rng = np.random.default_rng(seed)
    level = rng.choice([1.0, 2.0, 3.0], n)[:, None, None] + 0.05 * rng.standard_normal((n, 1, 1))
    x = np.linspace(0, 2 * np.pi, size)
    u = np.sin(level * x) + 0.02 * rng.standard_normal((n, 1, size))
    return np.concatenate([u, level + 0 * u], axis=1).astype(np.float32)  # [n, 2, size]


def _model(shape=(2, 16), k=3, **options):
    return gf.GMVAE(shape, latent_dim=2, n_components=k, network="mlp", widths=[16], **options)


def _fit(data, held_out=None, k=3, model=None, sample_weight=None, numbers=None, **options):
    model = model or _model(data.shape[1:], k)
    config = gf.TrainConfig(**{**CONFIG, **options})
    given = {"held_out": held_out, "sample_weight": sample_weight, "numbers": numbers}
    history = gf.fit(model, data, config, **given, progress=False)
    return model, history


def _messages(history, kind):
    return [event.message for event in history.events if event.kind == kind]


def _same(a, b):
    """Whether two models have the same bits."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


# -- NaN and inf -----------------------------------------------------------------------------------------------------


def test_by_default_the_snapshot_and_its_field_are_named():
    data = _waves()
    data[7, 1, 3] = np.inf
    message = (
        "data must be finite in float32, got NaN or inf in snapshot 7, channel 1; on_nan='drop' leaves such snapsh"
    )
    with pytest.raises(ValueError, match=message):
        _fit(data)
    whole = Snapshots(data, ("u", "v"), trajectory=np.arange(len(data)) // 2, time=np.arange(len(data)) % 2)
    with pytest.raises(ValueError, match=r"snapshot 3, field 'v' \(trajectory 3, time 1\); on_nan="):
        gf.fit(_model(), whole[4:], gf.TrainConfig(**CONFIG), progress=False)
    with pytest.raises(ValueError, match=r"held_out must be finite in float32, got NaN or inf in snapshot 7"):
        _fit(_waves(), held_out=data)
    with pytest.raises(ValueError, match=r"on_nan must be one of error, drop, mask, got 'dorp'; did you mean 'drop'"):
        gf.TrainConfig(on_nan="dorp")


def test_dropped_snapshots_are_as_if_they_had_never_been_there():
    whole = _waves()
    data, held_out = whole.copy(), _waves(12, seed=5)
    data[[7, 20], 1, 3] = np.nan, -np.inf
    held_out[4, 0, 0] = np.nan
    kept, kept_held_out = np.delete(whole, [7, 20], 0), np.delete(held_out, 4, 0)
    model, history = _fit(data, held_out, on_nan="drop")
    assert _messages(history, "drop") == [
        "data: 2 of 60 snapshots hold NaN or inf and are left out: 7, 20",
        "held_out: 1 of 12 snapshots hold NaN or inf and are left out: 4",
    ]
    expected, expected_history = _fit(kept, kept_held_out, on_nan="drop", sample_weight=np.ones(58))
    assert _same(model, expected)
    assert history.epochs[-1].held_out_loss == expected_history.epochs[-1].held_out_loss
    assert not expected_history.events or not _messages(expected_history, "drop")


def test_parts_of_something_larger_are_called_by_its_numbers():
    data, held_out, weight = _waves(), _waves(12, seed=5), np.ones(60)
    data[[7, 20], 1, 3], held_out[4, 0, 0], weight[:5] = np.nan, np.nan, 0
    numbers = {"data": np.arange(100, 160), "held_out": np.arange(0, 120, 10)}
    given = {"held_out": held_out, "sample_weight": weight, "numbers": numbers}
    _, history = _fit(data, on_nan="drop", **given)
    assert _messages(history, "drop") == [
        "data: 2 of 55 snapshots hold NaN or inf and are left out: 107, 120",
        "held_out: 1 of 12 snapshots hold NaN or inf and are left out: 40",
    ]
    with pytest.raises(ValueError, match="NaN or inf in snapshot 107, channel 1"):
        _fit(data, **given)
    with pytest.raises(ValueError, match="NaN or inf in snapshot 7, channel 1"):  # of the data, those of weight 0 too
        _fit(data, sample_weight=weight)
    with pytest.raises(ValueError, match=r"numbers\['data'\] must have shape \(60,\), got \(59,\)"):
        _fit(data, numbers={"data": np.arange(59)})
    with pytest.raises(ValueError, match="numbers must be of data or held_out, got 'heldout'; did you mean 'held_out'"):
        _fit(data, numbers={"heldout": np.arange(12)})


def test_dropping_goes_with_weights_and_needs_something_left():
    data, weight = _waves(), np.ones(60)
    weight[:5] = 0
    data[[7, 20], 1, 3] = np.nan
    _, history = _fit(data, on_nan="drop", sample_weight=weight)
    assert _messages(history, "drop") == ["data: 2 of 55 snapshots hold NaN or inf and are left out: 7, 20"]
    data[:, 0, 0] = np.nan
    with pytest.raises(
        ValueError, match="data must hold a finite snapshot, got NaN or inf in all 60; try on_nan='mask'"
    ):
        _fit(data, on_nan="drop")


@pytest.mark.parametrize("policy", ["drop", "mask"])
def test_without_gaps_the_policy_changes_no_bit(policy):
    expected, _ = _fit(_waves(), held_out=_waves(12, seed=5))
    model, history = _fit(_waves(), held_out=_waves(12, seed=5), on_nan=policy)
    assert _same(model, expected)
    assert not _messages(history, policy)


def test_masked_values_are_no_part_of_the_loss_and_the_rest_is_learned():
    whole = _waves(90)
    rng = np.random.default_rng(3)
    data = whole.copy()
    data[rng.uniform(size=data.shape) < 0.05] = np.nan
    data[3, 1, 2] = np.inf
    missing = ~np.isfinite(data)
    model, history = _fit(data, held_out=data[:10], on_nan="mask", epochs=60, warmup_epochs=20)
    counts = missing.sum((0, 2))
    told = f"data: NaN and infinite values are left out of the loss: {counts[0]} of channel 0, {counts[1]} of channel 1"
    assert _messages(history, "mask")[0] == told
    assert np.isfinite([record.loss for record in history.epochs]).all()
    assert history.epochs[-1].held_out_error < 0.5
    repaired = model.reconstruct(data)
    error = np.sqrt(np.mean((repaired - whole)[missing] ** 2)) / whole.std()
    assert error < 0.5  # missing values are filled in from the others
    for values in (model.embed(data).mean, model.elbo(data), model.log_evidence(data), model.predict_proba(data)):
        assert np.isfinite(values).all()


def test_a_missing_value_contributes_nothing(tmp_path):
    data = _waves()
    data[7, 1, 3] = np.nan
    model, _ = _fit(data, on_nan="mask", epochs=2, warmup_epochs=1)
    x = model.normalise(torch.from_numpy(data))
    noise = torch.zeros(60, 2)
    terms = model.loss_terms(x, None, noise=noise)
    decoded = model.decode(terms.z)
    difference = (decoded - x)[7]
    known = torch.isfinite(x[7])
    assert int((~known).sum()) == 1
    torch.testing.assert_close(terms.reconstruction[7], 0.5 * difference[known].square().sum())
    model.log_noise.fill_(0.3)
    terms = model.loss_terms(x, None, noise=noise)
    torch.testing.assert_close(
        terms.reconstruction[7], 0.5 * (difference[known].square().sum() * math.exp(-0.3) + 31 * 0.3)
    )
    terms.reconstruction.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    model.save(tmp_path / "m.safetensors")
    again = gf.load(tmp_path / "m.safetensors")
    assert bool(again.gaps)
    np.testing.assert_array_equal(again.embed(data).mean, model.embed(data).mean)


@pytest.mark.parametrize("masked", [False, True])
def test_a_field_of_nothing_but_gaps_is_refused(masked):
    data = _waves()
    data[:, 1] = np.nan
    mask = (np.arange(data.shape[2]) != 3) if masked else None
    with pytest.raises(ValueError, match="a finite value of every field, got only NaN or inf in field 'v'"):
        _fit(Snapshots(data, ("u", "v"), mask=mask), on_nan="mask", model=_model())
    with pytest.raises(ValueError, match="got only NaN or inf in feature 2"):
        _fit(np.where(np.arange(4) == 2, np.inf, _waves()[:, 0, :4]).astype(np.float32), on_nan="mask")


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
def test_no_component_is_predicted_for_what_is_not_finite(kind):
    model, _ = _fit(_waves())
    data = _waves()
    data[[7, 9], 1, 3] = np.nan, np.inf
    assert not np.isfinite(np.asarray(model.embed(kind(data)).mean)[[7, 9]]).any()
    with pytest.raises(
        ValueError, match=r"got NaN or inf in 2 of 60 snapshots, the first is 7; a model .* on_nan='mask'"
    ):
        model.predict(kind(data))
    assert len(model.predict(kind(data[10:]))) == 50


def test_learned_noise_counts_known_values_only():
    data = _waves()
    data[:, 0, :4] = np.where(np.random.default_rng(0).uniform(size=(60, 4)) < 0.5, np.nan, data[:, 0, :4])
    model, history = _fit(data, on_nan="mask", model=_model(learn_noise=True))
    assert math.isfinite(float(model.log_noise))
    assert history.epochs[-1].phase == "block"


def test_masked_runs_continue_bit_for_bit(tmp_path):
    data = _waves()
    data[5, 0, 0] = np.nan
    config = gf.TrainConfig(**CONFIG, on_nan="mask")

    class Stop(Exception):
        pass

    def stop(record):
        if record.epoch == 4:
            raise Stop

    path, options = tmp_path / "c.safetensors", {"checkpoint_every": 1, "progress": False}
    with pytest.raises(Stop):
        gf.fit(_model(), data, config, checkpoint=path, on_epoch=stop, **options)
    model, expected = _model(), _model()
    history = gf.fit(model, data, config, checkpoint=path, **options)
    gf.fit(expected, data, config, progress=False)
    assert _same(model, expected)
    assert len(_messages(history, "mask")) == 1


def test_a_static_mask_and_gaps_go_together():
    data = _waves()
    mask = np.ones(16, bool)
    mask[:3] = False
    data[:, :, :3] = np.nan  # outside the mask: no gap
    _, history = _fit_snapshots(data, mask, on_nan="error")
    assert not history.events or not _messages(history, "mask")
    data[4, 1, 8] = np.nan
    model, history = _fit_snapshots(data, mask, on_nan="mask")
    assert _messages(history, "mask") == ["data: NaN and infinite values are left out of the loss: 1 of field 'v'"]
    assert np.isfinite(model.elbo(data)).all()


def _fit_snapshots(data, mask, **options):
    model = _model()
    return model, gf.fit(
        model, Snapshots(data, ("u", "v"), mask=mask), gf.TrainConfig(**CONFIG, **options), progress=False
    )


@pytest.mark.parametrize("mask", [None, [True] * 4 + [False]])
def test_moments_with_gaps_are_those_of_numpy(mask):
    rng = np.random.default_rng(0)
    x = 1e4 + rng.normal(size=(50, 2, 5))
    x[rng.uniform(size=x.shape) < 0.3] = np.nan
    x[:, 0, 2] = np.nan
    rows, valid = torch.from_numpy(x), None if mask is None else torch.tensor(mask)
    found = IncompleteMoments.of(rows[:20], valid) + IncompleteMoments.of(rows[20:], valid)
    inside = x if mask is None else x[..., mask]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a value that no snapshot has
        mean = np.nanmean(inside, axis=0)
    np.testing.assert_allclose(found.mean[..., : inside.shape[-1]], np.nan_to_num(mean), rtol=1e-12)
    std = np.sqrt(np.nanmean((inside - mean) ** 2, axis=(0, 2)))
    np.testing.assert_allclose(found.std(inside.shape[-1]), std, rtol=1e-9)
    np.testing.assert_array_equal(found.missing, np.isnan(inside).sum((0, 2)))
    whole = torch.from_numpy(rng.normal(size=(50, 2, 5))).float()
    gaps, plain = IncompleteMoments.of(whole, valid), Moments.of(whole.float(), valid)
    torch.testing.assert_close(gaps.mean, plain.mean.reshape(gaps.mean.shape))
    torch.testing.assert_close(gaps.std(inside.shape[-1]), plain.std(inside.shape[-1]))


# -- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "noise"),
    [(3.0, 0.0), (1e30, 1e23), (-1e30, 0.0), (1e-30, 0.0), (0.0, 0.0), (101325.0, 0.01), (0.0, 1e-42)],
)
def test_a_channel_that_is_constant_up_to_rounding(value, noise):
    data = _waves()
    data[:, 1] = value + noise * np.random.default_rng(0).standard_normal((60, 16))
    model, history = _fit(data)
    expected = "channel 1 varies by no more than rounding and is taken for constant"
    assert _messages(history, "constant") == [expected]
    assert np.isfinite([record.loss for record in history.epochs]).all()
    assert history.epochs[-1].reconstruction < 20  # of 16 values that vary; the constant ones cost nothing
    np.testing.assert_allclose(model.reconstruct(data)[:, 1], value, rtol=2e-6 if value else 0, atol=2)


@pytest.mark.parametrize("scales", [(1e-12, 1e12), (1e-30, 1.0), (1e30, 1.0), (1e-30, 1e30)])
def test_wildly_scaled_fields_train_as_well_as_others(scales):
    plain, plain_history = _fit(_waves())
    data = _waves() * np.array(scales, np.float32)[:, None]
    model, history = _fit(data)
    assert history.epochs[-1].loss == pytest.approx(plain_history.epochs[-1].loss, rel=0.05)
    ours, theirs = model.reconstruct(data) / np.array(scales, np.float32)[:, None], plain.reconstruct(_waves())
    np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_float64_beyond_float32_is_named():
    data = _waves().astype(np.float64)
    data[3, 0, 0] = 1e300
    with pytest.raises(ValueError, match="must be finite in float32, got NaN or inf in snapshot 3, channel 0"):
        _fit(data)


@pytest.mark.parametrize("kind", ["array", "tensor", "bfloat16"])
def test_half_precision_inputs_train_in_float32(kind):
    half = _waves().astype(np.float16)
    given = half if kind == "array" else torch.from_numpy(half)
    given = given.to(torch.bfloat16) if kind == "bfloat16" else given
    single = given.float() if kind != "array" else given.astype(np.float32)
    model, _ = _fit(given)
    expected, _ = _fit(single)
    assert _same(model, expected)
    assert model.embed(given).mean.dtype in (np.float32, torch.float32)
    large = np.full((20, 3), 60000, np.float16) * np.linspace(0.5, 1, 20, dtype=np.float16)[:, None]
    model, history = _fit(large)  # sums beyond float16
    assert np.isfinite([record.loss for record in history.epochs]).all()


# -- few snapshots ---------------------------------------------------------------------------------------------------


def test_one_snapshot_trains_one_component():
    model, history = _fit(_waves(1), k=1)
    assert np.isfinite([record.loss for record in history.epochs]).all()
    assert _messages(history, "constant")
    np.testing.assert_allclose(model.reconstruct(_waves(1)), _waves(1), atol=1.0)
    assert np.isfinite(model.sample(3)[0]).all()


def test_more_components_than_snapshots():
    message = "data must hold at least n_components = 3 snapshots, got 2; give more of them, or lower n_components"
    with pytest.raises(ValueError, match=message):
        _fit(_waves(2))
    data = _waves(4)
    data[:2, 0, 0] = np.nan
    with pytest.raises(ValueError, match=message):
        _fit(data, on_nan="drop")
    _, history = _fit(_waves(3))  # as many as components
    assert np.isfinite([record.loss for record in history.epochs]).all()


def test_identical_snapshots():
    _, history = _fit(np.repeat(_waves(1), 40, 0))
    assert np.isfinite([record.loss for record in history.epochs]).all()
    assert _messages(history, "constant")


# -- learning rate ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [30.0, 1e6, 1e30])
@pytest.mark.parametrize("scheme", ["block", "means", "joint"])
def test_a_diverging_learning_rate_leaves_the_last_good_state_and_advice(scheme, learning_rate, tmp_path):
    model = _model()
    path = tmp_path / "c.safetensors"
    config = gf.TrainConfig(**{**CONFIG, "warmup_epochs": None}, scheme=scheme, learning_rate=learning_rate)
    with pytest.raises(
        TrainingDiverged, match=r"set back to epoch \d+. Try a smaller learning_rate, gradient_clip"
    ) as caught:
        gf.fit(model, _waves(), config, checkpoint=path, checkpoint_every=1, progress=False)
    history = caught.value.history
    assert all(torch.isfinite(v).all() for v in model.state_dict().values() if v.is_floating_point())
    assert np.isfinite(model.embed(_waves()).mean).all()
    assert _messages(history, "diverged")
    assert len(history.epochs) == 0 or math.isfinite(history.epochs[-1].loss)
    assert path.exists() == bool(history.epochs)  # of good epochs only


@pytest.mark.parametrize(("value", "finite"), [(3e38, True), (float("inf"), False), (float("nan"), False)])
def test_parameters_whose_sum_is_too_large_are_finite_themselves(value, finite):
    model = gf.GMVAE((6,), n_components=2, widths=(4,))
    run = Run(model, np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32), gf.TrainConfig(epochs=2))
    with torch.no_grad():
        model.encoder[1].bias[:3] = value
    assert run._is_finite() is finite
