"""Laser ignition of a premixed jet, seen by Schlieren (needs numba, ``gmvae_fast[systems]``)."""

from __future__ import annotations

from gmvae_fast.data.systems.wake.runs import Interrupted, SimulationError
from gmvae_fast.data.systems.wake.validation import ValidationReport, ValidationRow

from .designs import DESIGNS
from .simulate import SIZES, simulate
from .validation import validate

__all__ = [
    "DESIGNS",
    "SIZES",
    "Interrupted",
    "SimulationError",
    "ValidationReport",
    "ValidationRow",
    "simulate",
    "validate",
]
