"""`scripts/distributed_costs.py`: bytes counted in a run of two processes are those of the arithmetic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

pytest.importorskip("h5py")
SCRIPT = Path(__file__).parents[2] / "scripts" / "distributed_costs.py"


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this torch is built without gloo")
def test_counted_gradients_are_four_bytes_a_parameter_and_step() -> None:
    command = [sys.executable, str(SCRIPT), "--snapshots", "48", "--shape", "1", "16", "16", "--batch-size", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| ")]
    rows = {cell[1].strip(): cell[2].strip() for cell in cells}
    for who in ("one process", "two processes"):
        for data in ("held", "streamed"):
            model, measured = (
                float(rows[f"seconds an epoch, {who}, {data}, {kind}"]) for kind in ("model", "measured")
            )
            assert float(rows[f"model over measured, {who}, {data}"]) == pytest.approx(model / measured, rel=1e-2)
    gradients = "bytes of gradients a step, "
    assert rows[gradients + "counted"] == rows[gradients + "arithmetic"]
    assert 0 < float(rows["bytes an epoch beside the gradients, counted"]) < 100_000
