"""Labelled snapshots of a field: what a simulation returns and what a model is trained on."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._io import to_jsonable

from .basics import AXES, FloatArray, IntArray, SnapshotFileError, Windowing, as_index, describe
from .handles import file_errors
from .snapshot_files import read_parts, write_parts

__all__ = ["SnapshotFileError", "Snapshots"]


def _no_ints() -> IntArray:
    return np.zeros(0, dtype=np.int64)


def _no_floats() -> FloatArray:
    return np.zeros(0, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Snapshots(Windowing):
    """N snapshots with their physical quantities and labels, in memory.

    Parameters
    ----------
    fields : array [N, C, *grid]
        Converted to float32.  For two-dimensional grids the last axes are (H, W) = (y, x), row 0 the lowest y.
    field_names : sequence of C distinct strings
    quantities : mapping of name to [N]
        Physical quantities (float64); NaN where a quantity is not defined for a snapshot.
    labels : mapping of name to [N]
        Integer classes; their names may stand in ``attributes["label_names"][name]``.
    trajectory : [N] or empty
        Which run each snapshot comes from; empty: each its own.
    time : [N] or empty
        Empty: zero everywhere.
    coordinates : mapping of axis name to [size]
        "x" for the last grid axis, "y" for the one before, "z" before that.
    mask : bool [*grid] or None
        True where the field is defined (fluid).
    attributes : mapping of JSON values
        Everything needed to make the data again, units, names of labels.

    Raises
    ------
    ValueError
        Where shapes, dtypes or names do not fit together; the message names the argument.
    """

    fields: npt.NDArray[np.float32]
    field_names: tuple[str, ...]
    quantities: dict[str, FloatArray] = field(default_factory=dict)
    labels: dict[str, IntArray] = field(default_factory=dict)
    trajectory: IntArray = field(default_factory=_no_ints)
    time: FloatArray = field(default_factory=_no_floats)
    coordinates: dict[str, FloatArray] = field(default_factory=dict)
    mask: npt.NDArray[np.bool_] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fields = np.asarray(self.fields)
        if fields.ndim < 3 or fields.dtype.kind not in "fiub":
            raise ValueError(
                "fields must be a real array [N, C, *grid] with at least one grid axis, "
                f"got shape {fields.shape} and dtype {fields.dtype}"
            )
        n, channels, grid = fields.shape[0], fields.shape[1], fields.shape[2:]
        names = tuple(str(name) for name in self.field_names)
        if isinstance(self.field_names, str) or len(names) != channels or len(set(names)) != channels:
            raise ValueError(f"field_names must be {channels} distinct names, got {self.field_names!r}")
        put = object.__setattr__  # the class is frozen for its users
        put(self, "fields", np.ascontiguousarray(fields, dtype=np.float32))
        put(self, "field_names", names)
        put(self, "quantities", {str(k): _floats(f"quantities[{k!r}]", v, n) for k, v in self.quantities.items()})
        put(self, "labels", {str(k): _integers(f"labels[{k!r}]", v, n) for k, v in self.labels.items()})
        both = sorted(set(self.quantities) & set(self.labels))
        if both:
            raise ValueError(f"quantities and labels must have different names, both contain {both}")
        put(self, "trajectory", _integers("trajectory", self.trajectory, n, default=np.arange(n)))
        put(self, "time", _floats("time", self.time, n, default=np.zeros(n)))
        put(self, "coordinates", _coordinates(self.coordinates, grid))
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.shape != grid or mask.dtype != np.bool_:
                raise ValueError(f"mask must be bool {grid}, got {mask.dtype} {mask.shape}")
            put(self, "mask", mask)
        put(self, "attributes", to_jsonable(dict(self.attributes)))

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, indices: int | slice | npt.ArrayLike) -> Snapshots:
        return self.subset(indices)

    def __repr__(self) -> str:
        return describe(self)

    @property
    def grid(self) -> tuple[int, ...]:
        """Shape of the grid, (H, W) in two dimensions."""
        return self.fields.shape[2:]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one snapshot, (C, *grid)."""
        return self.fields.shape[1:]

    @property
    def chunk_starts(self) -> None:
        """None: in memory any order of reading costs the same."""
        return None

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new array [n, C, *grid]."""
        return self.fields[np.asarray(indices, dtype=np.int64)]

    def __getitems__(self, indices: list[int]) -> list[npt.NDArray[np.float32]]:
        """A batch for torch's DataLoader: the snapshots at ``indices``, one by one."""
        return list(self.read(indices))

    def subset(self, indices: int | slice | npt.ArrayLike) -> Snapshots:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N]) as new Snapshots."""
        index = as_index(indices, len(self))
        return Snapshots(
            fields=self.fields[index],
            field_names=self.field_names,
            quantities={k: v[index] for k, v in self.quantities.items()},
            labels={k: v[index] for k, v in self.labels.items()},
            trajectory=self.trajectory[index],
            time=self.time[index],
            coordinates=self.coordinates,
            mask=self.mask,
            attributes=self.attributes,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one uncompressed ``.npz``, atomically; :meth:`load` reads it back."""
        write_parts(path, {part.name: getattr(self, part.name) for part in dataclasses.fields(self)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Snapshots:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Raises
        ------
        FileNotFoundError
        SnapshotFileError
            Where the file is cut short, damaged, or lacks a part.
        """
        with file_errors(os.fspath(path)):
            return cls(**read_parts(path))


def _floats(name: str, values: npt.ArrayLike, n: int, default: FloatArray | None = None) -> FloatArray:
    array = np.asarray(values)
    if array.size == 0 and default is not None:
        return default
    if array.shape != (n,) or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be real with shape ({n},), got {array.dtype} {array.shape}")
    return array.astype(np.float64)


def _integers(name: str, values: npt.ArrayLike, n: int, default: IntArray | None = None) -> IntArray:
    array = np.asarray(values)
    if array.size == 0 and default is not None:
        return default.astype(np.int64)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.shape != (n,) or array.dtype.kind not in "iub":
        raise ValueError(f"{name} must be integers with shape ({n},), got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _coordinates(coordinates: Mapping[str, npt.ArrayLike], grid: tuple[int, ...]) -> dict[str, FloatArray]:
    sizes = dict(zip(AXES, reversed(grid), strict=False))
    unknown = sorted(set(coordinates) - set(sizes))
    if unknown:
        raise ValueError(f"coordinates must be named among {sorted(sizes)}, got {unknown}")
    return {k: _floats(f"coordinates[{k!r}]", v, sizes[k]) for k, v in coordinates.items()}
