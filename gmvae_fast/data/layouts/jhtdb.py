"""Cut-outs of the Johns Hopkins Turbulence Databases: Velocity_0001 [z, y, x, 3], ..., the suffix is the time."""

from __future__ import annotations

import re

import numpy as np

from gmvae_fast.data.formats import Container, read_all

from .base import FileLayout, Request, Variable, components, make_block

_NAME = re.compile(r"([A-Za-z]\w*?)_(\d+)")
_AXES = ("z", "y", "x", "c")


def recognise(container: Container, request: Request) -> FileLayout | None:
    """By numbered arrays beside xcoor, ycoor, zcoor."""
    if "xcoor" not in container.arrays:
        return None
    by_time: dict[int, list[Variable]] = {}
    for key, array in container.arrays.items():
        match = _NAME.fullmatch(key)
        if match and len(array.shape) == len(_AXES):
            name = match[1].lower()
            variable = Variable(name, key, _AXES, components(name, array, _AXES, vector=True))
            by_time.setdefault(int(match[2]), []).append(variable)
    if not by_time:
        return None
    blocks = tuple(make_block(container, v, request, time=[float(t)]) for t, v in sorted(by_time.items()))
    coordinates = {
        a: read_all(container.arrays[f"{a}coor"]).astype(np.float64)
        for a in blocks[0].grid
        if f"{a}coor" in container.arrays
    }
    return FileLayout("jhtdb", blocks, coordinates, {**container.root, "time": "index of the stored time"})
