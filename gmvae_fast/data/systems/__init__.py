"""Simulated systems, by name: a new system is one folder and one line in ``SYSTEMS``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from . import ignition, wake

#: Each module offers ``simulate(...) -> Snapshots`` and ``validate(...)``.
SYSTEMS: Mapping[str, ModuleType] = {
    "ignition": ignition,
    "wake": wake,
}


def get_system(name: str) -> ModuleType:
    """The system called ``name``; raises ValueError with the known names."""
    if name not in SYSTEMS:
        raise ValueError(f"system must be one of {sorted(SYSTEMS)}, got {name!r}")
    return SYSTEMS[name]


__all__ = ["SYSTEMS", "get_system", "ignition", "wake"]
