"""What only a GPU can show: streams, graph capture, the same bits twice, rows that are not aligned."""

import pytest
import torch
from mixtures import DEVICES, make_mixture, make_rows

import gmvae_fast as gf

pytestmark = pytest.mark.skipif("cuda" not in DEVICES, reason="needs a CUDA device and the CUDA module")


def inputs(n=5000, k=7, d=8, dtype=torch.float32):
    """mean, log_var, log_weights, means, log_vars."""
    return [*make_rows(n, d, dtype, "cuda")[:2], *make_mixture(k, d, dtype, "cuda")]


def step(args):
    """Value, every gradient and the statistics."""
    args = [a.requires_grad_() for a in args]
    value = gf.ops.mixture_kl(*args)
    grads = torch.autograd.grad(value, args, torch.ones_like(value))
    stats = gf.ops.mixture_statistics(*(a.detach() for a in args))
    return [value.detach(), *grads, stats.weight, stats.first, stats.second, stats.log_evidence]


@pytest.mark.parametrize(("k", "d"), [(3, 2), (16, 8), (64, 64), (2, 600)])
def test_same_bits_every_time(k, d):
    args = inputs(k=k, d=d)
    first = step(args)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(step(args), first, strict=True))


def test_captured_in_a_graph():
    args = inputs()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        step(args)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = step(args)
    with torch.no_grad():
        args[0].copy_(2 * args[0] + 1)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(outputs, step(args), strict=True))


def test_current_stream_is_used():
    args = inputs()
    expected = step(args)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)  # a kernel on the default stream would overtake this
        late = [a.detach() + 1 for a in args[:2]] + args[2:]
        result = step([late[0] - 1, late[1] - 1, *late[2:]])
    stream.synchronize()
    for value, ref in zip(result, expected, strict=True):
        torch.testing.assert_close(value, ref, rtol=1e-4, atol=1e-4 * max(1.0, float(ref.abs().max())))


@pytest.mark.parametrize("d", [2, 4, 8, 64])
def test_rows_that_are_not_aligned_for_packs(d):
    args = inputs(n=333, d=d)
    shifted = [torch.cat([a.new_zeros(1), a.flatten()])[1:].view(a.shape) for a in args]
    assert shifted[0].data_ptr() % 8 == 4
    for value, expected in zip(step(shifted), step(args), strict=True):
        assert torch.equal(value, expected)


def test_cpu_and_gpu_agree():
    args = inputs(dtype=torch.float64)
    for gpu, cpu in zip(step(args), step([a.detach().cpu() for a in args]), strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-11, atol=1e-9)
