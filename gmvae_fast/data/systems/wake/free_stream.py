"""A cylinder in a uniform stream: many snapshots of each run, in units of the diameter and the stream velocity.

The domain has free-slip sides, so neighbouring images of the cylinder stand a domain height away: the blockage
(1/16 in the default domain) raises drag and shedding frequency by a few per cent.
"""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.cache import Arrays

from . import quantities as q
from .geometry import Cylinder, PixelGrid
from .runs import march
from .solver import Flow, FlowConfig

FIELD_NAMES = ("u", "v", "p")
#: Pixels of a snapshot, a tenth of a diameter wide: 12.8 D x 6.4 D from 1.6 D upstream of the centre.
GRID = (64, 128)
PIXEL = 0.1
UPSTREAM = 1.6
N_PHASE_BINS = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class StreamFlow:
    """The free stream on a lattice.

    Parameters
    ----------
    reynolds : float
        On the diameter and the stream velocity.
    cells_per_diameter : int
        A multiple of 10.
    lattice_velocity : float
    length, height : float
        Domain in diameters.
    upstream : float
        Distance from the inlet to the cylinder's centre in diameters; it stands half-way up.
    """

    reynolds: float
    cells_per_diameter: int
    lattice_velocity: float
    length: float
    height: float
    upstream: float
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.cells_per_diameter < 10 or self.cells_per_diameter % 10:
            raise ValueError(f"cells_per_diameter must be a multiple of 10, got {self.cells_per_diameter}")
        if not self.reynolds > 0:
            raise ValueError(f"reynolds must be positive, got {self.reynolds}")
        if not 0 < self.lattice_velocity <= 0.15:
            raise ValueError(f"lattice_velocity must lie in (0, 0.15], got {self.lattice_velocity}")

    @property
    def time_step(self) -> float:
        """One step in units of D / U."""
        return self.lattice_velocity / self.cells_per_diameter

    @property
    def cylinder(self) -> Cylinder:
        """The cylinder in cells."""
        d = float(self.cells_per_diameter)
        return Cylinder(self.upstream * d, 0.5 * self.height * d, d)

    def start(self) -> Flow:
        """Uniform stream with a small vortex behind the cylinder, above the axis, so that shedding starts early."""
        d = self.cells_per_diameter
        config = FlowConfig(
            nx=round(self.length * d),
            ny=round(self.height * d),
            viscosity=self.lattice_velocity * d / self.reynolds,
            velocity=self.lattice_velocity,
            cylinder=self.cylinder,
            ends="free_stream",
            sides="slip",
            dtype=self.dtype,
        )
        flow = Flow(config)
        y, x = (np.mgrid[: config.ny, : config.nx] + 0.5) / d
        dx, dy = x - self.upstream - 1.5, y - 0.5 * self.height - 0.25
        swirl = 0.5 * self.lattice_velocity * np.exp(-(dx**2 + dy**2))
        flow.set_state(0.0, self.lattice_velocity - swirl * dy, swirl * dx)
        return flow

    def even_steps(self, time: float) -> int:
        """Number of steps nearest to ``time`` (in D / U), even."""
        return 2 * round(0.5 * time / self.time_step)

    def coefficients(self, forces: Floats) -> Floats:
        """Drag and lift coefficients 2 F / (rho U^2 D) [steps, 2] from lattice forces."""
        return 2.0 * forces / (self.lattice_velocity**2 * self.cells_per_diameter)

    def physical(self, flow: Flow) -> tuple[Floats, Floats, Floats]:
        """Velocity and pressure, three [ny, nx], in units of U and rho U^2; pressure zero at the inlet's mean."""
        drho, u, v = flow.moments()
        pressure = (drho - drho[:, 0].mean()) / (3.0 * self.lattice_velocity**2)
        return u / self.lattice_velocity, v / self.lattice_velocity, np.where(flow.solid, 0.0, pressure)


@dataclass(frozen=True)
class StreamCase:
    """One run: ``n_snapshots`` at ``interval`` after ``start_time``, all times in D / U."""

    reynolds: float
    n_snapshots: int = 60
    cells_per_diameter: int = 20
    lattice_velocity: float = 0.1
    length: float = 24.0
    height: float = 16.0
    upstream: float = 8.0
    start_time: float = 90.0
    interval: float = 0.6
    #: Lift is recorded this long before the first and after the last snapshot: the analytic signal needs it.
    before: float = 30.0
    after: float = 5.0

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on."""
        return {"geometry": "free_stream", **asdict(self)}

    def run(self, stop: threading.Event) -> Arrays:
        """See :class:`runs.Case`."""
        stream = StreamFlow(
            self.reynolds,
            self.cells_per_diameter,
            self.lattice_velocity,
            self.length,
            self.height,
            self.upstream,
        )
        flow, parameters = stream.start(), self.parameters()
        history = [march(flow, stream.even_steps(self.start_time), stop, parameters)]
        moments, frames = [], []
        between = stream.even_steps(self.interval)
        for snapshot in range(self.n_snapshots):
            if snapshot:
                history.append(march(flow, between, stop, parameters))
            moments.append(sum(len(part) for part in history) - 1)
            frames.append(self._observe(stream, flow))
        history.append(march(flow, stream.even_steps(self.after), stop, parameters))
        coefficients = stream.coefficients(np.concatenate(history))
        return self._assemble(stream, frames, coefficients, np.array(moments))

    def _observe(self, stream: StreamFlow, flow: Flow) -> Arrays:
        u, v, p = stream.physical(flow)
        d = self.cells_per_diameter
        pixels = PixelGrid(
            column0=round((self.upstream - UPSTREAM) * d),
            row0=round((0.5 * self.height - 0.5 * GRID[0] * PIXEL) * d),
            width=GRID[1],
            height=GRID[0],
            cells=round(PIXEL * d),
        )
        rows = slice(pixels.row0, pixels.row0 + pixels.height * pixels.cells)
        columns = slice(pixels.column0, pixels.column0 + pixels.width * pixels.cells)
        u_window, v_window, fluid = u[rows, columns], v[rows, columns], ~flow.solid[rows, columns]
        fields, mask = pixels.average(np.stack([u, v, p]), ~flow.solid)
        return {
            "fields": fields.astype(np.float32),
            "mask": mask,
            "kinetic_energy": np.array(q.kinetic_energy(u_window, v_window, fluid)),
            "enstrophy": np.array(q.enstrophy(u_window, v_window, fluid, 1.0 / d)),
            "base_pressure": np.array(2.0 * q.surface_pressure(p, stream.cylinder)[1]),
        }

    def _assemble(self, stream: StreamFlow, frames: list[Arrays], coefficients: Floats, at: Any) -> Arrays:
        settled = coefficients[max(at[0] - stream.even_steps(self.before), 0) :]
        first = len(coefficients) - len(settled)
        wake = q.analyse_shedding(settled[:, 1], stream.time_step)
        phase = q.lift_phase(settled[:, 1])[at - first] if wake.shedding else np.full(len(at), np.nan)
        ones = np.ones(len(at))
        time = (at + 1) * stream.time_step
        values = {
            "Re": self.reynolds * ones,
            "log_Re": math.log(self.reynolds) * ones,
            "time": time,
            "drag": coefficients[at, 0],
            "lift": coefficients[at, 1],
            "Strouhal": wake.frequency * ones,
            **{
                name: np.array([frame[name] for frame in frames])
                for name in ("kinetic_energy", "enstrophy", "base_pressure")
            },
            "phase": phase,
            "sin_phase": np.sin(phase),
            "cos_phase": np.cos(phase),
        }
        bins = np.floor(np.nan_to_num(phase) / (2 * np.pi) * N_PHASE_BINS).astype(np.int64)
        labels = {
            "phase_bin": np.where(np.isfinite(phase), np.clip(bins, 0, N_PHASE_BINS - 1), -1),
            "shedding": np.full(len(at), int(wake.shedding)),
        }
        return {
            "fields": np.stack([frame["fields"] for frame in frames]),
            "time": time,
            "mask": frames[0]["mask"],
            **{f"quantities/{name}": value for name, value in values.items()},
            **{f"labels/{name}": value for name, value in labels.items()},
        }


def coordinates() -> dict[str, Floats]:
    """Pixel centres in diameters from the cylinder's centre."""
    x: Floats = (np.arange(GRID[1], dtype=np.float64) + 0.5) * PIXEL - UPSTREAM
    y: Floats = (np.arange(GRID[0], dtype=np.float64) + 0.5 - 0.5 * GRID[0]) * PIXEL
    return {"x": x, "y": y}
