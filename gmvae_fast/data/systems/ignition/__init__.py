"""Laser ignition of a premixed jet, seen by Schlieren (needs numba, ``gmvae_fast[systems]``)."""

from __future__ import annotations

from gmvae_fast.data.systems._runs import Interrupted
from gmvae_fast.data.systems._validation import ValidationReport, ValidationRow
from gmvae_fast.data.systems.wake.runs import SimulationError

from .designs import DESIGNS, GEOMETRIES
from .simulate import SIZES, simulate
from .validation import validate

__all__ = [
    "DESIGNS",
    "GEOMETRIES",
    "SIZES",
    "Interrupted",
    "SimulationError",
    "ValidationReport",
    "ValidationRow",
    "simulate",
    "validate",
]
