"""One run: a spark in the jet, recorded frame by frame."""

from __future__ import annotations

import math
import threading
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.cache import Arrays
from gmvae_fast.data.systems.wake.runs import SimulationError

from .jet import WINDOW, Jet, Spark, start
from .outcomes import HOT, outcome, stages
from .schlieren import Knife, Optics, picture
from .solver import Box

Floats = npt.NDArray[np.float64]

#: A run whose hot area passes this, or that reaches the border, by this time detonated: an artefact of a flame too
#: fast for its sound.
DETONATION_AREA = 1.0
DETONATION_TIME = 0.3
#: The run ends when hot gas comes this close to the border of the window.
BORDER = 0.04
#: Gain of the bench by whether the gas is axisymmetric: the path through a round jet is shorter.
GAIN = {False: 0.12, True: 0.3}
MEASURED = ("hot_area", "max_temperature", "burnt_mass", "max_pressure")


@dataclass(frozen=True)
class IgnitionCase:
    """One run; frames stand ``interval`` apart, the first right after the spark.

    ``cells`` is a multiple of ``pixels``, and even where the gas is ``axisymmetric``.
    """

    energy: float
    phi: float
    spark_x: float
    spark_y: float
    tilt: float
    half_width: float = 0.3
    velocity: float = 0.2
    noise_seed: int = 0
    knife: Knife = "x"
    cells: int = 192
    pixels: int = 96
    n_frames: int = 40
    interval: float = 0.06
    axisymmetric: bool = False

    def __post_init__(self) -> None:
        if self.cells % self.pixels:
            raise ValueError(f"cells must be a multiple of pixels, got {self.cells} and {self.pixels}")
        if self.axisymmetric and self.cells % 2:
            raise ValueError(f"cells must be even around an axis, got {self.cells}")

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on."""
        return asdict(self)

    def run(self, stop: threading.Event) -> Arrays | None:
        """See :class:`gmvae_fast.data.systems._runs.Case`; None for a detonation."""
        spark = Spark(self.energy, self.spark_x, self.spark_y, self.tilt)
        box = start(self.cells, Jet(self.phi, self.half_width, self.velocity), spark, axisymmetric=self.axisymmetric)
        optics = Optics(knife=self.knife, gain=GAIN[self.axisymmetric], axisymmetric=self.axisymmetric)
        rng = np.random.default_rng(self.noise_seed)
        pictures, rows, reached = [], [], False
        # A short record must not decide what is a detonation.
        for frame in range(max(self.n_frames, 1 + math.floor(DETONATION_TIME / self.interval + 1e-9))):
            box.advance(frame * self.interval, stop, f"in the run with parameters {self.parameters()}")
            state = box.primitives()
            row, reached = self._measure(box, state)
            if box.time <= DETONATION_TIME + 1e-9 and (reached or row["hot_area"] > DETONATION_AREA):
                return None
            if reached:
                break
            if frame >= self.n_frames:
                continue
            pictures.append(picture(state[0], state[6], box.spacing, self.pixels, optics, rng))
            rows.append(row)
        return self._assemble(pictures, rows, reached)

    def _measure(self, box: Box, state: Floats) -> tuple[dict[str, float], bool]:
        hot = state[6] > HOT
        rim = max(1, round(BORDER / box.spacing))
        area = box.spacing**2
        row = {
            # Of the section through the axis, which has two halves.
            "hot_area": float(hot.sum()) * area * (2 if self.axisymmetric else 1),
            "max_temperature": float(state[6].max()),
            # O is 1 everywhere before burning, and diffusion of mass and O is alike.
            "burnt_mass": float((state[0] * (1.0 - state[5]) * box.lengths).sum()) * area,
            "max_pressure": float(state[3].max()),
        }
        inner = hot[0 if self.axisymmetric else rim : -rim, rim:-rim]
        return row, bool(hot.any() and inner.sum() != hot.sum())

    def _assemble(self, pictures: list[Any], rows: list[dict[str, float]], reached: bool) -> Arrays:
        n = len(rows)
        time: Floats = self.interval * np.arange(n, dtype=np.float64)
        measured = {name: np.array([row[name] for row in rows]) for name in MEASURED}
        constants = {"E": self.energy, "phi": self.phi, "spark_x": self.spark_x, "spark_y": self.spark_y}
        constants |= {"tilt": self.tilt, "half_width": self.half_width, "velocity": self.velocity}
        result = outcome(time, measured["hot_area"], reached)
        return {
            "fields": np.stack(pictures)[:, None],
            "time": time,
            "quantities/time": time,
            **{f"quantities/{name}": np.full(n, value) for name, value in constants.items()},
            **{f"quantities/{name}": values for name, values in measured.items()},
            "labels/outcome": np.full(n, result),
            "labels/stage": stages(time, measured["hot_area"]),
        }


@dataclass(frozen=True)
class IgnitionRun:
    """The first of several draws that does not detonate."""

    attempts: tuple[IgnitionCase, ...]

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on."""
        return {"attempts": [case.parameters() for case in self.attempts]}

    def run(self, stop: threading.Event) -> Arrays:
        """The result of the accepted draw, with how many were rejected before it."""
        for rejected, case in enumerate(self.attempts):
            result = case.run(stop)
            if result is not None:
                return {**result, "rejected": np.array(rejected)}
        raise SimulationError(
            f"all {len(self.attempts)} draws of a run detonated, an artefact of strong sparks in rich gas; the first "
            f"were {[case.parameters() for case in self.attempts[:2]]}. Try another seed or size."
        )


def coordinates(pixels: int) -> dict[str, Floats]:
    """Pixel centres: x from the nozzle, y from the axis of the jet."""
    x: Floats = (np.arange(pixels, dtype=np.float64) + 0.5) * (WINDOW / pixels)
    y: Floats = x - 0.5 * WINDOW
    return {"x": x, "y": y}
