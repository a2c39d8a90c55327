"""Do velocities keep mass?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmvae_fast.metrics._grids import check_spacing


@dataclass(frozen=True)
class Divergence:
    """Divergence of velocity fields.

    Attributes
    ----------
    values : float64 [..., *grid]
        NaN in cells whose differences would reach over the border or outside the mask.
    relative : float64 [...]
        Norm of the divergence over that of the whole velocity gradient: 0 for a solenoidal field, at most the square
        root of the number of components; 0 where the gradient vanishes, NaN where no cell counts.
    valid : bool [*grid]
        Cells that count.
    """

    values: npt.NDArray[np.float64]
    relative: npt.NDArray[np.float64]
    valid: npt.NDArray[np.bool_]


def divergence(
    *velocity: npt.ArrayLike,
    spacing: float | Sequence[float] = 1.0,
    mask: npt.ArrayLike | None = None,
    axes: Sequence[int] = (-1, -2, -3),
    periodic: bool = False,
) -> Divergence:
    """Divergence by central differences of second order.

    Parameters
    ----------
    *velocity : real [..., *grid]
        The components u, v (and w), of one shape; as many as the grid has axes.
    spacing : float, or one for each component
        Distance between neighbouring cells along each component's axis.
    mask : bool [*grid], optional
        Cells that hold fluid; others are not touched, whatever they hold.
    axes : sequence of int
        Axis along which each component points, counted from the end. The default is that of images: x last.
    periodic : bool
        Differences wrap around the border, which otherwise does not count.

    Raises
    ------
    ValueError
        For fewer than two or more than three components, and shapes, spacings or axes that do not fit.
    """
    parts = [np.asarray(component, dtype=np.float64) for component in velocity]
    d = len(parts)
    shapes = [part.shape for part in parts]
    if d not in (2, 3) or len(set(shapes)) != 1 or parts[0].ndim < d:
        raise ValueError(f"velocity must be 2 or 3 components [..., *grid] of one shape, got {shapes}")
    steps, along = check_spacing(spacing, d), list(axes)[:d]
    if sorted(along) != list(range(-d, 0)):
        raise ValueError(f"axes must name the last {d} axes, each once and counted from the end, got {tuple(axes)}")
    grid = shapes[0][-d:]
    fluid = np.ones(grid, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if fluid.shape != grid:
        raise ValueError(f"mask must have the grid's shape {grid}, got {fluid.shape}")
    valid = fluid.copy()
    for axis in along:
        valid &= np.roll(fluid, 1, axis) & np.roll(fluid, -1, axis)
        if not periodic:
            ends = np.moveaxis(valid, axis, 0)
            ends[:1] = ends[-1:] = False
    total, gradient = np.zeros(shapes[0]), np.zeros(shapes[0][:-d])
    within = tuple(range(-d, 0))
    for i, part in enumerate(parts):
        part = np.where(fluid, part, 0.0)
        for axis, step in zip(along, steps, strict=True):
            slope = (np.roll(part, -1, axis) - np.roll(part, 1, axis)) / (2 * step)
            gradient += np.square(np.where(valid, slope, 0.0)).sum(within)
            if axis == along[i]:
                total += slope
    squares = np.square(np.where(valid, total, 0.0)).sum(within)
    relative = np.sqrt(squares / np.where(gradient > 0, gradient, 1.0))
    if not valid.any():
        relative = np.full_like(relative, np.nan)
    return Divergence(np.where(valid, total, np.nan), relative, valid)
