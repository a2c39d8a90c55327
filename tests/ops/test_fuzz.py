"""Random shapes, strides, dtypes and extreme values: native results lie within a stated bound of float64, never NaN.

The bound is that of the arithmetic. A logit is a sum of terms; its error is at most a few rounding errors of their
magnitudes: delta = ROUNDINGS * eps * (1 + D + |log pi| + energy + sum |log var| + sum |log s2|). Values inherit the
delta of the components that matter, a responsibility gamma is off by the factor exp(+-2 delta), and a gradient by that
factor times each component's pull. Where delta passes 1/2, responsibilities are beyond the precision, and the gradient
has only to be finite.
"""

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import gmvae_fast as gf

OPS, REFERENCE = gf.ops, gf.ops.reference
ROUNDINGS = 8.0
NEGLIGIBLE = {torch.float32: 2e-28, torch.float64: 1e-299}  # responsibilities below it count as zero
FUZZ = settings(max_examples=150, deadline=None, derandomize=True)


@dataclasses.dataclass
class Problem:
    mean: torch.Tensor
    log_var: torch.Tensor
    z: torch.Tensor
    log_weights: torch.Tensor
    means: torch.Tensor
    log_vars: torch.Tensor | None
    cholesky: torch.Tensor | None

    @property
    def mixture(self):
        return self.log_weights, self.means, self.log_vars, self.cholesky

    def double(self):
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return Problem(**{k: None if v is None else v.detach().double() for k, v in values.items()})


def strided(tensor, style):
    """The same values in memory that is contiguous, transposed, sliced out of more columns, or every other row."""
    if style == "transposed":
        return tensor.mT.contiguous().mT
    if style == "columns":
        return torch.cat([tensor, tensor[..., :1]], -1)[..., :-1]
    if style == "rows":
        return torch.repeat_interleave(tensor, 2, 0)[::2]
    return tensor


def covariance_factors(rng, shape, log_vars):
    """Cholesky factors of randomly rotated covariances with the given eigenvalues [..., D]."""
    rotation, _ = np.linalg.qr(rng.normal(size=(*shape, shape[-1])))
    root = rotation * np.exp(0.5 * log_vars)[..., None, :]
    upper = np.linalg.qr(np.swapaxes(root, -1, -2), mode="r")  # root root' = R'R
    lower = np.swapaxes(upper, -1, -2)
    return lower * np.where(np.diagonal(lower, axis1=-2, axis2=-1) < 0, -1.0, 1.0)[..., None, :]


@st.composite
def problems(draw, kinds=("diag", "spherical")):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, k, d = draw(st.integers(0, 70)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from([torch.float32, torch.float64]))
    dense = kind in ("full", "tied")
    decades = draw(st.floats(0, 12 if not dense else 3))  # of variances, to both sides of 1
    offset = draw(st.sampled_from([0.0, 1.0, -30.0, 1e3, 1e6]))
    spread = 10 ** draw(st.floats(-3, 3))
    centre = draw(st.sampled_from([0.0, 0.0, -8.0, 8.0])) if not dense else 0.0
    limit = 12 * np.log(10)
    log_vars = np.clip(np.log(10) * (rng.uniform(-decades, decades, (k, d)) + centre), -limit, limit)
    log_weights = -rng.uniform(0, draw(st.sampled_from([0.0, 1.0, 80.0, 700.0])), k)
    if k > 1 and draw(st.booleans()):
        log_weights[rng.integers(1, k)] = -np.inf
    log_weights -= np.logaddexp.reduce(log_weights)
    arrays = {
        "mean": offset + spread * rng.normal(size=(n, d)),
        "log_var": np.clip(np.log(10) * (rng.uniform(-decades, decades, (n, d)) + centre), -limit, limit),
        "z": offset + spread * rng.normal(size=(n, d)),
        "log_weights": log_weights,
        "means": offset + spread * rng.normal(size=(k, d)),
        "log_vars": None if dense else log_vars if kind == "diag" else log_vars[:, 0],
        "cholesky": covariance_factors(rng, (k, d), log_vars) if kind == "full" else None,
    }
    if kind == "tied":
        arrays["cholesky"] = covariance_factors(rng, (d,), log_vars[0])
    style = draw(st.sampled_from(["contiguous", "transposed", "columns", "rows"]))
    tensors = {
        key: None if a is None else torch.from_numpy(np.ascontiguousarray(a)).to(dtype) for key, a in arrays.items()
    }
    for key in ("mean", "log_var", "z", "means"):
        tensors[key] = strided(tensors[key], style)
    return Problem(**tensors)


def expanded(exact):
    """log variances [K, D] of a diagonal or spherical problem."""
    return exact.log_vars if exact.log_vars.ndim == 2 else exact.log_vars[:, None].expand_as(exact.means)


def rounding_of_logits(exact, point, variance, dtype):
    """delta [N, K] of the module's text; diagonal covariances."""
    log_vars = expanded(exact)
    energy = ((point[:, None] - exact.means).square() + variance[:, None]) / log_vars.exp()
    prior = torch.where(torch.isfinite(exact.log_weights), exact.log_weights.abs(), 0.0)
    terms = 1 + point.shape[1] + prior + energy.sum(-1) + log_vars.abs().sum(1) + exact.log_var.abs().sum(1)[:, None]
    return ROUNDINGS * torch.finfo(dtype).eps * terms


def responsibilities(logits):
    return torch.softmax(logits, 1)


def error_of_responsibilities(gamma, delta, dtype):
    """Bound on the error of gamma [N, K]; inf where it is beyond the precision."""
    important = (gamma > 1e-6) & torch.isfinite(delta)
    worst = torch.where(important, delta, 0.0).amax(1, keepdim=True)
    relative = torch.expm1(2 * (delta + worst))
    return torch.where(worst > 0.5, torch.inf, gamma * relative + NEGLIGIBLE[dtype] + torch.finfo(dtype).tiny)


def assert_within(found, expected, bound, what):
    assert torch.isfinite(found).all(), f"{what} is not finite"
    excess = (found.double() - expected).abs() - bound
    assert not excess.numel() or float(excess.max()) <= 0, f"{what} exceeds its bound by {float(excess.max()):.2e}"


@FUZZ
@given(problems())
def test_mixture_kl(problem):
    exact, dtype = problem.double(), problem.mean.dtype
    mean, log_var = (t.clone().requires_grad_() for t in (problem.mean, problem.log_var))
    value = OPS.mixture_kl(mean, log_var, *problem.mixture)
    grads = torch.autograd.grad(value.sum(), (mean, log_var))
    log_vars = expanded(exact)
    logits = exact.log_weights - REFERENCE.component_kl(exact.mean, exact.log_var, exact.means, log_vars)
    gamma = responsibilities(logits)
    delta = rounding_of_logits(exact, exact.mean, exact.log_var.exp(), dtype)
    best = torch.where(gamma > 1e-6, delta, 0.0).amax(1)
    assert_within(value.detach(), -torch.logsumexp(logits, 1), best, "value")

    error = error_of_responsibilities(gamma, delta, dtype)[..., None]
    pull = (exact.mean[:, None] - exact.means) / log_vars.exp()
    share = (exact.log_var.exp()[:, None] / log_vars.exp()) / 2
    rounding = ROUNDINGS * torch.finfo(dtype).eps * (1 + gamma.shape[1])
    expected = (gamma[..., None] * pull).sum(1), (gamma[..., None] * share).sum(1) - 0.5
    bounds = [((error + rounding * gamma[..., None]) * t.abs()).sum(1) + rounding for t in (pull, share)]
    for grad, right, bound, what in zip(grads, expected, bounds, ("grad_mean", "grad_log_var"), strict=True):
        assert_within(grad, right, torch.nan_to_num(bound, nan=torch.inf), what)


@FUZZ
@given(problems())
def test_log_responsibilities(problem):
    exact, dtype = problem.double(), problem.z.dtype
    log_resp, log_prob = OPS.log_responsibilities(problem.z, *problem.mixture)
    joint = exact.log_weights + REFERENCE.log_density(exact.z, exact.means, expanded(exact))
    expected = torch.logsumexp(joint, 1)
    delta = rounding_of_logits(exact, exact.z, torch.zeros_like(exact.z), dtype)
    gamma = responsibilities(joint)
    best = torch.where(gamma > 1e-6, delta, 0.0).amax(1)
    assert_within(log_prob, expected, best, "log_prob")
    possible = torch.isfinite(exact.log_weights)
    assert (log_resp[:, ~possible] == -torch.inf).all()
    bound = (delta + best[:, None])[:, possible]
    assert_within(log_resp[:, possible], (joint - expected[:, None])[:, possible], bound, "log_resp")


@FUZZ
@given(problems())
def test_mixture_statistics(problem):
    exact, dtype = problem.double(), problem.mean.dtype
    found = OPS.mixture_statistics(problem.mean, problem.log_var, *problem.mixture)
    log_vars = expanded(exact)
    logits = exact.log_weights - REFERENCE.component_kl(exact.mean, exact.log_var, exact.means, log_vars)
    gamma = responsibilities(logits)
    delta = rounding_of_logits(exact, exact.mean, exact.log_var.exp(), dtype)
    error = error_of_responsibilities(gamma, delta, dtype)
    sums = ROUNDINGS * torch.finfo(dtype).eps * (1 + gamma.shape[0]) ** 0.5
    diff = exact.mean[:, None] - exact.means
    square = diff.square() + exact.log_var.exp()[:, None]
    for what, result, terms in (
        ("weight", found.weight[:, None], torch.ones_like(diff[..., :1])),
        ("first", found.first, diff),
        ("second", found.second, square),
    ):
        expected = (gamma[..., None] * terms).sum(0)
        bound = ((error + sums * gamma)[..., None] * terms.abs()).sum(0) + torch.finfo(dtype).tiny
        assert_within(result, expected, torch.nan_to_num(bound, nan=torch.inf), what)


@FUZZ
@given(
    problems(kinds=("diag", "spherical", "full", "tied")), st.sampled_from(["exact", "sampled", "mean"]), st.booleans()
)
def test_nothing_is_nan(problem, assignment, detach):
    """Every output and every gradient, the mixture's included."""
    leaves = [t.clone().requires_grad_() for t in (problem.mean, problem.log_var, problem.z)]
    mixture = [None if t is None else t.clone().requires_grad_() for t in problem.mixture]
    z = leaves[2] if assignment == "sampled" else None
    value = OPS.mixture_kl(*leaves[:2], *mixture, assignment=assignment, z=z, detach_assignment=detach)
    wanted = [t for t in (*leaves, *mixture) if t is not None]
    grads = torch.autograd.grad(value.sum(), wanted, allow_unused=True)
    assert torch.isfinite(value).all()
    assert all(g is None or torch.isfinite(g).all() for g in grads)
    log_resp, log_prob = OPS.log_responsibilities(leaves[2], *mixture)
    grads = torch.autograd.grad(log_prob.sum() + log_resp.exp().sum(), [leaves[2], *wanted[3:]])
    assert torch.isfinite(log_prob).all()
    assert not torch.isnan(log_resp).any()
    assert all(torch.isfinite(g).all() for g in grads)
    with torch.no_grad():
        found = OPS.mixture_statistics(*leaves[:2], *mixture)
    assert all(torch.isfinite(t).all() for t in (found.weight, found.first, found.second, found.log_evidence))


@FUZZ
@given(problems(kinds=("full", "tied")))
def test_dense_covariances(problem):
    """Eigenvalues over up to six decades: errors grow with the condition number, which the bound contains."""
    exact, dtype = problem.double(), problem.mean.dtype
    value = OPS.mixture_kl(problem.mean, problem.log_var, *problem.mixture)
    log_resp, log_prob = OPS.log_responsibilities(problem.z, *problem.mixture)
    whitening = torch.linalg.inv(exact.cholesky.tril()).expand(*exact.means.shape, -1)
    logits = exact.log_weights - REFERENCE.component_kl(exact.mean, exact.log_var, exact.means, None, exact.cholesky)
    joint = exact.log_weights + REFERENCE.log_density(exact.z, exact.means, None, exact.cholesky)
    for what, found, terms, point, variance in (
        ("value", value, logits, exact.mean, exact.log_var.exp()),
        ("log_prob", log_prob, joint, exact.z, torch.zeros_like(exact.z)),
    ):
        expected = torch.logsumexp(terms, 1) * (-1 if what == "value" else 1)
        spread = torch.einsum("kij,nkj->nki", whitening.abs(), (point[:, None] - exact.means).abs())
        energy = spread.square().sum(-1) + variance @ whitening.square().sum(1).T
        logs = exact.log_var.abs().sum(1, keepdim=True) + whitening.diagonal(dim1=1, dim2=2).log().abs().sum(1)
        prior = torch.where(torch.isfinite(exact.log_weights), exact.log_weights.abs(), 0.0)
        delta = ROUNDINGS * torch.finfo(dtype).eps * point.shape[1] * (1 + prior + energy + logs)
        important = torch.softmax(terms, 1) > 1e-6
        assert_within(found, expected, torch.where(important, delta, 0.0).amax(1), what)
    assert not torch.isnan(log_resp).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bound_is_not_idle(dtype):
    """On ordinary values the bound is a small multiple of the precision."""
    rng = torch.Generator().manual_seed(0)
    rows = [torch.randn(50, 3, generator=rng, dtype=torch.float64).to(dtype) for _ in range(3)]
    weights = torch.full((4,), -np.log(4.0), dtype=dtype)
    problem = Problem(*rows, weights, rows[0][:4], torch.zeros(4, 3, dtype=dtype), None).double()
    delta = rounding_of_logits(problem, problem.mean, problem.log_var.exp(), dtype)
    assert float(delta.max()) < 1000 * torch.finfo(dtype).eps
