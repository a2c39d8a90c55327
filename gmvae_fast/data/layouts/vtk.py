"""Series of VTK grids: values in cells, or at points where there are none in cells."""

from __future__ import annotations

import numpy as np

from gmvae_fast.data.formats import VTK_MARK, Container

from .base import FileLayout, Request, Variable, components, make_block


def recognise(container: Container, request: Request) -> FileLayout | None:
    """Only what the VTK reader made. Integers (numbers of cells, ghost marks) are fields only if asked for."""
    mark = container.attributes.get(VTK_MARK)
    if mark is None:
        return None
    variables = []
    for key in sorted(container.arrays, key=lambda key: not key.startswith("cell/")):  # of equal names those of cells
        array, axes, name = container.arrays[key], container.dims[key], key.split("/", 1)[1]
        variables.append(Variable(name, key, axes, components(name, array, axes, vector=True)))
    if request.fields is None:
        floats = [v for v in variables if container.arrays[v.key].dtype.kind == "f"] or variables
        which = floats[0].key.split("/")[0]
        variables = [v for v in floats if v.key.startswith(f"{which}/")]
    block = make_block(container, variables, request, time=mark["times"]())
    which = block.variables[0].key.split("/")[0]
    axes_by_letter = dict(zip("xyz", mark["axes"][which], strict=True))
    coordinates = {a: np.asarray(axes_by_letter[a], dtype=np.float64) for a in block.grid}
    return FileLayout("vtk", (block,), coordinates, {"values": which})
