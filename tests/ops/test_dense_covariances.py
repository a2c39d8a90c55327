"""Full and tied covariances, by Cholesky factors, and spherical ones: all operators."""

import numpy as np
import pytest
import torch
from mixtures import DEVICES, DTYPES, doubles, make_mixture, make_rows, tolerance, with_grad
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture

import gmvae_fast as gf

OPS, REFERENCE = gf.ops, gf.ops.reference
KINDS = ["full", "tied"]
ASSIGNMENTS = [("exact", False), ("sampled", False), ("sampled", True), ("mean", False), ("mean", True)]
#: (N, K, D): empty, one, both sides of register blocks, vectors, tiles and chunks.
SHAPES = [
    (0, 3, 2),
    (1, 1, 1),
    (7, 3, 5),
    (33, 10, 8),
    (225, 3, 2),
    (257, 5, 4),
    (1025, 3, 3),
    (40, 2, 70),
    (300, 9, 33),
]


def make_cholesky(k, d, kind, dtype=torch.float64, device="cpu", seed=2):
    """[K, D, D] or [D, D], with entries above the diagonal that must not matter."""
    gen = torch.Generator().manual_seed(seed)
    lead = (k,) if kind == "full" else ()
    factor = 0.4 / d**0.5 * torch.randn(*lead, d, d, generator=gen, dtype=torch.float64)
    scale = torch.exp(0.3 * torch.randn(*lead, d, generator=gen, dtype=torch.float64))
    factor = factor - torch.diag_embed(factor.diagonal(dim1=-2, dim2=-1)) + torch.diag_embed(scale)
    return factor.to(device, dtype)


def inputs(n, k, d, kind, dtype=torch.float64, device="cpu", offset=0.0):
    """mean, log_var, z, log_weights, means, cholesky."""
    log_weights, means, _ = make_mixture(k, d, dtype, device, offset)
    cholesky = make_cholesky(k, d, kind, dtype, device)
    return with_grad([*make_rows(n, d, dtype, device, offset), log_weights, means, cholesky])


def call(function, args, assignment, detach):
    mean, log_var, z, log_weights, means, cholesky = args
    z = z if assignment == "sampled" else None
    mixture = (log_weights, means, None, cholesky)
    return function(mean, log_var, *mixture, assignment=assignment, z=z, detach_assignment=detach)


def gradients(value, args, upstream):
    grads = torch.autograd.grad(value, args, upstream, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g for g, a in zip(grads, args, strict=True)]


def assert_close_to_largest(results, references, dtype, d):
    scale = max(1.0, *(float(r.abs().max()) for r in references if r.numel()))
    for result, reference in zip(results, references, strict=True):
        torch.testing.assert_close(result.double() / scale, reference / scale, **tolerance(dtype, 2 * d))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("assignment", "detach"), ASSIGNMENTS)
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_mixture_kl_matches_float64(n, k, d, assignment, detach, kind, dtype, device):
    args = inputs(n, k, d, kind, dtype, device)
    exact = doubles(args)
    upstream = torch.randn(n, dtype=dtype, device=device, generator=torch.Generator(device).manual_seed(3))
    value, expected = (
        call(OPS.mixture_kl, args, assignment, detach),
        call(REFERENCE.mixture_kl, exact, assignment, detach),
    )
    torch.testing.assert_close(value.double(), expected, rtol=2e-5, atol=2e-4 if dtype == torch.float32 else 1e-9)
    assert_close_to_largest(gradients(value, args, upstream), gradients(expected, exact, upstream.double()), dtype, d)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_log_responsibilities_match_float64(n, k, d, kind, dtype, device):
    _, _, *args = inputs(n, k, d, kind, dtype, device)
    exact = doubles(args)
    gen = torch.Generator(device).manual_seed(3)
    upstream = [
        torch.randn(n, k, dtype=dtype, device=device, generator=gen),
        torch.randn(n, dtype=dtype, device=device),
    ]

    def run(function, tensors, weights):
        z, log_weights, means, cholesky = tensors
        outputs = function(z, log_weights, means, None, cholesky)
        return outputs, gradients(sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)), tensors, None)

    values, grads = run(OPS.log_responsibilities, args, upstream)
    expected, references = run(REFERENCE.log_responsibilities, exact, [u.double() for u in upstream])
    for value, reference in zip(values, expected, strict=True):
        torch.testing.assert_close(value.double(), reference, rtol=2e-5, atol=3e-4 if dtype == torch.float32 else 1e-9)
    assert_close_to_largest(grads, references, dtype, d)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_statistics_match_float64(n, k, d, points, kind, dtype, device):
    mean, log_var, _, log_weights, means, cholesky = (t.detach() for t in inputs(n, k, d, kind, dtype, device))
    log_var = None if points else log_var
    found = OPS.mixture_statistics(mean, log_var, log_weights, means, None, cholesky)
    expected = REFERENCE.mixture_statistics(mean, log_var, log_weights, means, None, cholesky)
    results = [found.weight, found.first, found.second, found.log_evidence]
    assert found.second.shape == (k, d, d)
    assert_close_to_largest(results, expected, dtype, d)


def test_statistics_of_chunks_add_up_about_any_point():
    mean, log_var, _, log_weights, means, cholesky = (t.detach() for t in inputs(500, 3, 4, "full"))
    whole = OPS.mixture_statistics(mean, log_var, log_weights, means, None, cholesky)
    parts = [OPS.mixture_statistics(m, s, log_weights, means, None, cholesky) for m, s in
             zip(mean.split(123), log_var.split(123), strict=True)]  # fmt: skip
    total = sum(parts[1:], start=parts[0])
    torch.testing.assert_close(total.second, whole.second)
    moved = whole.about(means + 3)
    gamma = OPS.log_responsibilities(mean, log_weights, means, None, cholesky)[0].exp()
    points = OPS.mixture_statistics(mean, None, log_weights, means, None, cholesky).about(means + 3)
    diff = mean[:, None] - means - 3
    torch.testing.assert_close(points.second, torch.einsum("nk,nki,nkj->kij", gamma, diff, diff))
    torch.testing.assert_close(moved.about(means).second, whole.second)
    with pytest.raises(ValueError, match="diagonal and of dense"):
        whole + OPS.mixture_statistics(mean, log_var, log_weights, means, torch.zeros_like(means))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("assignment", ["exact", "sampled", "mean"])
def test_gradcheck_every_input(assignment, kind):
    args = inputs(5, 3, 2, kind)
    if assignment != "sampled":
        args[2] = args[2].detach()
    assert torch.autograd.gradcheck(lambda *a: call(OPS.mixture_kl, a, assignment, False), args)
    _, _, *rest = inputs(5, 3, 2, kind)
    assert torch.autograd.gradcheck(lambda z, w, m, c: OPS.log_responsibilities(z, w, m, None, c), rest)


@pytest.mark.parametrize("kind", KINDS)
def test_opcheck(kind):
    mean, log_var, z, log_weights, means, cholesky = inputs(5, 3, 2, kind)
    scale = torch.linalg.inv(cholesky.detach().tril()).reshape(-1, 2, 2).requires_grad_()
    torch.library.opcheck(
        torch.ops.gmvae_fast.mixture_kl.default, (mean, log_var, z, log_weights, means, scale, 1, False, True)
    )
    torch.library.opcheck(torch.ops.gmvae_fast.log_responsibilities.default, (z, log_weights, means, scale))
    torch.library.opcheck(
        torch.ops.gmvae_fast.mixture_statistics.default,
        tuple(t.detach() for t in (mean, log_var, log_weights, means, scale)),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_whole(kind):
    args = inputs(9, 3, 2, kind, torch.float32)
    compiled = torch.compile(
        lambda *a: call(OPS.mixture_kl, a, "exact", False).square().sum(), fullgraph=True, backend="aot_eager"
    )
    eager = call(OPS.mixture_kl, args, "exact", False).square().sum()
    torch.testing.assert_close(compiled(*args), eager)
    torch.testing.assert_close(gradients(compiled(*args), args, None), gradients(eager, args, None))


@pytest.mark.parametrize("n", [5, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_thread_count_does_not_change_a_bit(kind, n, one_thread):
    args = inputs(n, 5, 3, kind, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        value = call(OPS.mixture_kl, args, "sampled", False)
        results.append([value, *gradients(value.square().sum(), args, None)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_accuracy_far_from_the_origin(kind, offset):
    args = inputs(2000, 4, 3, kind, torch.float32, offset=offset)
    exact = doubles(args)
    grads = gradients(call(OPS.mixture_kl, args, "exact", False), args, torch.ones(2000))[:2]
    references = gradients(call(REFERENCE.mixture_kl, exact, "exact", False), exact, torch.ones(2000).double())[:2]
    for grad, ref in zip(grads, references, strict=True):
        assert float((grad.double() - ref).abs().max() / ref.abs().max()) <= 2e-6


def test_diagonal_factors_equal_diagonal_covariances():
    mean, log_var, z = make_rows(50, 3)
    log_weights, means, log_vars = make_mixture(4, 3)
    cholesky = torch.diag_embed(torch.exp(0.5 * log_vars))
    for assignment, point in (("exact", None), ("sampled", z), ("mean", None)):
        diagonal = OPS.mixture_kl(mean, log_var, log_weights, means, log_vars, assignment=assignment, z=point)
        dense = OPS.mixture_kl(mean, log_var, log_weights, means, cholesky=cholesky, assignment=assignment, z=point)
        torch.testing.assert_close(dense, diagonal)


def test_tied_equals_full_with_the_same_factor():
    mean, log_var, _ = make_rows(50, 3)
    log_weights, means, _ = make_mixture(4, 3)
    factor = make_cholesky(4, 3, "tied")
    tied = OPS.mixture_kl(mean, log_var, log_weights, means, cholesky=factor)
    full = OPS.mixture_kl(mean, log_var, log_weights, means, cholesky=factor.expand(4, 3, 3))
    torch.testing.assert_close(tied, full, rtol=0, atol=0)


def test_spherical_is_one_log_variance_a_component():
    mean, log_var, z = make_rows(50, 3)
    log_weights, means, log_vars = make_mixture(4, 3)
    spherical = log_vars[:, 0].clone().requires_grad_()
    wide = log_vars[:, :1].expand(4, 3).clone().requires_grad_()
    value = OPS.mixture_kl(mean, log_var, log_weights, means, spherical)
    expected = OPS.mixture_kl(mean, log_var, log_weights, means, wide)
    torch.testing.assert_close(value, expected)
    value.sum().backward(), expected.sum().backward()
    torch.testing.assert_close(spherical.grad, wide.grad.sum(1))
    for ours, theirs in zip(
        OPS.log_responsibilities(z, log_weights, means, spherical.detach()),
        OPS.log_responsibilities(z, log_weights, means, wide.detach()),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    assert OPS.mixture_statistics(mean, None, log_weights, means, spherical.detach()).second.shape == (4, 3)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_density_is_scikit_learns_and_scipys(kind):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(300, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=3)
    fitted = GaussianMixture(3, covariance_type=kind, random_state=0).fit(points)
    covariances = torch.from_numpy(fitted.covariances_)
    dense = kind in KINDS
    mixture = {
        "log_weights": torch.from_numpy(np.log(fitted.weights_)),
        "means": torch.from_numpy(fitted.means_),
        "log_vars": None if dense else covariances.log(),
        "cholesky": torch.linalg.cholesky(covariances) if dense else None,
    }
    log_resp, log_prob = OPS.log_responsibilities(torch.from_numpy(points), **mixture)
    np.testing.assert_allclose(log_prob, fitted.score_samples(points), rtol=0, atol=1e-10)
    np.testing.assert_allclose(log_resp.exp(), fitted.predict_proba(points), rtol=0, atol=1e-10)
    if kind == "full":
        terms = [
            multivariate_normal(m, c).logpdf(points) for m, c in zip(fitted.means_, fitted.covariances_, strict=True)
        ]
        expected = np.logaddexp.reduce(np.log(fitted.weights_)[:, None] + np.array(terms), axis=0)
        np.testing.assert_allclose(log_prob, expected, rtol=0, atol=1e-9)


def test_errors_name_the_argument():
    mean, log_var, _ = make_rows(4, 2)
    log_weights, means, log_vars = make_mixture(3, 2)
    with pytest.raises(ValueError, match="exactly one of log_vars.*got neither"):
        OPS.mixture_kl(mean, log_var, log_weights, means)
    with pytest.raises(ValueError, match="exactly one of log_vars.*got both"):
        OPS.mixture_kl(mean, log_var, log_weights, means, log_vars, torch.eye(2).double())
    with pytest.raises(ValueError, match=r"cholesky must have shape \[K, D, D\] = \(3, 2, 2\).*got \(2, 2, 2\)"):
        OPS.mixture_kl(mean, log_var, log_weights, means, cholesky=torch.eye(2).double().expand(2, 2, 2))
    with pytest.raises(TypeError, match="cholesky must have the dtype"):
        OPS.log_responsibilities(mean, log_weights, means, cholesky=torch.eye(2))
