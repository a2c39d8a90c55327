import pytest
import torch
from torch import nn

import gmvae_fast as gf
from gmvae_fast import _dense
from gmvae_fast._dense import Dense

SHAPE = (128, 500, 300)  # rows, in, out: enough work
elsewhere = pytest.mark.skipif(not _dense.faster_elsewhere(), reason="torch's own products are used on this processor")


def layers(seed=0):
    torch.manual_seed(seed)
    mine, plain = Dense(*SHAPE[1:]), nn.Linear(*SHAPE[1:])
    plain.load_state_dict(mine.state_dict())
    return mine, plain, torch.randn(SHAPE[:2])


def calls(monkeypatch):
    """Counts products that go to oneDNN."""
    counted, linear = [], _dense._linear
    monkeypatch.setattr(_dense, "_linear", lambda *a: (counted.append(a[0].dtype), linear(*a))[1])
    return counted


def gradients(layer, x, power=2):
    x = x.clone().requires_grad_()
    layer(x).pow(power).sum().backward()
    return x.grad, layer.weight.grad, layer.bias.grad


@elsewhere
def test_equals_linear(monkeypatch):
    mine, plain, x = layers()
    counted = calls(monkeypatch)
    torch.testing.assert_close(mine(x), plain(x), rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(mine, x), gradients(plain, x), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    assert len(counted) == 3  # two forward, one by the weight
    with torch.no_grad():
        torch.testing.assert_close(mine(x), plain(x), rtol=1e-5, atol=1e-5)


@elsewhere
def test_autocast(monkeypatch):
    mine, plain, x = layers()
    counted = calls(monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        a, b = mine(x), plain(x)
    assert a.dtype == b.dtype == torch.bfloat16
    torch.testing.assert_close(a.float(), b.float(), rtol=2e-2, atol=2e-2)
    a.float().sum().backward()
    b.float().sum().backward()
    assert mine.weight.grad.dtype == torch.float32
    torch.testing.assert_close(mine.weight.grad, plain.weight.grad, rtol=2e-2, atol=0.5)
    assert set(counted) == {torch.bfloat16}


@pytest.mark.parametrize(
    "x",
    [torch.randn(2, 500), torch.randn(4, 32, 500), torch.randn(128, 500, dtype=torch.float64)],
    ids=["little work", "three axes", "float64"],
)
def test_all_else_is_torchs_own(monkeypatch, x):
    mine, plain, _ = layers()
    counted = calls(monkeypatch)
    torch.testing.assert_close(mine.to(x.dtype)(x), plain.to(x.dtype)(x), rtol=0, atol=0)
    assert not counted


def test_other_processors_take_torchs_own(monkeypatch):
    mine, plain, x = layers()
    counted = calls(monkeypatch)
    monkeypatch.setattr(_dense, "faster_elsewhere", lambda: False)
    torch.testing.assert_close(mine(x), plain(x), rtol=0, atol=0)
    assert not counted


@elsewhere
def test_autocast_at_the_first_product_is_no_reason_against():
    with torch.autocast("cpu", torch.bfloat16):
        assert _dense.faster_elsewhere.__wrapped__()


@pytest.mark.parametrize("vendor", ["GenuineIntel", ""])
def test_the_vendor_decides(monkeypatch, vendor):
    monkeypatch.setattr(_dense, "_processor", lambda: f"vendor_id : {vendor}")
    assert not _dense.faster_elsewhere.__wrapped__()


def test_without_the_operator(monkeypatch):
    def gone(*_):
        raise AttributeError("no such operator")

    monkeypatch.setattr(_dense, "_processor", lambda: "AuthenticAMD")
    monkeypatch.setattr(_dense, "_linear", gone)
    assert not _dense.faster_elsewhere.__wrapped__()


def test_second_derivatives():
    """Of sum(y^3) by x, along a direction: by the same product as torch's own."""
    results = []
    for layer, x in zip(layers()[:2], [layers()[2]] * 2, strict=True):
        x = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        results.append(second)
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-2)


def test_transforms_and_compile():
    mine, plain, x = layers()
    for make in (lambda m: torch.func.vmap(m)(x[None]), lambda m: torch.func.jacrev(lambda t: m(t).sum())(x)):
        torch.testing.assert_close(make(mine), make(plain), rtol=1e-5, atol=1e-5)
    mapped = torch.compile(torch.func.vmap(mine), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(mapped(x[None]), plain(x)[None], rtol=1e-5, atol=1e-5)
    compiled = torch.compile(mine, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-5, atol=1e-5)


@elsewhere
@pytest.mark.parametrize("rows", [128, 96])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_products_go_to_onednn_too(rows, dtype):
    mine, plain, x = layers()
    x = x[:rows]
    compiled = torch.compile(mine, backend="aot_eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        found, expected = gradients(compiled, x), gradients(plain, x)
        near = {"rtol": 1e-4, "atol": 1e-3} if dtype == torch.float32 else {"rtol": 2e-2, "atol": 0.5}
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **near)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            gradients(compiled, x)
    counts = {event.key: event.count for event in profile.key_averages()}
    assert counts["gmvae_fast::dense_product"] == 2  # forward, and by the weight


@elsewhere
def test_operator_is_registered_soundly():
    layer, _, x = layers()
    torch.library.opcheck(torch.ops.gmvae_fast.dense_product, (x, layer.weight.detach(), layer.bias.detach()))
    torch.library.opcheck(torch.ops.gmvae_fast.dense_product, (x, layer.weight.detach(), None))


def test_exported_programs_need_none_of_this_package():
    layer, _, x = layers()
    program = torch.export.export(layer, (x,))
    assert "gmvae_fast" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), layer(x), rtol=1e-5, atol=1e-5)


def test_networks_are_made_of_them():
    model = gf.GMVAE((784,), latent_dim=4, n_components=3, network="mlp", widths=(64, 32))
    dense = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(dense) == 6
    assert all(type(m) is Dense for m in dense)
