"""The flows that are compared with the literature, each a function of its resolution that returns measurements."""

from __future__ import annotations

import math
import threading

import numpy as np
import numpy.typing as npt

from . import quantities as q
from .channel import ChannelFlow
from .free_stream import StreamFlow
from .runs import march
from .solver import Flow, FlowConfig

Measured = dict[str, float]


def taylor_green(stop: threading.Event, cells: int = 64, steps: int = 2000) -> Measured:
    """Decaying vortices carried by a uniform stream; the rate over the exact 2 nu k^2."""
    viscosity, stream, swirl = 0.01, 0.05, 0.02
    flow = Flow(FlowConfig(cells, cells, viscosity, stream))
    k = 2.0 * math.pi / cells
    y, x = np.mgrid[:cells, :cells]
    v = swirl * np.sin(k * x) * np.cos(k * y)
    flow.set_state(0.0, stream - swirl * np.cos(k * x) * np.sin(k * y), v)
    march(flow, steps, stop, {"case": "taylor_green"})
    ratio = float(np.sqrt(np.mean(flow.moments()[2] ** 2) / np.mean(v**2)))
    return {"decay rate": -math.log(ratio) / (2.0 * viscosity * k * k * steps)}


def poiseuille(stop: threading.Event, cells: int = 20) -> Measured:
    """Channel flow from rest to its steady state; the largest error of u over the exact peak."""
    velocity, viscosity, nx = 0.05, 0.1, 6 * cells
    edges = np.linspace(0.0, 1.0, 2 * cells + 1)
    config = FlowConfig(nx, cells, viscosity, velocity, ends="inlet", sides="wall")
    flow = Flow(config, profile=6.0 * edges * (1.0 - edges))
    march(flow, 40 * cells * cells, stop, {"case": "poiseuille"})
    y = (np.arange(cells) + 0.5) / cells
    u = flow.moments()[1][:, nx - cells] / velocity
    return {"largest error": float(np.abs(u - 6.0 * y * (1.0 - y)).max() / 1.5)}


def _benchmark_channel(reynolds: float, cells: int, velocity: float) -> tuple[ChannelFlow, Flow]:
    """Channel of Schaefer & Turek with the developed inlet profile everywhere."""
    channel = ChannelFlow(0.1 / reynolds, cells, velocity)
    flow = channel.start()
    y = (np.arange(flow.config.ny) + 0.5) / flow.config.ny
    flow.set_state(0.0, (velocity * 6.0 * y * (1.0 - y))[:, None], 0.0)
    return channel, flow


def channel_steady(stop: threading.Event, cells: int, velocity: float) -> Measured:
    """Schaefer-Turek 2D-1, Re 20; pressure drop in the units of the benchmark (mean velocity 0.2)."""
    channel, flow = _benchmark_channel(20.0, cells, velocity)
    parameters = {"case": "2D-1", "cells_per_diameter": cells}
    forces = march(flow, channel.even_steps(5.0), stop, parameters)
    late = channel.coefficients(forces[-channel.even_steps(1.0) :]).mean(axis=0)
    front, rear = q.surface_pressure(channel.physical(flow)[2], channel.cylinder)
    return {"drag": float(late[0]), "lift": float(late[1]), "pressure drop": 0.2**2 * (front - rear)}


def channel_shedding(stop: threading.Event, cells: int, velocity: float) -> Measured:
    """Schaefer-Turek 2D-2, Re 100, after 60 of 90 diameters passed."""
    channel, flow = _benchmark_channel(100.0, cells, velocity)
    parameters = {"case": "2D-2", "cells_per_diameter": cells}
    forces = march(flow, channel.even_steps(9.0), stop, parameters)
    late = channel.coefficients(forces[-channel.even_steps(3.0) :])
    wake = q.analyse_shedding(late[:, 1], channel.time_step)
    return {
        "largest drag": float(late[:, 0].max()),
        "largest lift": float(late[:, 1].max()),
        "Strouhal": 0.1 * wake.frequency,
    }


def channel_pulse(stop: threading.Event, cells: int, velocity: float) -> Measured:
    """Schaefer-Turek 2D-3: from rest, inlet growing and falling as sin(pi t / 8): the data's own set-up."""
    channel = ChannelFlow(1e-3, cells, velocity)
    flow = channel.start()
    steps = channel.even_steps(8.0)
    amplitude = np.sin(math.pi / 8.0 * channel.time_step * (np.arange(steps) + 1))
    forces = march(flow, steps, stop, {"case": "2D-3", "cells_per_diameter": cells}, amplitude)
    coefficients = channel.coefficients(forces)
    front, rear = q.surface_pressure(channel.physical(flow)[2], channel.cylinder)
    return {
        "largest drag": float(coefficients[:, 0].max()),
        "largest lift": float(coefficients[:, 1].max()),
        "final pressure drop": front - rear,
    }


def stream(
    stop: threading.Event,
    reynolds: float,
    cells: int,
    velocity: float,
    domain: tuple[float, float, float],
    end: float,
) -> Measured:
    """Free stream; domain = (length, height, upstream) in D; means over the last 40 D / U."""
    flow_of = StreamFlow(reynolds, cells, velocity, *domain)
    flow = flow_of.start()
    parameters = {"case": "free stream", "reynolds": reynolds, "cells_per_diameter": cells}
    forces = march(flow, flow_of.even_steps(end), stop, parameters)
    late: npt.NDArray[np.float64] = flow_of.coefficients(forces[-flow_of.even_steps(40.0) :])
    wake = q.analyse_shedding(late[:, 1], flow_of.time_step)
    # The mean over whole periods, or the ripple of drag leaks into it.
    crossings = q.upward_crossings(late[:, 1] - late[:, 1].mean(), 0.1 * float(late[:, 1].std()))
    whole = late[int(crossings[0]) : int(crossings[-1])] if len(crossings) > 1 else late
    return {"Strouhal": wake.frequency, "drag": float(whole[:, 0].mean()), "lift amplitude": wake.amplitude}
