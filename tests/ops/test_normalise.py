"""Normalised snapshots have the bits of torch's difference and quotient, in either order in memory."""

import pytest
import torch

from gmvae_fast import _native
from gmvae_fast.ops import _normalise
from gmvae_fast.ops._normalise import normalised

SHAPES = [(1,), (7,), (40,), (3, 5), (2, 17), (3, 4, 5), (1, 8, 8), (5, 20, 33), (2, 3, 4, 5), (3, 0, 4)]


def inputs(n, shape, dtype=torch.float32, *, masked=False):
    x = torch.randn(n, *shape, dtype=dtype)
    if x.numel() > 3:
        x.view(-1)[:3] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    mask = torch.rand(shape[1:]) < 0.6 if masked else None
    return x, torch.randn(shape, dtype=dtype), torch.rand(shape[0], *[1] * (len(shape) - 1), dtype=dtype) + 0.1, mask


def expected(x, offset, scale, mask):
    value = (x - offset) / scale
    return value if mask is None else torch.where(mask, value, torch.zeros((), dtype=value.dtype))


@pytest.fixture
def native_calls(monkeypatch):
    monkeypatch.setattr(_normalise, "SMALL", 0)
    calls, launch = [], _native.launch
    monkeypatch.setattr(_native, "launch", lambda name, *args: calls.append(name) or launch(name, *args))
    return calls


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("n", [0, 1, 6])
def test_bits_are_those_of_torch(n, shape, dtype, masked, last, instruction_set, native_calls):
    args = inputs(n, shape, dtype, masked=masked)
    found = normalised(*args, channels_last=last)
    torch.testing.assert_close(found, expected(*args), rtol=0, atol=0, equal_nan=True)
    assert native_calls == ["normalise"]
    if last and len(shape) in (3, 4):
        layout = torch.channels_last if len(shape) == 3 else torch.channels_last_3d
        assert found.is_contiguous(memory_format=layout)
    else:
        assert found.is_contiguous()


@pytest.mark.parametrize("last", [False, True])
def test_thread_count_does_not_change_a_bit(last, one_thread, native_calls):
    args = inputs(9, (3, 50, 60), masked=True)
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(normalised(*args, channels_last=last))
    assert native_calls == ["normalise"] * 3
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.requires_grad_(),
        lambda x: x.double(),
        lambda x: x.half(),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.mT.contiguous().mT,
        lambda x: x[::2],
    ],
    ids=["gradient", "float64", "float16", "channels last", "transposed", "every second"],
)
def test_everything_else_is_torchs(change, native_calls):
    x, offset, scale, mask = inputs(8, (3, 5, 6), masked=True)
    x = change(x)
    found = normalised(x, offset, scale, mask, channels_last=True)
    right = expected(x, offset, scale, mask)
    assert found.dtype == right.dtype
    torch.testing.assert_close(found, right, rtol=0, atol=0, equal_nan=True)
    assert found.requires_grad == x.requires_grad
    assert not native_calls


def test_small_batches_are_torchs(monkeypatch):
    monkeypatch.setattr(_native, "launch", None)
    args = inputs(5, (7,))
    torch.testing.assert_close(normalised(*args), expected(*args), rtol=0, atol=0, equal_nan=True)


def test_compiled_whole(native_calls):
    args = inputs(4, (3, 5, 6), masked=True)
    compiled = torch.compile(lambda *a: normalised(*a, channels_last=True), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*args), expected(*args), rtol=0, atol=0, equal_nan=True)
