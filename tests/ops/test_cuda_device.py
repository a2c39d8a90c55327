"""What only a GPU can show: streams, graph capture, the same bits twice, rows that are not aligned."""

import pytest
import torch
from mixtures import DEVICES, make_mixture, make_rows, tolerance, with_grad

import gmvae_fast as gf

pytestmark = pytest.mark.skipif("cuda" not in DEVICES, reason="needs a CUDA device and the CUDA module")


COVARIANCES = ["diagonal", "full", "tied"]
#: (N, K, D): a dense row of every width: registers, local memory, a warp; one row, both sides of tiles.
DENSE_SHAPES = [(1, 1, 1), (257, 5, 2), (130, 33, 3), (129, 5, 8), (64, 7, 16), (65, 3, 17), (40, 9, 64), (33, 2, 70)]


def make_cholesky(covariance, k, d, dtype, device):
    """[K, D, D], or [D, D] where it is tied."""
    gen = torch.Generator().manual_seed(2)
    lead = (k,) if covariance == "full" else ()
    below = torch.randn(*lead, d, d, generator=gen, dtype=torch.float64).tril(-1) / (d + 1) ** 0.5
    diagonal = torch.exp(0.3 * torch.randn(*lead, d, generator=gen, dtype=torch.float64))
    return (torch.diag_embed(diagonal) + 0.5 * below).to(device, dtype)


def inputs(n=5000, k=7, d=8, dtype=torch.float32, covariance="diagonal", device="cuda"):
    """mean, log_var, log_weights, means, log_vars, and cholesky for dense covariances, where log_vars is None."""
    args = [*make_rows(n, d, dtype, device)[:2], *make_mixture(k, d, dtype, device)]
    return args if covariance == "diagonal" else [*args[:4], None, make_cholesky(covariance, k, d, dtype, device)]


def on(device, args):
    return [None if a is None else a.detach().to(device) for a in args]


def step(args):
    """Value, every gradient and the statistics."""
    wanted = [a.requires_grad_() for a in args if a is not None]
    value = gf.ops.mixture_kl(*args)
    grads = torch.autograd.grad(value, wanted, torch.ones_like(value))
    stats = gf.ops.mixture_statistics(*(None if a is None else a.detach() for a in args))
    return [value.detach(), *grads, stats.weight, stats.first, stats.second, stats.log_evidence]


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize(("k", "d"), [(3, 2), (16, 8), (64, 64), (2, 600)])
def test_same_bits_every_time(k, d, covariance):
    args = inputs(k=k, d=d, covariance=covariance)
    first = step(args)
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(step(args), first, strict=True))


def capture(function):
    """A graph of ``function`` and its outputs, after a run outside the capture on a stream of its own."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        function()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = function()
    return graph, outputs


def test_captured_in_a_graph():
    args = inputs()
    graph, outputs = capture(lambda: step(args))
    with torch.no_grad():
        args[0].copy_(2 * args[0] + 1)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(outputs, step(args), strict=True))


@pytest.mark.parametrize("d", [3, 16, 40, 70])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_forward_captured_in_a_graph(covariance, d):
    """The native launch alone: whitening factors are made outside, by torch's triangular solver."""
    mean, log_var, *parameters = inputs(n=700, d=d, covariance=covariance)
    log_weights, means = parameters[:2]
    scale = gf.ops._scale(means, *parameters[2:], *([None] if covariance == "diagonal" else []))

    def forward():
        return torch.ops.gmvae_fast.mixture_kl(mean, log_var, None, log_weights, means, scale, 0, False, True)[:3]

    graph, outputs = capture(forward)
    mean.copy_(2 * mean + 1)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(outputs, forward(), strict=True))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_current_stream_is_used(covariance):
    args = inputs(covariance=covariance)
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


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs a second CUDA device")
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_second_device(covariance):
    """Tensors decide on the device, whichever is current; both give the same bits."""
    args = inputs(covariance=covariance)
    expected = step(args)
    assert torch.cuda.current_device() == 0
    result = step(on("cuda:1", args))
    assert torch.cuda.current_device() == 0
    assert all(r.device.index == 1 for r in result)
    if torch.cuda.get_device_name(0) == torch.cuda.get_device_name(1):
        assert all(torch.equal(r.cpu(), e.cpu()) for r, e in zip(result, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_half_precision_is_computed_in_float32(covariance, dtype):
    args = [None if a is None else a.to(dtype) for a in inputs(n=300, covariance=covariance)]
    wide = [None if a is None else a.float() for a in args]
    value, expected = gf.ops.mixture_kl(*args), gf.ops.mixture_kl(*wide)
    assert value.dtype == dtype
    assert torch.equal(value, expected.to(dtype))
    statistics, references = gf.ops.mixture_statistics(*args), gf.ops.mixture_statistics(*wide)
    assert torch.equal(statistics.second, references.second)
    log_resp, _ = gf.ops.log_responsibilities(args[0], *args[2:])
    assert torch.equal(log_resp, gf.ops.log_responsibilities(wide[0], *wide[2:])[0].to(dtype))


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("d", [2, 4, 8, 64])
def test_rows_that_are_not_aligned_for_packs(d, covariance):
    args = inputs(n=333, d=d, covariance=covariance)
    shifted = [None if a is None else torch.cat([a.new_zeros(1), a.flatten()])[1:].view(a.shape) for a in args]
    assert shifted[0].data_ptr() % 8 == 4
    for value, expected in zip(step(shifted), step(args), strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_cpu_and_gpu_agree(covariance):
    args = inputs(dtype=torch.float64, covariance=covariance)
    for gpu, cpu in zip(step(args), step(on("cpu", args)), strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-11, atol=1e-9)


def assert_close_to_largest(results, references, dtype, d):
    """Gradients with respect to a factor pass through its inverse: more room than for diagonal covariances."""
    bound = tolerance(dtype, 4 * d)
    scale = max(1.0, *(float(r.detach().abs().max()) for r in references))
    for result, reference in zip(results, references, strict=True):
        torch.testing.assert_close(result.double() / scale, reference.double() / scale, **bound)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("covariance", ["full", "tied"])
@pytest.mark.parametrize(("n", "k", "d"), DENSE_SHAPES)
def test_dense_matches_float64(n, k, d, covariance, dtype):
    """Every kernel once: all assignments, both sets of moments, gradients of the mixture."""
    mean, log_var, z = make_rows(n, d, dtype, "cuda")
    log_weights, means, _ = make_mixture(k, d, dtype, "cuda")
    args = with_grad([mean, log_var, z, log_weights, means, make_cholesky(covariance, k, d, dtype, "cuda")])
    exact = with_grad([a.double() for a in args])

    def everything(ops, values):
        mean, log_var, z, *parameters, cholesky = values
        dense = (*parameters, None, cholesky)
        terms = [ops.mixture_kl(mean, log_var, *dense)]
        terms += [ops.mixture_kl(mean, log_var, *dense, assignment="sampled", z=z, detach_assignment=detach)
                  for detach in (False, True)]  # fmt: skip
        terms += [ops.mixture_kl(mean, log_var, *dense, assignment="mean"), *ops.log_responsibilities(z, *dense)]
        weights = [torch.linspace(-1, 2, t.numel(), dtype=t.dtype, device="cuda").view(t.shape) for t in terms]
        return terms, torch.autograd.grad(terms, values, weights)

    (terms, grads), (references, exact_grads) = everything(gf.ops, args), everything(gf.ops.reference, exact)
    assert_close_to_largest(terms, references, dtype, d)
    assert_close_to_largest(grads, exact_grads, dtype, d)
    for variance in (1, None):
        rows = [None if i is None else args[i].detach() for i in (0, variance)]
        dense = [args[3].detach(), args[4].detach(), None, args[5].detach()]
        stats = gf.ops.mixture_statistics(*rows, *dense)
        moments = gf.ops.reference.mixture_statistics(*rows, *dense)
        values = [stats.weight, stats.first, stats.second, stats.log_evidence]
        assert_close_to_largest(values, moments, dtype, d)
