"""Plain arrays whose axes the caller names: dims="b t x y c"."""

from __future__ import annotations

from collections.abc import Mapping

from gmvae_fast.data.formats import Container

from .base import AXIS_LETTERS, FileLayout, LayoutError, Request, Variable, components, describe, make_block


def parse_dims(dims: str) -> tuple[str, ...]:
    """Axis letters of "b t -y x c".

    Raises
    ------
    ValueError
    """
    axes = tuple(dims.replace(",", " ").split()) if isinstance(dims, str) else ()
    letters = [a.removeprefix("-") for a in axes]
    bad = not axes or any(a not in AXIS_LETTERS for a in letters) or any(a in ("-b", "-t", "-c") for a in axes)
    if bad or any(letters.count(a) > 1 for a in letters if a != "c") or not set(letters) & set("xyz"):
        raise ValueError(
            "dims must name each axis once by a letter, as in 'b t x y c': b trajectories, t times, c channels, "
            f"x, y, z space ('-y': stored from high to low); got {dims!r}"
        )
    return axes


def recognise(container: Container, request: Request) -> FileLayout | None:
    """Only where the request holds dims."""
    if request.dims is None:
        return None
    variables = []
    for key, axes in _wanted(container, request).items():
        array = container.arrays[key]
        if len(array.shape) != len(axes):
            raise LayoutError(f"field {key!r} has shape {array.shape}, but dims {' '.join(axes)!r} name {len(axes)}")
        variables.append(Variable(key, key, axes, components(key, array, axes)))
    return FileLayout("declared", (make_block(container, variables, request),), {}, dict(container.root))


def _wanted(container: Container, request: Request) -> dict[str, tuple[str, ...]]:
    """Axes of each array that is read."""
    if isinstance(request.dims, Mapping):
        wanted = {key: parse_dims(dims) for key, dims in request.dims.items()}
    else:
        axes = parse_dims(request.dims or "")
        fitting = [k for k, a in container.arrays.items() if len(a.shape) == len(axes) and a.dtype.kind in "fiub"]
        named = [f for f in request.fields or () if f in container.arrays]
        wanted = dict.fromkeys(named or fitting, axes)
    missing = [key for key in wanted if key not in container.arrays]
    if missing or not wanted:
        what = f"no array {', '.join(map(repr, missing))}" if missing else f"no real array has axes {request.dims!r}"
        raise LayoutError(f"{what}; the arrays are {describe(container)}")
    return wanted
