"""The one-step reaction F + O -> products, integrated cell by cell at constant volume."""

from __future__ import annotations

import numpy as np

from gmvae_fast.data.systems.wake._jit import exact_kernel as kernel

from .fluxes import Array

#: Below this temperature nothing is computed: with Ta = 75 the rate is under 1e-7 there.
COLD = 2.0
#: Progress allowed in one substep, in units of the reaction time at its start.
SUBSTEP = 0.2
MOST_SUBSTEPS = 50


@kernel
def react(q: Array, stride: int, ny: int, dt: float, gamma: float, rate: float, activation: float, heat: float) -> None:
    """Advance rho F, rho O and E of ``q`` [6, cells] by ``dt`` with d(rho F)/dt = -rate rho^2 F O exp(-Ta / T).

    heat : released by a unit mass of F (q cp).  In each substep T is frozen and the equation is solved exactly:
    F - O does not change, so F follows a logistic curve.  Substeps are as many as the rate asks for, so that
    the warming within a time step is followed.
    """
    for row in range(2, ny + 2):
        for n in range(row * stride + 2, (row + 1) * stride - 2):
            rho = float(q[0, n])
            internal = float(q[3, n]) - 0.5 * (float(q[1, n]) ** 2 + float(q[2, n]) ** 2) / rho
            temperature = (gamma - 1.0) * internal / rho
            if temperature < COLD:
                continue
            fuel = max(float(q[4, n]) / rho, 0.0)
            oxygen = max(float(q[5, n]) / rho, 0.0)
            if fuel * oxygen < 1e-12:
                continue
            left, burnt = dt, 0.0
            for substep in range(MOST_SUBSTEPS):
                k = rate * rho * np.exp(-activation / temperature)
                part = min(left, SUBSTEP / (k * max(fuel, oxygen) + 1e-30))
                if substep == MOST_SUBSTEPS - 1:
                    part = left
                consumed = _consumed(fuel, oxygen, k * part)
                fuel -= consumed
                oxygen -= consumed
                burnt += consumed
                temperature += (gamma - 1.0) * heat * consumed
                left -= part
                if left <= 0.0 or fuel * oxygen < 1e-12:
                    break
            q[3, n] += rho * heat * burnt
            q[4, n] -= rho * burnt
            q[5, n] -= rho * burnt


@kernel
def _consumed(fuel: float, oxygen: float, time: float) -> float:
    """Exact solution of dF/dt = -F O, F - O constant, after ``time``: how much of each is gone.

    With s = F - O the ratio F / O grows as exp(s time); for s = 0 both fall as 1 / (1 + F time).
    """
    excess = fuel - oxygen
    x = excess * time
    if abs(x) < 1e-6:
        return fuel * oxygen * time / (1.0 + 0.5 * (fuel + oxygen) * time)
    # From the side that runs out, so that the exponent is negative.
    most, least = max(fuel, oxygen), min(fuel, oxygen)
    decay = np.exp(-abs(x))
    remaining = least * abs(excess) * decay / (most - least * decay)
    return float(least - remaining)
