"""Laser ignition of a premixed jet, seen by Schlieren (needs numba, ``gmvae_fast[systems]``)."""

from __future__ import annotations

from gmvae_fast.data.systems.wake.runs import Interrupted, SimulationError

from .designs import DESIGNS
from .simulate import SIZES, simulate

__all__ = ["DESIGNS", "SIZES", "Interrupted", "SimulationError", "simulate"]
