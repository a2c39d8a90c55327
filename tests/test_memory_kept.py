"""Freed memory is kept for the next step while training, and given back after it."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast import _memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
PAGES = 40 * 2 * 2**20 // 4096  # of forty blocks of 2 MiB
PROGRAM = """
import contextlib, resource, sys
from gmvae_fast._memory import freed_memory_kept
import torch

def blocks():
    held = [torch.empty(2 * 2**20, dtype=torch.uint8) for _ in range(40)]
    for block in held:
        block[::4096] = 1

with freed_memory_kept():
    blocks()
    blocks()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def options(monkeypatch):
    """What mallopt is called with."""
    for name in ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    calls = []
    monkeypatch.setattr(_memory, "_mallopt", lambda: lambda *call: calls.append(call) or 1)
    return calls


def test_kept_within_and_given_back_after(options):
    def failing():
        assert options == [(-3, 2**25), (-1, 2**29)]
        raise KeyError

    with pytest.raises(KeyError), _memory.freed_memory_kept():
        failing()
    assert options[2:] == [(-1, 2**26)]


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_settings_of_the_user_stay(options, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    with _memory.freed_memory_kept():
        assert not options


def test_another_allocator(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert _memory._mallopt.__wrapped__() is None
    monkeypatch.setattr(_memory, "_mallopt", lambda: None)
    with _memory.freed_memory_kept():
        pass


def test_every_epoch_keeps_it(options):
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    model = gf.GMVAE((6,), n_components=2, widths=(4,))
    gf.fit(model, x, gf.TrainConfig(epochs=3, warmup_epochs=1, n_init=1), progress=False)
    assert [value for name, value in options if name == -1] == [2**29, 2**26] * 3


@glibc
def test_pages_are_not_mapped_anew(options):
    found = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(found.stdout) < PAGES // 2
