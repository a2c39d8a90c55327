"""Fluxes of the reacting gas: MUSCL reconstruction, the HLLC Riemann solver, diffusion, and one Runge-Kutta stage.

Around an axis the rows are rings: row number j lies between the radii j and j + 1, in cells, so that its own radius is
j + 1/2.

Cells are stored flat with two ghost cells on each side, ``stride = nx + 4``: cell (row, column) is at
``(row + 2) * stride + column + 2``.  Conserved variables are the rows of ``q`` [6, cells]: rho, rho u, rho v, E,
rho F, rho O.  What fluxes are made from are the rows of ``w`` [8, cells]: rho, u, v, p, F, O, T, T^0.75.

Sources
-------
van Leer, J. Comput. Phys. 32, 101 (1979): MUSCL and the limiter.  Toro, Spruce, Speares, Shock Waves 4, 25 (1994):
HLLC; its wave speeds after Davis, SIAM J. Sci. Stat. Comput. 9, 445 (1988).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.systems.wake._jit import exact_kernel as kernel

Array = npt.NDArray[Any]

N_CONSERVED = 6
N_PRIMITIVE = 8
GHOSTS = 2
#: Pressures below this are taken for it when fluxes are made; the conserved variables are left alone.
PRESSURE_FLOOR = 1e-8


def gas_constants(gamma: float, diffusivity: float, prandtl: float, spacing: float, dtype: npt.DTypeLike) -> Array:
    """Constants of the kernels [11] in the dtype of the arrays: a Python float would promote float32 to float64.

    0, 1/2, gamma, gamma - 1, 1 / (gamma - 1), viscosity / dx, conductivity / dx, diffusivity / dx (at T = 1),
    4/3, 2/3, and a number that keeps a quotient finite.
    """
    conductivity = diffusivity * gamma / (gamma - 1.0)
    values = [0.0, 0.5, gamma, gamma - 1.0, 1.0 / (gamma - 1.0)]
    values += [prandtl * diffusivity / spacing, conductivity / spacing, diffusivity / spacing, 4 / 3, 2 / 3, 1e-30]
    return np.array(values, dtype=dtype)


@kernel
def _primitives_span(
    rho: Array,
    mx: Array,
    my: Array,
    energy: Array,
    fuel: Array,
    oxygen: Array,
    r: Array,
    u: Array,
    v: Array,
    p: Array,
    f: Array,
    o: Array,
    t: Array,
    transport: Array,
    c: Array,
    floor: Array,
) -> None:
    half, gamma_1, least = c[1], c[3], floor[0]
    for n in range(rho.size):
        inverse = (half + half) / rho[n]
        a = mx[n] * inverse
        b = my[n] * inverse
        pressure = max(gamma_1 * (energy[n] - half * (mx[n] * a + my[n] * b)), least)
        temperature = pressure * inverse
        root = np.sqrt(temperature)
        r[n] = rho[n]
        u[n] = a
        v[n] = b
        p[n] = pressure
        f[n] = fuel[n] * inverse
        o[n] = oxygen[n] * inverse
        t[n] = temperature
        transport[n] = root * np.sqrt(root)


@kernel
def primitives(q: Array, w: Array, c: Array, floor: Array) -> None:
    """Primitive variables ``w`` [8, cells] of ``q`` [6, cells], ghost cells included (they are overwritten next)."""
    _primitives_span(
        q[0], q[1], q[2], q[3], q[4], q[5], w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], c, floor
    )  # fmt: skip


@kernel
def fastest(w: Array, stride: int, ny: int, c: Array) -> tuple[float, float]:
    """Largest |u| + |v| + 2 c over the cells, and largest T^0.75 / rho: what limits the time step."""
    gamma = c[2]
    speed, spread = c[0], c[0]
    for row in range(2, ny + 2):
        a, b = row * stride + 2, (row + 1) * stride - 2
        r, u, v, p, m = w[0, a:b], w[1, a:b], w[2, a:b], w[3, a:b], w[7, a:b]
        for n in range(r.size):
            sound = np.sqrt(gamma * p[n] / r[n])
            speed = max(speed, abs(u[n]) + abs(v[n]) + sound + sound)
            spread = max(spread, m[n] / r[n])
    return speed, spread


@kernel
def _reconstruct(before: Array, left: Array, right: Array, after: Array, out_l: Array, out_r: Array, c: Array) -> None:
    """Values on both sides of the faces between ``left`` and ``right``, with van Leer's harmonic slope."""
    zero, tiny = c[0], c[10]
    for n in range(left.size):
        middle = right[n] - left[n]
        behind = left[n] - before[n]
        ahead = after[n] - right[n]
        # Half of 2 a b / (a + b), written without a branch so that the loop is vectorised.
        s = behind + middle
        out_l[n] = left[n] + max(behind * middle, zero) * s / (s * s + tiny)
        s = ahead + middle
        out_r[n] = right[n] - max(ahead * middle, zero) * s / (s * s + tiny)


@kernel
def _hllc(
    rl: Array,
    ul: Array,
    vl: Array,
    pl: Array,
    fl: Array,
    ol: Array,
    rr: Array,
    ur: Array,
    vr: Array,
    pr: Array,
    fr: Array,
    o_r: Array,
    mass: Array,
    normal: Array,
    tangential: Array,
    energy: Array,
    fuel: Array,
    oxygen: Array,
    c: Array,
) -> None:
    """Flux through each face of the six variables; ``u`` is the velocity along the normal."""
    zero, half, gamma, inverse_gamma_1 = c[0], c[1], c[2], c[4]
    for n in range(rl.size):
        sound_l = np.sqrt(gamma * pl[n] / rl[n])
        sound_r = np.sqrt(gamma * pr[n] / rr[n])
        slow = min(ul[n] - sound_l, ur[n] - sound_r)
        fast = max(ul[n] + sound_l, ur[n] + sound_r)
        inflow_l = rl[n] * (slow - ul[n])
        inflow_r = rr[n] * (fast - ur[n])
        star = (pr[n] - pl[n] + ul[n] * inflow_l - ur[n] * inflow_r) / (inflow_l - inflow_r)
        is_left = star >= zero
        r = rl[n] if is_left else rr[n]
        u = ul[n] if is_left else ur[n]
        v = vl[n] if is_left else vr[n]
        p = pl[n] if is_left else pr[n]
        f = fl[n] if is_left else fr[n]
        o = ol[n] if is_left else o_r[n]
        wave = slow if is_left else fast
        # Beyond the fan the correction is nothing: the flux is that of the state itself.
        reach = min(slow, zero) if is_left else max(fast, zero)
        r_star = r * (wave - u) / (wave - star)
        e = p * inverse_gamma_1 + half * r * (u * u + v * v)
        e_star = r_star * (e / r + (star - u) * (star + p / (r * (wave - u))))
        flow = r * u + reach * (r_star - r)
        mass[n] = flow
        normal[n] = r * u * u + p + reach * (r_star * star - r * u)
        tangential[n] = flow * v
        energy[n] = u * (e + p) + reach * (e_star - e)
        fuel[n] = flow * f
        oxygen[n] = flow * o


@kernel
def _diffuse(left: Array, right: Array, ml: Array, mr: Array, flux: Array, coefficient: float) -> None:
    """Subtract a diffusive flux, ``coefficient`` over the mean of T^0.75 on both sides."""
    for n in range(left.size):
        flux[n] -= coefficient * (ml[n] + mr[n]) * (right[n] - left[n])


@kernel
def _shear(ul: Array, ur: Array, up_l: Array, down_l: Array, up_r: Array, down_r: Array, g: Array, c: Array) -> None:
    """Velocity differences along the normal g[0] and (mean of both cells) along the face g[1]."""
    quarter = c[1] * c[1]
    normal, tangential = g[0], g[1]
    for n in range(ul.size):
        normal[n] = ur[n] - ul[n]
        tangential[n] = quarter * (up_l[n] - down_l[n] + up_r[n] - down_r[n])


@kernel
def _stress(
    ul: Array, ur: Array, vl: Array, vr: Array, ml: Array, mr: Array, gu: Array, gv: Array,
    normal: Array, tangential: Array, energy: Array, c: Array,
) -> None:  # fmt: skip
    """Subtract viscous stress and its work from the fluxes; gu, gv : [2, n] from :func:`_shear`."""
    half, viscosity, four_thirds, two_thirds = c[1], c[5], c[8], c[9]
    un, ut, vn, vt = gu[0], gu[1], gv[0], gv[1]
    for n in range(ul.size):
        scale = half * viscosity * (ml[n] + mr[n])
        stress = scale * (four_thirds * un[n] - two_thirds * vt[n])
        shear = scale * (vn[n] + ut[n])
        normal[n] -= stress
        tangential[n] -= shear
        energy[n] -= half * ((ul[n] + ur[n]) * stress + (vl[n] + vr[n]) * shear)


@kernel
def _faces(
    w: Array, a: int, b: int, step: int, side: int, u: int, v: int, flux: Array, states: Array, c: Array
) -> None:
    """Fluxes ``flux`` [6, >= b - a] through the faces between cells a..b and the cells ``step`` further.

    ``side`` is the step along the face; ``u`` and ``v`` are the rows of ``w`` with the normal and the
    tangential velocity; the momentum fluxes go into the rows of ``flux`` of the same number.
    """
    n = b - a
    for k in range(6):
        _reconstruct(
            w[k, a - step : b - step], w[k, a:b], w[k, a + step : b + step], w[k, a + 2 * step : b + 2 * step],
            states[k, :n], states[k + 6, :n], c,
        )  # fmt: skip
    _hllc(
        states[0, :n], states[u, :n], states[v, :n], states[3, :n], states[4, :n], states[5, :n],
        states[6, :n], states[u + 6, :n], states[v + 6, :n], states[9, :n], states[10, :n], states[11, :n],
        flux[0, :n], flux[u, :n], flux[v, :n], flux[3, :n], flux[4, :n], flux[5, :n], c,
    )  # fmt: skip
    if c[7] == c[0]:
        return
    x, y = a + step, b + step
    ml, mr, half = w[7, a:b], w[7, x:y], c[1]
    _diffuse(w[6, a:b], w[6, x:y], ml, mr, flux[3, :n], half * c[6])
    _diffuse(w[4, a:b], w[4, x:y], ml, mr, flux[4, :n], half * c[7])
    _diffuse(w[5, a:b], w[5, x:y], ml, mr, flux[5, :n], half * c[7])
    for k in range(1, 3):
        _shear(
            w[k, a:b], w[k, x:y], w[k, a + side : b + side], w[k, a - side : b - side],
            w[k, x + side : y + side], w[k, x - side : y - side], states[2 * k - 2 : 2 * k], c,
        )  # fmt: skip
    _stress(
        w[u, a:b], w[u, x:y], w[v, a:b], w[v, x:y], ml, mr, states[2 * u - 2 : 2 * u], states[2 * v - 2 : 2 * v],
        flux[u, :n], flux[v, :n], flux[3, :n], c,
    )  # fmt: skip


@kernel
def _advance(
    out: Array, old: Array, new: Array, west: Array, east: Array, south: Array, north: Array, s: Array
) -> None:
    keep, other, rate = s[0], s[1], s[2]
    for n in range(out.size):
        out[n] = keep * old[n] + other * new[n] - rate * (east[n] - west[n] + north[n] - south[n])


@kernel
def _advance_ring(
    out: Array, old: Array, new: Array, west: Array, east: Array, south: Array, north: Array, s: Array, g: Array
) -> None:
    """As :func:`_advance`, with g : [2] the radii of the inner and the outer face over the radius of the cell."""
    keep, other, rate, inner, outer = s[0], s[1], s[2], g[0], g[1]
    for n in range(out.size):
        out[n] = keep * old[n] + other * new[n] - rate * (east[n] - west[n] + outer * north[n] - inner * south[n])


@kernel
def _ring_stress(
    ul: Array, ur: Array, vl: Array, vr: Array, ml: Array, mr: Array, normal: Array, energy: Array, inverse: float,
    c: Array,
) -> None:  # fmt: skip
    """What the divergence of rings, v / r, adds to the viscous stress across faces; u is the velocity across, v the
    radial one, ``inverse`` 1 / r in cells."""
    half, viscosity, two_thirds = c[1], c[5], c[9]
    for n in range(ul.size):
        stress = half * viscosity * (ml[n] + mr[n]) * two_thirds * half * (vl[n] + vr[n]) * inverse
        normal[n] += stress
        energy[n] += half * (ul[n] + ur[n]) * stress


@kernel
def _hoop(
    out: Array, p: Array, west: Array, east: Array, south: Array, north: Array, v: Array, m: Array, rate: float,
    inverse: float, c: Array,
) -> None:  # fmt: skip
    """Add to the radial momentum what pressure and stress around the axis do, (p - tau) / r.

    west, east : u of the neighbours along the axis; south, north : v of those across.  ``inverse`` is 1 / r in cells.
    """
    half, viscosity, four_thirds, two_thirds = c[1], c[5], c[8], c[9]
    for n in range(out.size):
        around = four_thirds * v[n] * inverse - two_thirds * half * (east[n] - west[n] + north[n] - south[n])
        out[n] += rate * inverse * (p[n] - viscosity * m[n] * around)


@kernel
def _advance_row(
    out: Array, old: Array, new: Array, w: Array, a: int, b: int, stride: int, row: int,
    along: Array, below: Array, above: Array, s: Array, c: Array,
) -> None:  # fmt: skip
    """The ring of cells a..b, from fluxes that know nothing of rings yet but ``below``, which was ``above`` before."""
    nx = b - a
    g = np.empty(4, dtype=w.dtype)
    g[0], g[1], g[2], g[3] = row / (row + 0.5), (row + 1.0) / (row + 0.5), 1.0 / (row + 0.5), 1.0 / (row + 1.0)
    if c[7] != c[0]:
        x, y = a - 1, b + 1
        _ring_stress(
            w[1, x : b], w[1, a:y], w[2, x : b], w[2, a:y], w[7, x : b], w[7, a:y],
            along[1, : nx + 1], along[3, : nx + 1], g[2], c,
        )  # fmt: skip
        x, y = a + stride, b + stride
        _ring_stress(
            w[2, a:b], w[2, x:y], w[2, a:b], w[2, x:y], w[7, a:b], w[7, x:y], above[2, :nx], above[3, :nx], g[3], c
        )  # fmt: skip
    for k in range(6):
        _advance_ring(
            out[k, a:b], old[k, a:b], new[k, a:b],
            along[k, :nx], along[k, 1 : nx + 1], below[k, :nx], above[k, :nx], s, g,
        )  # fmt: skip
    _hoop(
        out[2, a:b], w[3, a:b], w[1, a - 1 : b - 1], w[1, a + 1 : b + 1], w[2, a - stride : b - stride],
        w[2, a + stride : b + stride], w[2, a:b], w[7, a:b], s[2], g[2], c,
    )  # fmt: skip


@kernel
def stage(
    out: Array, old: Array, new: Array, w: Array, stride: int, ny: int, s: Array, work: Array, c: Array, rings: bool
) -> None:
    """One stage: ``out = s[0] old + s[1] new - s[2] (differences of the fluxes of w)`` in every cell.

    out, old, new : [6, cells]; may be the same array.  w : [8, cells] with ghost cells filled.
    s : [3], the last dt / dx times the weight of the stage.  work : [30, stride] scratch.
    rings : whether the first row lies on an axis of symmetry
    """
    nx = stride - 4
    states, along, below, above = work[:12], work[12:18], work[18:24], work[24:30]
    first = 2 * stride + 2
    _faces(w, first - stride, first - stride + nx, stride, 1, 2, 1, below, states, c)
    for row in range(ny):
        a = first + row * stride
        b = a + nx
        _faces(w, a - 1, b, 1, stride, 1, 2, along, states, c)
        _faces(w, a, b, stride, 1, 2, 1, above, states, c)
        if rings:
            _advance_row(out, old, new, w, a, b, stride, row, along, below, above, s, c)
        else:
            for k in range(6):
                _advance(
                    out[k, a:b], old[k, a:b], new[k, a:b],
                    along[k, :nx], along[k, 1 : nx + 1], below[k, :nx], above[k, :nx], s,
                )  # fmt: skip
        below, above = above, below
