"""Wake of a circular cylinder by a D2Q9 lattice Boltzmann method (needs numba, ``gmvae_fast[systems]``)."""

from __future__ import annotations

from .designs import DESIGNS, Design
from .runs import Interrupted, SimulationError
from .simulate import SIZES, simulate
from .validation import ValidationReport, ValidationRow, validate

__all__ = [
    "DESIGNS",
    "SIZES",
    "Design",
    "Interrupted",
    "SimulationError",
    "ValidationReport",
    "ValidationRow",
    "simulate",
    "validate",
]
