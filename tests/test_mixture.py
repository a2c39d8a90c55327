import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gmvae_fast as gf
from gmvae_fast.gaussian_mixture import as_rows, kmeans_plus_plus
from gmvae_fast.mixture import MixtureParameters, MixturePrior, MixturePriors, m_step, sample_mixture

sklearn_mixture = pytest.importorskip("sklearn.mixture")
pytestmark = pytest.mark.usefixtures("one_thread")
COVARIANCES = ["diag", "spherical"]


def make_parameters(k, d, seed=0, offset=0.0, spherical=False):
    g = torch.Generator().manual_seed(seed)
    log_vars = 0.5 * torch.randn(k, 1 if spherical else d, generator=g, dtype=torch.float64)
    return MixtureParameters(
        torch.log_softmax(torch.randn(k, generator=g, dtype=torch.float64), 0),
        offset + 2 * torch.randn(k, d, generator=g, dtype=torch.float64),
        log_vars.expand(k, d).clone(),
    )


def make_posteriors(n, d, seed=1, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    mean = offset + 3 * torch.randn(n, d, generator=g, dtype=torch.float64)
    return mean, -1 + 0.7 * torch.randn(n, d, generator=g, dtype=torch.float64)


def gammas(mean, log_var, parameters):
    kl = gf.ops.reference.component_kl(mean, log_var, parameters.means, parameters.log_vars)
    return torch.softmax(parameters.log_weights - kl, 1)


def fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars):
    """Full-data sum of KL_mix for given responsibilities."""
    kl = gf.ops.reference.component_kl(mean, log_var, means, log_vars)
    return (gamma * (kl + torch.log(gamma.clamp_min(1e-300)) - log_weights)).sum()


def exact_kl(mean, log_var, parameters):
    return float(gf.ops.reference.mixture_kl(mean, log_var, *parameters.as_tuple()).sum())


def statistics(mean, log_var, parameters):
    return gf.ops.mixture_statistics(mean, log_var, *parameters.as_tuple())


# --- M-step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_m_step_equals_the_direct_formulas(covariance_type, offset):
    old = make_parameters(4, 3, offset=offset)
    mean, log_var = make_posteriors(50, 3, offset=offset)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    count = gamma.sum(0)
    means = gamma.T @ mean / count[:, None]
    variances = torch.stack(
        [(gamma[:, c, None] * ((mean - means[c]) ** 2 + log_var.exp())).sum(0) / count[c] for c in range(4)]
    )
    if covariance_type == "spherical":
        variances = variances.mean(1, keepdim=True).expand_as(variances)
    torch.testing.assert_close(new.log_weights.exp(), count / 50, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(new.means, means, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(new.log_vars.exp(), variances, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCES)
def test_no_perturbation_beats_the_m_step(covariance_type):
    old = make_parameters(3, 2)
    mean, log_var = make_posteriors(40, 2)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    best = fixed_gamma_kl(gamma, mean, log_var, *new.as_tuple())
    assert best <= fixed_gamma_kl(gamma, mean, log_var, *old.as_tuple())
    g = torch.Generator().manual_seed(5)
    width = 2 if covariance_type == "diag" else 1
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            log_weights = torch.log_softmax(new.log_weights + size * torch.randn(3, generator=g), 0)
            means = new.means + size * torch.randn(3, 2, generator=g)
            log_vars = new.log_vars + size * torch.randn(3, width, generator=g)
            assert fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars) >= best


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 60),
    k=st.integers(1, 5),
    d=st.integers(1, 4),
    spherical=st.booleans(),
    offset=st.sampled_from([0.0, 1e3]),
    damping=st.sampled_from([1.0, 0.5, 0.05]),
)
def test_full_data_kl_never_rises_over_exact_em(seed, n, k, d, spherical, offset, damping):
    parameters = make_parameters(k, d, seed, offset, spherical)
    mean, log_var = make_posteriors(n, d, seed + 1, offset)
    before = exact_kl(mean, log_var, parameters)
    for _ in range(15):
        parameters = m_step(
            statistics(mean, log_var, parameters),
            parameters,
            covariance_type="spherical" if spherical else "diag",
            damping=damping,
        )
        after = exact_kl(mean, log_var, parameters)
        assert after <= before + 1e-9 * n
        before = after


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_full_data_kl_never_rises_in_float32(offset):
    mean, log_var = (t.float() for t in make_posteriors(200, 3, offset=offset))
    prior = MixturePrior(4, 3)
    prior.set(make_parameters(4, 3, offset=offset))
    before = exact_kl(mean.double(), log_var.double(), prior.get().to(mean.double()))
    for _ in range(20):
        prior.set(m_step(prior.statistics(mean, log_var), prior.get()))
        after = exact_kl(mean.double(), log_var.double(), prior.get().to(mean.double()))
        # a mean near 1e3 is rounded by 3e-5: off the optimum by 200 (3e-5)^2 / 2 at unit variance
        assert after <= before + 1e-4
        before = after


def test_priors_are_pseudo_observations():
    priors = MixturePriors(
        weight_count=2.0, mean_count=3.0, mean_location=0.7, variance_count=4.0, variance_location=0.2
    )
    old = make_parameters(3, 2)
    mean, log_var = make_posteriors(30, 2)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, priors=priors)
    count = gamma.sum(0)[:, None]
    torch.testing.assert_close(new.log_weights.exp(), (count[:, 0] + 2) / (30 + 3 * 2))
    means = (gamma.T @ mean + 3 * 0.7) / (count + 3)
    torch.testing.assert_close(new.means, means)
    scatter = torch.stack([(gamma[:, c, None] * ((mean - means[c]) ** 2 + log_var.exp())).sum(0) for c in range(3)])
    torch.testing.assert_close(new.log_vars.exp(), (scatter + 3 * (means - 0.7) ** 2 + 4 * 0.2) / (count + 4))


def test_priors_give_the_mode_of_the_posterior():
    """The gradient of the penalised objective vanishes at the M-step."""
    priors = MixturePriors(1.5, mean_count=2.0, mean_location=-1.0, variance_count=3.0, variance_location=0.5)
    old = make_parameters(3, 2)
    mean, log_var = make_posteriors(30, 2)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, priors=priors)
    logits, means, log_vars = (t.clone().requires_grad_() for t in new.as_tuple())
    log_weights = torch.log_softmax(logits, 0)
    objective = fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars)
    objective = objective - 1.5 * log_weights.sum() + (0.5 * 2.0 * (means + 1.0) ** 2 * torch.exp(-log_vars)).sum()
    objective = objective + 0.5 * 3.0 * (log_vars + 0.5 * torch.exp(-log_vars)).sum()
    for gradient in torch.autograd.grad(objective, (logits, means, log_vars)):
        assert float(gradient.abs().max()) < 1e-10


def test_variance_floor_and_added_variance():
    mean = torch.zeros(10, 2, dtype=torch.float64)
    mean[:, 1] = torch.arange(10)
    old = make_parameters(1, 2)
    stats = gf.ops.mixture_statistics(mean, None, *old.as_tuple())
    floored = m_step(stats, old, variance_floor=0.25).log_vars.exp()[0]
    torch.testing.assert_close(floored, torch.tensor([0.25, 8.25], dtype=torch.float64))
    added = m_step(stats, old, added_variance=0.5).log_vars.exp()[0]
    torch.testing.assert_close(added, torch.tensor([0.5, 8.75], dtype=torch.float64))


def test_damping_lies_between_old_and_new_and_keeps_the_fixed_point():
    old = make_parameters(2, 2)
    mean, log_var = make_posteriors(100, 2)
    stats = statistics(mean, log_var, old)
    plain, one = m_step(stats, old), m_step(stats, old, damping=1.0)
    for a, b in zip(plain.as_tuple(), one.as_tuple(), strict=True):
        assert torch.equal(a, b)
    half, tiny = m_step(stats, old, damping=0.5), m_step(stats, old, damping=1e-9)
    low, high = torch.minimum(plain.means, old.means), torch.maximum(plain.means, old.means)
    assert bool(((half.means > low) & (half.means < high)).all())
    between = 0.5 * (plain.log_weights.exp() + old.log_weights.exp())
    torch.testing.assert_close(half.log_weights.exp(), between)
    torch.testing.assert_close(tiny.means, old.means, rtol=0, atol=1e-7)
    torch.testing.assert_close(tiny.log_vars, old.log_vars, rtol=0, atol=1e-7)
    for _ in range(3000):
        plain = m_step(statistics(mean, log_var, plain), plain)
    damped = m_step(statistics(mean, log_var, plain), plain, damping=0.3)
    torch.testing.assert_close(damped.means, plain.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(damped.log_vars, plain.log_vars, rtol=0, atol=1e-6)


def test_a_component_without_weight_keeps_mean_and_variance_unless_a_prior_decides():
    old = make_parameters(2, 2)
    old.means[1] = 1e6
    mean, log_var = make_posteriors(20, 2)
    new = m_step(statistics(mean, log_var, old), old)
    assert float(new.log_weights[1].exp()) < 1e-300
    assert torch.equal(new.means[1], old.means[1])
    torch.testing.assert_close(new.log_vars[1], old.log_vars[1])
    assert all(bool(torch.isfinite(t).all()) for t in new.as_tuple())
    priors = MixturePriors(weight_count=1.0, mean_count=1.0, mean_location=3.0, variance_count=2.0)
    new = m_step(statistics(mean, log_var, old), old, priors=priors)
    torch.testing.assert_close(new.means[1], torch.full((2,), 3.0, dtype=torch.float64))
    torch.testing.assert_close(new.log_vars[1], torch.zeros(2, dtype=torch.float64))
    assert float(new.log_weights[1].exp()) == pytest.approx(1 / 22)


def test_m_step_of_merged_chunks_is_that_of_the_whole():
    old = make_parameters(3, 2)
    mean, log_var = make_posteriors(31, 2)
    parts = [statistics(m, v, old) for m, v in zip(mean.split(7), log_var.split(7), strict=True)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    whole = m_step(statistics(mean, log_var, old), old)
    for a, b in zip(m_step(merged, old).as_tuple(), whole.as_tuple(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_m_step_refuses_bad_arguments():
    old = make_parameters(2, 2)
    empty = statistics(torch.empty(0, 2, dtype=torch.float64), torch.empty(0, 2, dtype=torch.float64), old)
    with pytest.raises(ValueError, match="at least one row"):
        m_step(empty, old)
    stats = statistics(*make_posteriors(5, 2), old)
    for damping in (0.0, 1.5, float("nan"), "half"):
        with pytest.raises(ValueError, match="damping must be"):
            m_step(stats, old, damping=damping)
    with pytest.raises(ValueError, match="covariance_type must be one of diag, spherical, got 'full'"):
        m_step(stats, old, covariance_type="full")


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight_count", -1), ("mean_count", float("nan")), ("variance_count", float("inf")), ("variance_location", 0.0)],
)
def test_priors_check_their_fields(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        MixturePriors(**{name: value})


# --- the prior module -------------------------------------------------------------------------------------------


def test_prior_module():
    prior = MixturePrior(3, 2)
    assert not any(p.requires_grad for p in prior.parameters())
    kept = prior.get()
    prior.set(make_parameters(3, 2))
    assert not torch.equal(kept.means, prior.means)
    mean, log_var = (t.float() for t in make_posteriors(9, 2))
    expected = gammas(mean, log_var, prior.get())
    torch.testing.assert_close(prior.responsibilities(mean, log_var), expected)
    density = gf.ops.reference.log_responsibilities(mean, *prior.parameters_tuple)[0].exp()
    torch.testing.assert_close(prior.responsibilities(mean, None), density)
    with pytest.raises(ValueError, match=r"shape \(3,\), got \(2,\)"):
        prior.set(make_parameters(2, 2))


@pytest.mark.parametrize("bad", [0, -1, 2.5, "3", None, True])
@pytest.mark.parametrize("name", ["n_components", "latent_dim"])
def test_prior_module_checks_sizes(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1"):
        MixturePrior(**{"n_components": 2, "latent_dim": 2, name: bad})


# --- GaussianMixture against scikit-learn -----------------------------------------------------------------------


def blobs(n=300, d=3, k=3, seed=0, separation=5.0):
    rng = np.random.default_rng(seed)
    centers = separation * rng.normal(size=(k, d))
    labels = np.arange(n) % k
    return centers[labels] + rng.normal(size=(n, d)) * rng.uniform(0.5, 1.5, size=(k, d))[labels], labels


def start(x, k, covariance_type, seed=3):
    rng = np.random.default_rng(seed)
    return {
        "weights_init": rng.dirichlet(np.full(k, 5.0)),
        "means_init": x[rng.choice(len(x), k, replace=False)],
        "precisions_init": rng.uniform(0.3, 1.0, size=(k, x.shape[1]) if covariance_type == "diag" else k),
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
    for name in ("weights_", "means_", "covariances_", "precisions_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-6)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ == theirs.converged_
    assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, abs=1e-9)
    fresh, _ = blobs(seed=9)
    np.testing.assert_array_equal(ours.predict(fresh), theirs.predict(fresh))
    np.testing.assert_allclose(ours.predict_proba(fresh), theirs.predict_proba(fresh), atol=1e-8)
    np.testing.assert_allclose(ours.score_samples(fresh), theirs.score_samples(fresh), rtol=1e-8)
    for name in ("score", "bic", "aic"):
        assert getattr(ours, name)(fresh) == pytest.approx(getattr(theirs, name)(fresh), rel=1e-8)


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


def test_float32_far_from_the_origin():
    x, _ = blobs(300, separation=2.0)
    options = dict(max_iter=20, tol=0.0, **start(x, 3, "diag"))
    exact = gf.GaussianMixture(3, **options).fit(x)
    options["means_init"] = options["means_init"] + 100
    rounded = gf.GaussianMixture(3, **options).fit((x + 100).astype(np.float32))
    np.testing.assert_allclose(rounded.means_ - 100, exact.means_, atol=2e-3)
    np.testing.assert_allclose(rounded.covariances_, exact.covariances_, rtol=2e-3)


def test_the_best_start_is_kept_and_seeds_repeat():
    x, _ = blobs(200, d=2, k=5, separation=3.0)
    single = [gf.GaussianMixture(5, init_params="random", random_state=s, tol=1e-6).fit(x) for s in range(6)]
    assert len({round(m.lower_bound_, 6) for m in single}) > 1, "the example must have several optima"
    many = gf.GaussianMixture(5, init_params="random", random_state=0, tol=1e-6, n_init=6).fit(x)
    assert many.lower_bound_ >= single[0].lower_bound_
    again = gf.GaussianMixture(5, init_params="random", random_state=0, tol=1e-6, n_init=6).fit(x)
    np.testing.assert_array_equal(many.means_, again.means_)
    np.testing.assert_array_equal(many.sample(5)[0], again.sample(5)[0])
    other = gf.GaussianMixture(5, init_params="random", random_state=1, tol=1e-6).fit(x)
    assert not np.array_equal(single[0].means_, other.means_)


def test_fit_to_posteriors_minimises_the_mixture_kl():
    mean, log_var = make_posteriors(200, 2)
    fitted = gf.GaussianMixture(3, reg_covar=0.0, tol=1e-12, max_iter=2000).fit(mean, log_var=log_var)
    bound = -exact_kl(mean, log_var, fitted.parameters_) / 200
    assert bound == pytest.approx(fitted.lower_bound_, abs=1e-9)
    points = gf.GaussianMixture(3, reg_covar=0.0, tol=1e-12, max_iter=2000).fit(mean)
    assert bound > -exact_kl(mean, log_var, points.parameters_) / 200
    assert float(fitted.covariances_.mean()) > float(points.covariances_.mean())


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
        ({"covariance_type": "full"}, "covariance_type must be one of"),
        ({"init_params": "kmeans"}, "init_params must be"),
        ({"random_state": None}, "random_state must be an integer, got None"),
        ({"means_init": np.zeros((2, 3))}, r"means_init must have shape \(2, 2\), got \(2, 3\)"),
        ({"means_init": np.full((2, 2), np.nan)}, "means_init must be finite"),
        ({"weights_init": [0.9, 0.9]}, "weights_init must not be negative and must sum to 1"),
        ({"weights_init": [1.5, -0.5]}, "weights_init must not be negative"),
        ({"precisions_init": np.zeros((2, 2))}, "precisions_init must be positive"),
        ({"precisions_init": [1.0, 1.0], "covariance_type": "diag"}, "precisions_init must have shape"),
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
    assert as_rows(np.arange(6, dtype=np.uint16).reshape(3, 2), "X").dtype == torch.float64
    assert as_rows(np.zeros((3, 2), np.float16), "X").dtype == torch.float32
    assert gf.GaussianMixture(1).fit(torch.randn(9, 2, requires_grad=True)).means_.requires_grad is False


def test_sample_of_one_component():
    parameters = make_parameters(3, 2)
    points, labels = sample_mixture(parameters, 4, torch.Generator().manual_seed(0), component=2)
    assert points.shape == (4, 2)
    assert labels.tolist() == [2] * 4
    for bad, message in ((3, "component must be in 0..2, got 3"), (-1, "in 0..2"), (1.5, "must be an integer")):
        with pytest.raises(ValueError, match=message):
            sample_mixture(parameters, 4, torch.Generator(), component=bad)
