import errno
import json
import math
import os
import struct

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import gmvae_fast as gf
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.model import ModelFileError, read_tensors, write_tensors

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = (2, 5, 6)


def make_data(n=7, shape=SHAPE, seed=0):
    scale = np.array([10.0, 0.1])[:, None, None] if len(shape) == 3 else 3.0
    return (5.0 + scale * np.random.default_rng(seed).normal(size=(n, *shape))).astype(np.float32)


def make_model(shape=SHAPE, data=None, **options):
    options = {"latent_dim": 2, "n_components": 3, "widths": (4, 5), **options}
    model = gf.GMVAE(shape, **options).eval()
    torch.manual_seed(1)
    nn.init.normal_(model.prior.means)
    model.prior.log_vars.data.normal_(std=0.5)
    if model.prior.covariance_type == "spherical":
        model.prior.log_vars.data[:] = model.prior.log_vars[:, :1]
    model.prior.log_weights.data = torch.log_softmax(torch.randn(model.n_components), 0)
    if data is not None:
        model.set_normalisation(data)
    return model


def custom_networks():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(60, 4))
    decoder = nn.Sequential(nn.Linear(2, 60), nn.Unflatten(1, SHAPE))
    return encoder, decoder


# --- use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "network"), [((10,), "auto"), (SHAPE, "mlp"), (SHAPE, "conv"), ((1, 9), "conv")])
def test_encode_and_decode_shapes(shape, network):
    model = make_model(shape, network=network)
    x = torch.randn(4, *shape)
    mean, log_var = model.encode(x)
    assert mean.shape == log_var.shape == (4, 2)
    assert model.decode(mean).shape == x.shape


@pytest.mark.parametrize("kind", ["array", "float64", "tensor", "snapshots", "dataset"])
def test_every_kind_of_data_gives_the_same_numbers_in_its_own_kind(kind):
    x = make_data()
    data = {
        "array": x,
        "float64": x.astype(np.float64),
        "tensor": torch.from_numpy(x),
        "snapshots": Snapshots(fields=x, field_names=("u", "v")),
        "dataset": TensorDataset(torch.from_numpy(x)),
    }[kind]
    expected_type = torch.Tensor if kind == "tensor" else np.ndarray
    model = make_model(data=x)
    z = (torch.from_numpy(x) - model.offset) / model.scale
    with torch.no_grad():
        mean, log_var = model.encode(z)
        kl = gf.ops.reference.component_kl(mean, log_var, model.prior.means, model.prior.log_vars)
        gamma = torch.softmax(model.prior.log_weights - kl, 1)
        decoded = model.decode(mean) * model.scale + model.offset
    embedding = model.embed(data, batch_size=3)
    values = {
        "mean": (embedding.mean, mean),
        "log_var": (embedding.log_var, log_var),
        "predict_proba": (model.predict_proba(data, batch_size=3), gamma),
        "predict": (model.predict(data), gamma.argmax(1)),
        "reconstruct": (model.reconstruct(data, batch_size=2), decoded),
    }
    for name, (got, expected) in values.items():
        assert isinstance(got, expected_type), name
        torch.testing.assert_close(torch.as_tensor(got), expected, rtol=1e-5, atol=1e-5, msg=name)
    score = model.score_samples(data)
    assert isinstance(score, expected_type)
    assert score.shape == (7,)


def test_use_leaves_mode_gradients_and_global_random_state_alone():
    model = make_model().train()
    before = torch.random.get_rng_state()
    x = make_data()
    for result in (model.embed(x).mean, model.score_samples(x), model.sample(3)[0], model.reconstruct(x)):
        assert isinstance(result, np.ndarray)
        assert model.training
    assert all(p.grad is None for p in model.parameters())
    gf.GMVAE(SHAPE, seed=5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_seeds_decide_the_initial_weights():
    a, b, c = (gf.GMVAE(SHAPE, seed=s).state_dict() for s in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_normalisation_is_numpys():
    x = make_data(50)
    model = make_model(data=x)
    double = x.astype(np.float64)
    mean = double.mean(0)
    std = np.sqrt(((double - mean) ** 2).mean((0, 2, 3)))
    np.testing.assert_allclose(model.offset.numpy(), mean, rtol=1e-6)
    np.testing.assert_allclose(model.scale.numpy().ravel(), std, rtol=1e-6)
    z = model.normalise(torch.from_numpy(x))
    np.testing.assert_allclose(z.numpy(), (double - mean) / std[:, None, None], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.denormalise(z), torch.from_numpy(x))
    vectors = make_data(30, (4,))
    np.testing.assert_allclose(make_model((4,), vectors).scale.numpy(), vectors.std(0), rtol=1e-5)


def test_constant_channels_and_features_keep_their_units():
    x = make_data()
    x[:, 1] = np.linspace(0, 1e6, 30).reshape(5, 6)  # varies in space, not from snapshot to snapshot
    model = make_model(data=x)
    assert float(model.scale[1]) == 1
    assert np.isfinite(model.reconstruct(x)).all()
    vectors = make_data(9, (3,))
    vectors[:, 0], vectors[:, 1] = 0.1, 0.0
    assert make_model((3,), vectors).scale[:2].tolist() == [1, 1]


def test_loss_terms_against_a_direct_computation():
    model = make_model(data=make_data(), learn_noise=True)
    model.log_noise.fill_(-0.7)
    x = torch.randn(6, *SHAPE)
    mean, log_var = model.encode(x)
    noise = torch.empty(6, 2).normal_(generator=torch.Generator().manual_seed(3))
    z = mean + torch.exp(0.5 * log_var) * noise
    squares = (model.decode(z) - x).square().flatten(1).sum(1)
    reconstruction = squares / (2 * math.exp(-0.7)) + 60 / 2 * -0.7
    for assignment in ("exact", "sampled", "mean"):
        terms = model.loss_terms(x, torch.Generator().manual_seed(3), assignment=assignment)
        torch.testing.assert_close(terms.reconstruction, reconstruction)
        kl = gf.ops.reference.mixture_kl(
            mean,
            log_var,
            *model.prior.parameters_tuple,
            assignment=assignment,
            z=z if assignment == "sampled" else None,
        )
        torch.testing.assert_close(terms.kl, kl)
    warm = model.loss_terms(x, torch.Generator().manual_seed(3), standard_prior=True)
    normal = torch.distributions.Normal(mean, torch.exp(0.5 * log_var))
    standard = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    torch.testing.assert_close(warm.kl, torch.distributions.kl_divergence(normal, standard).sum(1))


def test_score_is_a_lower_bound_of_the_likelihood():
    """For a linear decoder the likelihood of each snapshot is a Gaussian mixture's, known in closed form."""
    encoder, decoder = nn.Linear(3, 4), nn.Linear(2, 3)
    model = gf.GMVAE((3,), 2, 2, network=(encoder, decoder))
    model.prior.means.data = torch.tensor([[1.0, 0.0], [-1.0, 0.5]])
    x = torch.randn(5, 3)
    weight, bias = decoder.weight.detach(), decoder.bias.detach()
    log_prob = torch.stack(
        [
            torch.distributions.MultivariateNormal(weight @ m + bias, torch.eye(3) + weight @ weight.T).log_prob(x)
            for m in model.prior.means
        ],
        1,
    )
    likelihood = torch.logsumexp(log_prob - math.log(2), 1)
    score = model.score_samples(x, n_samples=400)
    assert bool((score < likelihood + 0.05).all())
    assert torch.equal(model.score_samples(x, seed=4), model.score_samples(x, seed=4))
    assert not torch.equal(model.score_samples(x, seed=4), model.score_samples(x, seed=5))


def test_sample():
    model = make_model(data=make_data())
    fields, components = model.sample(300, seed=2)
    assert fields.shape == (300, *SHAPE)
    assert fields.dtype == np.float32
    assert set(components) == {0, 1, 2}
    np.testing.assert_array_equal(fields, model.sample(300, seed=2)[0])
    assert not np.array_equal(fields, model.sample(300, seed=3)[0])
    only, components = model.sample(5, component=1)
    assert components.tolist() == [1] * 5
    assert only.shape == (5, *SHAPE)
    for arguments, message in (
        ({"n": 0}, "n must be an integer >= 1, got 0"),
        ({"n": 2.5}, "n must be an integer"),
        ({"n": 2, "component": 3}, "component must be in 0..2, got 3"),
        ({"n": 2, "seed": None}, "seed must be an integer"),
    ):
        with pytest.raises(ValueError, match=message):
            model.sample(**arguments)


@pytest.mark.parametrize("method", ["embed", "predict", "predict_proba", "reconstruct", "score_samples"])
def test_bad_data_name_the_argument(method):
    call = getattr(make_model(), method)
    with pytest.raises(ValueError, match=r"data must hold snapshots of shape \(2, 5, 6\) .* got \(2, 6, 5\)"):
        call(np.zeros((4, 2, 6, 5), np.float32))
    with pytest.raises(ValueError, match="data must hold at least one snapshot"):
        call(np.zeros((0, *SHAPE), np.float32))
    with pytest.raises(TypeError, match="data must be an ndarray"):
        call("snapshots")
    with pytest.raises(ValueError, match="batch_size must be an integer >= 1, got 0"):
        call(make_data(), batch_size=0)


def test_normalisation_refuses_bad_values_and_keeps_the_old_one():
    x = make_data(9)
    model = make_model(data=x)
    before = model.offset.clone()
    x[4, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or inf in snapshot 4"):
        model.set_normalisation(x)
    assert torch.equal(model.offset, before)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"latent_dim": 0}, ValueError, "latent_dim must be an integer >= 1, got 0"),
        ({"n_components": 1.5}, ValueError, "n_components must be an integer >= 1, got 1.5"),
        ({"input_shape": (2, 0)}, ValueError, "input_shape must be"),
        ({"input_shape": 10}, ValueError, "input_shape must be"),
        ({"covariance_type": "dense"}, ValueError, "covariance_type must be one of"),
        ({"network": "resnet"}, ValueError, "network must be"),
        ({"network": nn.Linear(3, 3)}, TypeError, "network must be .* or a pair of torch modules"),
        ({"network": (nn.Linear(3, 3), None)}, TypeError, "network must be"),
        ({"seed": None}, ValueError, "seed must be an integer, got None"),
        ({"widths": (0,)}, ValueError, "widths must be"),
    ],
)
def test_bad_constructor_arguments(options, error, message):
    with pytest.raises(error, match=message):
        gf.GMVAE(**{"input_shape": (10,), **options})


def test_own_modules_of_the_wrong_shape_are_named():
    encoder, decoder = custom_networks()
    x = make_data()
    with pytest.raises(ValueError, match=r"the encoder must return shape \(7, 6\), got \(7, 4\)"):
        gf.GMVAE(SHAPE, 3, network=(encoder, decoder)).embed(x)
    broadcasting = nn.Sequential(nn.Linear(2, 1), nn.Unflatten(1, (1, 1, 1)))
    with pytest.raises(ValueError, match=r"the decoder must return shape \(7, 2, 5, 6\), got \(7, 1, 1, 1\)"):
        gf.GMVAE(SHAPE, 2, network=(encoder, broadcasting)).reconstruct(x)


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"network": "mlp", "covariance_type": "spherical", "learn_noise": True},
        {"widths": None, "n_components": np.int64(4), "latent_dim": np.int32(3), "seed": np.int64(2)},
    ],
)
def test_save_and_load_round_trip_exactly(tmp_path, options):
    model = make_model(data=make_data(), **options)
    model.save(tmp_path / "model.safetensors")
    loaded = gf.load(tmp_path / "model.safetensors")
    assert not loaded.training
    assert loaded.config == model.config
    mine, theirs = model.state_dict(), loaded.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    x = make_data(seed=3)
    np.testing.assert_array_equal(model.reconstruct(x), loaded.reconstruct(x))
    np.testing.assert_array_equal(model.predict_proba(x), loaded.predict_proba(x))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_own_modules_are_passed_on_load(tmp_path):
    path = tmp_path / "own.safetensors"
    model = gf.GMVAE(SHAPE, network=custom_networks())
    model.save(path)
    with pytest.raises(ModelFileError, match=r"own modules; pass network=\(encoder, decoder\)"):
        gf.load(path)
    loaded = gf.load(path, network=custom_networks())
    np.testing.assert_array_equal(model.reconstruct(make_data()), loaded.reconstruct(make_data()))
    encoder, _ = custom_networks()
    with pytest.raises(ModelFileError, match=r"(?s)tensors do not fit .*decoder\.weight"):
        gf.load(path, network=(encoder, nn.Linear(2, 2)))
    make_model().save(path)
    with pytest.raises(ValueError, match="network must be left out"):
        gf.load(path, network=custom_networks())


def test_tied_weights_are_saved(tmp_path):
    encoder, decoder = custom_networks()
    decoder[0].weight = nn.Parameter(torch.randn(60, 2))
    encoder.register_parameter("tied", decoder[0].weight)
    gf.GMVAE(SHAPE, network=(encoder, decoder)).save(tmp_path / "tied")
    assert torch.equal(read_tensors(tmp_path / "tied", "gmvae_fast.model", 1)[0]["encoder.tied"], decoder[0].weight)


@pytest.fixture
def model_file(tmp_path):
    path = tmp_path / "model.safetensors"
    make_model(data=make_data()).save(path)
    return path


def rewrite(path, change):
    """Change tensors and header of a model file, checksum included."""
    tensors, header = read_tensors(path, "gmvae_fast.model", 1)
    change(tensors, header)
    write_tensors(path, tensors, header)


def test_every_truncation_is_reported(model_file):
    whole = model_file.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, *range(200, len(whole), 997), len(whole) - 1]:
        model_file.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match="model.safetensors: not a whole safetensors file"):
            gf.load(model_file)


def test_every_flipped_bit_is_reported(model_file):
    whole = bytearray(model_file.read_bytes())
    header_end = 8 + struct.unpack("<Q", whole[:8])[0]
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, header_end, 150), *rng.integers(header_end, len(whole), 50), header_end, len(whole) - 1]
    for place in places:
        damaged = whole.copy()
        damaged[place] ^= 1 << int(rng.integers(8))
        model_file.write_bytes(damaged)
        with pytest.raises(ModelFileError, match="model.safetensors"):
            gf.load(model_file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, h: h.update(format="something.else"), "not a file of kind gmvae_fast.model"),
        (lambda t, h: h.update(version=3), "format version 3, this gmvae_fast reads up to 2; use a newer release"),
        (lambda t, h: h.pop("version"), "format version None"),
        (lambda t, h: h.pop("config"), "the model's configuration is missing"),
        (lambda t, h: h["config"].pop("input_shape"), "configuration does not describe a model"),
        (lambda t, h: h["config"].update(surprise=1), "does not describe a model .*surprise"),
        (lambda t, h: h["config"].update(n_components=-1), "n_components must be an integer >= 1"),
        (lambda t, h: h["config"].update(latent_dim=5), "tensors do not fit the stored configuration"),
        (lambda t, h: t.pop("prior.means"), 'Missing key.* "prior.means"'),
        (lambda t, h: t.update(extra=torch.zeros(1)), 'Unexpected key.* "extra"'),
        (lambda t, h: t.update({"prior.means": torch.zeros(3, 3)}), "size mismatch for prior.means"),
    ],
)
def test_files_of_other_content_are_reported(model_file, change, message):
    rewrite(model_file, change)
    with pytest.raises(ModelFileError, match=f"(?s)model.safetensors: .*{message}"):
        gf.load(model_file)


def test_a_tensor_removed_from_the_file_is_noticed(model_file):
    """Removed together with its bytes, so that the file is whole as a safetensors file."""
    raw = model_file.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + size])
    last = max((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"][1])
    begin, _ = header.pop(last)["data_offsets"]
    text = json.dumps(header).encode()
    model_file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size : 8 + size + begin])
    with pytest.raises(ModelFileError, match="model.safetensors: the content is damaged"):
        gf.load(model_file)


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.safetensors: no such file"):
        gf.load(tmp_path / "absent.safetensors")
    with pytest.raises(FileNotFoundError):
        gf.load(tmp_path)
    np.savez(tmp_path / "a.npz", a=np.zeros(3))
    with pytest.raises(ModelFileError, match="a.npz: not a whole safetensors file"):
        gf.load(tmp_path / "a.npz")


@pytest.mark.parametrize("where", ["write", "replace"])
def test_a_failing_save_keeps_the_old_file(model_file, monkeypatch, where):
    before = model_file.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync" if where == "write" else "replace", full)
    with pytest.raises(OSError, match="No space left on device: .*model.safetensors"):
        make_model(seed=9).save(model_file)
    assert model_file.read_bytes() == before
    assert [p.name for p in model_file.parent.iterdir()] == ["model.safetensors"]
    monkeypatch.undo()
    gf.load(model_file)


@pytest.mark.parametrize("shape", [(3, 12), (3, 12, 20), (2, 6, 8, 10)])
def test_losses_of_fields_do_not_depend_on_the_order_in_memory(shape):
    model = gf.GMVAE(shape, n_components=2, widths=(8,))
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(0))
    noise = torch.zeros(5, 2)
    terms = model.loss_terms(x, None, noise=noise)
    expected = 0.5 * (model.decode(terms.mean) - x).square().flatten(1).sum(1)
    torch.testing.assert_close(terms.reconstruction, expected, rtol=1e-5, atol=1e-5)
    seen = []
    model.encoder.stages[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride(1)))
    model.loss_terms(x, None, noise=noise)
    assert seen == [12 if len(shape) == 2 else 1]  # channels last, where torch has that order


# --- the reconstruction term ------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("shape", [(7,), (3, 5), (3, 4, 5), (2, 3, 4, 5)])
def test_reconstruction_is_the_gaussian_of_the_decoded_field(shape, last):
    decoder = nn.Sequential(nn.Linear(2, math.prod(shape)), nn.Unflatten(1, shape))
    model = gf.GMVAE(shape, network=(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 4)), decoder)).double()
    model.log_noise.fill_(0.3)
    x, z = torch.randn(6, *shape, dtype=torch.float64), torch.randn(6, 2, dtype=torch.float64)
    decoded = decoder(z).detach()
    if last and len(shape) > 1:
        order = (0, *range(2, len(shape) + 1), 1)
        x, decoded = (t.permute(order).contiguous().movedim(-1, 1) for t in (x, decoded))
    decoded.requires_grad_()
    model.decode = lambda _: decoded
    normal = torch.distributions.Normal(decoded, math.exp(0.15))
    constant = 0.5 * math.log(2 * math.pi) * math.prod(shape)
    expected = -normal.log_prob(x).flatten(1).sum(1) - constant
    found, upstream = model._reconstruction(x, z), torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found, decoded, upstream)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, decoded, upstream)[0])
    assert gradient.stride() == decoded.stride(), "what decodes must not have to reorder it"


def test_log_variances_are_bounded_and_do_not_learn_beyond():
    model = gf.GMVAE((4,), network=(nn.Identity(), nn.Linear(2, 4)))
    x = torch.tensor([[0.0, 0.0, -30.0, 3.0], [0.0, 0.0, 20.0, torch.nan]], requires_grad=True)
    _, log_var = model.encode(x)
    torch.testing.assert_close(log_var, torch.tensor([[-20.0, 3.0], [10.0, torch.nan]]), equal_nan=True)
    log_var[:, 0].sum().backward(retain_graph=True)
    log_var[0, 1].backward()
    assert x.grad[:, 2:].tolist() == [[0.0, 1.0], [0.0, 0.0]]
