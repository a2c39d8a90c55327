"""A flow on the lattice: its arrays, its boundaries, and the compiled time loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest

from . import boundaries as bc
from ._jit import driver
from .geometry import Cylinder, solid_mask, wall_links
from .lattice import CX, CY, Array, lattice_constants, shear_retention, stream_collide

Ends = Literal["periodic", "inlet", "free_stream"]
Sides = Literal["periodic", "wall", "slip"]
_END_CODES = {"periodic": 0, "inlet": 1, "free_stream": 2}
_SIDE_CODES = {"periodic": 0, "wall": 1, "slip": 2}


@dataclass(frozen=True)
class FlowConfig:
    """What a flow is, in lattice units.

    Parameters
    ----------
    nx, ny : int
        Fluid cells along and across the stream.
    viscosity : float
        Kinematic viscosity; must be positive.
    velocity : float
        Reference velocity: the free stream, and the scale of the inlet profile.
    cylinder : Cylinder or None
    ends : "periodic", "inlet" (given velocity profile, open outlet) or "free_stream" (uniform stream, both ends
        let pressure waves out).
    sides : "periodic", "wall" (no slip) or "slip".
    dtype : "float32" or "float64"
    """

    nx: int
    ny: int
    viscosity: float
    velocity: float
    cylinder: Cylinder | None = None
    ends: Ends = "periodic"
    sides: Sides = "periodic"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.nx < 4 or self.ny < 4:
            raise ValueError(f"nx and ny must be at least 4, got {self.nx} x {self.ny}")
        if not self.viscosity > 0:
            raise ValueError(f"viscosity must be positive, got {self.viscosity}")
        if self.ends not in _END_CODES:
            raise ValueError(
                f"ends must be one of {sorted(_END_CODES)}, got {self.ends!r}{nearest(self.ends, _END_CODES)}"
            )
        if self.sides not in _SIDE_CODES:
            raise ValueError(
                f"sides must be one of {sorted(_SIDE_CODES)}, got {self.sides!r}{nearest(self.sides, _SIDE_CODES)}"
            )
        if self.dtype not in ("float32", "float64"):
            hint = nearest(self.dtype, ("float32", "float64"))
            raise ValueError(f"dtype must be 'float32' or 'float64', got {self.dtype!r}{hint}")


class Flow:
    """State of one flow; :meth:`advance` moves it on and returns the force history."""

    def __init__(self, config: FlowConfig, profile: npt.ArrayLike | None = None) -> None:
        """Start from rest.

        profile : [2 ny + 1], inlet velocity over ``config.velocity`` at half-row spacing from the lower to the
            upper boundary (``ends="inlet"`` only; default 1 everywhere).
        """
        self.config = config
        self.stride = config.nx + 2
        self.populations = np.zeros((9, self.stride * (config.ny + 2)), dtype=config.dtype)
        self._spare = np.zeros_like(self.populations)
        self.solid = solid_mask(config.cylinder, config.nx, config.ny)
        self._links = wall_links(config.cylinder, config.nx, config.ny)
        first_column = np.arange(config.ny + 2) * self.stride
        self._idle = np.concatenate([self._links.solid, first_column])
        self._constants = lattice_constants(config.dtype)
        self._keep = self._constants.dtype.type(shear_retention(config.viscosity))
        points = 2 * config.ny + 1
        self._profile = np.ones(points) if profile is None else np.asarray(profile, dtype=np.float64)
        if self._profile.shape != (points,):
            raise ValueError(f"profile must have shape ({points},), got {self._profile.shape}")
        self._ghosts = np.zeros((2, 6, config.ny))  # inlet and outlet; see boundaries
        # Poinsot & Lele: slow enough to let waves pass, fast enough to hold the mean.
        self._rate = 2.0 * bc.SOUND_SPEED / config.nx

    def set_state(self, drho: npt.ArrayLike, u: npt.ArrayLike, v: npt.ArrayLike) -> None:
        """Set density deviation and velocity (each [ny, nx] or scalar) at equilibrium; solid cells stay at rest."""
        shape = (self.config.ny, self.config.nx)
        state = [np.where(self.solid, 0.0, np.broadcast_to(np.asarray(a, float), shape)) for a in (drho, u, v)]
        values = np.stack([np.broadcast_to(p, shape) for p in _equilibrium(*state)])
        grid = self._grid()
        grid[:, 1:-1, 1:-1] = values
        for side, column in ((0, 0), (1, -1)):
            self._ghosts[side, :3] = [state[0][:, column] / 3, state[1][:, column], state[2][:, column]]

    def advance(self, steps: int, amplitude: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """Advance by ``steps`` (even) time steps.

        amplitude : [steps], inlet velocity over ``profile * config.velocity`` at each step; default 1.
        Returns the force on the cylinder (x, y) at each step, [steps, 2], lattice units, density 1.
        """
        if steps < 0 or steps % 2:
            raise ValueError(f"steps must be even and not negative (buffers are swapped), got {steps}")
        scale = np.full(steps, self.config.velocity)
        if amplitude is not None:
            scale = scale * amplitude
        forces = np.zeros((steps, 2))
        links = self._links
        _advance(
            self.populations,
            self._spare,
            forces,
            scale,
            self._profile,
            self._ghosts,
            (links.target, links.source, links.second, links.weight, links.direction_x, links.direction_y),
            self._idle,
            self.stride,
            self.config.ny,
            self._keep,
            self._constants,
            _END_CODES[self.config.ends],
            _SIDE_CODES[self.config.sides],
            self._rate,
        )
        return forces

    def moments(self) -> tuple[Array, Array, Array]:
        """Density deviation and velocity, three float64 [ny, nx]; zero in solid cells."""
        grid = self._grid()[:, 1:-1, 1:-1].astype(np.float64)
        drho = grid.sum(axis=0)
        u = np.tensordot(CX.astype(float), grid, 1)
        v = np.tensordot(CY.astype(float), grid, 1)
        fluid = ~self.solid
        return drho * fluid, u * fluid, v * fluid

    def _grid(self) -> Array:
        return self.populations.reshape(9, self.config.ny + 2, self.stride)


def _equilibrium(drho: Array, u: Array, v: Array) -> tuple[Array, ...]:
    """Equilibrium populations of whole fields, through the same function as the kernels."""
    plain: Any = getattr(bc.equilibrium, "py_func", bc.equilibrium)
    return tuple(plain(drho, u, v))


@driver
def _advance(
    f: Array,
    g: Array,
    forces: Array,
    scale: Array,
    profile: Array,
    ghosts: Array,
    links: tuple[Array, ...],
    idle: Array,
    stride: int,
    ny: int,
    keep: float,
    constants: Array,
    ends: int,
    sides: int,
    rate: float,
) -> None:
    for step in range(scale.size):
        if ends == 0:
            bc.periodic_columns(f, stride, ny)
        elif ends == 1:
            bc.velocity_inlet(f, stride, ny, profile, scale[step])
            bc.open_outlet(f, stride, ny, ghosts[1], rate)
        else:
            bc.characteristic_inlet(f, stride, ny, ghosts[0], scale[step], rate)
            bc.open_outlet(f, stride, ny, ghosts[1], rate)
        # Sides come last: they own the four corner slots.
        if sides == 0:
            bc.periodic_rows(f, stride, ny)
        elif sides == 1:
            bc.wall_rows(f, stride, ny)
        else:
            bc.slip_rows(f, stride, ny)
        target, source, second, weight, direction_x, direction_y = links
        force_x, force_y = bc.curved_wall(f, target, source, second, weight, direction_x, direction_y)
        forces[step, 0] = force_x
        forces[step, 1] = force_y
        stream_collide(f, g, stride, ny, keep, constants)
        # Cells outside the fluid were swept along; left alone for long they would become a fluid of their own.
        if step % 8 == 0:
            _reset(g, idle)
        f, g = g, f


@driver
def _reset(f: Array, cells: Array) -> None:
    for i in range(9):
        for n in cells:
            f[i, n] = 0.0
