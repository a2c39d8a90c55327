"""The bodies of the CUDA kernels, run on the host thread by thread (cuda_emulation.cpp), against the reference.

Everything but the launch itself: row layouts, padding, tiles of components, barriers, both stages of the moments.
"""

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from mixtures import make_mixture, make_rows, tolerance, with_grad

import gmvae_fast as gf

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REFERENCE = gf.ops.reference
CASES = [("exact", False), ("sampled", False), ("sampled", True), ("mean", False), ("mean", True)]
CODES = {"exact": 0, "sampled": 1, "mean": 2}
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
WHOLE = 96 * 1024  # bytes of shared memory: the whole mixture fits
TIGHT = 1  # too few for two components: they come one at a time
#: (N, K, D): every register width, lanes sharing a row, rows too wide for a warp; one row, both sides of tiles, K = 1.
SHAPES = [
    (1, 1, 1),
    (5, 3, 2),
    (130, 4, 3),
    (257, 6, 4),
    (129, 2, 5),
    (64, 5, 8),
    (65, 3, 16),
    (33, 4, 20),
    (17, 7, 33),
    (7, 2, 130),
    (5, 3, 300),
    (3, 2, 530),
]
#: The same for dense covariances: registers (float32), rows in local memory (up to 64).
DENSE_SHAPES = [
    (1, 1, 1),
    (130, 5, 2),
    (9, 33, 3),
    (7, 5, 8),
    (129, 1, 16),
    (6, 5, 17),
    (5, 2, 33),
    (3, 33, 9),
    (4, 5, 64),
]
MIXTURES = [("diagonal", *shape) for shape in SHAPES]
MIXTURES += [(covariance, *shape) for covariance in ("full", "tied") for shape in DENSE_SHAPES]
MIXTURES += [("full", 5, 2, 70), ("tied", 5, 1, 66)]  # a warp a row: every shuffle costs the emulation a switch
everywhere = [
    pytest.mark.parametrize("budget", [WHOLE, TIGHT]),
    pytest.mark.parametrize("dtype", SUFFIX),
    pytest.mark.parametrize(("covariance", "n", "k", "d"), MIXTURES),
]


def over_everything(test):
    for mark in everywhere:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def emulate(tmp_path_factory):
    """Call a kernel by name: tensors, None (a null pointer) and integers in the order of cuda_emulation.cpp."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler or not (ROOT / "csrc" / "cuda").is_dir():
        pytest.skip("needs a C++17 compiler (g++, clang++ or CXX) and the source tree")
    library = tmp_path_factory.mktemp("cuda_emulation") / "emulation.so"
    flags = ["-std=c++17", "-O1", "-shared", "-fPIC", f"-I{ROOT / 'csrc' / 'include'}"]
    subprocess.run([*compiler.split(), *flags, HERE / "cuda_emulation.cpp", "-o", library], check=True)
    module = ctypes.CDLL(str(library))
    module.kernel.restype = ctypes.c_void_p
    module.error.restype = ctypes.c_char_p

    def call(name, dtype, *arguments):
        kinds = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in arguments]
        address = module.kernel(f"{name}_{SUFFIX[dtype]}".encode())
        values = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
        assert ctypes.CFUNCTYPE(ctypes.c_int, *kinds)(address)(*values) == 0, module.error().decode()

    return call


def poisoned(*shape, dtype=torch.float64):
    """Outputs start as NaN: a value that nobody writes cannot pass."""
    return torch.full(shape, torch.nan, dtype=dtype)


def whitening(k, d, dtype):
    """Lower triangles A = L^-1 [K, D, D] of well-conditioned covariances."""
    gen = torch.Generator().manual_seed(2)
    diagonal = torch.exp(0.3 * torch.randn(k, d, generator=gen, dtype=torch.float64))
    below = torch.randn(k, d, d, generator=gen, dtype=torch.float64).tril(-1) / (d + 1) ** 0.5
    return (torch.diag_embed(diagonal) + 0.7 * below).to(dtype)


def inputs(n, k, d, dtype, covariance="diagonal"):
    """mean, log_var, z, log_weights, means, scale in ``dtype``, and the same values in float64 with gradients."""
    args = [*make_rows(n, d, dtype), *make_mixture(k, d, dtype)]
    if covariance != "diagonal":
        args[5] = whitening(1 if covariance == "tied" else k, d, dtype)
    return args, with_grad([a.double() for a in args])


def for_reference(log_weights, means, scale):
    """The mixture as the reference takes it: log variances, or Cholesky factors from whitening ones."""
    if scale.ndim == 2:
        return log_weights, means, scale
    eye = torch.eye(scale.shape[-1], dtype=scale.dtype)
    cholesky = torch.linalg.solve_triangular(scale, eye, upper=False)
    return log_weights, means, None, cholesky[0] if scale.shape[0] == 1 else cholesky


def for_native(log_weights, means, scale):
    """The mixture as the kernels take it; what lies above the diagonal of a factor must not matter."""
    if scale.ndim == 3:
        above = torch.ones(scale.shape, dtype=torch.bool).triu(1)
        scale = scale.masked_fill(above, torch.nan)
    return log_weights, means, scale, gf.ops._library._covariance(scale)


def poisoned_moments(scale, k, d, sets=1):
    return poisoned(sets, gf.ops._library._moments_size(k, d, scale.ndim == 3))


def mixture_gradient(emulate, moments, means, scale, sign):
    """Gradients of log_weights, means and scale."""
    if scale.ndim == 3:
        return gf.ops._library._dense_gradient(moments, means, scale, sign)
    (k, d), dtype = means.shape, means.dtype
    grads = poisoned(k, dtype=dtype), poisoned(k, d, dtype=dtype), poisoned(k, d, dtype=dtype)
    emulate("mixture_gradient", dtype, moments, len(moments), sign, scale, *grads, k, d)
    return grads


def assert_close(values, references, dtype, d):
    """To 1e-12 of the largest value in float64; energies of hundreds, at large D, leave fewer digits to gradients."""
    exact = 1e-12 if d <= 32 else 1e-11 if d <= 64 else 1e-10
    bound = {"rtol": exact, "atol": exact} if dtype == torch.float64 else tolerance(dtype, d)
    for value, ref in zip(values, references, strict=True):
        ref = ref.detach()
        scale = max(1.0, float(ref.abs().max()))
        torch.testing.assert_close(value.double() / scale, ref / scale, **bound)


def run_kl(emulate, args, assignment, detach, budget, with_gradients=True):
    """kl, grad_mean, grad_log_var, grad_z."""
    mean, log_var, z, *mixture = args
    (n, d), k, dtype = mean.shape, mixture[1].shape[0], mean.dtype
    kl, grads, grad_z = poisoned(n, dtype=dtype), [None, None], None
    if with_gradients:
        grads = [poisoned(n, d, dtype=dtype) for _ in range(2)]
        grad_z = poisoned(n, d, dtype=dtype) if assignment == "sampled" and not detach else None
    rows = mean, log_var, z if assignment == "sampled" else None
    outputs = kl, *grads, grad_z
    emulate(
        "mixture_kl", dtype, *rows, *for_native(*mixture), CODES[assignment], int(detach), *outputs, n, k, d, budget
    )  # fmt: skip
    return outputs


def run_statistics(emulate, args, assignment, detach, row_weight, moments, evidence, budget):
    mean, log_var, z, *mixture = args
    (n, d), k = mean.shape, mixture[1].shape[0]
    options = CODES[assignment], int(detach), row_weight, moments, evidence, n, k, d, budget
    emulate("mixture_statistics", mean.dtype, mean, log_var, z, *for_native(*mixture), *options)


@over_everything
@pytest.mark.parametrize(("assignment", "detach"), CASES)
def test_mixture_kl(emulate, covariance, n, k, d, assignment, detach, dtype, budget):
    args, exact = inputs(n, k, d, dtype, covariance)
    z = exact[2] if assignment == "sampled" else None
    mixture = for_reference(*exact[3:])
    expected = REFERENCE.mixture_kl(*exact[:2], *mixture, assignment=assignment, z=z, detach_assignment=detach)
    references = [expected, *torch.autograd.grad(expected.sum(), exact[:3], allow_unused=True)]
    results = run_kl(emulate, args, assignment, detach, budget)
    assert (results[3] is None) == (references[3] is None)
    kept = 3 if results[3] is None else 4
    assert_close(results[:kept], references[:kept], dtype, d)
    value, *_ = run_kl(emulate, args, assignment, detach, budget, with_gradients=False)
    assert_close([value], [expected], dtype, d)


@over_everything
def test_log_responsibilities(emulate, covariance, n, k, d, dtype, budget):
    args, exact = inputs(n, k, d, dtype, covariance)
    z, _, means, scale = args[2:]
    native = for_native(*args[3:])
    log_resp, log_prob = poisoned(n, k, dtype=dtype), poisoned(n, dtype=dtype)
    emulate("log_responsibilities", dtype, z, *native, log_resp, log_prob, n, k, d, budget)
    expected = REFERENCE.log_responsibilities(exact[2], *for_reference(*exact[3:]))
    assert_close([log_resp, log_prob], expected, dtype, d)

    upstream = torch.randn(n, k, dtype=dtype), torch.randn(n, dtype=dtype)
    references = torch.autograd.grad(expected, exact[2:], [u.double() for u in upstream])
    grad_z, moments = poisoned(n, d, dtype=dtype), poisoned_moments(scale, k, d)
    resp = expected[0].detach().to(dtype).contiguous()
    emulate(
        "log_responsibilities_backward", dtype, z, *native, resp, *upstream, grad_z, moments, n, k, d, budget
    )  # fmt: skip
    assert_close([grad_z, *mixture_gradient(emulate, moments, means, scale, 1)], references, dtype, d)


@over_everything
@pytest.mark.parametrize("points", [False, True])
def test_mixture_statistics(emulate, covariance, n, k, d, points, dtype, budget):
    args, exact = inputs(n, k, d, dtype, covariance)
    args[1], args[2] = None if points else args[1], None
    moments, evidence = poisoned_moments(args[5], k, d), poisoned(1)
    run_statistics(emulate, args, "exact", False, None, moments, evidence, budget)
    *expected, expected_evidence = REFERENCE.mixture_statistics(
        exact[0], None if points else exact[1], *for_reference(*exact[3:])
    )
    results = [*gf.ops._library.split_moments(moments[0], k, d, covariance != "diagonal"), evidence[0]]
    assert_close(results, [*expected, expected_evidence], dtype, d)


@over_everything
@pytest.mark.parametrize(("assignment", "detach"), CASES)
def test_gradient_of_the_mixture(emulate, covariance, n, k, d, assignment, detach, dtype, budget):
    """mixture_kl's backward: row weights, both sets of moments."""
    args, exact = inputs(n, k, d, dtype, covariance)
    upstream = torch.randn(n, dtype=dtype)
    z = exact[2] if assignment == "sampled" else None
    mixture = for_reference(*exact[3:])
    expected = REFERENCE.mixture_kl(*exact[:2], *mixture, assignment=assignment, z=z, detach_assignment=detach)
    references = torch.autograd.grad(expected, exact[3:], upstream.double())
    args[2] = None if z is None else args[2]
    sets = 1 if assignment == "exact" or detach else 2
    moments = poisoned_moments(args[5], k, d, sets)
    run_statistics(emulate, args, assignment, detach, upstream, moments, None, budget)
    assert_close(mixture_gradient(emulate, moments, args[4], args[5], -1), references, dtype, d)


@pytest.mark.parametrize(
    ("covariance", "d"),
    [("diagonal", 2), ("diagonal", 20), ("diagonal", 300), ("full", 2), ("full", 20), ("full", 70), ("tied", 2)],
)
@pytest.mark.parametrize("assignment", CODES)
def test_zero_weight_equals_leaving_the_component_out(emulate, covariance, d, assignment):
    args, _ = inputs(9 if d == 70 else 40, 4, d, torch.float64, covariance)
    args[3][[0, 2]] = -torch.inf
    kept = [1, 3]
    fewer = [*args[:3], *(t if len(t) == 1 else t[kept] for t in args[3:])]
    for value, expected in zip(
        run_kl(emulate, args, assignment, False, WHOLE), run_kl(emulate, fewer, assignment, False, WHOLE), strict=True
    ):
        assert (value is None) == (expected is None)
        if value is not None:
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("d", [2, 4, 20, 70, 300])
def test_rows_that_are_not_aligned_for_packs(emulate, covariance, d):
    """A view that starts one element into its storage: 8 bytes from a 16-byte boundary."""
    if covariance == "full" and d == 300:
        pytest.skip("70 already reads the factor itself")
    args, _ = inputs(33, 3, d, torch.float64, covariance)
    aligned = run_kl(emulate, args, "exact", False, WHOLE)
    shifted = [torch.cat([a.new_zeros(1), a.flatten()])[1:].view(a.shape) for a in args]
    assert shifted[0].data_ptr() % 16 == 8
    for value, expected in zip(run_kl(emulate, shifted, "exact", False, WHOLE)[:3], aligned[:3], strict=True):
        assert torch.equal(value, expected)


@pytest.mark.parametrize(("covariance", "each"), [("diagonal", 17), ("full", 17 + 64), ("tied", 17)])
def test_tiles_that_do_not_divide_the_components(emulate, covariance, each):
    args, exact = inputs(20, 7, 8, torch.float64, covariance)
    expected = REFERENCE.mixture_kl(*exact[:2], *for_reference(*exact[3:]))
    common = 64 if covariance == "tied" else 0
    for components in (2, 3, 5):
        value, *_ = run_kl(emulate, args, "exact", False, (components * each + common) * 8)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("covariance", "k", "d"), [("diagonal", 70, 32), ("diagonal", 21, 100), ("full", 20, 16), ("tied", 40, 40)]
)
def test_more_sums_than_threads(emulate, covariance, k, d):
    """More patches than threads, or coordinates in several chunks: sums pass through the workspace tile by tile, those
    of dense covariances through shared memory where they fit."""
    args, exact = inputs(200, k, d, torch.float64, covariance)
    args[2] = None
    moments, evidence = poisoned_moments(args[5], k, d), poisoned(1)
    run_statistics(emulate, args, "exact", False, None, moments, evidence, WHOLE)
    *expected, _ = REFERENCE.mixture_statistics(*exact[:2], *for_reference(*exact[3:]))
    results = gf.ops._library.split_moments(moments[0], k, d, covariance != "diagonal")
    assert_close(results, expected, torch.float64, d)


@pytest.mark.parametrize("covariance", ["diagonal", "full", "tied"])
def test_nothing_to_add_up(emulate, covariance):
    args, _ = inputs(0, 3, 2, torch.float64, covariance)
    args[2] = None
    moments, evidence = poisoned_moments(args[5], 3, 2), poisoned(1)
    run_statistics(emulate, args, "exact", False, None, moments, evidence, TIGHT)
    assert not moments.any()
    assert not evidence.any()


@pytest.mark.parametrize(("covariance", "d"), [("diagonal", 4), ("full", 4), ("full", 20), ("full", 70)])
def test_nan_stays_in_its_row(emulate, covariance, d):
    args, _ = inputs(40, 3, d, torch.float64, covariance)
    args[0][1, 2] = torch.nan
    kl, grad_mean, _, _ = run_kl(emulate, args, "exact", False, WHOLE)
    assert torch.isnan(kl).nonzero().flatten().tolist() == [1]
    assert torch.isnan(grad_mean).any(1).nonzero().flatten().tolist() == [1]
