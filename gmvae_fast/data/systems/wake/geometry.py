"""The cylinder on the lattice: solid cells, wall links, and the pixels of a snapshot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .lattice import CX, CY, OPPOSITE, Array


@dataclass(frozen=True)
class Cylinder:
    """A circle in cell units; cell (row, column) has its centre at (column + 1/2, row + 1/2)."""

    x: float
    y: float
    diameter: float

    def contains(self, x: Array, y: Array) -> npt.NDArray[np.bool_]:
        """Whether points lie strictly inside."""
        inside: npt.NDArray[np.bool_] = (x - self.x) ** 2 + (y - self.y) ** 2 < (0.5 * self.diameter) ** 2
        return inside


@dataclass(frozen=True)
class WallLinks:
    """Lattice links that cross the cylinder, ready for :func:`boundaries.curved_wall`, and the solid cells."""

    target: npt.NDArray[np.int64]  # [links]
    source: npt.NDArray[np.int64]  # [links]
    second: npt.NDArray[np.int64]  # [links]
    weight: npt.NDArray[np.float64]  # [links]
    direction_x: npt.NDArray[np.float64]  # [links]
    direction_y: npt.NDArray[np.float64]  # [links]
    solid: npt.NDArray[np.int64]  # [solid cells], flat positions


def solid_mask(cylinder: Cylinder | None, nx: int, ny: int) -> npt.NDArray[np.bool_]:
    """Cells whose centre lies inside the cylinder, [ny, nx]."""
    if cylinder is None:
        return np.zeros((ny, nx), dtype=bool)
    y, x = np.mgrid[:ny, :nx] + 0.5
    return cylinder.contains(x, y)


def wall_links(cylinder: Cylinder | None, nx: int, ny: int) -> WallLinks:
    """Find every fluid-to-solid link and its interpolation.

    With q the fraction of the link that lies in the fluid (Bouzidi et al. 2001, eq. 5):
    q < 1/2: f_opp(x, t+1) = 2 q f_i(x) + (1 - 2 q) f_i(x - c_i);
    q >= 1/2: f_opp(x, t+1) = f_i(x) / (2 q) + (1 - 1 / (2 q)) f_opp(x), right-hand sides after collision.
    """
    solid = solid_mask(cylinder, nx, ny)
    stride, cells = nx + 2, (nx + 2) * (ny + 2)
    parts: list[list[Array]] = [[], [], [], [], [], []]
    if cylinder is not None:
        for i in range(1, 9):
            rows, columns = np.nonzero(~solid & _shifted(solid, int(CX[i]), int(CY[i])))
            q = _wall_fraction(cylinder, columns + 0.5, rows + 0.5, float(CX[i]), float(CY[i]))
            near, opposite = q < 0.5, int(OPPOSITE[i])
            here = (rows + 1) * stride + columns + 1
            step = int(CY[i]) * stride + int(CX[i])
            second = np.where(near, i * cells + here - step, opposite * cells + here)
            weight = np.where(near, 2 * q, 0.5 / q)
            values = (opposite * cells + here + step, i * cells + here, second, weight)
            sign = np.ones(len(q))
            for part, value in zip(parts, (*values, CX[i] * sign, CY[i] * sign), strict=True):
                part.append(value)
    joined = [np.concatenate(part) if part else np.zeros(0) for part in parts]
    rows, columns = np.nonzero(solid)
    return WallLinks(
        target=joined[0].astype(np.int64),
        source=joined[1].astype(np.int64),
        second=joined[2].astype(np.int64),
        weight=joined[3].astype(np.float64),
        direction_x=joined[4].astype(np.float64),
        direction_y=joined[5].astype(np.float64),
        solid=((rows + 1) * stride + columns + 1).astype(np.int64),
    )


def _shifted(mask: npt.NDArray[np.bool_], dx: int, dy: int) -> npt.NDArray[np.bool_]:
    """``mask`` at (row + dy, column + dx); False outside the grid."""
    padded = np.pad(mask, 1)
    return padded[1 + dy : padded.shape[0] - 1 + dy, 1 + dx : padded.shape[1] - 1 + dx]


def _wall_fraction(cylinder: Cylinder, x: Array, y: Array, cx: float, cy: float) -> npt.NDArray[np.float64]:
    """Fraction q in (0, 1] of the link from (x, y) along (cx, cy) at which the circle is met."""
    dx, dy = x - cylinder.x, y - cylinder.y
    a = cx * cx + cy * cy
    b = dx * cx + dy * cy
    c = dx * dx + dy * dy - 0.25 * cylinder.diameter**2
    root = (-b - np.sqrt(np.maximum(b * b - a * c, 0.0))) / a
    # A cell centre exactly on the circle counts as fluid with q = 0; the interpolation needs q > 0.
    return np.clip(root, 1e-6, 1.0)


@dataclass(frozen=True)
class PixelGrid:
    """Square pixels of ``cells`` by ``cells`` lattice cells whose lower-left corner is cell (row0, column0)."""

    column0: int
    row0: int
    width: int
    height: int
    cells: int

    def average(self, values: Array, fluid: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Mean over the fluid cells of each pixel and the pixels that count as fluid (at least half of them).

        values : [..., ny, nx]; fluid : [ny, nx].  Returns [..., height, width] with 0 in solid pixels, and
        the mask [height, width].
        """
        weight = self._sum(fluid.astype(np.float64))
        mask = weight >= 0.5 * self.cells**2
        total = self._sum(np.where(fluid, values, 0.0))
        return np.where(mask, total / np.maximum(weight, 1.0), 0.0), mask

    def _sum(self, values: Array) -> Array:
        rows = slice(self.row0, self.row0 + self.height * self.cells)
        columns = slice(self.column0, self.column0 + self.width * self.cells)
        window = values[..., rows, columns]
        shape = (*window.shape[:-2], self.height, self.cells, self.width, self.cells)
        summed: Array = window.reshape(shape).sum(axis=(-3, -1))
        return summed
