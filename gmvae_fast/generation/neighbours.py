"""Baseline: linear interpolation between the training fields nearest in the space of conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import Delaunay

from gmvae_fast.generation.conditions import Float64, Generator, check_span, training_source, without_repeats
from gmvae_fast.model import GMVAE

#: A triangulation of more conditions than these has too many simplices.
MOST_CONDITIONS = 6


class NeighbourInterpolation(Generator):
    """Piecewise linear interpolation of training fields in standardised conditions.

    Between the two neighbours for one condition that varies, in the simplex of a Delaunay triangulation for up to six;
    the nearest field outside. Fields of equal conditions are averaged. All training fields are kept.

    Attributes
    ----------
    scale : ConditionScale
        Names, scales and range of the training conditions, once fitted.
    """

    def __init__(self) -> None:
        self._points: Float64 = np.empty((0, 0))  # [U, P that vary], standardised
        self._fields: npt.NDArray[np.float32] = np.empty((0, 0), np.float32)  # [U, V]
        self._shape: tuple[int, ...] = ()
        self._simplices: Delaunay | None = None

    def fit(self, model: GMVAE | None, data: Any, conditions: Any, *, names: Sequence[str] | None = None) -> Self:
        """Keep the fields and triangulate the conditions; arguments as in `Generator.fit`.

        Raises
        ------
        ValueError
            Naming the argument that does not fit; for conditions that do not span their space.
        """
        source = training_source(model, data)
        scale, table = self._take(source, conditions, names)
        source.check_finite()
        rows = torch.cat(list(source.ordered(source.pass_size, torch.device("cpu"))))
        if source.mask is not None:
            rows = torch.where(source.mask, rows, torch.zeros(()))
        points, fields = without_repeats(scale.standardise(table)[:, scale.varies], rows.flatten(1).numpy())
        if points.shape[1] > MOST_CONDITIONS:
            raise ValueError(f"conditions: at most {MOST_CONDITIONS} may vary here, got {points.shape[1]}")
        check_span(points)
        self._simplices = Delaunay(points) if points.shape[1] > 1 else None
        self.scale, self._points, self._fields, self._shape = scale, points, fields, source.shape
        return self

    def predict(self, conditions: Any) -> npt.NDArray[np.float32]:
        """Interpolated fields [M, *input_shape] at M conditions, in data units; the nearest one outside the hull."""
        scale = self._fitted()
        queries = scale.standardise(scale.read(conditions))[:, scale.varies]
        if self._simplices is None:
            rows, weights = self._between(queries[:, 0])
        else:
            rows, weights = self._within(self._simplices, queries)
        fields = np.stack([w @ self._fields[r] for r, w in zip(rows, weights.astype(np.float32), strict=True)])
        return fields.reshape(-1, *self._shape)

    def _between(self, queries: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
        """Two rows and their weights for each query: [M, 2] each."""
        line = self._points[:, 0]
        right = np.clip(np.searchsorted(line, queries), 1, len(line) - 1)
        share = np.clip((queries - line[right - 1]) / (line[right] - line[right - 1]), 0, 1)
        return np.stack([right - 1, right], 1), np.stack([1 - share, share], 1)

    def _within(self, simplices: Delaunay, queries: Float64) -> tuple[npt.NDArray[np.int64], Float64]:
        """Vertices of the simplex around each query and barycentric weights: [M, P + 1] each."""
        found = simplices.find_simplex(queries)
        transform = simplices.transform[found]  # [M, P + 1, P], see scipy's Delaunay
        partial = np.einsum("mij,mj->mi", transform[:, :-1], queries - transform[:, -1])
        weights = np.concatenate([partial, 1 - partial.sum(1, keepdims=True)], 1)
        rows = simplices.simplices[found].astype(np.int64)
        outside = (found < 0) | ~np.isfinite(weights).all(1)  # flat simplices have no coordinates
        for m in np.flatnonzero(outside):
            rows[m] = np.square(self._points - queries[m]).sum(1).argmin()
            weights[m] = 1 / weights.shape[1]
        return rows, weights
