"""Arrays whose axes the file itself names: NetCDF, Zarr, HDF5 with dimension scales or labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from gmvae_fast.data.basics import FloatArray
from gmvae_fast.data.formats import Container, read_all

from .base import SPACE, FileLayout, Request, Variable, components, make_block

_NAMES = {
    "b": "b batch sample samples trajectory trajectories run runs ensemble member realization realisation case "
    "simulation n",
    "t": "t time times timestep step frame frames",
    "c": "c channel channels component components field variable",
    "x": "x lon longitude",
    "y": "y lat latitude",
    "z": "z lev level height depth altitude",
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names.split()}


def recognise(container: Container, request: Request) -> FileLayout | None:
    """Where every axis of the arrays with space in them has a usual name."""
    axes = {k: a for k in container.dims if (a := _axes(container, k)) is not None}
    coordinates = {k for k, names in container.dims.items() if names == (k.rsplit("/", 1)[-1],)}
    spatial = [k for k, a in axes.items() if k not in coordinates and _letters(a) & set(SPACE)]
    spatial = [k for k in spatial if container.arrays[k].dtype.kind in "fiub"]
    if not spatial:
        return None
    variables = []
    for key in spatial:
        variables.append(Variable(key, key, axes[key], components(key, container.arrays[key], axes[key])))
    chosen = make_block(container, variables, request)
    quantities = _quantities(container, axes, coordinates, (chosen.n_samples, chosen.n_times))
    time = _coordinate(container, chosen.variables[0], "t")
    block = make_block(container, variables, request, time=time, quantities=quantities)
    grid = {a: _coordinate(container, block.variables[0], a) for a in block.grid}
    known = {a: values for a, values in grid.items() if values is not None}
    return FileLayout("named_axes", (block,), known, dict(container.root))


def _letters(axes: tuple[str, ...]) -> set[str]:
    return {a.removeprefix("-") for a in axes}


def _axes(container: Container, key: str) -> tuple[str, ...] | None:
    """Letters of the axes, those with a falling coordinate marked; None where a name is not known."""
    letters: list[str] = []
    for name in container.dims[key]:
        reverse, plain = name.startswith("-"), name.removeprefix("-").lower()
        letter = _LETTERS.get(plain)
        if letter is None or letter in letters:
            return None
        values = _stored(container, key, name) if letter in SPACE else None
        falling = values is not None and len(values) > 1 and bool(np.all(np.diff(values) < 0))
        letters.append(f"-{letter}" if reverse or falling else letter)
    return tuple(letters)


def _stored(container: Container, key: str, name: str) -> FloatArray | None:
    """The coordinate array called like the axis, in the array's group or at the root."""
    group = key.rsplit("/", 1)[0] + "/" if "/" in key else ""
    for path in (f"{group}{name}", name):
        array = container.arrays.get(path)
        if array is not None and len(array.shape) == 1 and array.dtype.kind in "fiu":
            return read_all(array).astype(np.float64)
    return None


def _coordinate(container: Container, variable: Variable, letter: str) -> FloatArray | None:
    if letter not in variable.letters:
        return None
    at = variable.letters.index(letter)
    values = _stored(container, variable.key, container.dims[variable.key][at])
    return values[::-1] if values is not None and variable.axes[at].startswith("-") else values


def _quantities(
    container: Container, axes: dict[str, tuple[str, ...]], coordinates: set[str], shape: tuple[int, int]
) -> dict[str, Any]:
    """Real arrays over samples, times or both, and coordinates of samples that are not a mere count."""
    found: dict[str, Any] = {}
    for key, own in axes.items():
        array = container.arrays[key]
        if array.dtype.kind not in "fiub" or not own or not _letters(own) <= {"b", "t"}:
            continue
        sizes = dict(zip(own, array.shape, strict=True))
        if any(sizes.get(a, n) != n for a, n in zip("bt", shape, strict=True)):
            continue
        if key in coordinates and own == ("t",):
            continue  # the times themselves
        values = read_all(array).astype(np.float64)
        if key in coordinates and np.array_equal(values, np.arange(len(values))):
            continue
        values = values.T if own == ("t", "b") else values
        found[key] = values[None] if own == ("t",) else values
    return found
