"""Knife-edge Schlieren pictures of a planar or axisymmetric gas, as a camera records them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Knife = Literal["x", "y"]


@dataclass(frozen=True)
class Optics:
    """The bench and the camera.

    Parameters
    ----------
    knife : direction of the density gradient that is seen
    gain : change of brightness, over the undisturbed one, by a unit of the path integral's gradient; clipped at
        dark and at twice the undisturbed brightness (all light cut off, all let through)
    depth : length of the path through a planar gas
    axisymmetric : whether rows are rings around the axis of the picture; light then crosses all of them on its way
    luminosity : brightness by a unit of temperature above 11, per unit of the path
    vignetting : loss of brightness in the corners
    electrons : collected in a pixel at full brightness
    read_noise : in electrons
    """

    knife: Knife = "x"
    gain: float = 0.12
    depth: float = 1.0
    axisymmetric: bool = False
    luminosity: float = 0.25
    vignetting: float = 0.25
    electrons: float = 4000.0
    read_noise: float = 12.0

    def __post_init__(self) -> None:
        if self.knife not in ("x", "y"):
            raise ValueError(f"knife must be 'x' or 'y', got {self.knife!r}")


LUMINOUS_TEMPERATURE = 11.0


def bin_down(values: Floats, factor: int) -> Floats:
    """Means over squares of ``factor`` cells: [..., n f, m f] to [..., n, m]."""
    *head, height, width = values.shape
    means: Floats = values.reshape(*head, height // factor, factor, width // factor, factor).mean(axis=(-3, -1))
    return means


@functools.lru_cache(maxsize=8)
def _path_weights(n: int) -> Floats:
    """Weights [n, n] of the values in n rings in the path integral at height i + 1/2, for rings of width 1.

    Values are linear between the middles of the rings and constant in the outer half of the last one; the integral
    2 f(r) r / sqrt(r^2 - y^2) dr over each piece is exact.
    """
    centres = np.arange(n) + 0.5
    r, y = np.concatenate([centres, [float(n)]]), centres[:, None]
    root = np.sqrt(np.maximum(r**2 - y**2, 0.0))
    constant = np.diff(root, axis=1)  # of 1, between neighbouring r
    linear = np.diff(0.5 * (r * root + y**2 * np.log(r + root)), axis=1)  # of r
    rising = np.where(r[:-1] >= y, linear - r[:-1] * constant, 0.0)
    falling = np.where(r[:-1] >= y, constant, 0.0) - rising
    falling[:, -1] += rising[:, -1]
    weights: Floats = 2.0 * falling
    weights[:, 1:] += 2.0 * rising[:, :-1]
    return weights


def path_integral(values: Floats, spacing: float) -> Floats:
    """Abel transform: integral along the line of sight of values [nr, nx] in rings, as the picture [2 nr, nx].

    ``values`` are nothing outside the last ring.
    """
    half: Floats = spacing * (_path_weights(len(values)) @ values)
    return np.concatenate([half[::-1], half])


def brightness(density: Floats, temperature: Floats, spacing: float, optics: Optics) -> Floats:
    """Light on the sensor, 0 to 1 (undisturbed 0.5), before vignetting and noise: [ny, nx], or [2 ny, nx] of rings."""
    heat = np.maximum(temperature - LUMINOUS_TEMPERATURE, 0.0)
    if optics.axisymmetric:
        # The undisturbed gas, density 1, goes on outside the window; it deflects no light.
        column, hot = path_integral(density - 1.0, spacing), path_integral(heat, spacing)
    else:
        column, hot = optics.depth * density, optics.depth * heat
    gradient = np.gradient(column, spacing, axis=1 if optics.knife == "x" else 0)
    light: Floats = 0.5 * np.clip(1.0 + optics.gain * gradient, 0.0, 2.0)
    return np.minimum(light + optics.luminosity * hot, 1.0)


def picture(
    density: Floats, temperature: Floats, spacing: float, pixels: int, optics: Optics, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """What the camera stores, [pixels, pixels]: binned, vignetted, with Poisson and read noise, in 8 bits."""
    light = brightness(density, temperature, spacing, optics)
    light = bin_down(light, len(light) // pixels)
    across = np.linspace(-1.0, 1.0, pixels)
    light *= 1.0 - 0.5 * optics.vignetting * (across**2 + across[:, None] ** 2)
    collected = rng.poisson(optics.electrons * light) + optics.read_noise * rng.standard_normal(light.shape)
    return np.clip(np.rint(255.0 * collected / optics.electrons), 0, 255).astype(np.uint8)
