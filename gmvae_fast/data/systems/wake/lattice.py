"""D2Q9 lattice: velocities, weights, and the fused stream-and-collide sweep.

Populations are stored as deviations from rest, ``h_i = f_i - w_i`` (density 1), which keeps seven digits on the
fluctuation in float32 instead of on the background.  A grid of ``ny`` by ``nx`` fluid cells is stored flat with
one ghost cell on each side, ``stride = nx + 2``: cell (row, column) is at ``(row + 1) * stride + column + 1``.
The stored populations are those after collision; a sweep pulls them from the upstream cells, so every boundary
condition is a value written into the ghost (or solid) slot from which a fluid cell will pull.

Sources
-------
Geier, Greiner, Korvink, Phys. Rev. E 73, 066705 (2006) and De Rosis, Phys. Rev. E 95, 013310 (2017): collision
in central moments with the higher moments at equilibrium.  He & Luo, J. Stat. Phys. 88, 927 (1997): the
incompressible form, in which the pressure part w_i * drho carries no momentum.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._jit import kernel

Array = npt.NDArray[Any]

#: Lattice velocities [9]: rest, E, N, W, S, NE, NW, SW, SE.
CX = np.array([0, 1, 0, -1, 0, 1, -1, -1, 1])
CY = np.array([0, 0, 1, 0, -1, 1, 1, -1, -1])
#: Index of the opposite velocity [9].
OPPOSITE = np.array([0, 3, 4, 1, 2, 7, 8, 5, 6])
#: Quadrature weights [9].
WEIGHTS = np.array([4 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 9, 1 / 36, 1 / 36, 1 / 36, 1 / 36])
#: Squared speed of sound in lattice units.
SOUND_SPEED_SQUARED = 1.0 / 3.0


def lattice_constants(dtype: npt.DTypeLike) -> Array:
    """Literals of the sweep [6] in its own dtype: a Python float would promote float32 arithmetic to float64."""
    return np.array([1 / 3, 1 / 2, 1 / 4, 4 / 9, 1 / 9, 1 / 36], dtype=dtype)


def shear_retention(viscosity: float) -> float:
    """Factor ``1 - omega`` kept of the shear moments, with ``omega = 1 / (3 nu + 1/2)`` (nu in lattice units)."""
    return 1.0 - 1.0 / (3.0 * viscosity + 0.5)


@kernel
def _collide_span(
    f0: Array,
    f1: Array,
    f2: Array,
    f3: Array,
    f4: Array,
    f5: Array,
    f6: Array,
    f7: Array,
    f8: Array,
    g0: Array,
    g1: Array,
    g2: Array,
    g3: Array,
    g4: Array,
    g5: Array,
    g6: Array,
    g7: Array,
    g8: Array,
    keep: float,
    constants: Array,
) -> None:
    """Collide a span of cells; separate one-dimensional views are what lets LLVM vectorise the loop.

    f0..f8, g0..g8 : [cells], pulled populations and where to store the collided ones.
    """
    third, half, quarter = constants[0], constants[1], constants[2]
    w_rest, w_axis, w_corner = constants[3], constants[4], constants[5]
    for n in range(g0.size):
        a1, a3, a5, a6, a7, a8 = f1[n], f3[n], f5[n], f6[n], f7[n], f8[n]
        east = a1 + a5 + a8
        west = a3 + a6 + a7
        north = f2[n] + a5 + a6
        south = f4[n] + a7 + a8
        drho = f0[n] + f2[n] + f4[n] + east + west
        u = east - west
        v = north - south
        uu = u * u
        vv = v * v
        uv = u * v
        # Central moments after collision: shear relaxed, trace and orders three and four at equilibrium.
        shear = half * keep * (east + west - north - south - uu + vv)
        cross = keep * (a5 - a6 + a7 - a8 - uv)
        kxx = third + shear
        kyy = third - shear
        # Back to raw moments.
        m20 = shear + uu
        m02 = vv - shear
        m11 = cross + uv
        cu = cross * u
        cv = cross * v
        m21 = v * kxx + (cu + cu) + uu * v
        m12 = u * kyy + (cv + cv) + vv * u
        cuv = cu * v
        m22 = vv * kxx + uu * kyy + ((cuv + cuv) + (cuv + cuv)) + uu * vv
        # Back to populations; the pressure part w_i * drho is added apart (He & Luo).
        g0[n] = w_rest * drho - m20 - m02 + m22
        axis = w_axis * drho
        even = half * (m20 - m22) + axis
        odd = half * (u - m12)
        g1[n] = even + odd
        g3[n] = even - odd
        even = half * (m02 - m22) + axis
        odd = half * (v - m21)
        g2[n] = even + odd
        g4[n] = even - odd
        corner = w_corner * drho
        even = quarter * (m22 + m11) + corner
        odd = quarter * (m21 + m12)
        g5[n] = even + odd
        g7[n] = even - odd
        even = quarter * (m22 - m11) + corner
        odd = quarter * (m21 - m12)
        g6[n] = even + odd
        g8[n] = even - odd


@kernel
def stream_collide(f: Array, g: Array, stride: int, ny: int, keep: float, constants: Array) -> None:
    """One time step for all rows: pull from ``f`` [9, cells], collide, store in ``g`` [9, cells].

    The rows are one contiguous span; the ghost columns between them are swept along (their result is overwritten
    by the boundary conditions), which is cheaper than 18 slices a row.
    """
    a, b = stride + 1, stride * (ny + 1) - 1  # first to last fluid cell: every shifted slice stays inside
    _collide_span(
        f[0, a:b],
        f[1, a - 1 : b - 1],
        f[2, a - stride : b - stride],
        f[3, a + 1 : b + 1],
        f[4, a + stride : b + stride],
        f[5, a - stride - 1 : b - stride - 1],
        f[6, a - stride + 1 : b - stride + 1],
        f[7, a + stride + 1 : b + stride + 1],
        f[8, a + stride - 1 : b + stride - 1],
        g[0, a:b],
        g[1, a:b],
        g[2, a:b],
        g[3, a:b],
        g[4, a:b],
        g[5, a:b],
        g[6, a:b],
        g[7, a:b],
        g[8, a:b],
        keep,
        constants,
    )
