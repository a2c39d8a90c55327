import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gmvae_fast as gf
from gmvae_fast.mixture import (
    COVARIANCE_TYPES,
    CovarianceError,
    MixtureParameters,
    MixturePrior,
    MixturePriors,
    log_prior,
    m_step,
    sample_mixture,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def make_parameters(k, d, seed=0, offset=0.0, covariance_type="diag"):
    g = torch.Generator().manual_seed(seed)
    log_weights = torch.log_softmax(torch.randn(k, generator=g, dtype=torch.float64), 0)
    means = offset + 2 * torch.randn(k, d, generator=g, dtype=torch.float64)
    if covariance_type in ("diag", "spherical"):
        log_vars = 0.5 * torch.randn(k, d if covariance_type == "diag" else 1, generator=g, dtype=torch.float64)
        return MixtureParameters(log_weights, means, log_vars.expand(k, d).clone())
    shape = (k, d, d) if covariance_type == "full" else (d, d)
    cholesky = (0.4 * torch.randn(shape, generator=g, dtype=torch.float64)).tril(-1)
    diagonal = torch.exp(0.3 * torch.randn(shape[:-1], generator=g, dtype=torch.float64))
    return MixtureParameters(log_weights, means, cholesky=cholesky + torch.diag_embed(diagonal))


def make_posteriors(n, d, seed=1, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    mean = offset + 3 * torch.randn(n, d, generator=g, dtype=torch.float64)
    return mean, -1 + 0.7 * torch.randn(n, d, generator=g, dtype=torch.float64)


def gammas(mean, log_var, parameters):
    kl = gf.ops.reference.component_kl(mean, log_var, *parameters.as_tuple()[1:])
    return torch.softmax(parameters.log_weights - kl, 1)


def fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars, cholesky=None):
    """Full-data sum of KL_mix for given responsibilities."""
    kl = gf.ops.reference.component_kl(mean, log_var, means, log_vars, cholesky)
    return (gamma * (kl + torch.log(gamma.clamp_min(1e-300)) - log_weights)).sum()


def exact_kl(mean, log_var, parameters):
    return float(gf.ops.reference.mixture_kl(mean, log_var, *parameters.as_tuple()).sum())


def statistics(mean, log_var, parameters):
    return gf.ops.mixture_statistics(mean, log_var, *parameters.as_tuple())


def direct_covariances(gamma, mean, log_var, means, covariance_type):
    """[K, D, D] by their definition."""
    count = gamma.sum(0)
    diff = mean[:, None] - means
    scatter = torch.einsum("nk,nki,nkj->kij", gamma, diff, diff) + torch.diag_embed(gamma.T @ log_var.exp())
    covariances = scatter / count[:, None, None]
    if covariance_type == "full":
        return covariances
    if covariance_type == "tied":
        return (scatter.sum(0) / count.sum()).expand_as(scatter)
    variances = covariances.diagonal(dim1=1, dim2=2)
    if covariance_type == "spherical":
        variances = variances.mean(1, keepdim=True).expand_as(variances)
    return torch.diag_embed(variances)


# --- M-step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_m_step_equals_the_direct_formulas(covariance_type, offset):
    old = make_parameters(4, 3, offset=offset, covariance_type=covariance_type)
    mean, log_var = make_posteriors(50, 3, offset=offset)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    count = gamma.sum(0)
    means = gamma.T @ mean / count[:, None]
    torch.testing.assert_close(new.log_weights.exp(), count / 50, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(new.means, means, rtol=1e-11, atol=1e-11)
    expected = direct_covariances(gamma, mean, log_var, means, covariance_type)
    torch.testing.assert_close(new.covariances(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_no_perturbation_beats_the_m_step(covariance_type):
    old = make_parameters(3, 2, covariance_type=covariance_type)
    mean, log_var = make_posteriors(40, 2)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    best = fixed_gamma_kl(gamma, mean, log_var, *new.as_tuple())
    assert best <= fixed_gamma_kl(gamma, mean, log_var, *old.as_tuple())
    g = torch.Generator().manual_seed(5)
    log_vars, cholesky = new.log_vars, new.cholesky
    for size in (1e-3, 1e-2, 0.1, 1.0):
        for _ in range(50):
            log_weights = torch.log_softmax(new.log_weights + size * torch.randn(3, generator=g), 0)
            means = new.means + size * torch.randn(3, 2, generator=g)
            if cholesky is None:
                log_vars = new.log_vars + size * torch.randn(3, 2 if covariance_type == "diag" else 1, generator=g)
            else:
                step = size * torch.randn(new.cholesky.shape, generator=g)
                cholesky = new.cholesky + step.tril(-1)
                cholesky = cholesky * torch.where(torch.eye(2) > 0, step.exp(), 1.0)
            assert fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars, cholesky) >= best


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 60),
    k=st.integers(1, 5),
    d=st.integers(1, 4),
    covariance_type=st.sampled_from(COVARIANCE_TYPES),
    offset=st.sampled_from([0.0, 1e3]),
    damping=st.sampled_from([1.0, 0.5, 0.05]),
)
def test_full_data_kl_never_rises_over_exact_em(seed, n, k, d, covariance_type, offset, damping):
    parameters = make_parameters(k, d, seed, offset, covariance_type)
    mean, log_var = make_posteriors(n, d, seed + 1, offset)
    before = exact_kl(mean, log_var, parameters)
    for _ in range(15):
        parameters = m_step(
            statistics(mean, log_var, parameters),
            parameters,
            covariance_type=covariance_type,
            damping=damping,
        )
        after = exact_kl(mean, log_var, parameters)
        assert after <= before + 1e-9 * n
        before = after


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_full_data_kl_never_rises_in_float32(covariance_type, offset):
    mean, log_var = (t.float() for t in make_posteriors(200, 3, offset=offset))
    prior = MixturePrior(4, 3, covariance_type)
    prior.set(make_parameters(4, 3, offset=offset, covariance_type=covariance_type))
    before = exact_kl(mean.double(), log_var.double(), prior.get().to(mean.double()))
    for _ in range(20):
        prior.set(m_step(prior.statistics(mean, log_var), prior.get(), covariance_type=covariance_type))
        after = exact_kl(mean.double(), log_var.double(), prior.get().to(mean.double()))
        # a mean near 1e3 is rounded by 3e-5: off the optimum by 200 (3e-5)^2 / 2 at unit variance
        assert after <= before + 1e-4
        before = after


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_penalised_kl_never_rises_with_priors_and_a_floor(covariance_type):
    priors = MixturePriors(0.5, mean_count=2.0, mean_location=-1.0, variance_count=1.5, variance_location=0.3)
    parameters = make_parameters(4, 3, covariance_type=covariance_type)
    mean, log_var = make_posteriors(60, 3)
    options = {"covariance_type": covariance_type, "priors": priors}
    parameters = m_step(statistics(mean, log_var, parameters), parameters, variance_floor=0.8, **options)
    before = exact_kl(mean, log_var, parameters) - log_prior(parameters, priors)
    for _ in range(15):
        parameters = m_step(statistics(mean, log_var, parameters), parameters, variance_floor=0.8, **options)
        after = exact_kl(mean, log_var, parameters) - log_prior(parameters, priors)
        assert after <= before + 1e-9
        before = after


def test_tied_with_one_component_is_full():
    full = make_parameters(1, 3, covariance_type="full")
    tied = MixtureParameters(full.log_weights, full.means, cholesky=full.cholesky[0])
    mean, log_var = make_posteriors(40, 3)
    priors = MixturePriors(mean_count=2.0, mean_location=0.5, variance_count=3.0, variance_location=0.7)
    options = {"priors": priors, "variance_floor": 0.1, "added_variance": 0.01, "damping": 0.7}
    a = m_step(statistics(mean, log_var, full), full, covariance_type="full", **options)
    b = m_step(statistics(mean, log_var, tied), tied, covariance_type="tied", **options)
    torch.testing.assert_close(a.means, b.means, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(a.cholesky[0], b.cholesky, rtol=1e-12, atol=1e-12)
    assert log_prior(a, priors) == pytest.approx(log_prior(b, priors))


def test_full_equals_diag_for_data_on_mirrored_axes():
    """Every reflection of every row present and components on the origin: off-diagonal moments vanish."""
    rows = torch.rand(20, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = torch.cat([rows * torch.tensor(signs) for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))])
    log_var = torch.full_like(mean, -2.0)
    log_vars = torch.tensor([[0.0, 1.0], [-1.0, 0.3]], dtype=torch.float64)
    weights, means = torch.log(torch.tensor([0.3, 0.7], dtype=torch.float64)), torch.zeros(2, 2, dtype=torch.float64)
    diag = MixtureParameters(weights, means, log_vars)
    full = MixtureParameters(weights, means, cholesky=torch.diag_embed((0.5 * log_vars).exp()))
    priors = MixturePriors(weight_count=1.0, mean_count=2.0, variance_count=1.5, variance_location=0.4)
    for prior in (None, priors):
        options = {"priors": prior, "variance_floor": 0.2, "added_variance": 0.01, "damping": 0.6}
        a = m_step(statistics(mean, log_var, diag), diag, **options)
        b = m_step(statistics(mean, log_var, full), full, covariance_type="full", **options)
        torch.testing.assert_close(a.log_weights, b.log_weights)
        torch.testing.assert_close(a.means, b.means, rtol=0, atol=1e-14)
        torch.testing.assert_close(a.covariances(), b.covariances())
    assert log_prior(diag, priors) == pytest.approx(log_prior(full, priors))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_priors_without_counts_change_nothing(covariance_type):
    old = make_parameters(3, 2, covariance_type=covariance_type)
    stats = statistics(*make_posteriors(30, 2), old)
    priors = MixturePriors(mean_location=5.0, variance_location=7.0)
    a = m_step(stats, old, covariance_type=covariance_type)
    b = m_step(stats, old, covariance_type=covariance_type, priors=priors)
    for left, right in zip(a.as_tuple(), b.as_tuple(), strict=True):
        assert (left is None and right is None) or torch.equal(left, right)
    assert log_prior(a, priors) == 0


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


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_priors_give_the_mode_of_the_posterior(covariance_type):
    """The gradient of the penalised objective vanishes at the M-step."""
    priors = MixturePriors(1.5, mean_count=2.0, mean_location=-1.0, variance_count=3.0, variance_location=0.5)
    old = make_parameters(3, 2, covariance_type=covariance_type)
    mean, log_var = make_posteriors(30, 2)
    gamma = gammas(mean, log_var, old)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type, priors=priors)
    logits, means = (t.clone().requires_grad_() for t in (new.log_weights, new.means))
    if new.log_vars is not None:
        free = (new.log_vars if covariance_type == "diag" else new.log_vars[:, :1]).clone().requires_grad_()
        log_vars, cholesky, covariances = free.expand(3, 2), None, torch.diag_embed(free.exp().expand(3, 2))
    else:
        free = new.cholesky.clone().requires_grad_()
        log_vars, cholesky, covariances = None, free, free @ free.mT
    log_weights = torch.log_softmax(logits, 0)
    objective = fixed_gamma_kl(gamma, mean, log_var, log_weights, means, log_vars, cholesky)
    precisions, distance = torch.linalg.inv(covariances), means + 1.0
    energy = (distance[:, None] @ precisions @ distance[:, :, None]).sum()
    volume = (torch.logdet(covariances) + 0.5 * precisions.diagonal(dim1=-2, dim2=-1).sum(-1)).sum()
    penalty = 0.5 * 2.0 * energy + 0.5 * 3.0 * volume - 1.5 * log_weights.sum()
    assert log_prior(new, priors) == pytest.approx(-penalty.item())
    for gradient in torch.autograd.grad(objective + penalty, (logits, means, free)):
        assert (
            float(gradient.tril().abs().max() if gradient.ndim > 1 and cholesky is not None else gradient.abs().max())
            < 1e-10
        )


def test_variance_floor_and_added_variance():
    mean = torch.zeros(10, 2, dtype=torch.float64)
    mean[:, 1] = torch.arange(10)
    old = make_parameters(1, 2)
    stats = gf.ops.mixture_statistics(mean, None, *old.as_tuple())
    floored = m_step(stats, old, variance_floor=0.25).log_vars.exp()[0]
    torch.testing.assert_close(floored, torch.tensor([0.25, 8.25], dtype=torch.float64))
    added = m_step(stats, old, added_variance=0.5).log_vars.exp()[0]
    torch.testing.assert_close(added, torch.tensor([0.5, 8.75], dtype=torch.float64))


def test_dense_floor_raises_eigenvalues_and_leaves_the_rest():
    old = make_parameters(1, 2, covariance_type="full")
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    mean = torch.stack([torch.linspace(-3, 3, 50), torch.linspace(-3, 3, 50) ** 2 * 1e-3], 1).double() @ turn
    stats = gf.ops.mixture_statistics(mean, None, *old.as_tuple())
    plain = m_step(stats, old, covariance_type="full").covariances()[0]
    floored = m_step(stats, old, covariance_type="full", variance_floor=0.25).covariances()[0]
    values, vectors = torch.linalg.eigh(plain)
    assert values[0] < 0.25 < values[1]
    expected = vectors @ torch.diag(values.clamp_min(0.25)) @ vectors.T
    torch.testing.assert_close(floored, expected)
    added = m_step(stats, old, covariance_type="full", added_variance=0.5).covariances()[0]
    torch.testing.assert_close(added, plain + 0.5 * torch.eye(2, dtype=torch.float64))
    unmoved = m_step(stats, old, covariance_type="full", variance_floor=1e-9).covariances()[0]
    assert torch.equal(unmoved, plain)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_covariance_that_is_not_positive_definite_is_reported(covariance_type):
    old = make_parameters(2, 3, covariance_type=covariance_type)
    line = torch.arange(12.0, dtype=torch.float64)[:, None].expand(12, 3)
    points = torch.zeros(12, 3, dtype=torch.float64) if covariance_type in ("diag", "spherical") else line
    stats = gf.ops.mixture_statistics(points, None, *old.as_tuple())
    with pytest.raises(CovarianceError, match="not positive definite: .* increase reg_covar"):
        m_step(stats, old, covariance_type=covariance_type)
    new = m_step(stats, old, covariance_type=covariance_type, variance_floor=1e-3)
    assert float(torch.linalg.eigvalsh(new.covariances()).min()) >= 1e-3 * (1 - 1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_damping_lies_between_old_and_new_and_keeps_the_fixed_point(covariance_type):
    def step(parameters, **options):
        return m_step(statistics(mean, log_var, parameters), parameters, covariance_type=covariance_type, **options)

    old = make_parameters(2, 2, covariance_type=covariance_type)
    mean, log_var = make_posteriors(100, 2)
    plain = step(old)
    assert torch.equal(plain.covariances(), step(old, damping=1.0).covariances())
    half, tiny = step(old, damping=0.5), step(old, damping=1e-9)
    low, high = torch.minimum(plain.means, old.means), torch.maximum(plain.means, old.means)
    assert bool(((half.means > low) & (half.means < high)).all())
    between = 0.5 * (plain.log_weights.exp() + old.log_weights.exp())
    torch.testing.assert_close(half.log_weights.exp(), between)
    torch.testing.assert_close(tiny.means, old.means, rtol=0, atol=1e-7)
    torch.testing.assert_close(tiny.covariances(), old.covariances(), rtol=0, atol=1e-7)
    for _ in range(3000):
        plain = step(plain)
    damped = step(plain, damping=0.3)
    torch.testing.assert_close(damped.means, plain.means, rtol=0, atol=1e-6)
    torch.testing.assert_close(damped.covariances(), plain.covariances(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_component_without_weight_keeps_mean_and_covariance_unless_a_prior_decides(covariance_type):
    old = make_parameters(2, 2, covariance_type=covariance_type)
    old.means[1] = 1e6
    mean, log_var = make_posteriors(20, 2)
    new = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    assert float(new.log_weights[1].exp()) < 1e-300
    assert torch.equal(new.means[1], old.means[1])
    if covariance_type == "tied":  # the rows of the other decide
        torch.testing.assert_close(new.covariances()[1], torch.cov(mean.T, correction=0) + log_var.exp().mean(0).diag())
    else:
        torch.testing.assert_close(new.covariances()[1], old.covariances()[1])
    assert all(bool(torch.isfinite(t).all()) for t in new.as_tuple() if t is not None)
    priors = MixturePriors(weight_count=1.0, mean_count=1.0, mean_location=3.0, variance_count=2.0)
    new = m_step(statistics(mean, log_var, old), old, priors=priors, covariance_type=covariance_type)
    torch.testing.assert_close(new.means[1], torch.full((2,), 3.0, dtype=torch.float64))
    if covariance_type != "tied":
        torch.testing.assert_close(new.covariances()[1], torch.eye(2, dtype=torch.float64))
    assert float(new.log_weights[1].exp()) == pytest.approx(1 / 22)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_m_step_of_merged_chunks_is_that_of_the_whole(covariance_type):
    old = make_parameters(3, 2, covariance_type=covariance_type)
    mean, log_var = make_posteriors(31, 2)
    parts = [statistics(m, v, old) for m, v in zip(mean.split(7), log_var.split(7), strict=True)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged + part
    whole = m_step(statistics(mean, log_var, old), old, covariance_type=covariance_type)
    new = m_step(merged, old, covariance_type=covariance_type)
    torch.testing.assert_close(new.log_weights, whole.log_weights, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(new.means, whole.means, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(new.covariances(), whole.covariances(), rtol=1e-11, atol=1e-12)


def test_m_step_refuses_bad_arguments():
    old = make_parameters(2, 2)
    empty = statistics(torch.empty(0, 2, dtype=torch.float64), torch.empty(0, 2, dtype=torch.float64), old)
    with pytest.raises(ValueError, match="at least one row"):
        m_step(empty, old)
    stats = statistics(*make_posteriors(5, 2), old)
    for damping in (0.0, 1.5, float("nan"), "half"):
        with pytest.raises(ValueError, match="damping must be"):
            m_step(stats, old, damping=damping)
    with pytest.raises(ValueError, match="covariance_type must be one of diag, spherical, tied, full, got 'dense'"):
        m_step(stats, old, covariance_type="dense")
    with pytest.raises(ValueError, match=r"must be of dense covariances \(cholesky\) for covariance_type='full'"):
        m_step(stats, old, covariance_type="full")
    with pytest.raises(ValueError, match="exactly one of log_vars and cholesky must be given, got neither"):
        MixtureParameters(old.log_weights, old.means)


@pytest.mark.parametrize(
    ("name", "value"),
    [("weight_count", -1), ("mean_count", float("nan")), ("variance_count", float("inf")), ("variance_location", 0.0)],
)
def test_priors_check_their_fields(name, value):
    with pytest.raises(ValueError, match=f"{name} must be"):
        MixturePriors(**{name: value})


# --- the prior module -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_prior_module(covariance_type):
    prior = MixturePrior(3, 2, covariance_type)
    assert not any(p.requires_grad for p in prior.parameters())
    torch.testing.assert_close(prior.get().covariances(), torch.eye(2).expand(3, 2, 2))
    kept = prior.get()
    prior.set(make_parameters(3, 2, covariance_type=covariance_type))
    assert not torch.equal(kept.means, prior.means)
    mean, log_var = (t.float() for t in make_posteriors(9, 2))
    expected = gammas(mean, log_var, prior.get())
    torch.testing.assert_close(prior.responsibilities(mean, log_var), expected)
    kl = gf.ops.reference.component_kl(mean, log_var, *prior.parameters_tuple[1:])
    torch.testing.assert_close(prior.component_kl(mean, log_var), kl)
    density = gf.ops.reference.log_responsibilities(mean, *prior.parameters_tuple)[0].exp()
    torch.testing.assert_close(prior.responsibilities(mean, None), density)
    torch.testing.assert_close(
        prior.kl(mean, log_var), gf.ops.reference.mixture_kl(mean, log_var, *prior.parameters_tuple)
    )
    with pytest.raises(ValueError, match=r"log_weights must have shape \(3,\) .*, got \(2,\)"):
        prior.set(make_parameters(2, 2, covariance_type=covariance_type))


def test_prior_module_keeps_its_parameter_names_and_its_type():
    names = {kind: set(MixturePrior(3, 2, kind).state_dict()) for kind in COVARIANCE_TYPES}
    common = {"log_weights", "means"}
    assert names["diag"] == names["spherical"] == common | {"log_vars"}
    assert names["tied"] == names["full"] == common | {"cholesky"}
    with pytest.raises(ValueError, match=r"log_vars must have shape \(3, 2\) .*, got None"):
        MixturePrior(3, 2).set(make_parameters(3, 2, covariance_type="full"))
    with pytest.raises(ValueError, match=r"cholesky must have shape \(2, 2\) .*'tied'.*, got \(3, 2, 2\)"):
        MixturePrior(3, 2, "tied").set(make_parameters(3, 2, covariance_type="full"))


@pytest.mark.parametrize("bad", [0, -1, 2.5, "3", None, True])
@pytest.mark.parametrize("name", ["n_components", "latent_dim"])
def test_prior_module_checks_sizes(name, bad):
    with pytest.raises(ValueError, match=f"{name} must be an integer >= 1"):
        MixturePrior(**{"n_components": 2, "latent_dim": 2, name: bad})


def test_sample_of_one_component():
    parameters = make_parameters(3, 2)
    points, labels = sample_mixture(parameters, 4, torch.Generator().manual_seed(0), component=2)
    assert points.shape == (4, 2)
    assert labels.tolist() == [2] * 4
    for bad, message in ((3, "component must be in 0..2, got 3"), (-1, "in 0..2"), (1.5, "must be an integer")):
        with pytest.raises(ValueError, match=message):
            sample_mixture(parameters, 4, torch.Generator(), component=bad)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_samples_have_the_moments_of_the_mixture(covariance_type):
    parameters = make_parameters(3, 2, covariance_type=covariance_type)
    points, labels = sample_mixture(parameters, 60_000, torch.Generator().manual_seed(0))
    for c in range(3):
        mine = points[labels == c]
        covariance = parameters.covariances()[c]
        error = (covariance.diagonal() / len(mine)).sqrt()
        assert bool(((mine.mean(0) - parameters.means[c]).abs() < 5 * error).all())
        scale = covariance.diagonal().max() * (2 / len(mine)) ** 0.5
        torch.testing.assert_close(torch.cov(mine.T), covariance, rtol=0, atol=5 * float(scale))
