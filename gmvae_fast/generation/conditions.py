"""Physical conditions as a table, and what all generators of fields at given conditions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from gmvae_fast._batches import Batches
from gmvae_fast._checks import nearest
from gmvae_fast.model import GMVAE

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ConditionScale:
    """Names, scales and range of the training conditions.

    Attributes
    ----------
    names : tuple of str
    mean, std, low, high : float64 [P]
        Over the training snapshots; ``std`` is 1 where a condition does not vary.
    """

    names: tuple[str, ...]
    mean: Float64
    std: Float64
    low: Float64
    high: Float64

    @classmethod
    def of(cls, names: Sequence[str], table: Float64) -> ConditionScale:
        """That of training conditions [N, P], of which one at least must vary."""
        raw = cls(tuple(names), table.mean(0), table.std(0), table.min(0), table.max(0))
        if not raw.varies.any():
            raise ValueError(f"conditions must vary over the training snapshots, got constant {', '.join(names)}")
        return replace(raw, std=np.where(raw.varies, raw.std, 1.0))

    @property
    def varies(self) -> npt.NDArray[np.bool_]:
        """Which of them do [P]."""
        return np.asarray(self.high - self.low > 1e-12 * np.maximum(np.abs(self.low), np.abs(self.high)))

    def read(self, conditions: Any) -> Float64:
        """Conditions of M fields as [M, P], in the order of training; numbers in a mapping stand for all M."""
        return read_conditions(conditions, self.names)[1]

    def standardise(self, table: Float64) -> Float64:
        """Zero mean and unit variance over the training snapshots."""
        scaled: Float64 = (table - self.mean) / self.std
        return scaled

    def outside(self, table: Float64) -> npt.NDArray[np.bool_]:
        """Rows [M] of which a condition lies outside its training range."""
        slack = 1e-9 * (self.high - self.low)
        return np.asarray(((table < self.low - slack) | (table > self.high + slack)).any(1))


def read_conditions(conditions: Any, names: Sequence[str] | None = None) -> tuple[tuple[str, ...], Float64]:
    """Names and table [N, P] of a mapping of [N] arrays, or of an array [N, P] (or [N]) whose columns are ``names``.

    Raises
    ------
    ValueError
        For missing, unknown or repeated names, lengths that differ, and values that are not finite numbers.
    """
    if isinstance(conditions, Mapping):
        columns = {str(name): np.atleast_1d(_numbers(str(name), value)) for name, value in conditions.items()}
        wanted = tuple(columns) if names is None else tuple(names)
        for name in columns:
            if name not in wanted:
                raise ValueError(f"conditions: unknown {name!r}{nearest(name, wanted)}; known are {', '.join(wanted)}")
        missing = [name for name in wanted if name not in columns]
        if missing:
            raise ValueError(f"conditions: missing {', '.join(missing)}; got {', '.join(columns) or 'none'}")
        n = max((len(c) for c in columns.values()), default=0)
        for name, column in columns.items():
            if column.ndim != 1 or len(column) not in (1, n):
                raise ValueError(f"conditions: {name!r} must be a number or [{n}], got shape {column.shape}")
        table = np.stack([np.broadcast_to(columns[name], n) for name in wanted], 1) if wanted else np.empty((n, 0))
    else:
        table = _numbers("the array", conditions)
        table = table[:, None] if table.ndim == 1 else table
        if table.ndim != 2 or (names is not None and table.shape[1] != len(names)):
            expected = "[N, P]" if names is None else f"[N, {len(names)}] ({', '.join(names)})"
            raise ValueError(f"conditions must be a mapping or {expected}, got shape {table.shape}")
        wanted = tuple(f"condition {i}" for i in range(table.shape[1])) if names is None else tuple(names)
    if len(set(wanted)) != len(wanted):
        raise ValueError(f"conditions: names must differ, got {', '.join(wanted)}")
    if table.shape[0] == 0 or table.shape[1] == 0:
        raise ValueError(f"conditions must hold at least one row and one condition, got shape {table.shape}")
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        row, column = bad[0]
        raise ValueError(f"conditions: {wanted[column]!r} must be finite, got {table[row, column]} in row {row}")
    return wanted, table


def _numbers(name: str, value: Any) -> Float64:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"conditions: {name} must hold real numbers, got dtype {array.dtype}")
    return array.astype(np.float64)


class Generator(ABC):
    """Fields at given physical conditions.

    Attributes
    ----------
    scale : ConditionScale
        Of the training conditions, once fitted.
    """

    scale: ConditionScale | None = None

    @abstractmethod
    def fit(self, model: GMVAE | None, data: Any, conditions: Any, *, names: Sequence[str] | None = None) -> Self:
        """Learn from snapshots and their conditions.

        Parameters
        ----------
        model : GMVAE
            A trained one. The baselines do not need it and take None.
        data : ndarray, Tensor, torch Dataset, Snapshots or another SnapshotSource
            Training snapshots [N, *input_shape] in data units.
        conditions : mapping of name to [N], or [N, P]
            What is known of each snapshot: Re, time, ... Give logarithms where ratios matter, sine and cosine of
            angles.
        names : sequence of str, optional
            Of the columns of an array; of a mapping, which of its entries to take and in which order.
        """

    @abstractmethod
    def predict(self, conditions: Any) -> npt.NDArray[np.float32]:
        """One field for each of M conditions: [M, *input_shape], in data units.

        ``conditions`` is a mapping of name to number or [M], or [M, P]. Outside the range of training the answer is
        an extrapolation (see `extrapolates`).
        """

    def extrapolates(self, conditions: Any) -> npt.NDArray[np.bool_]:
        """Which of M conditions lie outside the training range of any single condition: [M]."""
        scale = self._fitted()
        return scale.outside(scale.read(conditions))

    def _fitted(self) -> ConditionScale:
        if self.scale is None:
            raise ValueError(f"this {type(self).__name__} is not fitted yet; call fit first")
        return self.scale

    def _take(self, source: Batches, conditions: Any, names: Sequence[str] | None) -> tuple[ConditionScale, Float64]:
        """Scale and table [N, P] of the training conditions."""
        if names is not None and isinstance(conditions, Mapping):
            conditions = {k: v for k, v in conditions.items() if k in names}
        known, table = read_conditions(conditions, names)
        if len(table) != len(source):
            raise ValueError(f"conditions must have one row for each of {len(source)} snapshots, got {len(table)}")
        return ConditionScale.of(known, table), table


def training_source(model: GMVAE | None, data: Any) -> Batches:
    """Snapshots for a baseline; they must fit the model where one is given."""
    return Batches(data) if model is None else model._source(data)


def without_repeats(table: Float64, values: npt.NDArray[Any]) -> tuple[Float64, npt.NDArray[Any]]:
    """Distinct conditions [U, P], ascending, and the mean of the values [N, V] at each: [U, V]."""
    distinct, index, counts = np.unique(table, axis=0, return_inverse=True, return_counts=True)
    if len(distinct) == len(table):
        order = np.argsort(index.ravel())
        return distinct, values[order]
    sums = np.zeros((len(distinct), values.shape[1]))
    np.add.at(sums, index.ravel(), values)
    return distinct, (sums / counts[:, None]).astype(values.dtype)


def check_span(points: Float64) -> None:
    """Raise ValueError where distinct standardised conditions [U, P] lie in fewer than P dimensions."""
    p = points.shape[1]
    if np.linalg.matrix_rank(points - points[:1], tol=1e-6) < p:
        raise ValueError(
            f"conditions must span their {p} dimensions, got {len(points)} distinct ones in fewer; leave out "
            "conditions that follow from others"
        )
