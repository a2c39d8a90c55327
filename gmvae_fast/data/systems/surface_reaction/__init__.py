"""Surface reaction on a catalyst: two stable branches, or oscillations (ordinary differential equations)."""

from __future__ import annotations

from gmvae_fast.data.systems._runs import Interrupted
from gmvae_fast.data.systems._validation import ValidationReport, ValidationRow

from .scalar import cusp, fold_curve, steady_states
from .simulate import DESIGNS, SIZES, simulate
from .validation import validate

__all__ = [
    "DESIGNS",
    "SIZES",
    "Interrupted",
    "ValidationReport",
    "ValidationRow",
    "cusp",
    "fold_curve",
    "simulate",
    "steady_states",
    "validate",
]
