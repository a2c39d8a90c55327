"""Blocks of trajectories: what is cached and computed at a time."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gmvae_fast.data.cache import Arrays

from . import oscillator, scalar
from .designs import Draws, Generator, bistable, block_draws, oscillating, published
from .integrate import runge_kutta
from .polynomials import Floats
from .quantities import oscillator_arrays, scalar_arrays

#: Changes whenever the numbers of a trajectory change; part of every cache key.
SOLVER_VERSION = 1

#: Sample times of each design.
TIMES: dict[str, Floats] = {
    "published": np.linspace(0.0, 10.0, 100),
    "bistable": np.linspace(0.0, 8.0, 128),
    "oscillating": np.arange(0.0, 640.0, 2.5),
}
#: Runge-Kutta steps from sample to sample. Errors of the one-variable model grow while a trajectory leaves the unstable
#: state: with 4 steps the largest is 4e-7 (median 2e-10), with 16 it is below 5e-9.
SUBSTEPS = {"published": 16, "bistable": 16, "oscillating": 50}
#: Samples of the oscillating design before the record, in which the start is forgotten, and the longest shift after
#: that: a little over the longest period.
SPIN_UP, LONGEST_SHIFT = 480, 104


@dataclass(frozen=True)
class Block:
    """``count`` trajectories of block number ``block`` of a design; see :class:`gmvae_fast.data.systems._runs.Case`."""

    design: str
    seed: int
    block: int
    count: int
    kappa: float | None = None
    monostable: bool = False

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on, as JSON values."""
        return dataclasses.asdict(self)

    def draws(self) -> Draws:
        """Parameters and starting points, [count] each."""
        draw: dict[str, Callable[[Generator], Draws]] = {
            "published": partial(published, kappa=self.kappa),
            "bistable": partial(bistable, monostable=self.monostable),
            "oscillating": oscillating,
        }
        return block_draws(draw[self.design], self.seed, self.block, self.count)

    def trajectories(self, stop: threading.Event | None = None) -> Floats:
        """Noise-free records [count, C, T] in float64."""
        draws = self.draws()
        return _oscillating(draws, stop) if self.design == "oscillating" else _scalar(self.design, draws, stop)

    def run(self, stop: threading.Event) -> Arrays:
        """Arrays ``fields`` (float32 [count, C, T]), ``quantities/...`` and ``labels/...`` [count]."""
        draws, records, times = self.draws(), self.trajectories(stop), TIMES[self.design]
        if self.design == "oscillating":
            derived = oscillator_arrays(times, records, draws)
        else:
            derived = scalar_arrays(times, records[:, 0], draws)
        return {"fields": records.astype(np.float32), **derived}


def _scalar(design: str, draws: Draws, stop: threading.Event | None) -> Floats:
    constants = {name: draws[name] for name in ("alpha", "gamma", "kappa")}
    states = runge_kutta(partial(scalar.rate, **constants), draws["rho_0"], TIMES[design], SUBSTEPS[design], stop)
    return np.ascontiguousarray(states.T[:, None])


def _oscillating(draws: Draws, stop: threading.Event | None) -> Floats:
    record = TIMES["oscillating"]
    times = np.arange(SPIN_UP + LONGEST_SHIFT + len(record)) * (record[1] - record[0])
    start = np.stack([draws[f"{name}_0"] for name in oscillator.NAMES])
    states = runge_kutta(partial(oscillator.rate, b=draws["b"]), start, times, SUBSTEPS["oscillating"], stop)
    first = SPIN_UP + np.floor(draws["shift"] * LONGEST_SHIFT).astype(np.int64)
    samples = first[:, None] + np.arange(len(record))
    # Advanced indices around a slice come first in the result: [N, T, 3].
    return np.ascontiguousarray(states[samples, :, np.arange(len(first))[:, None]].transpose(0, 2, 1))
