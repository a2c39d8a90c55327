"""Simulated systems, by name: a new system is one folder and one line in ``SYSTEMS``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from gmvae_fast._checks import nearest
from gmvae_fast.data.snapshots import Snapshots

from . import ignition, surface_reaction, wake
from ._arguments import refuse_unknown

#: Each module offers ``simulate(...) -> Snapshots``, whose signature says which options the system has (all take
#: ``design``, ``n_runs``, ``seed``, ``size``, ``workers``, ``cache_dir`` and ``progress``), and
#: ``validate(quick, progress, workers) -> ValidationReport``.
SYSTEMS: Mapping[str, ModuleType] = {
    "ignition": ignition,
    "surface_reaction": surface_reaction,
    "wake": wake,
}


def get_system(name: str) -> ModuleType:
    """The system called ``name``; raises ValueError with the known names."""
    if name not in SYSTEMS:
        raise ValueError(f"system must be one of {sorted(SYSTEMS)}, got {name!r}{nearest(name, SYSTEMS)}")
    return SYSTEMS[name]


def simulate(system: str, **options: Any) -> Snapshots:
    """Snapshots of the system called ``system``, with the options of its own ``simulate``.

    Raises
    ------
    ValueError
        Unknown systems, and options that the system does not have; the message lists what there is.
    """
    module = get_system(system)
    refuse_unknown(system, module.simulate, options)
    snapshots: Snapshots = module.simulate(**options)
    return snapshots


__all__ = ["SYSTEMS", "get_system", "ignition", "simulate", "surface_reaction", "wake"]
