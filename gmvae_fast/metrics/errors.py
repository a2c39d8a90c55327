"""How far fields are from a reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def relative_l2(
    fields: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    offset: npt.ArrayLike = 0.0,
    scale: npt.ArrayLike = 1.0,
    mask: npt.ArrayLike | None = None,
    per_snapshot: bool = False,
) -> Any:
    r"""Relative L2 error of fields, or of their fluctuations about ``offset``.

    .. math:: \left( \sum ((f - r) / s)^2 \Big/ \sum ((r - o) / s)^2 \right)^{1/2}

    Parameters
    ----------
    fields, reference : real [N, ...]
        f and r, of one shape.
    offset : real, broadcast to a snapshot
        o, such as the training mean: the error is then that of the fluctuation, and 1 is what the mean alone reaches.
    scale : real > 0, broadcast to a snapshot
        s, such as each channel's standard deviation as [C, 1, 1].
    mask : bool, broadcast to a snapshot, optional
        Where it is false values do not count, whatever they are.
    per_snapshot : bool
        One error for each snapshot rather than that of all together.

    Returns
    -------
    float, or float64 [N]
        NaN where the reference does not differ from ``offset``.

    Raises
    ------
    ValueError
        For shapes that do not fit and for a scale that is not above 0.
    """
    found, known = np.asarray(fields), np.asarray(reference)
    if found.shape != known.shape or found.ndim == 0:
        raise ValueError(f"fields and reference must be [N, ...] of one shape, got {found.shape} and {known.shape}")
    snapshot = found.shape[1:]
    centre, unit = (_broadcast(n, v, snapshot, np.float64) for n, v in (("offset", offset), ("scale", scale)))
    if not (unit > 0).all():
        raise ValueError(f"scale must be above 0, got {unit[~(unit > 0)].flat[0]}")
    inside = _broadcast("mask", True if mask is None else mask, snapshot, np.bool_)
    sums = np.empty((2, len(found)))
    for i, (f, r) in enumerate(zip(found, known, strict=True)):  # float64 copies of one snapshot at a time
        truth = np.asarray(r, dtype=np.float64)
        for sum_of, difference in enumerate((f - truth, truth - centre)):
            sums[sum_of, i] = np.square(np.where(inside, difference / unit, 0.0)).sum()
    error, total = sums if per_snapshot else sums.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.sqrt(np.where(total > 0, error / total, np.nan))
    return ratio if per_snapshot else float(ratio)


def _broadcast(name: str, value: npt.ArrayLike, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    array = np.asarray(value, dtype=dtype)
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"{name} must broadcast to one snapshot, {shape}, got shape {array.shape}") from None
