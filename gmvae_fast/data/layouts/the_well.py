"""The Well (Ohana et al. 2024): groups t0_fields, t1_fields, t2_fields of (sample, time, x, y, z, components)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmvae_fast.data.formats import Container, read_all

from .base import FileLayout, LayoutError, Request, Variable, components, make_block

_GROUPS = ("t0_fields", "t1_fields", "t2_fields")


def recognise(container: Container, request: Request) -> FileLayout | None:
    """By its groups of fields and its group of dimensions."""
    if "dimensions" not in container.attributes or not set(_GROUPS) & container.attributes.keys():
        return None
    named = container.attributes["dimensions"].get("spatial_dims")
    if not isinstance(named, list) or not 1 <= len(named) <= 3:
        raise LayoutError(f"attribute 'spatial_dims' of 'dimensions' must list one to three axes, got {named!r}")
    letters = ("x", "y", "z")[: len(named)]
    variables = []
    for rank, group in enumerate(_GROUPS):
        for key in (k for k in container.arrays if k.startswith(f"{group}/")):
            axes = (*_varying(container, key, letters), *("c",) * rank)
            name = key.split("/", 1)[1]
            array = container.arrays[key]
            if len(array.shape) != len(axes):
                raise LayoutError(f"{key} has shape {array.shape}, but its attributes say {' '.join(axes)}")
            variables.append(Variable(name, key, axes, components(name, array, axes, vector=True)))
    coordinates = {}
    for letter, name in zip(letters, named, strict=True):
        key = f"dimensions/{name}"
        if key in container.arrays and len(container.arrays[key].shape) == 1:
            coordinates[letter] = read_all(container.arrays[key]).astype(np.float64)
    time = container.arrays.get("dimensions/time")
    block = make_block(
        container,
        variables,
        request,
        time=None if time is None else read_all(time),
        quantities=_scalars(container),
    )
    coordinates = {a: values for a, values in coordinates.items() if a in block.grid}
    return FileLayout("the_well", (block,), coordinates, {**container.root, "spatial_axes": list(named)})


def _varying(container: Container, key: str, letters: tuple[str, ...]) -> tuple[str, ...]:
    """Axes of a field: those along which its attributes say that it varies."""
    attributes = container.attributes.get(key, {})
    dims = attributes.get("dim_varying", [True] * len(letters))
    kept = ["b"] if attributes.get("sample_varying", True) else []
    kept += ["t"] if attributes.get("time_varying", True) else []
    return (*kept, *(a for a, varies in zip(letters, dims, strict=True) if varies))


def _scalars(container: Container) -> dict[str, Any]:
    """The group `scalars`, and the parameters that the root names."""
    names = container.root.get("simulation_parameters", [])
    values: dict[str, Any] = {
        str(n): np.asarray(container.root[n], dtype=np.float64)
        for n in (names if isinstance(names, list) else [names])
        if isinstance(container.root.get(n), int | float)
    }
    for key, array in container.arrays.items():
        if key.startswith("scalars/") and array.dtype.kind in "fiub":
            data = read_all(array).astype(np.float64)
            per_sample = bool(container.attributes.get(key, {}).get("sample_varying", data.ndim > 0))
            values[key.split("/", 1)[1]] = data[None] if data.ndim == 1 and not per_sample else data
    return values
