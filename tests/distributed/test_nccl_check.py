"""`scripts/nccl_check.py`, over gloo: what a machine with GPUs runs over NCCL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

SCRIPT = Path(__file__).parents[2] / "scripts" / "nccl_check.py"


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch is built without gloo")
def test_a_process_that_exchanges_with_itself_trains_as_one_alone() -> None:
    command = [sys.executable, str(SCRIPT), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("1 process(es) over gloo differ from one by") == 4
