"""Snapshots into the units of a network: native where nothing is to be differentiated."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmvae_fast import _native
from gmvae_fast.ops._library import plain_eager

#: Values below which torch stays on one thread, so that there is no parallel region to save.
SMALL = 1 << 15
#: By the number of axes of [N, C, *grid].
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def normalised(
    x: Tensor, offset: Tensor, scale: Tensor, mask: Tensor | None = None, *, channels_last: bool = False
) -> Tensor:
    """(x - offset) / scale, 0 outside the mask: the same bits from the native kernel and from torch.

    Parameters
    ----------
    x : Tensor [N, C, *grid]
    offset : Tensor [C, *grid]
    scale : Tensor [C, 1, ...]
    mask : Tensor of bool [*grid], optional
    channels_last : bool
        Whether the result is wanted in that order in memory. The native kernel writes it so in its single pass. What it
        does not take (small batches, gradients of ``x``, other devices and dtypes, gaps in memory) comes in the order
        of ``x``.

    Returns
    -------
    Tensor [N, C, *grid]
    """
    if not _suits(x, offset, scale, mask):
        return masked((x - offset).div_(scale), mask)
    layout = CHANNELS_LAST.get(x.ndim) if channels_last else None
    out = torch.empty_like(x) if layout is None else torch.empty_like(x, memory_format=layout)
    n, channels, *grid = x.shape
    pointers = (x.data_ptr(), offset.data_ptr(), scale.data_ptr(), 0 if mask is None else mask.data_ptr())
    _native.launch("normalise", x, *pointers, out.data_ptr(), layout is not None, n, channels, math.prod(grid))
    return out


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """``x`` [N, C, *grid], zero outside the ``mask``, whatever stood there."""
    return x if mask is None else torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def _suits(x: Tensor, offset: Tensor, scale: Tensor, mask: Tensor | None) -> bool:
    if (
        x.numel() < SMALL
        or x.dtype not in _native.SUFFIX
        or not x.is_cpu
        or not plain_eager(x)
        or not x.is_contiguous()
    ):
        return False
    if x.ndim < 2 or (x.requires_grad and torch.is_grad_enabled()):
        return False
    if mask is not None and (mask.dtype != torch.bool or mask.shape != x.shape[2:] or not mask.is_contiguous()):
        return False
    return (
        offset.dtype == scale.dtype == x.dtype
        and offset.is_cpu
        and scale.is_cpu
        and offset.shape == x.shape[1:]
        and scale.numel() == x.shape[1] == scale.shape[0]
        and offset.is_contiguous()
        and scale.is_contiguous()
        and not (torch.is_grad_enabled() and (offset.requires_grad or scale.requires_grad))
    )
