"""Latent maps as text in a row of the result file, so that pages draw them from it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NAME = "map"
#: Of a map, and the seed whose maps are kept.
MOST_POINTS, SEED = 400, 0
#: Steps of a coordinate: finer than a figure shows.
_STEPS = 999


def shown(n: int) -> npt.NDArray[np.int64]:
    """Which of ``n`` snapshots a map shows: the same for every arm."""
    return np.sort(np.random.default_rng(0).permutation(n)[:MOST_POINTS])


def encode_points(latents: npt.NDArray[Any]) -> str:
    """[N, D] -> ``x y;x y;...`` of those shown, as steps of the range of either coordinate of `flat`.

    Maps have no unit of length, and axes of figures no numbers.
    """
    points = flat(latents)[shown(len(latents))]
    low, size = points.min(0), np.ptp(points, axis=0)
    steps = np.rint((points - low) / np.where(size > 0, size, 1.0) * _STEPS).astype(np.int64)
    return ";".join(f"{x} {y}" for x, y in steps)


def decode_points(text: str) -> npt.NDArray[np.float64]:
    """Inverse of `encode_points`, in [0, 1]: [N, 2].

    Raises
    ------
    ValueError
        Where ``text`` is no such list.
    """
    points = np.array([[float(part) for part in pair.split()] for pair in text.split(";")])
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise ValueError(f"not a list of points: {text[:40]!r}")
    return points / _STEPS


def encode_values(values: npt.NDArray[Any]) -> str:
    """Numbers [N] -> text of those shown, with four digits."""
    return " ".join(f"{value:.4g}" for value in values[shown(len(values))])


def decode_values(text: str) -> npt.NDArray[np.float64]:
    """Inverse of `encode_values`; of anything else, nothing."""
    try:
        return np.array([float(part) for part in text.split()])
    except ValueError:
        return np.empty(0)


def flat(latents: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """[N, D] -> [N, 2]: as they are, the first two principal axes, or one coordinate over zeros."""
    points = latents.astype(np.float64)
    if points.shape[1] == 1:
        return np.column_stack([points, np.zeros(len(points))])
    if points.shape[1] == 2:
        return points
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    return np.asarray(centred @ axes.T)
