"""Options and arguments that several commands share, what completes them, and how text becomes values."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gmvae_fast._device import DEVICES
from gmvae_fast.data import SnapshotSource

#: That have a completion script; pwsh is PowerShell's program.
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def split(text: str | None) -> list[str] | None:
    """Names separated by commas."""
    return None if text is None else [part.strip() for part in text.split(",")]


def integers(text: str | None, name: str) -> tuple[int, ...] | None:
    """Integers separated by commas; ``name`` is the option's."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} must be integers separated by commas, got {text!r}") from None


def ranges(text: str | None) -> str | list[float | tuple[float, float]] | None:
    """A rule by name, or values and ranges like 400:800,1500."""
    if text is None or not any(character.isdigit() for character in text):
        return text
    items: list[float | tuple[float, float]] = []
    try:
        for part in text.split(","):
            low, colon, high = part.partition(":")
            items.append((float(low), float(high)) if colon else float(low))
    except ValueError:
        raise ValueError(f"--hold-out must be a rule, or values and ranges like 400:800,1500; got {text!r}") from None
    return items


def assignments(pairs: list[str], name: str) -> dict[str, object]:
    """NAME=VALUE pairs; values are JSON (numbers, true, false), anything else is text."""
    assigned: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key.isidentifier() or not equals or key in ("progress", "system"):
            raise ValueError(f"--{name} must be NAME=VALUE with the name of an option, got {pair!r}")
        try:
            assigned[key] = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            assigned[key] = text
    return assigned


def described(source: SnapshotSource) -> dict[str, Any]:
    """What there is to say about snapshots, as JSON values."""
    return {
        "snapshots": len(source),
        "shape": source.shape,
        "field_names": source.field_names,
        "trajectories": len(np.unique(source.trajectory)),
        "quantities": list(source.quantities),
        "labels": list(source.labels),
    }


def _completion(names: Callable[[typer.Context], Iterable[str]]) -> Callable[[typer.Context], list[str]]:
    """Completion by ``names``, asked for when the shell completes."""

    def complete(context: typer.Context) -> list[str]:
        try:
            return list(names(context))
        except Exception:  # whatever goes wrong, the user's shell must not see it
            return []

    return complete


def _designs(context: typer.Context) -> Iterable[str]:
    """Of the system on the command line, where the shell's half-typed line lets it be seen; else of all systems."""
    systems = importlib.import_module("gmvae_fast.data.systems").SYSTEMS
    modules = [systems[s] for s in systems if context.params.get("system") in (s, None)]
    for known in (module.DESIGNS for module in modules):
        geometries = known.values() if isinstance(known, dict) else ()
        nested = [name for inner in geometries if isinstance(inner, dict) for name in inner]
        yield from dict.fromkeys(nested or known)


def _geometries(context: typer.Context) -> Iterable[str]:
    """Of the system on the command line, else of all systems."""
    systems = importlib.import_module("gmvae_fast.data.systems").SYSTEMS
    for name, module in systems.items():
        if context.params.get("system") in (name, None):
            yield from getattr(module, "GEOMETRIES", ())


def _registry(module: str, name: str, *others: str) -> Callable[[typer.Context], list[str]]:
    """Completion by the names in a registry of the package."""

    def names(context: typer.Context) -> Iterable[str]:
        return [*others, *getattr(importlib.import_module(module), name)]

    return _completion(names)


complete_system = _registry("gmvae_fast.data.systems", "SYSTEMS")
complete_geometry = _completion(_geometries)
complete_layout = _registry("gmvae_fast.data.layouts", "LAYOUTS", "auto", "xarray")
complete_preset = _registry("gmvae_fast.studies", "PRESETS")
complete_design = _completion(_designs)
complete_size = _completion(lambda context: ("tiny", "demo", "paper"))
complete_shell = _completion(lambda context: SHELLS)
complete_device = _completion(lambda context: DEVICES)

StudyArgument = Annotated[Path, typer.Argument(help="Study folder.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Snapshot file; default: the one trained on.")]
DeviceOption = Annotated[
    str, typer.Option(help="auto (a CUDA device where there is one), cpu or cuda.", autocompletion=complete_device)
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
