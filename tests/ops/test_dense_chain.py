"""Chains of dense layers: the native kernel against its definition."""

import pytest
import torch
from torch import nn

from gmvae_fast import _native
from gmvae_fast.ops import _dense_chain, _torch_products, reference
from gmvae_fast.ops._dense_chain import dense_chain
from gmvae_fast.ops.reference import ACTIVATIONS

pytestmark = pytest.mark.skipif(
    not _dense_chain.available(), reason="this torch has no stable C interface, or another OpenMP runtime"
)
CHAINS = {
    "silu": ([(50, 70), (70, 33), (33, 6)], ["silu", "silu", "none"]),
    "mixed": ([(17, 100), (100, 65), (65, 40), (40, 5)], ["relu", "none", "leaky_relu", "silu"]),
    "one": ([(20, 31)], ["none"]),
    "one, active": ([(20, 31)], ["leaky_relu"]),
    "narrow": ([(1, 1), (1, 3)], ["silu", "none"]),
}


def chain(name, n=97, *, bias=True, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    sizes, kinds = CHAINS[name]
    weights = [(draw(out, into) / into**0.5).requires_grad_() for into, out in sizes]
    biases = [draw(out).requires_grad_() if bias else None for _, out in sizes]
    slopes = [0.1 if kind == "leaky_relu" else 0.0 for kind in kinds]
    x = draw(n, sizes[0][0]).requires_grad_()
    return x, weights, biases, [ACTIVATIONS[kind] for kind in kinds], slopes


def leaves(x, weights, biases, *_):
    return [t for t in (x, *weights, *biases) if t is not None]


def run(function, arguments, half=False):
    """Result, and gradients of a sum with unequal weights."""
    out = function(*arguments, half)
    factors = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [out.detach(), *torch.autograd.grad((out * factors).sum(), leaves(*arguments))]


def wide(arguments):
    """The same in float64, which is what float32 is compared with."""
    x, weights, biases, *rest = arguments
    up = [t.detach().double().requires_grad_() if t is not None else None for t in (x, *weights, *biases)]
    k = len(weights)
    return up[0], up[1 : k + 1], up[k + 1 :], *rest


def error(found, expected):
    return max(
        ((a.double() - b).norm() / b.norm().clamp_min(1e-30)).item() for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", CHAINS)
def test_float32_is_as_near_to_float64_as_torch(instruction_set, name, bias):
    arguments = chain(name, bias=bias)
    exact = run(reference.dense_chain, wide(arguments))
    mine, torchs = run(dense_chain, arguments), run(reference.dense_chain, arguments)
    assert error(mine, exact) < max(2 * error(torchs, exact), 1e-6)


@pytest.mark.parametrize("name", CHAINS)
def test_bfloat16_is_as_near_to_float64_as_autocast(instruction_set, name):
    arguments = chain(name)
    exact = run(reference.dense_chain, wide(arguments))
    mine, torchs = run(dense_chain, arguments, half=True), run(reference.dense_chain, arguments, half=True)
    assert [t.dtype for t in mine] == [t.dtype for t in torchs]
    for one, other, truth in zip(mine, torchs, exact, strict=True):  # a gradient may cross a kink in one of them
        assert error([one], [truth]) < max(2 * error([other], [truth]), 0.02)


@pytest.mark.parametrize("n", [1, 2, 31, 128, 129, 700])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_rows_and_threads(n, threads):
    arguments = chain("mixed", n)
    expected = run(reference.dense_chain, arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = run(dense_chain, arguments)
    finally:
        torch.set_num_threads(before)
    assert error(found, expected) < 2e-6


@pytest.mark.parametrize("half", [False, True])
def test_without_gradients_nothing_is_kept(half):
    arguments = chain("mixed")
    x, weights, biases, codes, slopes = arguments
    plain = [None if t is None else t.detach() for t in (x, *weights, *biases)]
    out, kept = _dense_chain._forward(plain[0], plain[1:5], plain[5:], codes, slopes, half, False)
    assert not kept
    torch.testing.assert_close(out, dense_chain(*arguments, half).detach(), rtol=0, atol=0)
    with torch.no_grad():
        assert not dense_chain(*arguments, half).requires_grad


@pytest.mark.parametrize("wanted", ["x", "weights", "one bias"])
def test_only_some_are_trained(wanted):
    x, weights, biases, *rest = chain("mixed")
    x.requires_grad_(wanted == "x")
    for w in weights:
        w.requires_grad_(wanted == "weights")
    for i, b in enumerate(biases):
        b.requires_grad_(wanted == "one bias" and i == 1)
    trained = [t for t in (x, *weights, *biases) if t.requires_grad]
    found = torch.autograd.grad(dense_chain(x, weights, biases, *rest, False).square().sum(), trained)
    expected = torch.autograd.grad(reference.dense_chain(x, weights, biases, *rest, False).square().sum(), trained)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_any_strides():
    x, weights, biases, *rest = chain("silu")
    odd = [x.detach().T.contiguous().T, *(w.detach().T.contiguous().T for w in weights)]
    odd = [t.requires_grad_() for t in odd]
    found = run(dense_chain, (odd[0], odd[1:], [b.detach()[:].requires_grad_() for b in biases], *rest))
    for a, b in zip(found, run(dense_chain, (x, weights, biases, *rest)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    repeated = torch.ones(1, 1).expand(97, 6)  # a gradient without strides of its own
    out = dense_chain(x, weights, biases, *rest, False)
    (a,) = torch.autograd.grad(out, x, repeated, retain_graph=True)
    (b,) = torch.autograd.grad(out, x, repeated.contiguous())
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("half", [False, True])
def test_values_at_the_ends(instruction_set, kind, half):
    """NaN, infinities, zeros, numbers that overflow inside: as torch has them, with their derivatives."""
    special = [float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 120.0, -120.0, 1e30]
    z = torch.tensor(special * 3 + [1.0]).reshape(-1, 1)  # 37 rows: full vectors are not all there is
    results = []
    for function in (dense_chain, reference.dense_chain):
        x = z.clone().requires_grad_()
        out = function(x, [torch.ones(1, 1)], [None], [ACTIVATIONS[kind]], [0.3], half)
        (gradient,) = torch.autograd.grad(out.sum(), x)
        results.append((out.detach(), gradient))
    near = {"rtol": 1e-5, "atol": 1e-6} if not half else {"rtol": 1e-2, "atol": 1e-2}
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, **near)


def test_rounding_to_bfloat16(instruction_set):
    bits = torch.randint(-(2**31), 2**31, (100_003,), generator=torch.Generator().manual_seed(0), dtype=torch.int64)
    values = bits.to(torch.int32).view(torch.float32)
    edges = torch.tensor([float("nan"), float("inf"), -float("inf"), 3.4e38, -3.4e38, 0.0, -0.0, 1e-45])
    halfway = torch.tensor([0x3F808000, 0x3F818000, 0x3F808001, 0x7F7FFFFF], dtype=torch.int32).view(torch.float32)
    arrays = [values, edges, halfway, torch.empty(0)]
    rounded = [torch.empty_like(a, dtype=torch.bfloat16) for a in arrays]
    _native.cpu.round_arrays(
        [a.data_ptr() for a in arrays], [a.numel() for a in arrays], [r.data_ptr() for r in rounded], 2
    )
    for a, r in zip(arrays, rounded, strict=True):
        torch.testing.assert_close(r, a.to(torch.bfloat16), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("half", [False, True])
def test_second_derivatives(half):
    results = []
    for function in (dense_chain, reference.dense_chain):
        x, weights, biases, *rest = chain("silu")
        (first,) = torch.autograd.grad(
            function(x, weights, biases, *rest, half).float().pow(2).sum(), x, create_graph=True
        )
        results.append(torch.autograd.grad(first.square().sum(), [x, *weights]))
    assert error(*results) < (0.05 if half else 1e-5)


def test_parameters_changed_before_the_backward_pass_are_noticed():
    x, weights, biases, *rest = chain("silu")
    out = dense_chain(x, weights, biases, *rest, False).sum()
    with torch.no_grad():
        weights[1].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.backward()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_operators_are_registered_soundly(half, bias):
    x, weights, biases, codes, slopes = chain("mixed", bias=bias)
    plain = [None if t is None else t.detach() for t in (x, *weights, *biases)]
    x, weights, biases = plain[0], plain[1:5], plain[5:]
    for keep in (False, True):
        torch.library.opcheck(torch.ops.gmvae_fast.dense_chain, (x, weights, biases, codes, slopes, half, keep))
    out, kept = torch.ops.gmvae_fast.dense_chain(x, weights, biases, codes, slopes, half, True)
    with_bias = [bias] * 4
    for of_x, of_weights in ((True, True), (False, True), (True, False)):
        arguments = (torch.ones_like(out), x, kept, weights, with_bias, codes, half, of_x, of_weights)
        torch.library.opcheck(torch.ops.gmvae_fast.dense_chain_backward, arguments)


@pytest.mark.parametrize("half", [False, True])
def test_compiled(half):
    arguments = chain("mixed", 128)
    compiled = torch.compile(dense_chain, backend="aot_eager", fullgraph=True)
    for a, b in zip(run(compiled, arguments, half), run(dense_chain, arguments, half), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_products_of_either_library(monkeypatch):
    """With oneDNN's and without: what other processors run."""
    table = list(_torch_products.torch_products())
    library = table[4] or torch_onednn()
    results = []
    for linear in {library, 0}:
        table[4] = linear
        monkeypatch.setattr(_dense_chain, "torch_products", lambda t=tuple(table): t)
        results.append(run(dense_chain, chain("mixed")))
    for found in results:
        assert error(found, run(reference.dense_chain, chain("mixed"))) < 2e-6


def torch_onednn():
    """Address of oneDNN's product, 0 in a torch without."""
    if not torch.backends.mkldnn.is_available():
        return 0
    return _torch_products.address_of("aoti_torch_cpu__linear_pointwise")


@pytest.mark.parametrize("backward", [False, True])
def test_a_product_that_fails_is_an_error(monkeypatch, backward, capfd):
    arguments = chain("silu")
    out = dense_chain(*arguments, False).sum()
    table = list(_torch_products.torch_products())
    table[5] = 10_000  # no type of torch's: no tensor is made
    monkeypatch.setattr(_dense_chain, "torch_products", lambda: tuple(table))
    fails = out.backward if backward else lambda: dense_chain(*arguments, False)
    with pytest.raises(RuntimeError, match="a product of a dense layer failed in torch"):
        fails()
    capfd.readouterr()  # torch's own words


def test_learns_as_torch_does():
    torch.manual_seed(0)
    x = torch.randn(256, 17)
    target = x[:, :5].sin()
    losses = []
    for function in (dense_chain, reference.dense_chain):
        _, weights, biases, *rest = chain("mixed", seed=1)
        optimizer = torch.optim.Adam([*weights, *biases], lr=1e-2)
        for _ in range(30):
            loss = nn.functional.mse_loss(function(x, weights, biases, *rest, False), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)
    assert losses[0] < 0.5
