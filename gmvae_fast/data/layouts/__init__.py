"""Layouts of files, by name: a new one is one file and one line in ``LAYOUTS``; the first that recognises a file wins.

Axes come from names, attributes or ``dims``, never from sizes.
"""

from __future__ import annotations

from collections.abc import Callable

from gmvae_fast.data.formats import Container

from . import declared, jhtdb, named, pdebench, plain_array, snapshot_file, the_well, vtk
from .base import (
    Block,
    FileLayout,
    LayoutError,
    Region,
    Request,
    Variable,
    check_consistent,
    describe,
    region_grid,
    select_fields,
)

LAYOUTS: dict[str, Callable[[Container, Request], FileLayout | None]] = {
    "declared": declared.recognise,
    "snapshots": snapshot_file.recognise,
    "the_well": the_well.recognise,
    "pdebench": pdebench.recognise,
    "jhtdb": jhtdb.recognise,
    "vtk": vtk.recognise,
    "named_axes": named.recognise,
    "array": plain_array.recognise,
}


def recognise(container: Container, request: Request, layout: str = "auto") -> FileLayout:
    """The file's layout.

    Raises
    ------
    LayoutError
        Where none fits; it lists the arrays and what to pass.
    """
    names = list(LAYOUTS) if layout == "auto" else [layout]
    for name in names:
        found = LAYOUTS[name](container, request)
        if found is not None:
            check_consistent(found)
            return found
    what = "the layout is not recognised" if layout == "auto" else f"not of the layout {layout!r}"
    raise LayoutError(
        f"{what}; pass fields=['NAME', ...] and dims with one letter an axis, like 'b t x y c' (b trajectories, "
        f"t times, c channels, x, y, z space). Found: {describe(container)}"
    )


__all__ = [
    "LAYOUTS",
    "Block",
    "FileLayout",
    "LayoutError",
    "Region",
    "Request",
    "Variable",
    "describe",
    "recognise",
    "region_grid",
    "select_fields",
]
