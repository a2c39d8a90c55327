"""The channel of Schaefer & Turek with a cylinder, and the published run in it.

Lengths are those of the benchmark (channel 2.2 x 0.41, cylinder of diameter 0.1 at (0.2, 0.2)); velocities are in
units of the peak mean inlet velocity, density 1, pressure zero at the outlet.  ("Benchmark computations of laminar
flow around a cylinder", Notes on Numerical Fluid Mechanics 52, 547 (1996).)
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

LENGTH, HEIGHT, DIAMETER, CENTRE = 2.2, 0.41, 0.1, 0.2
FIELD_NAMES = ("u", "v", "p")
#: Pixels of the published snapshots, 0.01 wide.
GRID = (41, 220)
PIXEL = 0.01

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ChannelFlow:
    """The channel on a lattice: conversion between physical and lattice units.

    Parameters
    ----------
    viscosity : float
        Physical kinematic viscosity, for a mean inlet velocity of 1 at its peak.
    cells_per_diameter : int
        A multiple of 10, so that walls lie half-way between cells and pixels are whole cells.
    lattice_velocity : float
        The peak mean inlet velocity in lattice units; the Mach number at the peak of the profile is 2.6 times it.
    """

    viscosity: float
    cells_per_diameter: int
    lattice_velocity: float
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.cells_per_diameter < 10 or self.cells_per_diameter % 10:
            raise ValueError(f"cells_per_diameter must be a multiple of 10, got {self.cells_per_diameter}")
        if not 0 < self.lattice_velocity <= 0.15:
            raise ValueError(f"lattice_velocity must lie in (0, 0.15], got {self.lattice_velocity}")

    @property
    def spacing(self) -> float:
        """Cell width."""
        return DIAMETER / self.cells_per_diameter

    @property
    def time_step(self) -> float:
        """Physical time of one step."""
        return self.lattice_velocity * self.spacing

    @property
    def cylinder(self) -> Cylinder:
        """The cylinder in cells."""
        return Cylinder(CENTRE / self.spacing, CENTRE / self.spacing, float(self.cells_per_diameter))

    def start(self) -> Flow:
        """The flow at rest."""
        config = FlowConfig(
            nx=round(LENGTH / self.spacing),
            ny=round(HEIGHT / self.spacing),
            viscosity=self.viscosity * self.lattice_velocity / self.spacing,
            velocity=self.lattice_velocity,
            cylinder=self.cylinder,
            ends="inlet",
            sides="wall",
            dtype=self.dtype,
        )
        y = np.linspace(0.0, HEIGHT, 2 * config.ny + 1)
        return Flow(config, profile=6.0 * y * (HEIGHT - y) / HEIGHT**2)

    def even_steps(self, time: float) -> int:
        """Number of steps nearest to ``time``, even."""
        return 2 * round(0.5 * time / self.time_step)

    def coefficients(self, forces: Floats) -> Floats:
        """Drag and lift coefficients 2 F / (rho U^2 D) [steps, 2] from lattice forces, U the peak mean velocity."""
        return 2.0 * forces / (self.lattice_velocity**2 * self.cells_per_diameter)

    def physical(self, flow: Flow) -> tuple[Floats, Floats, Floats]:
        """Velocity and pressure, three [ny, nx], in units of the peak mean velocity and density 1."""
        drho, u, v = flow.moments()
        return u / self.lattice_velocity, v / self.lattice_velocity, drho / (3.0 * self.lattice_velocity**2)


@dataclass(frozen=True)
class ChannelCase:
    """One published run: from rest, inlet u = 6 sin(pi t / 8) y (0.41 - y) / 0.41^2, viscosity 1 / "Re".

    ``reynolds`` is the published "Re"; on the diameter and the mean velocity at its peak it is a tenth of that.
    """

    reynolds: float
    cells_per_diameter: int = 20
    lattice_velocity: float = 0.08
    end_time: float = 5.0

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on."""
        return {"geometry": "channel", **asdict(self)}

    def run(self, stop: threading.Event) -> Arrays:
        """One snapshot at ``end_time``; see :class:`runs.Case`."""
        channel = ChannelFlow(1.0 / self.reynolds, self.cells_per_diameter, self.lattice_velocity)
        flow = channel.start()
        steps = channel.even_steps(self.end_time)
        time = (np.arange(steps) + 1) * channel.time_step
        forces = march(flow, steps, stop, self.parameters(), np.sin(math.pi * time / 8.0))
        return self._observe(channel, flow, channel.coefficients(forces))

    def _observe(self, channel: ChannelFlow, flow: Flow, coefficients: Floats) -> Arrays:
        u, v, p = channel.physical(flow)
        fluid = ~flow.solid
        pixels = PixelGrid(0, 0, GRID[1], GRID[0], self.cells_per_diameter // 10)
        fields, mask = pixels.average(np.stack([u, v, p]), fluid)
        front, rear = q.surface_pressure(p, channel.cylinder)
        values = {
            "Re": self.reynolds,
            "log_Re": math.log(self.reynolds),
            "Re_D": self.reynolds * DIAMETER,
            "time": self.end_time,
            "drag": coefficients[-1, 0],
            "lift": coefficients[-1, 1],
            "kinetic_energy": q.kinetic_energy(u, v, fluid),
            "enstrophy": q.enstrophy(u, v, fluid, channel.spacing / DIAMETER),
            "base_pressure": 2.0 * rear,
            "pressure_drop": front - rear,
        }
        return {
            "fields": fields[None].astype(np.float32),
            "time": np.array([self.end_time]),
            "mask": mask,
            **{f"quantities/{name}": np.array([value]) for name, value in values.items()},
        }


def coordinates() -> dict[str, Floats]:
    """Pixel centres of the published grid."""
    x: Floats = (np.arange(GRID[1], dtype=np.float64) + 0.5) * PIXEL
    y: Floats = (np.arange(GRID[0], dtype=np.float64) + 0.5) * PIXEL
    return {"x": x, "y": y}
