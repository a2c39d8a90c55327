import os
import sys
from pathlib import Path

import pytest
import torch

from gmvae_fast import _native

# Helper modules beside the tests (tests/ops/mixtures.py, tests/data/layout_files.py) are imported by name.
sys.path += [str(Path(__file__).parent / name) for name in ("ops", "data")]


@pytest.fixture(autouse=True, scope="session")
def _no_traces(tmp_path_factory):
    """Statistics of the tests' files do not go to the user's cache."""
    os.environ.setdefault("GMVAE_FAST_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=_native.cpu.instruction_sets())
def instruction_set(request):
    before = _native.cpu.instruction_set()
    _native.cpu.set_instruction_set(request.param)
    yield request.param
    _native.cpu.set_instruction_set(before)
