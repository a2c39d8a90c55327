"""A box of reacting gas: its arrays, its sides, and the time loop.

Units: pressure, density and temperature of the cold gas are 1 (so R = 1); lengths in half the height of the window.
Fuel F and oxygen O are in units of the stoichiometric mixture: F = phi, O = 1 before burning, and burning takes as
much of the one as of the other.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.systems._runs import Interrupted
from gmvae_fast.data.systems.wake.runs import SimulationError

from .boundaries import SIDES, fill_side
from .fluxes import GHOSTS, N_CONSERVED, N_PRIMITIVE, PRESSURE_FLOOR, fastest, gas_constants, primitives, stage
from .reaction import react

Floats = npt.NDArray[np.float64]
Side = Literal["open", "wall", "periodic", "axis"]


@dataclass(frozen=True)
class Gas:
    """Material constants; the defaults are those of the system.

    Parameters
    ----------
    gamma : ratio of specific heats; cp = gamma / (gamma - 1)
    heat : q, temperature rise of the stoichiometric mixture at constant pressure
    activation : Ta
    rate : A
    diffusivity : of heat and species at T = 1 (Le = 1); rho D grows as T^0.75; 0 for an ideal gas
    prandtl : viscosity over rho D
    """

    gamma: float = 1.3
    heat: float = 6.0
    activation: float = 75.0
    rate: float = 9.9e8
    diffusivity: float = 4e-4
    prandtl: float = 0.7

    def __post_init__(self) -> None:
        if not self.gamma > 1:
            raise ValueError(f"gamma must be above 1, got {self.gamma}")
        for name in ("heat", "activation", "rate", "diffusivity", "prandtl"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")

    @property
    def chemical_energy(self) -> float:
        """Energy released by burning a unit mass of F (with as much O): q cp."""
        return self.heat * self.gamma / (self.gamma - 1.0)


class Box:
    """A rectangle of square cells, or what it becomes when it turns around its lower side.

    Parameters
    ----------
    nx, ny : cells
    spacing : width of a cell
    gas : material
    sides : kinds of the (left and right, lower and upper) sides; with "axis" as the lower one the cells are rings
        around it: y is the distance from the axis, v the radial velocity
    dtype : "float32" or "float64"
    cfl : share of the largest stable time step

    Attributes
    ----------
    time : float
    q : conserved variables [6, cells], see :mod:`.fluxes`
    """

    def __init__(
        self,
        nx: int,
        ny: int,
        spacing: float,
        gas: Gas | None = None,
        sides: tuple[tuple[Side, Side], tuple[Side, Side]] = (("open", "open"), ("open", "open")),
        dtype: str = "float32",
        cfl: float = 0.8,
    ) -> None:
        if nx < 1 or ny < 1:
            raise ValueError(f"nx and ny must be at least 1, got {nx} and {ny}")
        if not spacing > 0:
            raise ValueError(f"spacing must be positive, got {spacing}")
        if not 0 < cfl < 1:
            raise ValueError(f"cfl must lie in (0, 1), got {cfl}")
        unknown = [side for pair in sides for side in pair if side not in SIDES]
        if unknown:
            raise ValueError(f"sides must be among {sorted(SIDES)}, got {unknown}")
        if "axis" in (*sides[0], sides[1][1]):
            raise ValueError(f"only the lower side can be the axis, got sides={sides}")
        self.nx, self.ny, self.spacing = nx, ny, spacing
        self.gas = Gas() if gas is None else gas
        self.sides, self.cfl, self.time = sides, cfl, 0.0
        self.axisymmetric = sides[1][0] == "axis"
        self.stride = nx + 2 * GHOSTS
        cells = self.stride * (ny + 2 * GHOSTS)
        self.q = np.ones((N_CONSERVED, cells), dtype=dtype)
        self._middle = np.ones_like(self.q)
        self._w = np.ones((N_PRIMITIVE, cells), dtype=dtype)
        self._work = np.ones((30, self.stride), dtype=dtype)
        self._constants = gas_constants(self.gas.gamma, self.gas.diffusivity, self.gas.prandtl, spacing, dtype)
        self._floor = np.full(1, PRESSURE_FLOOR, dtype=dtype)
        self._outside = [np.zeros((5, n)) for n in (ny, ny, self.stride, self.stride)]
        self.set_state(1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

    @property
    def centres(self) -> tuple[Floats, Floats]:
        """x [nx] from 0 and y [ny], about 0 or from the axis, of the cells' centres."""
        first = 0.0 if self.axisymmetric else 0.5 * self.ny
        x: Floats = (np.arange(self.nx, dtype=np.float64) + 0.5) * self.spacing
        y: Floats = (np.arange(self.ny, dtype=np.float64) + 0.5 - first) * self.spacing
        return x, y

    @property
    def lengths(self) -> Floats:
        """Extent of the cells of each row across the picture [ny, 1]: 1, or the circumference of the rings."""
        y = self.centres[1][:, None]
        return 2.0 * np.pi * y if self.axisymmetric else np.ones_like(y)

    def inner(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The cells [..., ny, nx] without ghosts of a flat array [..., cells], as a view."""
        grid = flat.reshape(*flat.shape[:-1], self.ny + 2 * GHOSTS, self.stride)
        return grid[..., GHOSTS:-GHOSTS, GHOSTS:-GHOSTS]

    def set_state(
        self,
        density: npt.ArrayLike,
        u: npt.ArrayLike,
        v: npt.ArrayLike,
        pressure: npt.ArrayLike,
        fuel: npt.ArrayLike,
        oxygen: npt.ArrayLike,
    ) -> None:
        """Set all cells; each argument broadcasts to [ny, nx].  The gas outside takes the state of the edge cells."""
        shape = (self.ny, self.nx)
        rho, a, b, p, f, o = (
            np.broadcast_to(np.asarray(x, dtype=np.float64), shape) for x in (density, u, v, pressure, fuel, oxygen)
        )
        if not ((rho > 0).all() and (p > 0).all()):
            raise ValueError("density and pressure must be positive in every cell")
        energy = p / (self.gas.gamma - 1.0) + 0.5 * rho * (a * a + b * b)
        for k, values in enumerate((rho, rho * a, rho * b, energy, rho * f, rho * o)):
            self.inner(self.q)[k] = values
        temperature = p / rho
        edges: tuple[Any, ...] = ((slice(None), 0), (slice(None), -1), (0, slice(None)), (-1, slice(None)))
        for outside, edge, inward in zip(self._outside, edges, (a, -a, b, -b), strict=True):
            values = np.stack([inward[edge], f[edge], o[edge], temperature[edge], p[edge]])
            extra = (outside.shape[1] - values.shape[1]) // 2
            outside[:] = np.pad(values, ((0, 0), (extra, extra)), mode="edge")

    def add_energy(self, density: npt.NDArray[Any]) -> None:
        """Deposit energy per area, or per volume around an axis, [ny, nx] at constant volume."""
        self.inner(self.q)[3] += density

    def outside_velocity(self, side: Literal["left", "right", "lower", "upper"], inward: float) -> None:
        """Change the velocity of the gas outside an open side; positive is into the box."""
        self._outside[("left", "right", "lower", "upper").index(side)][0] = inward

    def primitives(self) -> Floats:
        """rho, u, v, p, F, O, T as float64 [7, ny, nx]."""
        primitives(self.q, self._w, self._constants, self._floor)
        return self.inner(self._w)[:7].astype(np.float64)

    def totals(self) -> dict[str, float]:
        """Mass, energy (chemical included), element excess F - O, and burnt mass (1 - O) over the box."""
        q = (self.inner(self.q).astype(np.float64) * self.lengths).sum(axis=(1, 2)) * self.spacing**2
        return {
            "mass": float(q[0]),
            "energy": float(q[3] + self.gas.chemical_energy * q[4]),
            "excess": float(q[4] - q[5]),
            "burnt": float(q[0] - q[5]),
        }

    def advance(self, until: float, stop: threading.Event | None = None, name: str = "") -> int:
        """March to the time ``until`` exactly; the number of steps.

        Raises
        ------
        Interrupted
            ``stop`` was set.
        SimulationError
            The state became infinite or NaN; ``name`` says of what.
        """
        steps = 0
        while self.time < until - 1e-12:
            if stop is not None and stop.is_set():
                raise Interrupted
            steps += 1
            dt = min(self._prepare(self.q), until - self.time)
            if not dt > 0:
                raise SimulationError(
                    f"the gas blew up at time {self.time:.5g} {name}; use more cells or a weaker spark".strip()
                )
            self._step(dt)
            self.time += dt
        return steps

    def _prepare(self, q: npt.NDArray[Any]) -> float:
        """Fill ``w`` and its ghosts from ``q``; the largest stable time step (NaN for a broken state)."""
        primitives(q, self._w, self._constants, self._floor)
        self._fill()
        speed, spread = fastest(self._w, self.stride, self.ny, self._constants)
        # Compiled maxima skip NaN (fastmath); a sum does not.
        if not (np.isfinite(float(q[3].sum())) and 0 < speed < np.inf and spread < np.inf):
            return float("nan")
        # Conduction diffuses heat with gamma D (at constant volume); stress with 4/3 Pr D.
        diffusion = max(self.gas.gamma, 4 / 3 * self.gas.prandtl) * self.gas.diffusivity * spread
        # The sum of both restrictions: a cell may be limited by both.
        return float(self.cfl / (speed / self.spacing + 4.0 * diffusion / self.spacing**2))

    def _fill(self) -> None:
        nx, ny, stride, gamma = self.nx, self.ny, self.stride, self.gas.gamma
        first = GHOSTS * stride + GHOSTS
        (left, right), (lower, upper) = self.sides
        fill_side(self._w, first, ny, stride, 1, nx, 1, self._outside[0], SIDES[left], gamma)
        fill_side(self._w, first + nx - 1, ny, stride, -1, nx, 1, self._outside[1], SIDES[right], gamma)
        # Lower and upper sides take the corners too.
        row = GHOSTS * stride
        fill_side(self._w, row, stride, 1, stride, ny, 2, self._outside[2], SIDES[lower], gamma)
        row += (ny - 1) * stride
        fill_side(self._w, row, stride, 1, -stride, ny, 2, self._outside[3], SIDES[upper], gamma)

    def _step(self, dt: float) -> None:
        """Heun's method for transport (``w`` belongs to ``q``), then the reaction.

        Splitting is first order in the time step, which sound makes fifty times shorter than a flame needs; half
        steps of reaction on either side changed the planar flames by up to 1.5% (dx = 0.01) and cost a quarter more.
        """
        rate = dt / self.spacing
        self._stage(self._middle, self.q, (1.0, 0.0, rate))
        self._prepare(self._middle)
        self._stage(self.q, self._middle, (0.5, 0.5, 0.5 * rate))
        if self.gas.rate:
            g = self.gas
            react(self.q, self.stride, self.ny, dt, g.gamma, g.rate, g.activation, g.chemical_energy)

    def _stage(self, out: npt.NDArray[Any], new: npt.NDArray[Any], weights: tuple[float, float, float]) -> None:
        s = np.array(weights, dtype=self.q.dtype)
        stage(out, self.q, new, self._w, self.stride, self.ny, s, self._work, self._constants, self.axisymmetric)
