"""The kernels' own exp and log: error in units in the last place, and the edges of their range."""

import numpy as np
import pytest
import torch

from gmvae_fast import _native

NUMPY = {"f32": np.float32, "f64": np.float64}
LONG = np.longdouble


def apply(suffix, values, log):
    x = np.zeros(-(-len(values) // 16) * 16, NUMPY[suffix])
    x[: len(values)] = values
    out = np.empty_like(x)
    getattr(_native.cpu, f"vector_exp_log_{suffix}")(x.ctypes.data, len(x), log, out.ctypes.data)
    return out[: len(values)]


def ulp_error(result, exact, dtype):
    exact_rounded = exact.astype(dtype)
    return np.max(np.abs(result.astype(LONG) - exact) / np.spacing(np.abs(exact_rounded)).astype(LONG))


@pytest.mark.parametrize("suffix", ["f32", "f64"])
def test_exp_is_within_two_ulp(suffix, instruction_set):
    dtype = NUMPY[suffix]
    low, high = (-87.0, 88.5) if suffix == "f32" else (-708.0, 709.5)
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, high, 200_000), rng.uniform(-1, 1, 200_000)]).astype(dtype)
    assert ulp_error(apply(suffix, x, log=False), np.exp(x.astype(LONG)), dtype) <= 2


@pytest.mark.parametrize("suffix", ["f32", "f64"])
def test_log_is_within_two_ulp(suffix, instruction_set):
    dtype = NUMPY[suffix]
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    spread = np.exp(rng.uniform(np.log(info.tiny) + 1, np.log(info.max) - 1, 200_000))
    x = np.concatenate([spread, rng.uniform(0.5, 2, 200_000), rng.uniform(1, 64, 200_000)]).astype(dtype)
    x = x[x != 1]
    assert ulp_error(apply(suffix, x, log=True), np.log(x.astype(LONG)), dtype) <= 2


@pytest.mark.parametrize("suffix", ["f32", "f64"])
def test_edges(suffix, instruction_set):
    with np.errstate(all="ignore"):
        x = np.array([0, -np.inf, np.inf, np.nan, -2000, 2000], NUMPY[suffix])
        np.testing.assert_array_equal(apply(suffix, x, log=False), np.exp(x))
        positive = np.array([1, 0, np.inf, np.nan], NUMPY[suffix])
        np.testing.assert_array_equal(apply(suffix, positive, log=True), np.log(positive))


def test_unknown_instruction_set_lists_the_valid_ones():
    with pytest.raises(ValueError, match="baseline.*got 'mmx'"):
        _native.cpu.set_instruction_set("mmx")


def test_all_instruction_sets_agree():
    import gmvae_fast as gf

    gen = torch.Generator().manual_seed(0)
    mean, log_var = torch.randn(500, 3, generator=gen), torch.randn(500, 3, generator=gen)
    mixture = torch.zeros(4), torch.randn(4, 3, generator=gen), torch.zeros(4, 3)
    before, results = _native.cpu.instruction_set(), []
    try:
        for name in _native.cpu.instruction_sets():
            _native.cpu.set_instruction_set(name)
            results.append(gf.ops.mixture_kl(mean, log_var, *mixture))
    finally:
        _native.cpu.set_instruction_set(before)
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=2e-6, atol=2e-6)
