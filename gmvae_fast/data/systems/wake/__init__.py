"""Wake of a circular cylinder by a D2Q9 lattice Boltzmann method (needs numba, ``gmvae_fast[systems]``)."""

from __future__ import annotations

from gmvae_fast.data.systems._runs import Interrupted
from gmvae_fast.data.systems._validation import ValidationReport, ValidationRow

from .designs import DESIGNS, GEOMETRIES, Design
from .runs import SimulationError
from .simulate import SIZES, simulate
from .validation import validate

__all__ = [
    "DESIGNS",
    "GEOMETRIES",
    "SIZES",
    "Design",
    "Interrupted",
    "SimulationError",
    "ValidationReport",
    "ValidationRow",
    "simulate",
    "validate",
]
