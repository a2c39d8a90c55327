"""The optimiser's step, and the epoch around it, beside torch's fused Adam.

    OMP_WAIT_POLICY=PASSIVE python -m pytest benchmarks/bench_adam.py --benchmark-enable --benchmark-only

With sleeping threads every parallel region costs a wake-up: in a hot loop of steps less than between the passes of an
epoch, which is therefore measured with both. Answers first: parameters after three steps are those of torch in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from bench_training import CASES, RATE, epoch_of, native, snapshots
from gmvae_fast.training.adam import Adam
from race import run_race


def _fused(trained: list[nn.Parameter]) -> torch.optim.Adam:
    return torch.optim.Adam(trained, lr=RATE, fused=True)


FORMS: dict[str, Callable[[list[nn.Parameter]], torch.optim.Adam]] = {
    "native": lambda trained: Adam(trained, lr=RATE),
    "torch fused": _fused,
    "torch": lambda trained: torch.optim.Adam(trained, lr=RATE),
}


def _stepper(name: str, form: str, dtype: torch.dtype = torch.float32) -> torch.optim.Adam:
    """An optimiser of the case's networks, with gradients."""
    torch.manual_seed(1)
    trained = [p for p in CASES[name].model().to(dtype).parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.randn(parameter.shape).to(dtype)
    return FORMS[form](trained)


def _after(optimizer: torch.optim.Adam) -> torch.Tensor:
    for _ in range(3):
        optimizer.step()
    return torch.cat([p.detach().double().flatten() for p in optimizer.param_groups[0]["params"]])


@pytest.mark.parametrize("name", CASES)
def test_step(benchmark: Any, name: str) -> None:
    expected = _after(_stepper(name, "torch", torch.float64))
    optimizers = {form: _stepper(name, form) for form in FORMS}
    for optimizer in optimizers.values():
        torch.testing.assert_close(_after(optimizer), expected, rtol=1e-6, atol=1e-6)
    benchmark.group = f"Adam's step, {name}, {torch.get_num_threads()} threads"
    run_race(benchmark, {form: optimizer.step for form, optimizer in optimizers.items()}, seconds=10.0)


@pytest.mark.parametrize("name", list(CASES)[:2])
def test_epoch(benchmark: Any, name: str) -> None:
    case = CASES[name]
    x = snapshots(case)
    runs = {"native": native(case, x), "torch fused": native(case, x)}
    runs["torch fused"].descent.optimizer = _fused(runs["torch fused"].descent.trained)
    benchmark.group = f"epoch with either optimiser, {name}, {torch.get_num_threads()} threads"
    run_race(benchmark, {form: epoch_of(run) for form, run in runs.items()}, seconds=25.0, at_least=5, at_most=25)
    losses = [run.one_epoch().loss for run in runs.values()]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
