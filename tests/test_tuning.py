"""Choice of K where it is known."""

import math

import numpy as np
import pytest
import torch
from test_training import clusters, config

import gmvae_fast as gf
from gmvae_fast._pruning import prune
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.training import fluctuation_error

pytestmark = pytest.mark.usefixtures("one_thread")
COVARIANCES = ["diag", "spherical", "tied", "full"]


def blobs(k, n=400, kind="spherical", seed=0):
    """K Gaussians whose means are at least 7 apart."""
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(k) / k
    centers = 0 if k == 1 else 3.5 / np.sin(np.pi / k) * np.stack([np.cos(angle), np.sin(angle)], 1)
    labels = np.arange(n) % k
    noise = rng.normal(size=(n, 2))
    if kind in ("tied", "full"):
        turns = rng.uniform(0, np.pi, k if kind == "full" else 1)
        factors = np.array([[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in turns]) * [1.3, 0.4]
        noise = np.einsum("nij,nj->ni", factors[labels % len(factors)], noise)
    return np.broadcast_to(centers, (k, 2))[labels] + noise


@pytest.mark.parametrize("kind", COVARIANCES)
@pytest.mark.parametrize("k", [1, 3, 5])
def test_every_criterion_finds_separate_gaussians(k, kind):
    choice = gf.tune_components(blobs(k, kind=kind, seed=k), range(1, 8), covariance_type=kind, n_init=3)
    assert choice.chosen == {"bic": k, "icl": k, "pruning": k}
    assert [c.n_components for c in choice.candidates] == list(range(1, 8))


def test_bic_counts_gaussians_and_icl_counts_clusters():
    # Two clusters, each a narrow and a wide Gaussian about one centre.
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 2)) * np.where(np.arange(1200) % 2, 1.0, 2.5)[:, None]
    x[:600, 0] += 40
    chosen = gf.tune_components(x, range(1, 7), covariance_type="spherical", n_init=3).chosen
    assert (chosen["bic"], chosen["icl"]) == (4, 2)
    assert 2 <= chosen["pruning"] <= 4


def test_values_are_those_of_the_mixture_and_the_result_is_repeatable():
    x = blobs(3)
    choice = gf.tune_components(x, [4, 2, 3], covariance_type="diag", n_init=2, seed=5)
    again = gf.tune_components(torch.from_numpy(x), [2, 3, 4], covariance_type="diag", n_init=2, seed=5)
    assert str(choice) == str(again)
    assert [c.n_components for c in choice.candidates] == [2, 3, 4]
    floor = 1e-6 * x.var(0).mean()
    mixture = gf.GaussianMixture(3, n_init=2, max_iter=200, tol=1e-5, reg_covar=floor, random_state=5).fit(x)
    row = choice.table()[1]
    assert row["bic"] == pytest.approx(mixture.bic(x))
    assert row["icl"] == pytest.approx(mixture.icl(x))
    assert row["log_likelihood"] == pytest.approx(mixture.score(x))
    assert row["smallest_weight"] == pytest.approx(min(mixture.weights_))
    assert row["pruned_bic"] == pytest.approx(mixture.bic(x), rel=0.01)
    assert math.isnan(row["held_out_elbo"])
    assert "3 by bic, 3 by icl, 3 by pruning" in str(choice)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_do_not_matter(scale):
    x = blobs(3)
    assert gf.tune_components(scale * x, range(1, 6), n_init=2).chosen == {"bic": 3, "icl": 3, "pruning": 3}


@pytest.mark.parametrize("kind", COVARIANCES)
def test_a_pruned_path_keeps_mixtures_and_never_grows(kind):
    x = torch.from_numpy(blobs(3))
    path = list(prune(x, 10, 2, kind, added_variance=1e-6, seed=0))
    counts = [p.n_components for p in path]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 2
    assert len(set(counts)) == len(counts)
    for pruned in path:
        assert float(pruned.parameters.log_weights.exp().sum()) == pytest.approx(1)
        assert bool((torch.linalg.eigvalsh(pruned.parameters.covariances()) > 0).all())


def test_rows_that_cannot_carry_many_components_are_no_failure():
    x = np.repeat(np.eye(3), 4, axis=0)
    choice = gf.tune_components(x, [1, 2, 3, 4, 9], n_init=2)
    assert set(choice.chosen.values()) <= set(range(1, 10))
    assert gf.tune_components(np.ones((5, 2)), [1], n_init=1).candidates[0].n_components == 1


def test_trained_models_are_compared_on_held_out_snapshots():
    x, _ = clusters(n=240)
    held_out, _ = clusters(n=240)
    held_out = held_out + np.random.default_rng(1).normal(size=held_out.shape).astype(np.float32) * 0.2
    built = []

    def build(k):
        built.append(gf.GMVAE((10,), n_components=k, widths=(16,), covariance_type="spherical"))
        return built[-1]

    choice = gf.tune_components(x, [1, 3, 5], model=build, config=config(epochs=25, beta=0.5), held_out=held_out)
    assert [m.n_components for m in built] == [5, 1, 3, 5]
    assert set(choice.chosen) == {"bic", "icl", "pruning", "held_out_elbo"}
    bounds = {c.n_components: c.held_out_elbo for c in choice.candidates if not math.isnan(c.held_out_elbo)}
    assert bounds.keys() == {1, 3, 5}
    assert bounds[1] < bounds[3]
    assert choice.chosen["held_out_elbo"] in (3, 5)
    for model in built[1:]:
        assert bounds[model.n_components] == pytest.approx(float(model.elbo(held_out, n_samples=16).mean()), rel=1e-6)
        assert fluctuation_error(model, x) < 1
    assert min(c.held_out_deficit_error for c in choice.candidates if c.n_components in bounds) == 0


def test_frames_of_one_run_count_as_one():
    x, _ = clusters(n=60)
    frames = np.repeat(clusters(n=12)[0], 5, axis=0)
    runs = Snapshots(frames[:, None], ("u",), trajectory=np.repeat(np.arange(12), 5))
    errors = []
    for held_out in (frames[:, None], runs):
        choice = gf.tune_components(
            x[:, None],
            [1, 2],
            model=lambda k: gf.GMVAE((1, 10), n_components=k, network="mlp", widths=(8,)),
            config=config(epochs=4),
            held_out=held_out,
        )
        errors.append(max(c.held_out_deficit_error for c in choice.candidates))
    assert errors[1] > 1.5 * errors[0] > 0


def test_bad_arguments_are_named():
    x = blobs(2, n=20)
    distinct = "ks must be distinct"
    for ks, message in (([], distinct), ([2, 2], distinct), ([0], "ks must be an integer >= 1")):
        with pytest.raises(ValueError, match=message):
            gf.tune_components(x, ks)
    with pytest.raises(ValueError, match="ks must not exceed the 20 rows of data, got 21"):
        gf.tune_components(x, [1, 21])
    with pytest.raises(ValueError, match="covariance_type must be one of"):
        gf.tune_components(x, [1], covariance_type="round")
    for name, value in (("config", config()), ("held_out", x)):
        with pytest.raises(ValueError, match=f"{name} needs model="):
            gf.tune_components(x, [1], **{name: value})
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN or inf"):
        gf.tune_components(bad, [1])
    with pytest.raises(ValueError, match="must build a GMVAE of 2 components when called with 2, got 3 components"):
        gf.tune_components(x, [2], model=lambda k: gf.GMVAE((2,), n_components=3))
