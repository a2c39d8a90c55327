import pytest
import torch
from mixtures import DEVICES, DTYPES, SHAPES, doubles, make_mixture, make_rows, tolerance, with_grad

import gmvae_fast as gf

OP = gf.ops.mixture_kl
REFERENCE = gf.ops.reference.mixture_kl
CASES = [("exact", False), ("sampled", False), ("sampled", True), ("mean", False), ("mean", True)]


def inputs(n, k, d, dtype=torch.float64, device="cpu", offset=0.0):
    """mean, log_var, z, log_weights, means, log_vars."""
    return with_grad([*make_rows(n, d, dtype, device, offset), *make_mixture(k, d, dtype, device, offset)])


def call(function, args, assignment, detach):
    mean, log_var, z, *mixture = args
    z = z if assignment == "sampled" else None
    return function(mean, log_var, *mixture, assignment=assignment, z=z, detach_assignment=detach)


def gradients(value, args, upstream):
    grads = torch.autograd.grad(value, args, upstream, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g for g, a in zip(grads, args, strict=True)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("assignment", "detach"), CASES)
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_values_and_gradients_match_float64(n, k, d, assignment, detach, dtype, device):
    args = inputs(n, k, d, dtype, device)
    exact = doubles(args)
    torch.manual_seed(3)
    upstream = torch.randn(n, dtype=dtype, device=device)
    value, expected = call(OP, args, assignment, detach), call(REFERENCE, exact, assignment, detach)
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-4 if dtype == torch.float32 else 1e-9)
    grads, references = gradients(value, args, upstream), gradients(expected, exact, upstream.double())
    scale = max(1.0, *(float(r.abs().max()) for r in references if r.numel()))
    for grad, ref in zip(grads, references, strict=True):
        torch.testing.assert_close(grad.double() / scale, ref / scale, **tolerance(dtype, d))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("assignment", ["exact", "sampled", "mean"])
def test_gradcheck_every_input(assignment, device):
    args = inputs(5, 3, 2, device=device)
    if assignment != "sampled":
        args[2] = args[2].detach()
    assert torch.autograd.gradcheck(lambda *a: call(OP, a, assignment, False), args)


@pytest.mark.parametrize("wanted", range(6))
def test_only_the_wanted_gradient_is_computed(wanted):
    args = [t.detach() for t in inputs(6, 3, 2)]
    args[wanted].requires_grad_()
    exact = doubles(args)
    (grad,) = torch.autograd.grad(call(OP, args, "sampled", False).square().sum(), args[wanted])
    (ref,) = torch.autograd.grad(call(REFERENCE, exact, "sampled", False).square().sum(), exact[wanted])
    torch.testing.assert_close(grad, ref)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("code", [0, 1, 2])
def test_opcheck(code, device):
    mean, log_var, z, *mixture = inputs(5, 3, 2, device=device)
    args = (mean, log_var, z if code == 1 else None, *mixture, code, False, True)
    torch.library.opcheck(torch.ops.gmvae_fast.mixture_kl.default, args)


@pytest.mark.parametrize(("assignment", "detach"), CASES)
def test_compiled_whole(assignment, detach):
    args = inputs(9, 3, 2, torch.float32)
    compiled = torch.compile(
        lambda *a: call(OP, a, assignment, detach).square().sum(), fullgraph=True, backend="aot_eager"
    )
    eager = call(OP, args, assignment, detach).square().sum()
    torch.testing.assert_close(compiled(*args), eager)
    torch.testing.assert_close(gradients(compiled(*args), args, None), gradients(eager, args, None))


@pytest.mark.parametrize("offset", [0.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize(("k", "d"), [(4, 3), (16, 8), (8, 17), (32, 32), (64, 64)])
def test_float32_accuracy_far_from_the_origin(k, d, offset):
    """Error of responsibilities and of every gradient at most 2e-6 of the largest, at any offset."""
    args = inputs(2000, k, d, torch.float32, offset=offset)
    exact = doubles(args)
    grads = gradients(call(OP, args, "exact", False), args, torch.ones(2000))
    references = gradients(call(REFERENCE, exact, "exact", False), exact, torch.ones(2000).double())
    for grad, ref in zip(grads, references, strict=True):
        assert float((grad.double() - ref).abs().max()) <= 2e-6 * float(ref.abs().max())
    resp = gf.ops.log_responsibilities(args[0], *args[3:])[0].detach().exp().double()
    right = gf.ops.reference.log_responsibilities(exact[0], *exact[3:])[0].detach().exp()
    assert float((resp - right).abs().max()) <= 2e-6


@pytest.mark.parametrize(("assignment", "detach"), CASES)
@pytest.mark.parametrize("upstream", ["sum", "mean", "rows"])
def test_mixture_gradient_for_uniform_and_varying_upstream(upstream, assignment, detach):
    """Uniform upstream gradients use the forward pass's moments, others take them again: both are right."""
    args = inputs(700, 5, 3)
    exact = doubles(args)
    weights = torch.linspace(-1, 2, 700, dtype=torch.float64)
    reduce = {"sum": torch.sum, "mean": torch.mean, "rows": lambda kl: (weights * kl).sum()}[upstream]
    grads = gradients(reduce(call(OP, args, assignment, detach)), args, None)
    references = gradients(reduce(call(REFERENCE, exact, assignment, detach)), exact, None)
    for grad, ref in zip(grads, references, strict=True):
        torch.testing.assert_close(grad, ref)


def test_exact_is_the_minimum_over_assignments():
    args = [t.detach() for t in inputs(200, 4, 3)]
    exact = call(OP, args, "exact", False)
    assert (call(OP, args, "sampled", False) >= exact - 1e-12).all()
    assert (call(OP, args, "mean", False) >= exact - 1e-12).all()


def test_one_component_is_the_gaussian_kl():
    args = [t.detach() for t in inputs(50, 1, 3)]
    mean, log_var, _, log_weights, means, log_vars = args
    q = torch.distributions.Normal(mean, torch.exp(0.5 * log_var))
    p = torch.distributions.Normal(means, torch.exp(0.5 * log_vars))
    expected = torch.distributions.kl_divergence(q, p).sum(1) - log_weights[0]
    for assignment in ("exact", "sampled", "mean"):
        torch.testing.assert_close(call(OP, args, assignment, False), expected)


@pytest.mark.parametrize("assignment", ["exact", "sampled", "mean"])
def test_zero_weight_equals_leaving_the_component_out(assignment):
    args = inputs(30, 4, 2)
    with torch.no_grad():
        args[3][2] = -torch.inf
    value = call(OP, args, assignment, False)
    grads = gradients(value.sum(), args, None)
    assert all(torch.isfinite(g).all() for g in grads)
    kept = [0, 1, 3]
    fewer = [*args[:3], *(t.detach()[kept] for t in args[3:])]
    torch.testing.assert_close(value, call(OP, fewer, assignment, False))


def test_not_contiguous_inputs():
    mean, log_var, z, *mixture = (t.detach() for t in inputs(40, 6, 4))
    strided = [t[::2].T.contiguous().T for t in (mean, log_var, z)] + [t[::2] for t in mixture]
    expected = call(OP, [t.contiguous() for t in strided], "sampled", False)
    torch.testing.assert_close(call(OP, strided, "sampled", False), expected)


@pytest.mark.parametrize("n", [5, 1024, 5000])
def test_thread_count_does_not_change_a_bit(n, one_thread):
    args = inputs(n, 5, 3, torch.float32)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        value = call(OP, args, "sampled", False)
        results.append([value, *gradients(value.square().sum(), args, None)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_half_precision_runs_the_reference_in_float32():
    args = [t.detach().half() for t in inputs(8, 3, 2)]
    value = call(OP, args, "exact", False)
    assert value.dtype == torch.float16
    torch.testing.assert_close(value, call(REFERENCE, [a.float() for a in args], "exact", False).half())


def test_nothing_of_size_nk_is_kept(one_thread):
    """2 N D values between forward and backward, as documented."""
    n, k, d = 1000, 50, 2
    mean, log_var, _, *mixture = inputs(n, k, d, torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        OP(mean, log_var, *(m.detach() for m in mixture))
    assert sum(kept) == 2 * n * d


def test_second_derivative_is_refused_with_advice():
    mean, log_var, _, *mixture = inputs(4, 2, 2)
    with pytest.raises(RuntimeError, match=r"second derivatives.*use gmvae_fast.ops.reference"):
        torch.autograd.grad(OP(mean, log_var, *mixture).sum(), mean, create_graph=True)
