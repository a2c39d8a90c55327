"""PDEBench (Takamoto et al. 2022): its three layouts of HDF5 files."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from gmvae_fast.data.basics import FloatArray
from gmvae_fast.data.formats import Container, read_all

from .base import FileLayout, LayoutError, Request, Variable, components, make_block

_COMPRESSIBLE = ("density", "pressure", "Vx", "Vy", "Vz")
_COORDINATES = {a: f"{a}-coordinate" for a in "xyz"}


def recognise(container: Container, request: Request) -> FileLayout | None:
    """Groups 0000, 0001, ...; velocity with particles or t; or named fields or `tensor` with x-coordinate."""
    groups = sorted(k.split("/")[0] for k in container.arrays if re.fullmatch(r"\d{4,}/data", k))
    if groups:
        return _by_group(container, request, groups)
    if {"velocity", "t"} <= container.arrays.keys() and {"particles", "force"} & container.arrays.keys():
        return _incompressible(container, request)
    if _COORDINATES["x"] in container.arrays:
        return _on_coordinates(container, request)
    return None


def _by_group(container: Container, request: Request, groups: list[str]) -> FileLayout:
    """Diffusion-reaction, diffusion-sorption and shallow water: NNNN/data [T, x, (y,) c], NNNN/grid/{x, y, t}."""
    letters = tuple(a for a in "xyz" if f"{groups[0]}/grid/{a}" in container.arrays)
    axes = ("t", *letters, "c")
    blocks = []
    for number, group in enumerate(groups):
        key = f"{group}/data"
        array = container.arrays[key]
        if len(array.shape) != len(axes):
            raise LayoutError(f"{key} has shape {array.shape}, expected the axes {' '.join(axes)} of {group}/grid")
        variable = Variable("data", key, axes, components("data", array, axes))
        time = container.arrays.get(f"{group}/grid/t")
        stamps = None if time is None else read_all(time)[: array.shape[0]]
        blocks.append(make_block(container, [variable], request, time=stamps, trajectory=number))
    found = {a: f"{groups[0]}/grid/{a}" for a in letters}
    return FileLayout("pdebench", tuple(blocks), _coordinates(container, found), dict(container.root))


def _incompressible(container: Container, request: Request) -> FileLayout:
    """velocity [N, T, x, y, 2], particles [N, T, x, y, 1], force [N, x, y, 2], t [N, T]."""
    space = ("x", "y", "z")[: len(container.arrays["velocity"].shape) - 3]
    variables = []
    for name, axes in (("velocity", ("b", "t")), ("particles", ("b", "t")), ("force", ("b",))):
        if name in container.arrays:
            array, full = container.arrays[name], (*axes, *space, "c")
            if len(array.shape) != len(full):
                raise LayoutError(f"{name} has shape {array.shape}, expected the axes {' '.join(full)}")
            variables.append(Variable(name, name, full, components(name, array, full, vector=True)))
    block = make_block(container, variables, request, time=read_all(container.arrays["t"]))
    return FileLayout("pdebench", (block,), {}, dict(container.root))


def _on_coordinates(container: Container, request: Request) -> FileLayout | None:
    """Compressible flow [N, T, x, ...] by name, or one `tensor`; other arrays [N, x, ...] are constant in time."""
    space = tuple(a for a in "xyz" if _COORDINATES[a] in container.arrays)
    known = [n for n in (*_COMPRESSIBLE, "tensor") if n in container.arrays]
    if not known:
        return None
    variables = []
    for name in [*known, *(["nu"] if "nu" in container.arrays else [])]:
        array = container.arrays[name]
        for axes in (("b", "t", *space), ("b", *space)):
            if len(array.shape) == len(axes):
                variables.append(Variable(name, name, axes, (name,)))
                break
        else:
            raise LayoutError(f"{name} has shape {array.shape}, expected the axes b t {' '.join(space)}")
    times = None
    if "t-coordinate" in container.arrays:
        timed = [v for v in variables if "t" in v.letters]
        stamps = read_all(container.arrays["t-coordinate"])
        if timed:  # the files hold one stamp more than times
            times = stamps[..., : container.arrays[timed[0].key].shape[1]]
            times = None if times.shape[-1] != container.arrays[timed[0].key].shape[1] else times
    parameters: dict[str, Any] = {k: np.asarray(v) for k, v in container.root.items() if isinstance(v, int | float)}
    block = make_block(container, variables, request, time=times, quantities=parameters)
    return FileLayout("pdebench", (block,), _coordinates(container, {a: _COORDINATES[a] for a in space}))


def _coordinates(container: Container, keys: dict[str, str]) -> dict[str, FloatArray]:
    return {a: read_all(container.arrays[key]).astype(np.float64) for a, key in keys.items()}
