"""Knife-edge Schlieren pictures of a planar gas, as a camera records them."""

from __future__ import annotations

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
    depth : length of the path through the planar gas
    luminosity : brightness by a unit of temperature above 11, per unit of depth
    vignetting : loss of brightness in the corners
    electrons : collected in a pixel at full brightness
    read_noise : in electrons
    """

    knife: Knife = "x"
    gain: float = 0.12
    depth: float = 1.0
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


def brightness(density: Floats, temperature: Floats, spacing: float, optics: Optics) -> Floats:
    """Light on the sensor, 0 to 1 (undisturbed 0.5), before vignetting and noise: [ny, nx]."""
    gradient = np.gradient(optics.depth * density, spacing, axis=1 if optics.knife == "x" else 0)
    light: Floats = 0.5 * np.clip(1.0 + optics.gain * gradient, 0.0, 2.0)
    glow = optics.luminosity * optics.depth * np.maximum(temperature - LUMINOUS_TEMPERATURE, 0.0)
    return np.minimum(light + glow, 1.0)


def picture(
    density: Floats, temperature: Floats, spacing: float, pixels: int, optics: Optics, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """What the camera stores, [pixels, pixels]: binned, vignetted, with Poisson and read noise, in 8 bits."""
    light = bin_down(brightness(density, temperature, spacing, optics), len(density) // pixels)
    across = np.linspace(-1.0, 1.0, pixels)
    light *= 1.0 - 0.5 * optics.vignetting * (across**2 + across[:, None] ** 2)
    collected = rng.poisson(optics.electrons * light) + optics.read_noise * rng.standard_normal(light.shape)
    return np.clip(np.rint(255.0 * collected / optics.electrons), 0, 255).astype(np.uint8)
