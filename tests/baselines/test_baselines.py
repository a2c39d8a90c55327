import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score

import gmvae_fast as gf
from gmvae_fast.baselines import BASELINES, Baseline, Budget, Embedder, _features
from gmvae_fast.data import Snapshots

NAMES = list(BASELINES)
QUICK = [name for name in NAMES if name != "umap"]  # UMAP compiles for 20 s in each process
TRAINING = gf.TrainConfig(epochs=30, batch_size=32, learning_rate=5e-3, n_init=3)
BUDGET = Budget(widths=(16,), training=TRAINING)


def clusters(n=180, d=12, k=3, seed=0):
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(k, d))
    centers *= 6 / np.linalg.norm(centers, axis=1, keepdims=True)
    labels = np.arange(n) % k
    return (centers[labels] + 0.5 * rng.normal(size=(n, d))).astype(np.float32), labels


def masked_waves(n=40, filling=0.0):
    """Two channels of very different size on a grid whose first column is solid, where ``filling`` stands."""
    phase = np.linspace(0, 2 * np.pi, n, endpoint=False)[:, None, None]
    y, x = np.mgrid[0:6, 0:8] / 3
    fields = np.stack([np.sin(x + phase) + y, 100 * np.cos(y - phase) * x], axis=1)
    mask = np.ones((6, 8), dtype=bool)
    mask[:, 0] = False
    return Snapshots(np.where(mask, fields, filling), ("u", "p"), mask=mask)


@pytest.fixture(scope="module")
def data():
    return clusters()


@pytest.fixture(scope="module")
def fitted(data):
    """Each baseline fitted once, when first asked for."""
    known = {}

    def get(name):
        if name not in known:
            known[name] = BASELINES[name].fit(data[0], seed=0, budget=BUDGET)
        return known[name]

    return get


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_finds_three_clusters(name, data, fitted):
    x, labels = data
    result = fitted(name)
    latents = result.embed(x)
    assert (latents.shape, latents.dtype) == ((180, 2), np.float32)
    assert np.isfinite(latents).all()
    assert adjusted_rand_score(labels, result.predict(x)) == 1
    np.testing.assert_array_equal(result.predict(x), result.assign(latents))
    assert (result.name, result.n_train, result.n_fitted, result.seed) == (name, 180, 180, 0)
    assert result.epochs == (30 if name in ("ae", "vae") else 0)
    assert result.seconds > 0
    assert result.mixture.means_.shape == (3, 2)


@pytest.mark.parametrize("name", NAMES)
def test_reconstruction_where_there_is_a_way_back(name, data, fitted):
    x, _ = data
    result = fitted(name).reconstruct(x[:7])
    if name in ("pca", "ae", "vae"):
        assert (result.shape, result.dtype) == ((7, 12), np.float32)
        everything = fitted(name).reconstruct(x)
        assert np.linalg.norm(everything - x) < 0.5 * np.linalg.norm(x - x.mean(0))
    else:
        assert result is None


@pytest.mark.parametrize("name", NAMES)
def test_new_snapshots_join_their_clusters(name, fitted):
    known, labels = clusters()
    new = known[:60] + 0.1 * np.random.default_rng(5).normal(size=(60, 12)).astype(np.float32)
    result = fitted(name)
    assert adjusted_rand_score(labels[:60], result.predict(new)) == 1
    assert result.out_of_sample == BASELINES[name].out_of_sample
    if result.out_of_sample != "transductive":  # the same place, whatever else is embedded beside it
        span = np.ptp(result.embed(known), axis=0)
        moved = np.abs(result.embed(new) - result.embed(known)[:60]) / span
        assert np.median(moved) < 0.1
        if result.out_of_sample == "map":
            np.testing.assert_allclose(result.embed(new[:5]), result.embed(new)[:5], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", QUICK)
def test_a_seed_gives_one_result_and_global_generators_are_left_alone(name, data, fitted):
    x, _ = data
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    again = BASELINES[name].fit(x, seed=0, budget=BUDGET)
    np.testing.assert_array_equal(again.embed(x), fitted(name).embed(x))
    np.testing.assert_array_equal(before[0], np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(before[1], torch.get_rng_state())


@pytest.mark.parametrize("name", ["ae", "vae"])
def test_another_seed_gives_another_map(name, data, fitted):
    x, _ = data
    other = BASELINES[name].fit(x, seed=1, budget=BUDGET)
    assert not np.allclose(other.embed(x), fitted(name).embed(x), atol=1e-3)


# --- fields and masks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_solid_cells_do_not_matter(name):
    budget = dataclasses.replace(BUDGET, network="mlp", n_components=2)
    clean, dirty = masked_waves(), masked_waves(filling=np.nan)
    results = [BASELINES[name].fit(s, budget=budget) for s in (clean, dirty)]
    np.testing.assert_array_equal(results[0].embed(clean), results[1].embed(dirty))
    fields = results[1].reconstruct(dirty)
    if fields is not None:
        assert fields.shape == (40, 2, 6, 8)
        np.testing.assert_array_equal(fields[..., ~dirty.mask], 0)


def test_pca_is_that_of_normalised_values_in_the_fluid():
    waves = masked_waves()
    values = waves.fields[..., waves.mask]  # [N, C, cells]
    centred = values - values.mean(0)
    scaled = centred / np.sqrt((centred**2).mean((0, 2)))[:, None]
    expected = PCA(2).fit_transform(scaled.reshape(40, -1))
    latents = BASELINES["pca"].fit(waves, budget=BUDGET).embed(waves)
    np.testing.assert_allclose(np.abs(latents), np.abs(expected), rtol=1e-4, atol=1e-4)


def test_pca_with_all_components_gives_the_snapshots_back():
    waves = masked_waves()
    full = dataclasses.replace(BUDGET, latent_dim=30, n_components=1)
    back = BASELINES["pca"].fit(waves, budget=full).reconstruct(waves)
    np.testing.assert_allclose(back, waves.fields, atol=1e-3)


def test_pca_of_data_beyond_memory_goes_batch_by_batch(monkeypatch, data):
    x, _ = data
    whole = BASELINES["pca"].fit(x, budget=BUDGET)
    monkeypatch.setattr(_features, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr("gmvae_fast._batches._PASS_BYTES", 4 * 12 * 50)  # batches of 50
    parts = BASELINES["pca"].fit(x, budget=BUDGET)
    assert "batch by batch" in parts.notes[0]
    assert whole.notes == ()
    # The incremental algorithm keeps two components of every batch: the map agrees where they dominate.
    np.testing.assert_allclose(np.abs(parts.embed(x)), np.abs(whole.embed(x)), atol=0.2)


def test_batches_for_the_incremental_algorithm_hold_enough_rows():
    rows = [np.full((n, 1), i, dtype=np.float32) for i, n in enumerate((5, 2, 2, 5, 1))]
    joined = list(_features._at_least(4, iter(rows)))
    assert min(map(len, joined)) >= 4
    np.testing.assert_array_equal(np.concatenate(joined), np.concatenate(rows))


# --- networks ---------------------------------------------------------------------------------------------------


def test_networks_start_from_the_weights_of_the_gmvae(data):
    x, _ = data
    still = dataclasses.replace(BUDGET, training=dataclasses.replace(TRAINING, epochs=1, learning_rate=1e-30))
    gmvae = gf.GMVAE((12,), 2, 3, widths=(16,), seed=4)
    gmvae.set_normalisation(x)
    expected = gmvae.embed(x).mean
    for name in ("ae", "vae"):
        np.testing.assert_allclose(BASELINES[name].fit(x, seed=4, budget=still).embed(x), expected, atol=1e-6)


def test_the_autoencoder_has_no_noise_and_no_prior(data, fitted):
    x, _ = data
    embedder = fitted("ae").embedder
    assert (embedder.model.embed(x).log_var == -20).all()
    assert all(e.loss == e.reconstruction for e in embedder.history.epochs)
    assert embedder.history.epochs[-1].loss < 0.5 * embedder.history.epochs[0].loss


def test_the_vae_trains_under_a_standard_normal_prior(data, fitted):
    x, _ = data
    embedder = fitted("vae").embedder
    assert {e.phase for e in embedder.history.epochs} == {"warmup"}
    mean, log_var = (torch.from_numpy(v) for v in dataclasses.astuple(embedder.model.embed(x)))
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum(1)
    torch.testing.assert_close(embedder.model.prior.kl(mean, log_var), kl)


# --- large sources ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["isomap", "tsne"])
def test_methods_of_all_pairs_are_fitted_on_a_sample_and_say_so(name, data):
    x, labels = data
    small = dataclasses.replace(BUDGET, max_points=60, n_neighbors=10, perplexity=10)
    result = BASELINES[name].fit(x, seed=2, budget=small)
    assert (result.n_fitted, result.n_train) == (60, 180)
    assert "sample of 60 of 180 training snapshots (seed 2)" in "".join(result.notes)
    assert result.embed(x).shape == (180, 2)
    assert adjusted_rand_score(labels, result.predict(x)) > 0.95


def test_torn_graphs_are_noted(fitted):
    assert any("connected components" in note for note in fitted("isomap").notes)


def test_tsne_maps_the_same_data_to_the_same_place(data, fitted):
    x, _ = data
    first = fitted("tsne").embed(x)
    other = fitted("tsne").embed(x[:90])
    assert other.shape == (90, 2)
    np.testing.assert_array_equal(fitted("tsne").embed(x), first)


# --- registry and errors ----------------------------------------------------------------------------------------


def test_a_new_baseline_is_a_function_and_a_line(data):
    x, labels = data

    class FirstTwo(Embedder):
        n_fitted = 0

        def embed(self, data):
            return np.asarray(data)[:, :2]

    mine = Baseline("mine", "two columns", "map", lambda train, seed, budget: FirstTwo())
    result = mine.fit(x, budget=BUDGET)
    assert result.predict(x).shape == labels.shape
    assert result.reconstruct(x) is None


def test_registry():
    assert NAMES == ["pca", "ae", "vae", "isomap", "umap", "tsne"]
    for name, baseline in BASELINES.items():
        assert baseline.name == name
        assert baseline.out_of_sample in ("map", "placed", "transductive")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be an integer >= 1"),
        ({"perplexity": float("nan")}, "perplexity"),
        ({"max_points": 3}, "max_points must be an integer >= 10"),
        ({"training": None}, "training must be a TrainConfig"),
    ],
)
def test_budget_errors(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Budget(**changes)


@pytest.mark.parametrize("name", QUICK)
def test_data_errors(name):
    with pytest.raises(ValueError, match="at least 4 snapshots"):
        BASELINES[name].fit(np.zeros((3, 5)), budget=BUDGET)
    x = clusters()[0].copy()
    x[7, 3] = np.nan
    with pytest.raises(ValueError, match="NaN or inf in snapshot 7"):
        BASELINES[name].fit(x, budget=BUDGET)
    with pytest.raises(TypeError, match="train must be"):
        BASELINES[name].fit("snapshots", budget=BUDGET)


def test_other_shapes_are_refused(fitted):
    for name in QUICK:
        with pytest.raises(ValueError, match=r"snapshots of shape \(12,\)"):
            fitted(name).embed(np.zeros((4, 11)))


def test_more_latents_than_values():
    with pytest.raises(ValueError, match="latent_dim must be at most 3"):
        BASELINES["pca"].fit(np.random.default_rng(0).normal(size=(30, 3)), budget=Budget(latent_dim=4))


def test_the_package_imports_without_scikit_learn():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['sklearn', 'umap', 'threadpoolctl']))\n"
        "import numpy as np, gmvae_fast as gf\n"
        "try: gf.baselines.BASELINES['pca'].fit(np.zeros((9, 3)))\n"
        "except ImportError as error: print(error)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'gmvae_fast[baselines]'" in out
