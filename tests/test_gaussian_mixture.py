import dataclasses
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import torch

import gmvae_fast as gf
from gmvae_fast import _mixture_start
from gmvae_fast._mixture_start import kmeans_plus_plus
from gmvae_fast._rows import Rows
from gmvae_fast.mixture import log_prior

sklearn_mixture = pytest.importorskip("sklearn.mixture")
pytestmark = pytest.mark.usefixtures("one_thread")
COVARIANCES = ["diag", "spherical", "tied", "full"]


# --- GaussianMixture against scikit-learn -----------------------------------------------------------------------


def blobs(n=300, d=3, k=3, seed=0, separation=5.0):
    rng = np.random.default_rng(seed)
    centers = separation * rng.normal(size=(k, d))
    labels = np.arange(n) % k
    return centers[labels] + rng.normal(size=(n, d)) * rng.uniform(0.5, 1.5, size=(k, d))[labels], labels


def start(x, k, covariance_type, seed=3):
    rng = np.random.default_rng(seed)
    d = x.shape[1]
    factors = 0.3 * rng.normal(size=(k, d, d)) + np.eye(d)
    dense = factors @ factors.transpose(0, 2, 1)
    return {
        "weights_init": rng.dirichlet(np.full(k, 5.0)),
        "means_init": x[rng.choice(len(x), k, replace=False)],
        "precisions_init": {
            "diag": rng.uniform(0.3, 1.0, size=(k, d)),
            "spherical": rng.uniform(0.3, 1.0, size=k),
            "tied": dense[0],
            "full": dense,
        }[covariance_type],
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("max_iter", "tol"), [(1, 0.0), (7, 0.0), (200, 1e-5)])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_equals_scikit_learn_from_the_same_start(covariance_type, max_iter, tol):
    x, _ = blobs(separation=1.5)
    options = dict(
        covariance_type=covariance_type, max_iter=max_iter, tol=tol, reg_covar=1e-3, **start(x, 3, covariance_type)
    )
    theirs = sklearn_mixture.GaussianMixture(3, **options).fit(x)
    ours = gf.GaussianMixture(3, **options).fit(x)
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6)
    for name in ("n_iter_", "converged_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-9)
    assert ours.lower_bounds_ == pytest.approx(theirs.lower_bounds_, abs=1e-9)
    fresh, _ = blobs(seed=9)
    np.testing.assert_array_equal(ours.predict(fresh), theirs.predict(fresh))
    np.testing.assert_allclose(ours.predict_proba(fresh), theirs.predict_proba(fresh), atol=1e-8)
    np.testing.assert_allclose(ours.score_samples(fresh), theirs.score_samples(fresh), rtol=1e-8)
    for name in ("score", "bic", "aic"):
        assert getattr(ours, name)(fresh) == pytest.approx(getattr(theirs, name)(fresh), rel=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_icl_is_bic_plus_the_entropy_term(covariance_type):
    x, _ = blobs(separation=1.0)
    mixture = gf.GaussianMixture(3, covariance_type=covariance_type).fit(x)
    ambiguity = -np.log(mixture.predict_proba(x).max(1)).sum()
    assert ambiguity > 1
    assert mixture.icl(x) == pytest.approx(mixture.bic(x) + 2 * ambiguity)


def test_finds_separated_clusters_and_samples_them():
    x, labels = blobs(separation=30.0)
    mixture = gf.GaussianMixture(3, n_init=3, random_state=1).fit(x)
    assert mixture.converged_
    assert mixture.n_iter_ < 100
    found = mixture.fit_predict(x)
    assert len({(a, b) for a, b in zip(labels, found, strict=True)}) == 3
    points, components = mixture.sample(40_000, seed=5)
    share = np.bincount(components, minlength=3) / len(components)
    np.testing.assert_allclose(share, mixture.weights_, atol=4 * np.sqrt(0.25 / len(components)))
    for c in range(3):
        mine = points[components == c]
        error = np.sqrt(mixture.covariances_[c] / len(mine))
        assert np.all(np.abs(mine.mean(0) - mixture.means_[c]) < 5 * error)
        np.testing.assert_allclose(mine.var(0), mixture.covariances_[c], rtol=5 * np.sqrt(2 / len(mine)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_kind_and_dtype_out_are_those_in(kind, dtype):
    x = blobs(60)[0].astype(dtype)
    expected_type, expected = (np.ndarray, x.dtype) if kind == "array" else (torch.Tensor, torch.from_numpy(x).dtype)
    x = x if kind == "array" else torch.from_numpy(x)
    mixture = gf.GaussianMixture(3).fit(x)
    results = [getattr(mixture, name) for name in ("weights_", "means_", "covariances_", "precisions_")]
    results += [mixture.predict_proba(x), mixture.score_samples(x), mixture.sample(4)[0]]
    for value in results:
        assert isinstance(value, expected_type)
        assert value.dtype == expected
    for value in (mixture.predict(x), mixture.sample(4)[1]):
        assert isinstance(value, expected_type)
        assert value.dtype in (np.int64, torch.int64)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_float32_far_from_the_origin(covariance_type):
    x, _ = blobs(300, separation=2.0)
    options = dict(covariance_type=covariance_type, max_iter=20, tol=0.0, **start(x, 3, covariance_type))
    exact = gf.GaussianMixture(3, **options).fit(x)
    options["means_init"] = options["means_init"] + 100
    rounded = gf.GaussianMixture(3, **options).fit((x + 100).astype(np.float32))
    np.testing.assert_allclose(rounded.means_ - 100, exact.means_, atol=2e-3)
    np.testing.assert_allclose(rounded.covariances_, exact.covariances_, rtol=2e-3, atol=2e-3)


def test_the_best_start_is_kept_and_seeds_repeat():
    x, _ = blobs(200, d=2, k=5, separation=3.0)
    single = [gf.GaussianMixture(5, init_params="random_from_data", random_state=s, tol=1e-6).fit(x) for s in range(6)]
    assert len({round(m.lower_bound_, 6) for m in single}) > 1, "the example must have several optima"
    many = gf.GaussianMixture(5, init_params="random_from_data", random_state=0, tol=1e-6, n_init=6).fit(x)
    assert many.lower_bound_ >= single[0].lower_bound_
    again = gf.GaussianMixture(5, init_params="random_from_data", random_state=0, tol=1e-6, n_init=6).fit(x)
    np.testing.assert_array_equal(many.means_, again.means_)
    np.testing.assert_array_equal(many.sample(5)[0], again.sample(5)[0])
    other = gf.GaussianMixture(5, init_params="random_from_data", random_state=1, tol=1e-6).fit(x)
    assert not np.array_equal(single[0].means_, other.means_)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_fit_to_posteriors_minimises_the_mixture_kl(covariance_type):
    def bound(mixture):
        return -float(gf.ops.reference.mixture_kl(mean, log_var, *mixture.parameters_.as_tuple()).mean())

    g = torch.Generator().manual_seed(1)
    mean = 3 * torch.randn(200, 2, generator=g, dtype=torch.float64)
    log_var = -1 + 0.7 * torch.randn(200, 2, generator=g, dtype=torch.float64)
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "tol": 1e-12, "max_iter": 4000}
    fitted = gf.GaussianMixture(3, **options).fit(mean, log_var=log_var)
    assert bound(fitted) == pytest.approx(fitted.lower_bound_, abs=1e-9)
    points = gf.GaussianMixture(3, **options).fit(mean)
    assert bound(fitted) > bound(points)


@pytest.mark.parametrize("init_params", ["k-means++", "kmeans", "random", "random_from_data"])
def test_every_way_to_start_finds_separated_clusters(init_params):
    x, labels = blobs(separation=8.0, seed=4)
    mixture = gf.GaussianMixture(3, init_params=init_params, n_init=8, max_iter=500, tol=1e-6).fit(x)
    assert len(set(zip(labels, mixture.predict(x), strict=True))) == 3


def test_kmeans_starts_at_the_means_of_separated_clusters():
    x, labels = blobs(separation=30.0)
    mixture = gf.GaussianMixture(3, init_params="kmeans", max_iter=1).fit(x + 1e6)
    expected = np.stack([x[labels == c].mean(0) for c in range(3)]) + 1e6
    order = np.argsort(mixture.means_[:, 0])
    np.testing.assert_allclose(mixture.means_[order], expected[np.argsort(expected[:, 0])], rtol=0, atol=1e-6)


def test_a_large_array_starts_from_a_sample(monkeypatch):
    monkeypatch.setattr(_mixture_start, "SAMPLE_ROWS", 200)
    x, labels = blobs(5000, separation=20.0)
    mixture = gf.GaussianMixture(3, n_init=3).fit(x)
    assert len(set(zip(labels, mixture.predict(x), strict=True))) == 3
    sample = _mixture_start.draw_sample(Rows(x, "X", 77), 3, torch.Generator().manual_seed(0))
    assert sample.shape == (200, 3)
    rows = {row.tobytes() for row in x}
    drawn = {row.tobytes() for row in sample.numpy()}
    assert len(drawn) == 200
    assert drawn <= rows


def test_kmeans_plus_plus_spreads_and_bears_duplicates():
    far = torch.tensor([[0.0], [1e-3], [100.0], [100.001], [-50.0]], dtype=torch.float64)
    chosen = kmeans_plus_plus(far, 3, torch.Generator().manual_seed(0)).flatten()
    assert sorted(round(float(v)) for v in chosen) == [-50, 0, 100]
    same = torch.ones(6, 2, dtype=torch.float64)
    assert torch.equal(kmeans_plus_plus(same, 3, torch.Generator().manual_seed(0)), same[:3])
    duplicates = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, 0)
    mixture = gf.GaussianMixture(4, random_state=2).fit(duplicates)
    assert np.all(np.isfinite(mixture.means_))
    assert mixture.weights_.sum() == pytest.approx(1)


def test_collapse_is_reported_with_advice():
    with pytest.raises(ValueError, match="increase reg_covar"):
        gf.GaussianMixture(2, reg_covar=0.0).fit(np.zeros((5, 2), dtype=np.float32))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 3)), ValueError, "X must have at least n_components = 3 rows, got 2"),
        (np.zeros((0, 3)), ValueError, "X must have at least n_components = 3 rows, got 0"),
        (np.zeros(5), ValueError, r"X must have shape \[N, D\] with D >= 1, got \(5,\)"),
        (np.zeros((5, 0)), ValueError, r"X must have shape \[N, D\]"),
        (np.array([[0.0], [np.nan], [1.0], [np.inf]]), ValueError, "NaN or inf in 2 rows, the first is 1"),
        (np.array([["a"], ["b"], ["c"]]), TypeError, "X must be real numbers, got dtype <U1"),
        (np.zeros((5, 2), complex), TypeError, "X must be real numbers"),
        (np.zeros((5, 2), bool), TypeError, "X must be real numbers"),
        (torch.zeros(5, 2, dtype=torch.complex64), TypeError, "X must be real numbers"),
    ],
)
def test_bad_points_are_named(x, error, message):
    with pytest.raises(error, match=message):
        gf.GaussianMixture(3).fit(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be an integer >= 1, got 0"),
        ({"n_components": 2.0}, "n_components must be an integer"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"n_init": "many"}, "n_init must be"),
        ({"tol": -1}, "tol must be a finite number >= 0, got -1"),
        ({"reg_covar": float("nan")}, "reg_covar must be"),
        ({"covariance_type": "dense"}, "covariance_type must be one of"),
        ({"init_params": "pca"}, "init_params must be one of k-means\\+\\+, kmeans, random, random_from_data"),
        ({"random_state": None}, "random_state must be an integer, got None"),
        ({"means_init": np.zeros((2, 3))}, r"means_init must have shape \(2, 2\), got \(2, 3\)"),
        ({"means_init": np.full((2, 2), np.nan)}, "means_init must be finite"),
        ({"weights_init": [0.9, 0.9]}, "weights_init must not be negative and must sum to 1"),
        ({"weights_init": [1.5, -0.5]}, "weights_init must not be negative"),
        ({"precisions_init": np.zeros((2, 2))}, "precisions_init must be positive"),
        ({"precisions_init": [1.0, 1.0], "covariance_type": "diag"}, "precisions_init must have shape"),
        ({"precisions_init": np.eye(2), "covariance_type": "full"}, r"precisions_init must have shape \(2, 2, 2\)"),
        (
            {"precisions_init": np.diag([1.0, -1.0]), "covariance_type": "tied"},
            "positive definite, got an eigenvalue of -1",
        ),
        ({"precisions_init": [[1.0, 0.5], [0.0, 1.0]], "covariance_type": "tied"}, "must be symmetric"),
        ({"chunk_size": 0}, "chunk_size must be an integer >= 1, got 0"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        gf.GaussianMixture(**{"n_components": 2, **options}).fit(np.random.default_rng(0).normal(size=(9, 2)))


def test_use_before_fit_and_with_other_columns():
    mixture = gf.GaussianMixture(2)
    with pytest.raises(RuntimeError, match="call fit first"):
        mixture.predict(np.zeros((3, 2)))
    with pytest.raises(RuntimeError, match="call fit first"):
        _ = mixture.means_
    mixture.fit(blobs(20, d=3)[0])
    with pytest.raises(ValueError, match="X must have 3 columns as in fit, got 2"):
        mixture.predict(np.zeros((3, 2)))
    with pytest.raises(ValueError, match="n_samples must be an integer >= 1, got 0"):
        mixture.sample(0)
    with pytest.raises(ValueError, match=r"log_var must have the shape of X \(20, 3\), got \(20, 2\)"):
        mixture.fit(blobs(20, d=3)[0], log_var=np.zeros((20, 2)))


def test_unusual_arrays_are_taken_without_change():
    x = blobs(60)[0]
    expected = gf.GaussianMixture(3).fit(x).means_
    frozen = x.copy()
    frozen.flags.writeable = False
    for view in (x.astype(">f8"), frozen, x[::-1][::-1], np.asfortranarray(x), x.astype(np.longdouble), x.tolist()):
        np.testing.assert_array_equal(gf.GaussianMixture(3).fit(view).means_, expected)
    for dtype, out in ((np.uint16, np.float64), (np.float16, np.float32), (">i4", np.float64)):
        values = np.round(50 + 5 * x).astype(dtype)
        mixture = gf.GaussianMixture(3).fit(values)
        assert mixture.means_.dtype == mixture.score_samples(values).dtype == out
        np.testing.assert_allclose(mixture.means_, gf.GaussianMixture(3).fit(values.astype(float)).means_, rtol=1e-5)
    assert gf.GaussianMixture(1).fit(torch.randn(9, 2, requires_grad=True)).means_.requires_grad is False


# --- maximum a posteriori, repeated fits, estimator manners -----------------------------------------------------


PRIORS = gf.MixturePriors(2.0, mean_count=3.0, mean_location=1.0, variance_count=4.0, variance_location=0.5)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_the_penalised_bound_never_falls_and_ends_at_the_mode(covariance_type):
    x, _ = blobs(150, separation=1.0)
    options = {"covariance_type": covariance_type, "reg_covar": 0.0, "tol": 1e-13, "max_iter": 4000}
    mixture = gf.GaussianMixture(3, priors=PRIORS, **options).fit(x)
    assert mixture.converged_
    assert np.all(np.diff(mixture.lower_bounds_) > -1e-12)
    penalised = (x.shape[0] * mixture.score(x) + log_prior(mixture.parameters_, PRIORS)) / x.shape[0]
    assert mixture.lower_bound_ == pytest.approx(penalised, abs=1e-9)
    rng = np.random.default_rng(0)
    best = mixture.parameters_
    for _ in range(50):
        noise = torch.from_numpy(1e-2 * rng.normal(size=best.means.shape))
        moved = dataclasses.replace(best, means=best.means + noise)
        value = float(gf.ops.reference.log_responsibilities(torch.from_numpy(x), *moved.as_tuple())[1].sum())
        assert value + log_prior(moved, PRIORS) < x.shape[0] * mixture.lower_bound_


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_priors_without_counts_are_maximum_likelihood(covariance_type):
    x, _ = blobs(150)
    plain = gf.GaussianMixture(3, covariance_type=covariance_type).fit(x)
    idle = gf.GaussianMixture(3, covariance_type=covariance_type, priors=gf.MixturePriors()).fit(x)
    np.testing.assert_array_equal(plain.covariances_, idle.covariances_)
    assert plain.lower_bounds_ == idle.lower_bounds_


def test_priors_bear_repeated_rows_without_reg_covar():
    x = np.repeat([[0.0, 0.0], [9.0, 9.0]], 20, 0)
    for covariance_type in COVARIANCES:
        priors = gf.MixturePriors(variance_count=2.0, variance_location=0.1)
        options = {"covariance_type": covariance_type, "reg_covar": 0.0, "tol": 1e-9, "max_iter": 500}
        mixture = gf.GaussianMixture(2, priors=priors, **options).fit(x)
        assert np.all(np.isfinite(mixture.covariances_))
        np.testing.assert_allclose(np.sort(mixture.means_[:, 0]), [0, 9], atol=1e-6)


def test_warm_start_continues_where_the_last_fit_stopped():
    x, _ = blobs(200, separation=1.0)
    whole = gf.GaussianMixture(3, max_iter=40, tol=0.0, covariance_type="full").fit(x)
    parts = gf.GaussianMixture(3, max_iter=20, tol=0.0, covariance_type="full", warm_start=True, n_init=5)
    parts.set_params(n_init=1).fit(x).set_params(n_init=5).fit(x)
    assert parts.n_iter_ == 20
    np.testing.assert_allclose(parts.means_, whole.means_, rtol=1e-12)
    assert parts.lower_bounds_ == pytest.approx(whole.lower_bounds_[20:], abs=1e-12)
    with pytest.raises(ValueError, match="warm_start needs"):
        parts.set_params(covariance_type="diag").fit(x)


def test_scikit_learn_can_clone_and_pipe_it():
    base = pytest.importorskip("sklearn.base")
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, labels = blobs(separation=30.0)
    mixture = gf.GaussianMixture(3, covariance_type="tied", means_init=x[:3], priors=PRIORS, chunk_size=50)
    copy = base.clone(mixture.fit(x))
    assert not hasattr(copy, "parameters_")
    for name, value in mixture.get_params().items():
        np.testing.assert_array_equal(copy.get_params()[name], value)
    piped = make_pipeline(StandardScaler(), gf.GaussianMixture(3, n_init=3)).fit(x)
    assert len(set(zip(labels, piped.predict(x), strict=True))) == 3
    search = GridSearchCV(gf.GaussianMixture(), {"n_components": [1, 3]}, cv=3).fit(x)
    assert search.best_params_ == {"n_components": 3}


def test_parameters_by_name_and_repr():
    mixture = gf.GaussianMixture(4, covariance_type="full", tol=1e-3, means_init=None, random_state=3)
    assert repr(mixture) == "GaussianMixture(n_components=4, covariance_type='full', random_state=3)"
    assert mixture.set_params(n_init=2, tol=0.5) is mixture
    assert (mixture.get_params()["n_init"], mixture.tol) == (2, 0.5)
    with pytest.raises(ValueError, match="GaussianMixture has no parameter 'k'; it has n_components, "):
        mixture.set_params(n_init=9, k=3)
    assert mixture.n_init == 2
    with pytest.raises(TypeError, match="priors must be MixturePriors or None, got dict"):
        gf.GaussianMixture(priors={}).fit(np.zeros((3, 1)))


# --- chunks and sources -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_chunks_change_nothing_but_rounding(covariance_type, dtype):
    x = blobs(301, separation=2.0)[0].astype(dtype)
    options = {"covariance_type": covariance_type, "max_iter": 15, "tol": 0.0, "priors": PRIORS}
    whole = gf.GaussianMixture(3, **options).fit(x)
    for chunk_size in (1, 7, 300, 301, 1000):
        parts = gf.GaussianMixture(3, chunk_size=chunk_size, **options).fit(x)
        tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == "f8" else {"rtol": 1e-4, "atol": 1e-4}
        np.testing.assert_allclose(parts.means_, whole.means_, **tolerance)
        np.testing.assert_allclose(parts.covariances_, whole.covariances_, **tolerance)
        np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), **tolerance)
        np.testing.assert_array_equal(parts.predict(x), whole.predict(x))
        for name in ("score", "bic", "aic", "icl"):
            assert getattr(parts, name)(x) == pytest.approx(getattr(whole, name)(x), rel=1e-5)


def test_chunks_of_posteriors():
    mean, log_var = (np.random.default_rng(s).normal(size=(97, 2)) for s in (0, 1))
    for covariance_type in COVARIANCES:
        options = {"covariance_type": covariance_type, "max_iter": 10, "tol": 0.0}
        whole = gf.GaussianMixture(2, **options).fit(mean, log_var=log_var)
        parts = gf.GaussianMixture(2, chunk_size=10, **options).fit(mean, log_var=log_var.astype(">f8"))
        np.testing.assert_allclose(parts.covariances_, whole.covariances_, rtol=1e-10)
    log_var[96, 1] = np.nan
    with pytest.raises(ValueError, match="log_var must be finite, got NaN or inf in 1 rows, the first is 96"):
        gf.GaussianMixture(2, chunk_size=10).fit(mean, log_var=log_var)


class Sliced:
    """The least that a source needs; remembers the most rows that were asked for at once."""

    def __init__(self, array):
        self._array, self.most = array, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, rows):
        part = self._array[rows]
        self.most = max(self.most, len(part))
        return part


def h5py_dataset(x, folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / "x.h5", "w") as file:
        file.create_dataset("x", data=x, chunks=(13, x.shape[1]))
    return h5py.File(folder / "x.h5", "r")["x"]


def zarr_array(x, folder):
    zarr = pytest.importorskip("zarr")
    zarr.save_array(folder / "x.zarr", x)
    return zarr.open_array(folder / "x.zarr", mode="r")


def memmap(x, folder):
    np.save(folder / "x.npy", x)
    return np.load(folder / "x.npy", mmap_mode="r")


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", ">f8", "<f2", "<i4", ">i2"])
@pytest.mark.parametrize("source", [memmap, h5py_dataset, zarr_array, lambda x, _: Sliced(x)])
def test_sources_give_the_result_of_the_array(tmp_path, source, dtype):
    x = (20 * blobs(120, separation=3.0)[0]).astype(dtype)
    data = source(x, tmp_path)
    plain = x.astype(np.float32 if x.dtype.kind == "f" and x.dtype.itemsize < 8 else np.float64)
    for chunk_size in (None, 50):
        expected = gf.GaussianMixture(3, chunk_size=chunk_size, covariance_type="full").fit(plain)
        mixture = gf.GaussianMixture(3, chunk_size=chunk_size, covariance_type="full").fit(data)
        np.testing.assert_array_equal(mixture.means_, expected.means_)
        assert mixture.means_.dtype == plain.dtype
        for name in ("predict", "predict_proba", "score_samples", "score", "bic", "aic", "icl"):
            np.testing.assert_array_equal(getattr(mixture, name)(data), getattr(expected, name)(plain))


def test_no_more_rows_are_read_than_asked_for():
    data = Sliced(blobs(500)[0])
    mixture = gf.GaussianMixture(3, chunk_size=60).fit(data)
    for name in ("predict", "score_samples", "bic", "icl"):
        getattr(mixture, name)(data)
    assert data.most == 60


def test_stored_chunks_are_not_read_twice(tmp_path):
    data = h5py_dataset(blobs(100)[0], tmp_path)
    assert Rows(data, "X").chunk_rows(2**20) % 13 == 0
    assert Rows(data, "X").chunk_rows(2**23) == 8  # a stored chunk that is too large is read in pieces
    assert Rows(data, "X", 5).chunk_rows(2**20) == 5


def test_memory_arrays_are_neither_copied_nor_cut(monkeypatch):
    x = blobs(1000)[0]
    frozen = x.copy()
    frozen.flags.writeable = False
    seen = []
    operator = gf.ops.mixture_statistics
    monkeypatch.setattr(gf.ops, "mixture_statistics", lambda p, *rest, **kw: seen.append(p) or operator(p, *rest, **kw))
    for data in (x, frozen, torch.from_numpy(x), x.astype(np.float32)):
        seen.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            gf.GaussianMixture(2, max_iter=3, tol=0.0).fit(data)
        address = data.data_ptr() if isinstance(data, torch.Tensor) else data.ctypes.data
        assert [(len(p), p.data_ptr()) for p in seen] == [(1000, address)] * 3


def test_non_finite_rows_are_counted_over_chunks():
    x = blobs(100)[0]
    x[[13, 57, 99], 1] = np.nan, np.inf, -np.inf
    for options in ({}, start(blobs(100)[0], 3, "diag")):
        with pytest.raises(ValueError, match="X must be finite, got NaN or inf in 3 rows, the first is 13"):
            gf.GaussianMixture(3, chunk_size=9, **options).fit(Sliced(x))
    mixture = gf.GaussianMixture(3, chunk_size=9).fit(blobs(100)[0])
    for name in ("predict", "score", "icl", "bic"):
        with pytest.raises(ValueError, match="X must be finite"):
            getattr(mixture, name)(x)
    large = np.full((4, 2), 3e38, np.float32)  # finite, though the sum is not
    large[::2] *= -1
    assert sum(len(chunk) for _, chunk in Rows(large, "X").chunks(3, check=True)) == 4


def test_odd_sources_are_refused():
    with pytest.raises(TypeError, match="X must be real numbers, got dtype object"):
        gf.GaussianMixture(1).fit(np.array([[1.0], [None]], dtype=object))
    with pytest.raises(ValueError, match=r"X must have shape \[N, D\] with D >= 1, got \(3, 4, 5\)"):
        gf.GaussianMixture(1).fit(Sliced(np.zeros((3, 4, 5))))
    with pytest.raises(TypeError, match=r"X\[0:3\] must be a dense array \[3, 3\]"):
        gf.GaussianMixture(1).fit(scipy.sparse.eye_array(3).tocsr())
    mixture = gf.GaussianMixture(1).fit(np.zeros((3, 2)))
    assert mixture.predict_proba(np.zeros((0, 2))).shape == (0, 1)
    with pytest.raises(ValueError, match="X must have at least 1 row, got 0"):
        mixture.score(np.zeros((0, 2)))


STREAM = """
import resource, sys
import numpy as np
import torch
import gmvae_fast as gf

torch.set_num_threads(1)  # stacks of threads count as well
x = np.load(sys.argv[1], mmap_mode="r")
assert x.nbytes > 400e6
options = {"max_iter": 2, "tol": 0.0}
gf.GaussianMixture(2, **options).fit(x[:5000])  # all code is loaded
fields = dict(line.split(":") for line in open("/proc/self/status"))
held = int(fields["VmData"].split()[0]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + 200 * 2**20,) * 2)
try:
    bytearray(300 * 2**20)
    raise SystemExit("the limit does not hold")
except MemoryError:
    pass
mixture = gf.GaussianMixture(2, **options).fit(x)
print(mixture.score(x), mixture.weights_.sum())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA bounds private memory on Linux only")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 416 MB, converted on the way, within 200 MiB of new memory; its zeros are holes on the disk."""
    data = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", ">f4", (6_500_000, 16))
    data[::50_000] = 1.0
    data[:2000] = np.random.default_rng(0).normal(size=(2000, 16))
    data.flush()
    del data
    run = subprocess.run(
        [sys.executable, "-c", STREAM, str(tmp_path / "x.npy")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    score, total = map(float, run.stdout.split())
    assert np.isfinite(score)
    assert total == pytest.approx(1)


# --- degenerate data --------------------------------------------------------------------------------------------


def finite_or_advised(x, k, **options):
    """The fitted mixture, all of whose numbers are finite, or None where the fit raised with advice."""
    try:
        mixture = gf.GaussianMixture(k, **options).fit(x)
    except ValueError as err:
        assert "reg_covar" in str(err)  # noqa: PT017 - either outcome is right
        return None
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.all(np.isfinite(getattr(mixture, name))), name
    assert np.all(np.isfinite(mixture.score_samples(x)))
    np.testing.assert_allclose(mixture.predict_proba(x).sum(1), 1, rtol=1e-5)
    assert np.isfinite(mixture.bic(x))
    return mixture


DEGENERATE = {
    "equal rows": np.full((20, 3), 2.5),
    "two distinct rows": np.repeat([[0.0, 1.0, 2.0], [5.0, 4.0, 3.0]], 10, 0),
    "one coordinate": np.random.default_rng(0).normal(size=(30, 1)),
    "constant column": np.c_[np.random.default_rng(0).normal(size=(30, 2)), np.full(30, 7.0)],
    "dependent columns": np.random.default_rng(0).normal(size=(30, 1)) * [1.0, 2.0, -1.0],
    "rows equal components": np.random.default_rng(0).normal(size=(3, 2)),
    "duplicates": np.repeat(np.random.default_rng(0).normal(size=(6, 2)), 5, 0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_degenerate_data_give_an_answer_or_advice(covariance_type, name, reg_covar, dtype):
    x = DEGENERATE[name].astype(dtype)
    for k in (1, 3):
        options = {"covariance_type": covariance_type, "reg_covar": reg_covar, "tol": 1e-6}
        mixture = finite_or_advised(x, k, **options)
        assert mixture is not None or reg_covar == 0.0
        if mixture is not None and k == 1:
            np.testing.assert_allclose(mixture.means_[0], x.mean(0), rtol=1e-6, atol=1e-6)
    if name == "equal rows" and reg_covar == 0.0:
        assert mixture is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e4, 1e8])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_results_scale_with_the_data(covariance_type, scale, dtype):
    x = blobs(300, separation=3.0)[0].astype(dtype)
    options = {"covariance_type": covariance_type, "tol": 0.0, "max_iter": 10}
    plain = gf.GaussianMixture(3, reg_covar=0.0, **options).fit(x)
    scaled = gf.GaussianMixture(3, reg_covar=0.0, **options).fit((scale * x).astype(dtype))
    tolerance = {"rtol": 1e-8, "atol": 1e-8} if dtype == np.float64 else {"rtol": 1e-3, "atol": 1e-3}
    np.testing.assert_allclose(scaled.means_ / dtype(scale), plain.means_, **tolerance)
    np.testing.assert_allclose(scaled.covariances_ / dtype(scale) ** 2, plain.covariances_, **tolerance)
    shift = x.shape[1] * np.log(scale)
    assert scaled.score((scale * x).astype(dtype)) == pytest.approx(plain.score(x) - shift, abs=1e-3)
    assert finite_or_advised((scale * x).astype(dtype), 3, covariance_type=covariance_type) is not None


@pytest.mark.parametrize(("dtype", "scale"), [("f4", 1e-30), ("f4", 1e30), ("f8", 1e-160), ("f8", 1e160)])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_squares_beyond_the_dtype_give_an_answer_or_advice(covariance_type, dtype, scale):
    x = (scale * blobs(100, separation=3.0)[0]).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for reg_covar in (0.0, 1e-6):
            finite_or_advised(x, 3, covariance_type=covariance_type, reg_covar=reg_covar)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_a_huge_offset_costs_no_accuracy(covariance_type):
    x = np.round(blobs(300, separation=3.0)[0], 6)
    options = {"covariance_type": covariance_type, "tol": 0.0, "max_iter": 10}
    plain = gf.GaussianMixture(3, **options).fit(x)
    moved = gf.GaussianMixture(3, **options).fit(x + 1e6)
    np.testing.assert_allclose(moved.means_ - 1e6, plain.means_, rtol=0, atol=1e-7)
    np.testing.assert_allclose(moved.covariances_, plain.covariances_, rtol=1e-6, atol=1e-7)
    assert moved.score(x + 1e6) == pytest.approx(plain.score(x), abs=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("init_params", ["k-means++", "kmeans", "random"])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_tensors_on_a_device_stay_there(covariance_type, init_params):
    x = torch.from_numpy(blobs(300, separation=3.0)[0])
    options = {"covariance_type": covariance_type, "init_params": init_params, "tol": 0.0, "max_iter": 10}
    expected = gf.GaussianMixture(3, **options).fit(x)
    for chunk_size in (None, 70):
        mixture = gf.GaussianMixture(3, chunk_size=chunk_size, priors=gf.MixturePriors(), **options).fit(x.cuda())
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            value = getattr(mixture, name)
            assert value.is_cuda
            torch.testing.assert_close(value.cpu(), getattr(expected, name), rtol=1e-7, atol=1e-7)
        for name in ("predict", "predict_proba", "score_samples"):
            value = getattr(mixture, name)(x.cuda())
            assert value.is_cuda
            torch.testing.assert_close(value.cpu(), getattr(expected, name)(x), rtol=1e-6, atol=1e-6)
        assert mixture.icl(x.cuda()) == pytest.approx(expected.icl(x))
        assert mixture.sample(5)[0].is_cuda
