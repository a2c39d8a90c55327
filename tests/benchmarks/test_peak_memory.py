"""Peak memory of one call, seen from a process of its own."""

from __future__ import annotations

import sys

import pytest

import peak_memory
from kl_contenders import Problem, prepared
from peak_memory import at_both_sizes, peak_extra_mib

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the high-water mark is reset on Linux only")


def allocate(mebibytes, kept=0):
    """Holds ``mebibytes`` while it runs and returns ``kept``; preparation uses and frees as much again."""
    scratch = [bytes([1]) * (1 << 16) for _ in range(16 * mebibytes)]  # small blocks: they stay in the heap
    del scratch

    def call():
        scratch = bytearray(b"\1") * (mebibytes << 20)
        return scratch[: kept << 20]

    return call


def fail():
    raise ValueError("no such problem")


@linux
@pytest.mark.parametrize("mebibytes", [8, 64])
def test_scratch_is_seen_though_it_is_freed(mebibytes):
    peak = peak_extra_mib(*at_both_sizes(allocate, (mebibytes,), (0,)), threads=1)
    assert mebibytes - 0.5 <= peak <= mebibytes + 2


@linux
def test_memory_freed_before_the_call_does_not_hide_its_use():
    call = allocate(32)
    del call
    assert 31 <= peak_memory._growth(allocate(32)) <= 34


def test_a_failure_arrives_with_its_message():
    with pytest.raises(RuntimeError, match="no such problem"):
        peak_extra_mib(fail, fail, threads=1)


@linux
@pytest.mark.parametrize("gradient", ["rows", "all"])
def test_native_mixture_kl_forms_no_n_by_k_array(gradient):
    n, d, k = 200_000, 2, 64
    full, tiny = Problem(n, d, k, gradient), Problem(4, 2, 2, gradient)
    rows = (4 * n * d + 3 * n) * 4 / 2**20  # unit gradients kept, gradients returned, values, upstream, their sum
    peak = peak_extra_mib(*at_both_sizes(prepared, ("native", full), ("native", tiny)), threads=2)
    assert peak <= rows + 3
    assert rows + 3 < n * k * 4 / 2**20 / 3
    by_products = peak_extra_mib(*at_both_sizes(prepared, ("GEMM form", full), ("GEMM form", tiny)), threads=2)
    assert by_products > n * k * 4 / 2**20  # the method sees such an array where there is one
