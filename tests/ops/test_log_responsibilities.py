import pytest
import torch
from mixtures import DEVICES, DTYPES, SHAPES, doubles, make_mixture, make_rows, tolerance, with_grad

import gmvae_fast as gf

OP = gf.ops.log_responsibilities
REFERENCE = gf.ops.reference.log_responsibilities


def inputs(n, k, d, dtype=torch.float64, device="cpu", offset=0.0):
    return with_grad([make_rows(n, d, dtype, device, offset)[2], *make_mixture(k, d, dtype, device, offset)])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_values_and_gradients_match_float64(n, k, d, dtype, device):
    args = inputs(n, k, d, dtype, device)
    exact = doubles(args)
    torch.manual_seed(3)
    upstream = torch.randn(n, k, dtype=dtype, device=device), torch.randn(n, dtype=dtype, device=device)
    outputs, expected = OP(*args), REFERENCE(*exact)
    for out, ref in zip(outputs, expected, strict=True):
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), ref, rtol=1e-5, atol=1e-3 if dtype == torch.float32 else 1e-9)
    grads = torch.autograd.grad(outputs, args, upstream)
    references = torch.autograd.grad(expected, exact, [u.double() for u in upstream])
    scale = max(1.0, *(float(r.abs().max()) for r in references if r.numel()))
    for grad, ref in zip(grads, references, strict=True):
        torch.testing.assert_close(grad.double() / scale, ref / scale, **tolerance(dtype, d))


@pytest.mark.parametrize("device", DEVICES)
def test_gradcheck_every_input(device):
    assert torch.autograd.gradcheck(OP, inputs(5, 3, 2, device=device))


@pytest.mark.parametrize("wanted", range(4))
def test_only_the_wanted_gradient_is_computed(wanted):
    args = [t.detach() for t in inputs(6, 3, 2)]
    args[wanted].requires_grad_()
    exact = doubles(args)
    (grad,) = torch.autograd.grad(OP(*args)[0].square().sum(), args[wanted])
    (ref,) = torch.autograd.grad(REFERENCE(*exact)[0].square().sum(), exact[wanted])
    torch.testing.assert_close(grad, ref)


@pytest.mark.parametrize("device", DEVICES)
def test_opcheck(device):
    torch.library.opcheck(torch.ops.gmvae_fast.log_responsibilities.default, inputs(5, 3, 2, device=device))


def test_compiled_whole():
    args = inputs(9, 3, 2, torch.float32)
    compiled = torch.compile(lambda *a: OP(*a)[0].exp().sum() + OP(*a)[1].sum(), fullgraph=True, backend="aot_eager")
    eager = OP(*args)[0].exp().sum() + OP(*args)[1].sum()
    torch.testing.assert_close(compiled(*args), eager)
    torch.testing.assert_close(torch.autograd.grad(compiled(*args), args), torch.autograd.grad(eager, args))


def test_rows_are_normalised():
    log_resp, _ = OP(*inputs(100, 5, 3, torch.float32))
    torch.testing.assert_close(log_resp.exp().sum(1), torch.ones(100), rtol=0, atol=2e-6)


def test_not_contiguous_inputs():
    z, log_weights, means, log_vars = (t.detach() for t in inputs(40, 6, 4))
    strided = z[::2].T.contiguous().T, log_weights[::2], means[::2], log_vars[::2]
    assert not strided[1].is_contiguous()
    torch.testing.assert_close(OP(*strided), OP(*(t.contiguous() for t in strided)))


def test_zero_weight_gives_minus_infinity_and_no_nan():
    z, log_weights, means, log_vars = (t.detach() for t in inputs(20, 3, 2))
    log_weights[1] = -torch.inf
    log_resp, log_prob = OP(z, log_weights, means, log_vars)
    assert torch.isneginf(log_resp[:, 1]).all()
    kept = [0, 2]
    expected = OP(z, log_weights[kept], means[kept], log_vars[kept])
    torch.testing.assert_close(log_resp[:, kept], expected[0])
    torch.testing.assert_close(log_prob, expected[1])


def test_one_component_is_certain():
    log_resp, log_prob = OP(*inputs(10, 1, 3))
    torch.testing.assert_close(log_resp, torch.zeros_like(log_resp))
    assert torch.isfinite(log_prob).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_runs_the_reference_in_float32(dtype):
    args = [t.detach().to(dtype) for t in inputs(8, 3, 2)]
    log_resp, log_prob = OP(*args)
    assert log_resp.dtype == dtype
    torch.testing.assert_close(log_prob, REFERENCE(*(a.float() for a in args))[1].to(dtype))


def test_second_derivative_is_refused_with_advice():
    z, *mixture = inputs(4, 2, 2)
    with pytest.raises(RuntimeError, match=r"second derivatives.*use gmvae_fast.ops.reference"):
        torch.autograd.grad(OP(z, *mixture)[1].sum(), z, create_graph=True)
