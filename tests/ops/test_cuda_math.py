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
everywhere = [
    pytest.mark.parametrize("budget", [WHOLE, TIGHT]),
    pytest.mark.parametrize("dtype", SUFFIX),
    pytest.mark.parametrize(("n", "k", "d"), SHAPES),
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


def inputs(n, k, d, dtype):
    """mean, log_var, z, log_weights, means, log_vars in ``dtype``, and the same values in float64 with gradients."""
    args = [*make_rows(n, d, dtype), *make_mixture(k, d, dtype)]
    return args, with_grad([a.double() for a in args])


def assert_close(values, references, dtype, d):
    """To 1e-12 of the largest value in float64; energies of hundreds, at large D, leave fewer digits to gradients."""
    exact = 1e-12 if d <= 64 else 1e-10
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
    emulate(
        "mixture_kl", dtype, *rows, *mixture, CODES[assignment], int(detach), kl, *grads, grad_z, n, k, d, budget
    )  # fmt: skip
    return kl, *grads, grad_z


@over_everything
@pytest.mark.parametrize(("assignment", "detach"), CASES)
def test_mixture_kl(emulate, n, k, d, assignment, detach, dtype, budget):
    args, exact = inputs(n, k, d, dtype)
    z = exact[2] if assignment == "sampled" else None
    expected = REFERENCE.mixture_kl(*exact[:2], *exact[3:], assignment=assignment, z=z, detach_assignment=detach)
    references = [expected, *torch.autograd.grad(expected.sum(), exact[:3], allow_unused=True)]
    results = run_kl(emulate, args, assignment, detach, budget)
    assert (results[3] is None) == (references[3] is None)
    kept = 3 if results[3] is None else 4
    assert_close(results[:kept], references[:kept], dtype, d)
    value, *_ = run_kl(emulate, args, assignment, detach, budget, with_gradients=False)
    assert_close([value], [expected], dtype, d)


@over_everything
def test_log_responsibilities(emulate, n, k, d, dtype, budget):
    args, exact = inputs(n, k, d, dtype)
    z, *mixture = args[2:]
    log_resp, log_prob = poisoned(n, k, dtype=dtype), poisoned(n, dtype=dtype)
    emulate("log_responsibilities", dtype, z, *mixture, log_resp, log_prob, n, k, d, budget)
    expected = REFERENCE.log_responsibilities(*exact[2:])
    assert_close([log_resp, log_prob], expected, dtype, d)

    upstream = torch.randn(n, k, dtype=dtype), torch.randn(n, dtype=dtype)
    references = torch.autograd.grad(expected, exact[2:], [u.double() for u in upstream])
    grad_z, moments = poisoned(n, d, dtype=dtype), poisoned(k * (2 * d + 1))
    emulate(
        "log_responsibilities_backward", dtype, z, *mixture, expected[0].detach().to(dtype), *upstream, grad_z,
        moments, n, k, d, budget,
    )  # fmt: skip
    mixture_grads = gf.ops._library._mixture_gradient(moments[None], mixture[2], 1.0, z)
    assert_close([grad_z, *mixture_grads], references, dtype, d)


@over_everything
@pytest.mark.parametrize("points", [False, True])
def test_mixture_statistics(emulate, n, k, d, points, dtype, budget):
    (mean, log_var, _, *mixture), exact = inputs(n, k, d, dtype)
    log_var = None if points else log_var
    moments, evidence = poisoned(k * (2 * d + 1)), poisoned(1)
    emulate(
        "mixture_statistics", dtype, mean, log_var, None, *mixture, 0, 0, None, moments, evidence, n, k, d, budget
    )  # fmt: skip
    *expected, expected_evidence = REFERENCE.mixture_statistics(exact[0], None if points else exact[1], *exact[3:])
    results = [*gf.ops._library.split_moments(moments, k, d), evidence[0]]
    assert_close(results, [*expected, expected_evidence], dtype, d)


@over_everything
@pytest.mark.parametrize(("assignment", "detach"), CASES)
def test_gradient_of_the_mixture(emulate, n, k, d, assignment, detach, dtype, budget):
    """mixture_kl's backward: row weights, both sets of moments."""
    args, exact = inputs(n, k, d, dtype)
    (mean, log_var, z, *mixture), upstream = args, torch.randn(n, dtype=dtype)
    sampled = assignment == "sampled"
    expected = REFERENCE.mixture_kl(
        *exact[:2], *exact[3:], assignment=assignment, z=exact[2] if sampled else None, detach_assignment=detach
    )
    references = torch.autograd.grad(expected, exact[3:], upstream.double())
    sets = 1 if assignment == "exact" or detach else 2
    moments = poisoned(sets, k * (2 * d + 1))
    emulate(
        "mixture_statistics", dtype, mean, log_var, z if sampled else None, *mixture, CODES[assignment], int(detach),
        upstream, moments, None, n, k, d, budget,
    )  # fmt: skip
    grads = gf.ops._library._mixture_gradient(moments, mixture[2], -1.0, mean)
    assert_close(grads, references, dtype, d)


@pytest.mark.parametrize("d", [2, 20, 300])
@pytest.mark.parametrize("assignment", CODES)
def test_zero_weight_equals_leaving_the_component_out(emulate, d, assignment):
    args, _ = inputs(40, 4, d, torch.float64)
    args[3][[0, 2]] = -torch.inf
    kept = [1, 3]
    fewer = [*args[:3], *(t[kept] for t in args[3:])]
    for value, expected in zip(
        run_kl(emulate, args, assignment, False, WHOLE), run_kl(emulate, fewer, assignment, False, WHOLE), strict=True
    ):
        assert (value is None) == (expected is None)
        if value is not None:
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("d", [2, 4, 20, 300])
def test_rows_that_are_not_aligned_for_packs(emulate, d):
    """A view that starts one element into its storage: 8 bytes from a 16-byte boundary."""
    args, _ = inputs(33, 3, d, torch.float64)
    aligned = run_kl(emulate, args, "exact", False, WHOLE)
    shifted = [torch.cat([a.new_zeros(1), a.flatten()])[1:].view(a.shape) for a in args]
    assert shifted[0].data_ptr() % 16 == 8
    for value, expected in zip(run_kl(emulate, shifted, "exact", False, WHOLE)[:3], aligned[:3], strict=True):
        assert torch.equal(value, expected)


def test_tiles_that_do_not_divide_the_components(emulate):
    args, exact = inputs(20, 7, 8, torch.float64)
    expected = REFERENCE.mixture_kl(*exact[:2], *exact[3:])
    for components in (2, 3, 5):
        value, *_ = run_kl(emulate, args, "exact", False, components * 17 * 8)
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "d"), [(70, 32), (21, 100)])
def test_more_sums_than_threads(emulate, k, d):
    """More patches than threads, or coordinates in several chunks: sums pass through the workspace tile by tile."""
    (mean, log_var, _, *mixture), exact = inputs(200, k, d, torch.float64)
    moments, evidence = poisoned(k * (2 * d + 1)), poisoned(1)
    emulate(
        "mixture_statistics", torch.float64, mean, log_var, None, *mixture, 0, 0, None, moments, evidence, 200, k, d,
        WHOLE,
    )  # fmt: skip
    *expected, _ = REFERENCE.mixture_statistics(*exact[:2], *exact[3:])
    assert_close(gf.ops._library.split_moments(moments, k, d), expected, torch.float64, d)


def test_nothing_to_add_up(emulate):
    _, (mean, log_var, _, *mixture) = inputs(0, 3, 2, torch.float64)
    moments, evidence = poisoned(15), poisoned(1)
    emulate(
        "mixture_statistics", torch.float64, mean, log_var, None, *mixture, 0, 0, None, moments, evidence, 0, 3, 2, 1
    )  # fmt: skip
    assert not moments.any()
    assert not evidence.any()


def test_nan_stays_in_its_row(emulate):
    args, _ = inputs(40, 3, 4, torch.float64)
    args[0][1, 2] = torch.nan
    kl, grad_mean, _, _ = run_kl(emulate, args, "exact", False, WHOLE)
    assert torch.isnan(kl).nonzero().flatten().tolist() == [1]
    assert torch.isnan(grad_mean).any(1).nonzero().flatten().tolist() == [1]
