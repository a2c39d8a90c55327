"""Ghost cells of the four sides: open (characteristic), wall, periodic, axis."""

from __future__ import annotations

import numpy as np

from gmvae_fast.data.systems.wake._jit import exact_kernel as kernel

from .fluxes import Array

#: An axis of symmetry is a mirror, as a wall without friction is.
SIDES = {"open": 0, "wall": 1, "periodic": 2, "axis": 1}


@kernel
def fill_side(
    w: Array,
    start: int,
    count: int,
    along: int,
    inward: int,
    extent: int,
    normal: int,
    outside: Array,
    kind: int,
    gamma: float,
) -> None:
    """Fill two layers of ghost cells of one side.

    w : [8, cells].  start : index of the first interior cell at the side; ``count`` of them, ``along`` apart;
    ``inward`` is the step away from the side, ``extent`` the number of cells across.  ``normal`` : row of ``w``
    with the velocity across the side.  outside : [5, count] velocity into the domain, F, O, temperature
    and pressure of the gas outside.

    Open sides let plane waves leave: the invariant that comes in is that of the gas outside, so the velocity
    inward is u - p' / (rho c), and the pressure is the interior one.
    """
    sign = 1.0 if inward > 0 else -1.0
    for i in range(count):
        cell = start + i * along
        for layer in range(1, 3):
            ghost = cell - layer * inward
            if kind == 1:
                source = cell + (layer - 1) * inward
            elif kind == 2:
                source = cell + (extent - layer) * inward
            else:
                source = cell
            for k in range(8):
                w[k, ghost] = w[k, source]
            if kind == 1:
                w[normal, ghost] = -w[normal, source]
            elif kind == 0:
                rho, p = w[0, cell], w[3, cell]
                speed = outside[0, i] - (p - outside[4, i]) / np.sqrt(gamma * p * rho)
                w[normal, ghost] = sign * speed
                if speed > 0.0:
                    temperature = outside[3, i] * (p / outside[4, i]) ** ((gamma - 1.0) / gamma)
                    w[0, ghost] = p / temperature
                    w[4, ghost] = outside[1, i]
                    w[5, ghost] = outside[2, i]
                    w[6, ghost] = temperature
                    w[7, ghost] = temperature**0.75
