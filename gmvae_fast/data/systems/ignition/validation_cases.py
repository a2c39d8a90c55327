"""What the solver is compared with: each a function that returns measurements."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import j0

from .jet import Jet, Spark, start
from .schlieren import path_integral
from .solver import Box, Gas, Side

Measured = dict[str, float]
Floats = npt.NDArray[np.float64]

#: Blast energies for which the shock of a line (per unit length) reaches 0.75 and that of a point 1 at time 1, in a gas
#: with gamma 1.4 and density 1 (Kamm & Timmes, LA-UR-07-2849, 2007).
SEDOV_LINE, SEDOV_POINT = 0.311357, 0.851072
#: Burning rates rho_u S_L of planar flames at pressure 1 by equivalence ratio, from a prototype of the same model.
FLAMES = {1.0: 0.053, 0.9: 0.038, 0.8: 0.024, 0.7: 0.0126, 0.6: 0.0052}


def riemann_solution(left: tuple[float, ...], right: tuple[float, ...], gamma: float, xi: Floats) -> Floats:
    """Exact solution [3, n] (rho, u, p) at xi = x / t of two states (rho, u, p); Toro's book, chapter 4."""

    def sound(state: tuple[float, ...]) -> float:
        return math.sqrt(gamma * state[2] / state[0])

    def velocity_change(p: float, state: tuple[float, ...]) -> float:
        rho, _, pressure = state
        if p > pressure:
            a, b = 2.0 / ((gamma + 1.0) * rho), pressure * (gamma - 1.0) / (gamma + 1.0)
            return (p - pressure) * math.sqrt(a / (p + b))
        change = 2.0 * sound(state) / (gamma - 1.0) * ((p / pressure) ** ((gamma - 1.0) / (2.0 * gamma)) - 1.0)
        return float(change)

    def jump(p: float) -> float:
        return velocity_change(p, left) + velocity_change(p, right) + right[1] - left[1]

    p_star = float(brentq(jump, 1e-12, 1e3 * max(left[2], right[2]), xtol=1e-14, rtol=1e-14))
    u_star = 0.5 * (left[1] + right[1] + velocity_change(p_star, right) - velocity_change(p_star, left))
    solution = np.empty((3, len(xi)))
    # The right half is the left half of the mirrored problem.
    for state, sign in ((left, 1.0), (right, -1.0)):
        part = sign * xi <= sign * u_star
        solution[:, part] = _left_of_contact(state, sign, p_star, sign * u_star, gamma, sign * xi[part])
    return solution


def _left_of_contact(
    state: tuple[float, ...], sign: float, p_star: float, u_star: float, gamma: float, xi: Floats
) -> Floats:
    """Solution [3, n] between ``state`` and the contact, mirrored where ``sign`` is -1."""
    rho, u, p = state[0], sign * state[1], state[2]
    c, ratio, g = math.sqrt(gamma * p / rho), p_star / p, (gamma - 1.0) / (gamma + 1.0)
    out = np.empty((3, len(xi)))
    if ratio > 1.0:
        speed = u - c * math.sqrt((gamma + 1.0) / (2.0 * gamma) * ratio + (gamma - 1.0) / (2.0 * gamma))
        behind = (rho * (ratio + g) / (g * ratio + 1.0), u_star, p_star)
        out[:] = np.where(xi < speed, np.array([[rho], [u], [p]]), np.array(behind)[:, None])
    else:
        c_star = c * ratio ** ((gamma - 1.0) / (2.0 * gamma))
        factor = np.clip(2.0 / (gamma + 1.0) + g / c * (u - xi), c_star / c, 1.0)  # local c over c
        out[0] = rho * factor ** (2.0 / (gamma - 1.0))
        out[1] = u + 2.0 * c / (gamma - 1.0) * (1.0 - factor)
        out[2] = p * factor ** (2.0 * gamma / (gamma - 1.0))
    out[1] *= sign
    return out


def sod(stop: threading.Event, cells: int, gamma: float = 1.4) -> Measured:
    """Sod's tube at t = 0.2; mean errors of density, velocity and pressure."""
    left, right = (1.0, 0.0, 1.0), (0.125, 0.0, 0.1)
    box = Box(
        cells, 1, 1.0 / cells, Gas(gamma=gamma, diffusivity=0.0, rate=0.0),
        sides=(("open", "open"), ("periodic", "periodic")), dtype="float64",
    )  # fmt: skip
    x = box.centres[0]
    first = x < 0.5
    box.set_state(np.where(first, left[0], right[0]), 0.0, 0.0, np.where(first, left[2], right[2]), 0.0, 0.0)
    box.advance(0.2, stop, "in Sod's tube")
    exact = riemann_solution(left, right, gamma, (x - 0.5) / 0.2)
    error = np.abs(box.primitives()[[0, 1, 3], 0] - exact).mean(axis=1)
    return {f"error of {name}": float(e) for name, e in zip(("density", "velocity", "pressure"), error, strict=True)}


def blast(stop: threading.Event, cells: int, kind: str = "line") -> Measured:
    """Blast in nearly cold gas: exponent of the shock's radius from t = 0.3 to 1, and the radius at 1.

    kind : "line", across the picture, of which one quarter is computed between walls through the centre; "point", half
        of it around an axis from a wall through the centre; or "axis", a line along the axis, the same all along it.

    The radius is that of a circle with the area of the shocked gas, where the pressure exceeds a quarter of its largest
    value: at the centre it stays above 0.4 of it (line) or 0.3 (point).
    """
    sides: dict[str, Any] = {"line": (("wall", "open"),) * 2, "point": (("wall", "open"), ("axis", "open"))}
    sides["axis"] = (("periodic", "periodic"), ("axis", "open"))
    nx, size = (4 if kind == "axis" else cells), (1.1 if kind == "point" else 1.0)
    gas = Gas(gamma=1.4, diffusivity=0.0, rate=0.0)
    box = Box(nx, cells, size / cells, gas, sides=sides[kind], dtype="float64")
    box.set_state(1.0, 0.0, 0.0, 1e-4, 0.0, 0.0)
    # From the left lower corner, whether the box knows an axis or not.
    x = np.zeros(nx) if kind == "axis" else (np.arange(nx) + 0.5) * box.spacing
    y = (np.arange(cells)[:, None] + 0.5) * box.spacing
    spot = np.exp(-((x**2 + y**2) / (3.0 * box.spacing) ** 2))
    energy = {"line": 0.25 * SEDOV_LINE, "point": 0.5 * SEDOV_POINT, "axis": SEDOV_LINE * nx * box.spacing}[kind]
    box.add_energy(energy * spot / ((spot * box.lengths).sum() * box.spacing**2))
    times, radii = np.geomspace(0.3, 1.0, 8), []
    for time in times:
        box.advance(float(time), stop, "in the blast")
        pressure = box.primitives()[3]
        shocked = pressure > 0.25 * pressure.max()
        quarter = math.sqrt(4.0 / math.pi * float(shocked.sum())) * box.spacing
        radii.append(float(shocked.sum()) / nx * box.spacing if kind == "axis" else quarter)
    exponent = np.polyfit(np.log(times), np.log(radii), 1)[0]
    return {"exponent": float(exponent), "radius at 1": radii[-1]}


def flame(stop: threading.Event, phi: float, spacing: float) -> Measured:
    """Mass burning rate rho_u S_L of a planar flame at pressure 1, running from an open hot end to a closed one.

    The unburnt gas is at rest at the closed end; the burnt gas leaves through the open one, whose outer velocity
    follows the gas so that no pressure builds up (closing the hot end instead raises the pressure by half, for
    this flame is fast compared with sound).  The rate is the increase of burnt mass, with what has left, over the
    last half of the run and over the progress (1 or phi) of complete burning.
    """
    sides: Any = (("open", "wall"), ("periodic", "periodic"))
    speed = FLAMES.get(phi, 0.06)
    thickness = Gas().diffusivity / speed
    box = Box(round((0.5 + 12.0 * thickness) / spacing), 1, spacing, sides=sides, dtype="float64")
    x = box.centres[0]
    done = min(phi, 1.0)
    hot = 0.5 * (1.0 - np.tanh((x - 0.1 - 4.0 * thickness) / (2.0 * thickness)))
    box.set_state(1.0 / (1.0 + box.gas.heat * done * hot), 0.0, 0.0, 1.0, phi - done * hot, 1.0 - done * hot)
    times, unburnt, pressure = np.linspace(0.0, 0.265 / speed, 401), [], []
    for time in times:
        box.advance(float(time), stop, f"in the flame at phi = {phi}")
        state = box.primitives()[:, 0]
        rho, u, _, p = state[:4, :10].mean(axis=1)
        box.outside_velocity("left", min(0.0, u - 2.0 * (p - 1.0) / math.sqrt(box.gas.gamma * rho * p)))
        pressure.append(state[3].mean())
        unburnt.append(float((state[0] * (state[5] if phi >= 1 else state[4])).sum()) * spacing)
    late = slice(200, None)
    slope = np.polyfit(times[late], np.array(unburnt)[late], 1)[0] / done
    return {"rho_u S_L": -float(slope), "pressure": float(np.mean(pressure[late]))}


def closed_box(stop: threading.Event, cells: int, end: float, axisymmetric: bool = False) -> Measured:
    """A spark that burns in a closed box, or can: relative drift of mass, energy and elements, and the burnt mass.

    Energy counts what is chemically bound, the element excess is that of F over O: both outlast the reaction.
    """
    spacing = 1.0 / cells
    wall: tuple[Side, Side] = ("wall", "wall")
    lower: tuple[Side, Side] = ("axis", "wall") if axisymmetric else wall
    box = Box(cells, cells // 2 if axisymmetric else cells, spacing, sides=(wall, lower), dtype="float64")
    x, y = box.centres
    fuel = 0.5 * (1.0 - np.tanh((np.abs(y) - 0.3) / 0.05))
    box.set_state(1.0, 0.0, 0.0, 1.0, fuel[:, None], 1.0)
    spot = np.exp(-((x - 0.45) ** 2 + (y[:, None] - 0.05) ** 2) / 0.06**2)
    energy = 0.05 if axisymmetric else 0.25
    box.add_energy(energy * spot / ((spot * box.lengths).sum() * spacing**2))
    before = box.totals()
    box.advance(end, stop, "in the closed box")
    after = box.totals()
    drift = {name: abs(after[name] / before[name] - 1.0) for name in ("mass", "energy", "excess")}
    return {**{f"drift of {name}": value for name, value in drift.items()}, "burnt mass": after["burnt"]}


def spark_blast(stop: threading.Event, cells: int, axisymmetric: bool = False) -> Measured:
    """The default spark's wave at late times: its speed over that of sound on the axis (it has become weak), and
    what the open sides send back: the largest pressure above 1 after it has left, over that while it crosses."""
    energy = 0.01 if axisymmetric else 0.15
    spark = Spark(energy, 1.0, 0.0, 0.0)
    box = start(cells, Jet(phi=0.0, velocity=0.0), spark, dtype="float64", axisymmetric=axisymmetric)
    times, radii, crossing = np.linspace(0.5, 0.75, 6), [], 0.0
    for time in times:
        box.advance(float(time), stop, "in the spark's blast")
        row = box.primitives()[3, 0 if axisymmetric else cells // 2, cells // 2 :]
        peak = int(row.argmax())
        radii.append((peak + 0.5) * box.spacing)
        crossing = max(crossing, float(row[peak]) - 1.0)
    box.advance(2.0, stop, "after the spark's blast")
    late = float(np.abs(box.primitives()[3] - 1.0).max())
    speed = np.polyfit(times, radii, 1)[0] / math.sqrt(box.gas.gamma)
    return {"speed over sound": float(speed), "reflected": late / crossing}


#: First zero of the Bessel function J1: J0 of it times the radius is flat at a wall at 1.
BESSEL_ZERO = 3.831705970207512


def radial_modes(stop: threading.Event, cells: int, end: float = 8.0) -> Measured:
    """Decay of J0(k r) in temperature, in a species and in the axial velocity, over the exact exp(-D k^2 t)."""
    # Conduction starts at constant volume, which leaves sound behind, a share of the mode that grows with diffusivity.
    diffusivity, amplitude = 0.004, 1e-3
    gas = Gas(rate=0.0, diffusivity=diffusivity)
    box = Box(4, cells, 1.0 / cells, gas, sides=(("periodic", "periodic"), ("axis", "wall")), dtype="float64")
    mode = j0(BESSEL_ZERO * box.centres[1])[:, None]
    box.set_state(1.0 / (1.0 + amplitude * mode), amplitude * mode, 0.0, 1.0, 0.5 + amplitude * mode, 1.0)
    box.advance(end, stop, "in the radial modes")
    state, weight = box.primitives(), mode * box.lengths
    left = {
        name: float(((state[k] - mean) * weight).sum() / (4 * amplitude * (mode * weight).sum()))
        for name, k, mean in (("temperature", 6, 1.0), ("species", 4, 0.5), ("velocity", 1, 0.0))
    }
    rates = {"temperature": diffusivity, "species": diffusivity, "velocity": gas.prandtl * diffusivity}
    return {f"decay of {name}": left[name] / math.exp(-rates[name] * BESSEL_ZERO**2 * end) for name in left}


def line_of_sight(stop: threading.Event, n: int) -> Measured:
    """Largest errors of path integrals: of a Gaussian over sqrt(pi) a exp(-(y/a)^2), of a ball over its mean chord."""
    del stop
    y = (np.arange(n) + 0.5) / n
    width, radius = 0.25, 0.5
    gauss = path_integral(np.exp(-((y / width) ** 2))[:, None], 1.0 / n)[n:, 0]
    ball = path_integral((y < radius).astype(np.float64)[:, None], 1.0 / n)[n:, 0]
    exact = math.sqrt(math.pi) * width * np.exp(-((y / width) ** 2))
    chord = 2.0 * np.sqrt(np.maximum(radius**2 - y**2, 0.0))
    return {
        "error of a Gaussian": float(np.abs(gauss - exact).max()) / (math.sqrt(math.pi) * width),
        "error of a ball": float(np.abs(ball - chord).mean() / chord.mean()),
    }
