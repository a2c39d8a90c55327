"""The Well (Ohana et al. 2024): groups t0_fields, t1_fields, t2_fields of (sample, time, x, y, z, components)."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmvae_fast.data.formats import Container, read_all

from .base import SINGLE, FileLayout, LayoutError, Request, Variable, components, make_block

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
            variables.append(_variable(container, key, letters, rank))
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


def _variable(container: Container, key: str, letters: tuple[str, ...], rank: int) -> Variable:
    """A field with the axes along which its attributes say that it varies, and its components.

    The specification leaves out an axis of space without variation; the package's own reader keeps it with length one.
    Tensors have two axes of components, or one of length D^2, which is how the specification writes them.
    """
    array, attributes, name = container.arrays[key], container.attributes.get(key, {}), key.split("/", 1)[1]
    dims = attributes.get("dim_varying", [True] * len(letters))
    lead = [a for a, kind in (("b", "sample"), ("t", "time")) if attributes.get(f"{kind}_varying", True)]
    left_out = [*lead, *(a for a, varies in zip(letters, dims, strict=True) if varies)]
    single = [*lead, *(a if varies else SINGLE for a, varies in zip(letters, dims, strict=True))]
    for space in (left_out, single):
        if len(array.shape) == len(space) + rank:
            axes = (*space, *("c",) * rank)
            return Variable(name, key, axes, components(name, array, axes, vector=True))
        if rank == 2 and len(array.shape) == len(space) + 1 and array.shape[-1] == len(letters) ** 2:
            channels = tuple(f"{name}_{a}{b}" for a in letters for b in letters)
            return Variable(name, key, (*space, "c"), channels)
    raise LayoutError(f"{key} has shape {array.shape}, but its attributes say {' '.join([*left_out, *'c' * rank])}")


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
