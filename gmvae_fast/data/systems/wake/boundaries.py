"""Boundary conditions: each writes the ghost or solid slots from which fluid cells will pull.

Sources
-------
Ladd, J. Fluid Mech. 271, 285 (1994): half-way bounce-back and its moving-wall term.  Bouzidi, Firdaouss,
Lallemand, Phys. Fluids 13, 3452 (2001): linear interpolation at a curved wall.  Poinsot & Lele, J. Comput. Phys.
101, 104 (1992), for lattice Boltzmann Izquierdo & Fueyo, Phys. Rev. E 78, 046707 (2008): characteristic treatment
of pressure waves.  Guo, Zheng, Shi, Chin. Phys. 11, 366 (2002): non-equilibrium extrapolation.
"""

from __future__ import annotations

import math

from ._jit import kernel
from .lattice import Array

SOUND_SPEED = 1.0 / math.sqrt(3.0)
#: Rate per step at which pressure differences along the outlet are removed: damps sound across the channel.
OUTLET_LEVELLING = 0.01


@kernel
def equilibrium(drho: float, u: float, v: float) -> tuple[float, ...]:
    """Equilibrium deviations of all nine populations, central moments included up to fourth order."""
    uu, vv, uv = u * u, v * v, u * v
    m21, m12, m22 = v / 3.0 + uu * v, u / 3.0 + u * vv, (uu + vv) / 3.0 + uu * vv
    axis, corner = drho / 9.0, drho / 36.0
    p, q = 0.25 * (m22 + uv) + corner, 0.25 * (m22 - uv) + corner
    r, s = 0.25 * (m21 + m12), 0.25 * (m21 - m12)
    return (
        4.0 * axis - uu - vv + m22,
        0.5 * (uu - m22 + u - m12) + axis,
        0.5 * (vv - m22 + v - m21) + axis,
        0.5 * (uu - m22 - u + m12) + axis,
        0.5 * (vv - m22 - v + m21) + axis,
        p + r,
        q + s,
        p - r,
        q - s,
    )


@kernel
def periodic_columns(f: Array, stride: int, ny: int) -> None:
    """Copy the last fluid column to the left ghost column and the first to the right one."""
    for row in range(ny + 2):
        first = row * stride
        for i in range(9):
            f[i, first] = f[i, first + stride - 2]
            f[i, first + stride - 1] = f[i, first + 1]


@kernel
def periodic_rows(f: Array, stride: int, ny: int) -> None:
    """Copy the last fluid row to the lower ghost row and the first to the upper one."""
    top = (ny + 1) * stride
    for i in range(9):
        for x in range(stride):
            f[i, x] = f[i, x + top - stride]
            f[i, x + top] = f[i, x + stride]


@kernel
def wall_rows(f: Array, stride: int, ny: int) -> None:
    """No-slip walls half a cell outside the first and last fluid rows (half-way bounce-back)."""
    low, top = stride, ny * stride
    for x in range(1, stride - 1):
        f[2, x] = f[4, low + x]
        f[5, x - 1] = f[7, low + x]
        f[6, x + 1] = f[8, low + x]
        f[4, top + stride + x] = f[2, top + x]
        f[7, top + stride + x + 1] = f[5, top + x]
        f[8, top + stride + x - 1] = f[6, top + x]


@kernel
def slip_rows(f: Array, stride: int, ny: int) -> None:
    """Free-slip planes half a cell outside the first and last fluid rows (specular reflection)."""
    low, top = stride, ny * stride
    for x in range(stride):
        f[2, x] = f[4, low + x]
        f[5, x] = f[8, low + x]
        f[6, x] = f[7, low + x]
        f[4, top + stride + x] = f[2, top + x]
        f[8, top + stride + x] = f[5, top + x]
        f[7, top + stride + x] = f[6, top + x]


@kernel
def velocity_inlet(f: Array, stride: int, ny: int, profile: Array, scale: float) -> None:
    """Velocity ``scale * profile`` half a cell left of the first column (bounce-back with a moving wall).

    profile : [2 ny + 1], at half-row spacing from the lower to the upper boundary, because a diagonal link
    crosses the inlet plane between two rows.
    """
    for y in range(ny):
        first = (y + 1) * stride
        f[1, first] = f[3, first + 1] + (2.0 / 3.0) * scale * profile[2 * y + 1]
        f[5, first - stride] = f[7, first + 1] + (1.0 / 6.0) * scale * profile[2 * y]
        f[8, first + stride] = f[6, first + 1] + (1.0 / 6.0) * scale * profile[2 * y + 2]


@kernel
def cell_moments(f: Array, n: int) -> tuple[float, float, float]:
    """Density deviation and velocity of one cell (collision conserves both, so stored populations will do)."""
    east = f[1, n] + f[5, n] + f[8, n]
    west = f[3, n] + f[6, n] + f[7, n]
    drho = f[0, n] + f[2, n] + f[4, n] + east + west
    return drho, east - west, f[2, n] + f[5, n] + f[6, n] - f[4, n] - f[7, n] - f[8, n]


@kernel
def _ghost_from_neighbour(
    f: Array,
    ghost: int,
    inside: int,
    moments: tuple[float, float, float],
    moments_in: tuple[float, float, float],
) -> None:
    """Populations of a ghost cell: its equilibrium plus the neighbour's non-equilibrium part.

    moments, moments_in : density deviation and velocity of the ghost cell and of its neighbour.
    """
    target = equilibrium(moments[0], moments[1], moments[2])
    present = equilibrium(moments_in[0], moments_in[1], moments_in[2])
    for i in range(9):
        f[i, ghost] = f[i, inside] + target[i] - present[i]


@kernel
def characteristic_inlet(f: Array, stride: int, ny: int, state: Array, velocity: float, rate: float) -> None:
    """Free stream entering: pressure waves leave, the velocity is drawn to ``velocity`` at ``rate`` per step.

    state : [3, ny], pressure and velocity of the ghost column, advanced here by one step.
    """
    cs = SOUND_SPEED
    for y in range(ny):
        ghost = (y + 1) * stride
        drho_in, u_in, v_in = cell_moments(f, ghost + 1)
        p, u = state[0, y], state[1, y]
        leaving = (u - cs) * ((drho_in / 3.0 - p) - cs * (u_in - u))
        entering = 2.0 * cs * rate * (u - velocity)
        p -= 0.5 * (leaving + entering)
        u -= 0.5 * (entering - leaving) / cs
        state[0, y], state[1, y] = p, u
        _ghost_from_neighbour(f, ghost, ghost + 1, (3.0 * p, u, 0.0), (drho_in, u_in, v_in))


@kernel
def open_outlet(f: Array, stride: int, ny: int, state: Array, rate: float) -> None:
    """Open end that lets plane pressure waves and vortices leave.

    The means of pressure and velocity over the outlet follow the characteristic equations of Poinsot & Lele, with
    the mean pressure drawn to zero at ``rate`` per step.  The deviations from these means, which are vortices
    and not waves, are convected out at the mean velocity.  Treated as waves row by row they are not: neighbouring
    rows drift apart (cross velocities of a tenth of the inlet's in steady flow), and a vortex that draws
    fluid in through the outlet grows until it blows up (from Re 700).

    state : [6, ny], pressure and velocity of the ghost column, advanced here by one step, and room for the
    moments of its neighbours.
    """
    cs = SOUND_SPEED
    p_mean, u_mean, p_in_mean, u_in_mean = 0.0, 0.0, 0.0, 0.0
    for y in range(ny):
        drho_in, u_in, v_in = cell_moments(f, (y + 2) * stride - 2)
        state[3, y], state[4, y], state[5, y] = drho_in, u_in, v_in
        p_mean += state[0, y] / ny
        u_mean += state[1, y] / ny
        p_in_mean += drho_in / (3.0 * ny)
        u_in_mean += u_in / ny
    leaving = (u_mean + cs) * ((p_mean - p_in_mean) + cs * (u_mean - u_in_mean))
    entering = 2.0 * rate * p_mean
    p_next = p_mean - 0.5 * (leaving + entering)
    u_next = u_mean - 0.5 * (leaving - entering) / cs
    speed = max(u_mean, 0.0)
    for y in range(ny):
        ghost = (y + 2) * stride - 1
        drho_in, u_in, v_in = state[3, y], state[4, y], state[5, y]
        p, u, v = state[0, y] - p_mean, state[1, y] - u_mean, state[2, y]
        p -= speed * (p - (drho_in / 3.0 - p_in_mean)) + OUTLET_LEVELLING * p
        u -= speed * (u - (u_in - u_in_mean))
        v -= speed * (v - v_in)
        state[0, y], state[1, y], state[2, y] = p_next + p, u_next + u, v
        _ghost_from_neighbour(f, ghost, ghost - 1, (3.0 * (p_next + p), u_next + u, v), (drho_in, u_in, v_in))


@kernel
def curved_wall(
    f: Array,
    target: Array,
    source: Array,
    second: Array,
    weight: Array,
    direction_x: Array,
    direction_y: Array,
) -> tuple[float, float]:
    """Interpolated bounce-back on all links of the body; returns the force on it (momentum exchange).

    target, source, second : [links], flat positions in ``f`` of the slot to fill and of the two it is made from;
    weight : [links], share of ``source``; direction_x, direction_y : [links], velocity towards the wall.
    The momentum given to the body at rest is c_i (f_i + f_opposite); in deviations the constant pressure
    drops out because the sum of w_i c_i over a closed set of links is zero.
    """
    flat = f.ravel()
    force_x = 0.0
    force_y = 0.0
    for k in range(target.size):
        arriving = flat[source[k]]
        returned = weight[k] * arriving + (1.0 - weight[k]) * flat[second[k]]
        flat[target[k]] = returned
        force_x += direction_x[k] * (arriving + returned)
        force_y += direction_y[k] * (arriving + returned)
    return force_x, force_y
