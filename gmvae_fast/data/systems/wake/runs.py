"""Advancing the flow of one run; what a run is and how many of them run stands in ``systems/_runs.py``."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.systems._runs import Interrupted

#: Changes whenever the numbers a run produces change; part of every cache key.
SOLVER_VERSION = 2


class SimulationError(ArithmeticError):
    """A run whose flow became infinite or NaN."""


_CHUNK = 2000


def march(
    flow: Any,
    steps: int,
    stop: threading.Event,
    parameters: dict[str, Any],
    amplitude: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Advance ``flow`` in chunks, so that it can be stopped and a blow-up is noticed; the forces [steps, 2].

    Raises
    ------
    SimulationError
        Names the parameters of the run and what to try.
    """
    parts = [np.zeros((0, 2))]
    done = 0
    while done < steps:
        if stop.is_set():
            raise Interrupted
        chunk = min(steps - done, _CHUNK)
        part = None if amplitude is None else amplitude[done : done + chunk]
        parts.append(flow.advance(chunk, part))
        done += chunk
        if not np.isfinite(flow.populations).all():
            raise SimulationError(
                f"the flow blew up within {done} of {steps} steps; parameters: {parameters}. "
                "Use a lower lattice velocity or more cells per diameter."
            )
    return np.concatenate(parts)
