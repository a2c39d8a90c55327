"""Fields on another grid: means over cells where it is coarser, linear interpolation where it is finer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

Floats = npt.NDArray[np.floating[Any]]
METHODS = ("auto", "area", "linear")
_LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}
#: A cell of the new grid counts where at least this share of it lies inside the old mask.
COVERED = 0.5


def resample(values: Floats, shape: tuple[int, ...], method: str = "auto") -> Floats:
    """``values`` [n, C, *grid] on a grid of ``shape`` over the same domain, by torch's interpolate.

    Parameters
    ----------
    values : float32 or float64
    shape : one to three sizes
    method : {"auto", "area", "linear"}
        "area": means over the old cells that a new one touches, exact where the sizes divide; for coarser grids only.
        "linear": between the centres of the old cells; aliases where the grid becomes coarser. "auto": means along the
        axes that become coarser, then linear along those that become finer.
    """
    x = torch.from_numpy(np.ascontiguousarray(values))
    grid = tuple(x.shape[2:])
    if method != "linear":
        coarser = tuple(min(old, new) for old, new in zip(grid, shape, strict=True))
        x = x if coarser == grid else interpolate(x, size=coarser, mode="area")
    finer: Floats = _linear(x, shape).numpy()
    return finer


def _linear(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    if tuple(x.shape[2:]) == shape:
        return x
    return interpolate(x, size=shape, mode=_LINEAR[len(shape)], align_corners=False)


def resample_mask(mask: npt.NDArray[np.bool_], shape: tuple[int, ...], method: str) -> npt.NDArray[np.float32]:
    """Share of each new cell inside the mask [*shape]."""
    return np.asarray(resample(mask[None, None].astype(np.float32), shape, method)[0, 0], dtype=np.float32)


def resample_masked(
    values: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], shape: tuple[int, ...], method: str
) -> npt.NDArray[np.float32]:
    """`resample` of the cells inside the mask only; 0 where the new mask (`COVERED`) is false."""
    share = resample_mask(mask, shape, method)
    inside = share >= COVERED
    weighted = resample(np.where(mask, values, np.float32(0)), shape, method)
    return np.where(inside, weighted / np.where(inside, share, 1), 0).astype(np.float32)
