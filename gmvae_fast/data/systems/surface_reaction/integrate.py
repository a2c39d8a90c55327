"""The classical fourth-order Runge-Kutta method for many trajectories at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from gmvae_fast.data.systems._runs import Interrupted

from .polynomials import Floats


def runge_kutta(
    rate: Callable[[Floats], Floats],
    state: Floats,
    times: Floats,
    substeps: int,
    stop: threading.Event | None = None,
) -> Floats:
    """States at ``times``.

    Parameters
    ----------
    rate : callable
        Time derivative of a state, elementwise over the last axis, so that a trajectory does not depend on the others.
    state : [..., N]
        At ``times[0]``.
    times : [T]
    substeps : int
        Equal steps from each time to the next.
    stop : threading.Event
        Looked at before each time.

    Returns
    -------
    [T, ..., N]

    Raises
    ------
    Interrupted
        Once ``stop`` is set.
    """
    states = np.empty((len(times), *state.shape))
    states[0] = state
    for i, h in enumerate(np.diff(times) / substeps):
        if stop is not None and stop.is_set():
            raise Interrupted
        for _ in range(substeps):
            k1 = rate(state)
            k2 = rate(state + (0.5 * h) * k1)
            k3 = rate(state + (0.5 * h) * k2)
            k4 = rate(state + h * k3)
            state = state + (h / 6.0) * (k1 + 2.0 * (k2 + k3) + k4)
        states[i + 1] = state
    return states
