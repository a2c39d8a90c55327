import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import gmvae_fast as gf
from gmvae_fast.generation import ConditionalGenerator, NeighbourInterpolation, PodRegression
from gmvae_fast.metrics import relative_l2
from gmvae_fast.model import ModelFileError

CELLS = np.linspace(0, 1, 40)
GAP = (0.42, 0.5)


def travelling(place):
    """Gaussian bumps at ``place`` [N] as vectors [N, 40]."""
    return np.exp(-0.5 * ((CELLS - np.asarray(place)[:, None]) / 0.12) ** 2).astype(np.float32)


@pytest.fixture(scope="module")
def places():
    drawn = np.random.default_rng(0).uniform(0.2, 0.8, 240)
    return drawn[(drawn < GAP[0]) | (drawn > GAP[1])]


@pytest.fixture(scope="module")
def model(places):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = gf.GMVAE((40,), latent_dim=1, n_components=2, widths=(64, 32))
    gf.fit(made, travelling(places), gf.TrainConfig(epochs=100, batch_size=40, beta=0.05, learning_rate=3e-3))
    torch.set_num_threads(before)
    return made


@pytest.fixture(scope="module")
def generator(model, places):
    return ConditionalGenerator(steps=600).fit(model, travelling(places), {"place": places})


def test_held_out_conditions_are_reproduced(generator, places):
    """Within the gap of the training conditions: under 0.2 of the fluctuation, where the mean field has about 1."""
    unseen = np.linspace(*GAP, 9)
    truth, mean = travelling(unseen), travelling(places).mean(0)
    error = relative_l2(generator.predict({"place": unseen}), truth, offset=mean)
    assert error < 0.2
    assert error < 0.3 * relative_l2(np.broadcast_to(mean, truth.shape), truth, offset=mean)


def test_the_objective_bounds_the_expected_likelihood(model, generator, places):
    """Against draws of z from the posteriors, in the units of the latents."""
    posterior = model.embed(travelling(places))
    mixture = generator.distribution({"place": places})
    np.testing.assert_allclose(mixture.probabilities.sum(1), 1, rtol=1e-5)
    draws = np.random.default_rng(0).normal(size=(400, *posterior.mean.shape))
    z = posterior.mean + np.exp(0.5 * posterior.log_var) * draws  # [S, N, D]
    square = (z[:, :, None] - mixture.means) ** 2 / np.exp(mixture.log_vars)
    log_density = -0.5 * (square + mixture.log_vars + np.log(2 * np.pi)).sum(-1)
    expected = -np.log((mixture.probabilities * np.exp(log_density)).sum(-1)).mean()
    spread = posterior.mean.std(0)  # the objective is that of standardised latents
    assert generator.loss >= expected - np.log(spread).sum() - 0.02
    assert generator.loss < expected - np.log(spread).sum() + 0.5


def test_assigned_as_the_model_does_components_are_its_regimes(model, generator, places):
    tied = ConditionalGenerator(assignment="model", steps=600).fit(model, travelling(places), {"place": places})
    probabilities = tied.distribution({"place": places}).probabilities
    assert (probabilities.argmax(1) == model.predict(travelling(places))).mean() > 0.9
    assert tied.loss > generator.loss - 0.02  # the looser bound
    unseen = np.linspace(*GAP, 9)
    assert relative_l2(tied.predict({"place": unseen}), travelling(unseen), offset=travelling(places).mean(0)) < 0.3


def test_samples_spread_around_the_prediction(generator):
    at = {"place": [0.3, 0.7]}
    fields, components = generator.sample(at, 50, seed=3)
    assert fields.shape == (2, 50, 40)
    assert components.shape == (2, 50)
    assert relative_l2(fields.mean(1), travelling(at["place"])) < 0.2
    assert fields.std(1).max() > 1e-3
    again, _ = generator.sample(at, 50, seed=3)
    np.testing.assert_array_equal(fields, again)
    assert not np.array_equal(fields, generator.sample(at, 50, seed=4)[0])


def test_a_seed_gives_one_result_and_leaves_the_global_generator_alone(model, places, generator):
    state = torch.random.get_rng_state()
    twin = ConditionalGenerator(steps=600).fit(model, travelling(places), {"place": places})
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(twin.predict({"place": 0.4}), generator.predict({"place": 0.4}))


def test_extrapolation_is_allowed_and_said(generator):
    assert generator.extrapolates({"place": [0.3, 0.95]}).tolist() == [False, True]
    assert generator.distribution({"place": [0.3, 0.95]}).extrapolated.tolist() == [False, True]
    assert np.isfinite(generator.predict({"place": 0.95})).all()


def test_arrays_with_names_and_several_conditions(model, places):
    rng = np.random.default_rng(1)
    table = np.stack([rng.normal(size=len(places)), places], 1)
    made = ConditionalGenerator(steps=50, batch_size=64).fit(
        model, torch.from_numpy(travelling(places)), torch.from_numpy(table), names=("noise", "place")
    )
    assert made.scale.names == ("noise", "place")
    np.testing.assert_array_equal(made.predict(table[:3]), made.predict({"place": places[:3], "noise": table[:3, 0]}))
    assert made.predict({"noise": 0.0, "place": [0.3, 0.4]}).shape == (2, 40)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_models_with_dense_covariances_start_from_their_diagonal(covariance_type, places):
    model = gf.GMVAE((40,), latent_dim=2, n_components=2, widths=(8,), covariance_type=covariance_type)
    made = ConditionalGenerator(steps=1, learning_rate=1e-12).fit(model, travelling(places), {"place": places})
    mixture = made.distribution({"place": 0.3})
    np.testing.assert_allclose(mixture.means[0], model.prior.means, atol=1e-5)
    np.testing.assert_allclose(mixture.probabilities[0], 0.5, rtol=1e-5)


# --- files ------------------------------------------------------------------------------------------------------


def test_save_and_load(generator, model, tmp_path):
    generator.save(tmp_path / "g.safetensors")
    model.save(tmp_path / "m.safetensors")
    back = ConditionalGenerator.load(tmp_path / "g.safetensors", gf.load(tmp_path / "m.safetensors"))
    at = {"place": [0.25, 0.6]}
    np.testing.assert_array_equal(back.predict(at), generator.predict(at))
    np.testing.assert_array_equal(back.sample(at, 3)[0], generator.sample(at, 3)[0])
    assert back.scale.names == ("place",)
    assert back.loss == generator.loss
    assert back.extrapolates({"place": 2}).all()


def test_files_that_do_not_fit(generator, model, tmp_path):
    path = tmp_path / "g.safetensors"
    generator.save(path)
    other = gf.GMVAE((40,), latent_dim=1, n_components=2, widths=(64, 32), seed=9)
    with pytest.raises(ValueError, match="model must be the one"):
        ConditionalGenerator.load(path, other)
    with pytest.raises(TypeError, match="model must be a GMVAE, got str"):
        ConditionalGenerator.load(path, "m")
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="not a file of kind"):
        ConditionalGenerator.load(tmp_path / "m.safetensors", model)
    blob = path.read_bytes()
    path.write_bytes(blob[:-1] + bytes([blob[-1] ^ 1]))
    with pytest.raises(ModelFileError, match="damaged"):
        ConditionalGenerator.load(path, model)
    path.write_bytes(blob[: len(blob) // 2])
    with pytest.raises(ModelFileError, match="not a whole safetensors file"):
        ConditionalGenerator.load(path, model)
    with pytest.raises(FileNotFoundError):
        ConditionalGenerator.load(tmp_path / "none", model)


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"widths": [10**9, 10**9]}},
        {"settings": {"widths": [64]}},
        {"settings": {"widths": [10**19]}},
        {"settings": {"unknown": 1}},
        {"settings": None},
        {"names": ["a", "b"]},
        {"names": None},
    ],
)
def test_hostile_headers(generator, model, tmp_path, change):
    from gmvae_fast.generation.conditional import FORMAT, FORMAT_VERSION
    from gmvae_fast.model import read_tensors, write_tensors

    path = tmp_path / "g.safetensors"
    generator.save(path)
    _, header = read_tensors(path, FORMAT, FORMAT_VERSION)
    write_tensors(path, load_file(path), {**header, **change})
    with pytest.raises(ModelFileError, match=r"g\.safetensors"):
        ConditionalGenerator.load(path, model)


# --- errors -----------------------------------------------------------------------------------------------------


def test_errors_of_predict(generator):
    with pytest.raises(ValueError, match="unknown 'palce'; did you mean 'place'"):
        generator.predict({"palce": 1.0})
    with pytest.raises(ValueError, match="missing place; got none"):
        generator.predict({})
    with pytest.raises(ValueError, match="'place' must be finite, got nan in row 1"):
        generator.predict({"place": [0.1, np.nan]})
    with pytest.raises(ValueError, match=r"\[N, 1\] \(place\), got shape \(3, 2\)"):
        generator.predict(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="n must be an integer >= 1"):
        generator.sample({"place": 0.3}, 0)
    with pytest.raises(ValueError, match="ConditionalGenerator is not fitted"):
        ConditionalGenerator().predict({"place": 0.3})
    with pytest.raises(ValueError, match="assignment must be 'exact' or 'model', got 'best'"):
        ConditionalGenerator(assignment="best")


@pytest.mark.parametrize("make", [lambda: ConditionalGenerator(steps=1), NeighbourInterpolation, PodRegression])
def test_errors_of_fit(make, model, places):
    x = travelling(places)
    with pytest.raises(ValueError, match=f"one row for each of {len(x)} snapshots, got 3"):
        make().fit(model, x, {"place": places[:3]})
    with pytest.raises(ValueError, match="'place' must be finite"):
        make().fit(model, x, {"place": np.where(places > 0.7, np.nan, places)})
    with pytest.raises(ValueError, match="must vary"):
        make().fit(model, x, {"place": np.ones(len(x))})
    with pytest.raises(ValueError, match="place must hold real numbers"):
        make().fit(model, x, {"place": places.astype(str)})
    with pytest.raises(ValueError, match=r"'time' must be a number or \[\d+\], got shape \(3,\)"):
        make().fit(model, x, {"place": places, "time": places[:3]})
    with pytest.raises(ValueError, match="missing time"):
        make().fit(model, x, {"place": places}, names=("place", "time"))
    with pytest.raises(ValueError, match="names must differ"):
        make().fit(model, x, np.stack([places, places], 1), names=("a", "a"))
    with pytest.raises(ValueError, match="input_shape"):
        make().fit(model, x[:, :7], {"place": places})


def test_a_model_is_needed(places):
    with pytest.raises(TypeError, match="model must be a trained GMVAE, got NoneType"):
        ConditionalGenerator().fit(None, travelling(places), {"place": places})
