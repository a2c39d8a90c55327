"""Fixtures of the operator tests."""

import pytest

from gmvae_fast import _native


@pytest.fixture(params=_native.cpu.instruction_sets())
def instruction_set(request):
    before = _native.cpu.instruction_set()
    _native.cpu.set_instruction_set(request.param)
    yield request.param
    _native.cpu.set_instruction_set(before)
