"""A single .npy or .npz array, by the package's convention [N, C, *grid]."""

from __future__ import annotations

from gmvae_fast.data.formats import Container

from .base import FileLayout, LayoutError, Request, Variable, make_block

_AXES = {2: ("b", "x"), 3: ("b", "y", "x"), 4: ("b", "c", "y", "x"), 5: ("b", "c", "z", "y", "x")}


def recognise(container: Container, request: Request) -> FileLayout | None:
    """For files of arrays without names or attributes only, which hold one array."""
    if len(container.arrays) != 1 or container.attributes or container.dims:
        return None
    key, array = next(iter(container.arrays.items()))
    if len(array.shape) not in _AXES:
        raise LayoutError(
            f"{key} has shape {array.shape}, expected [N, L], [N, H, W] or [N, C, *grid]; for others say dims"
        )
    axes = _AXES[len(array.shape)]
    channels = tuple(f"field_{i}" for i in range(array.shape[1] if "c" in axes else 1))
    return FileLayout("array", (make_block(container, [Variable(key, key, axes, channels)], request),))
