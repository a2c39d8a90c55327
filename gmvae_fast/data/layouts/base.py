"""What recognising a file gives: blocks of snapshots, each with the arrays and axes its fields are read from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest
from gmvae_fast._memory import shortage
from gmvae_fast.data.basics import FloatArray, IntArray, SnapshotFileError
from gmvae_fast.data.formats import Container, StoredArray, check_size, chunks_of

SPACE = ("z", "y", "x")
AXIS_LETTERS = ("b", "t", "c", *SPACE)
SUFFIXES = ("x", "y", "z")
#: Letter of an axis of length one that is none of these: it is dropped.
SINGLE = "1"


class LayoutError(SnapshotFileError):
    """A file whose parts do not fit together or are not what was asked for; the reader adds the file's name."""


#: Part of a grid: for every axis letter a slice with start, stop and a positive step, in the output's order.
Region = Mapping[str, slice]


def region_grid(grid: Mapping[str, int], region: Region | None) -> dict[str, int]:
    """Sizes of a part of a grid."""
    if region is None:
        return dict(grid)
    return {a: len(range(*region[a].indices(n))) for a, n in grid.items()}


@dataclass(frozen=True)
class Request:
    """What the caller wants: names of fields or channels, and axes ("b t -y x c") by array or for all of them."""

    fields: tuple[str, ...] | None = None
    dims: str | Mapping[str, str] | None = None


@dataclass(frozen=True)
class Variable:
    """One array of a file.

    Attributes
    ----------
    name, key : str
        How it is called, and its path in the file.
    axes : tuple of str
        Letter of each axis: b (trajectories), t (times), c (channels; several are flattened), x, y, z; "-y" for one
        that is stored from high to low.
    channels : tuple of str
        Names of all its channels.
    select : tuple of int or None
        The channels that are wanted; None: all.
    """

    name: str
    key: str
    axes: tuple[str, ...]
    channels: tuple[str, ...]
    select: tuple[int, ...] | None = None

    @property
    def letters(self) -> tuple[str, ...]:
        return tuple(axis.lstrip("-") for axis in self.axes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels that are read."""
        return self.channels if self.select is None else tuple(self.channels[i] for i in self.select)

    def read(
        self, array: StoredArray, samples: slice, times: slice, grid: Mapping[str, int], region: Region | None = None
    ) -> npt.NDArray[Any]:
        """Snapshots of ``samples`` x ``times`` as [b, t, c, *grid]; axes that the array lacks have length one.

        Of a ``region`` only the cells between its edges are read; steps are taken in the file where it is stored in
        one piece (not along the last axis, whose cells lie together), else in memory.
        """
        key: dict[str, slice] = {"b": samples, "t": times}
        if region is None:
            return self.oriented(np.asarray(array[tuple(key.get(a, slice(None)) for a in self.letters)]), grid)
        in_file, after = self._cells(array, grid, region)
        key |= in_file
        stored = np.asarray(array[tuple(key.get(a, slice(None)) for a in self.letters)])
        stored = stored[tuple(after.get(a, slice(None)) for a in self.letters)]
        return self.oriented(stored, region_grid(grid, region))

    def _cells(
        self, array: StoredArray, grid: Mapping[str, int], region: Region
    ) -> tuple[dict[str, slice], dict[str, slice]]:
        """By letter what is read of the file, and what is taken of that in memory."""
        in_one_piece = chunks_of(array) is None
        last = next((a for a in reversed(self.letters) if a in grid), "")
        in_file, after = {}, {}
        for axis, letter in zip(self.axes, self.letters, strict=True):
            if letter not in region:
                continue
            part = region[letter]
            if axis.startswith("-"):  # cell i of the output is stored at n - 1 - i
                count = len(range(part.start, part.stop, part.step))
                first = grid[letter] - 1 - (part.start + (count - 1) * part.step)
                part = slice(first, grid[letter] - part.start, part.step)
            steps = in_one_piece and letter != last
            in_file[letter] = part if steps else slice(part.start, part.stop)
            after[letter] = slice(None) if steps else slice(None, None, part.step)
        return in_file, after

    def oriented(self, part: npt.NDArray[Any], grid: Mapping[str, int]) -> npt.NDArray[Any]:
        """A view of ``part`` with axes [b, t, c, *grid], a copy only where several channel axes are flattened."""
        letters = self.letters
        if letters != self.axes:
            part = part[tuple(slice(None, None, -1) if a.startswith("-") else slice(None) for a in self.axes)]
        wanted = [i for a in ("b", "t", "c", *grid) for i, own in enumerate(letters) if own == a]
        dropped = [i for i in range(len(letters)) if i not in wanted]  # axes of length one
        part = part.transpose(*wanted, *dropped)
        shape = [math.prod(n for n, i in zip(part.shape, wanted, strict=False) if letters[i] == a) for a in "btc"]
        return part.reshape(*shape, *(size if a in letters else 1 for a, size in grid.items()))


@dataclass(frozen=True)
class Block:
    """n_samples x n_times snapshots, time fastest, that are read from the same arrays.

    ``grid`` maps axis letters in output order (z, y, x) to sizes; ``trajectory`` and ``time`` are [n], as are the
    quantities; ``chunk`` is the number of consecutive snapshots that are cheap to read together, ``chunk_grid`` the
    cells of a stored chunk along each axis of the grid.
    """

    variables: tuple[Variable, ...]
    n_samples: int
    n_times: int
    grid: dict[str, int]
    trajectory: IntArray
    time: FloatArray
    quantities: dict[str, FloatArray] = field(default_factory=dict)
    chunk: int = 1
    chunk_grid: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.n_samples * self.n_times

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(name for v in self.variables for name in v.names)


@dataclass(frozen=True)
class FileLayout:
    """A recognised file: its blocks one after the other, classes [N] of all their snapshots, what holds for all."""

    layout: str
    blocks: tuple[Block, ...]
    coordinates: dict[str, FloatArray] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, IntArray] = field(default_factory=dict)
    mask: npt.NDArray[np.bool_] | None = None


def check_consistent(layout: FileLayout) -> None:
    """Coordinates, mask and classes must have the sizes of the grid and of the snapshots.

    Raises
    ------
    LayoutError
    """
    grid, count = layout.blocks[0].grid, sum(map(len, layout.blocks))
    wanted: list[tuple[str, Any, tuple[Any, ...]]] = []
    wanted += [(f"coordinate {a!r}", v, (grid.get(a),)) for a, v in layout.coordinates.items()]
    wanted += [(f"label {name!r}", v, (count,)) for name, v in layout.labels.items()]
    wanted += [] if layout.mask is None else [("mask", layout.mask, tuple(grid.values()))]
    for name, values, shape in wanted:
        if values.shape != shape:
            raise LayoutError(f"{name} has shape {values.shape}, expected {shape}")


def components(name: str, array: StoredArray, axes: Sequence[str], vector: bool = False) -> tuple[str, ...]:
    """Channel names of an array: its own name, name_x, name_y, ... of vectors and tensors, or name_0, name_1, ..."""
    sizes = [n for n, a in zip(array.shape, axes, strict=True) if a == "c"]
    if math.prod(sizes) == 1:
        return (name,)
    if vector and all(n <= len(SUFFIXES) for n in sizes):
        names = [f"{name}_"]
        for n in sizes:
            names = [old + SUFFIXES[i] for old in names for i in range(n)]
        return tuple(names)
    return tuple(f"{name}_{i}" for i in range(math.prod(sizes)))


def select_fields(variables: Iterable[Variable], fields: Sequence[str] | None) -> tuple[Variable, ...]:
    """The variables and channels asked for, in that order; without a wish those that vary in time, else by sample."""
    found = tuple(variables)
    if fields is None:
        for letter in ("t", "b"):
            varying = tuple(v for v in found if letter in v.letters)
            if varying:
                return varying
        return found
    chosen = []
    for name in fields:
        whole = [v for v in found if name in (v.name, v.key)]
        single = [(v, v.channels.index(name)) for v in found if name in v.channels]
        if whole:
            chosen.append(whole[0])
        elif single:
            v, i = single[0]
            chosen.append(Variable(v.name, v.key, v.axes, v.channels, (i,)))
        else:
            known = [v.name if v.channels == (v.name,) else f"{v.name} ({', '.join(v.channels)})" for v in found]
            hint = nearest(name, {n for v in found for n in (v.name, *v.channels)})
            raise LayoutError(f"field {name!r} is not in the file; found: {', '.join(known) or 'no fields'}{hint}")
    return tuple(chosen)


def make_block(
    container: Container,
    variables: Iterable[Variable],
    request: Request,
    *,
    time: npt.ArrayLike | None = None,
    trajectory: int = 0,
    quantities: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Block:
    """A block of the fields asked for, after their sizes are compared.

    ``time`` is [T] or [B, T]; ``quantities`` are scalars, [B], or [B, T]; ``trajectory`` is the first sample's number.
    """
    chosen = select_fields(variables, request.fields)
    if not chosen:
        raise LayoutError(f"no fields found; the arrays are {describe(container)}")
    sizes: dict[str, tuple[int, str]] = {}
    for v in chosen:
        array = container.arrays[v.key]
        if array.dtype.kind not in "fiub":
            raise LayoutError(f"field {v.key!r} holds {array.dtype}, expected real numbers")
        if len(array.shape) != len(v.axes):
            raise LayoutError(f"field {v.key!r} has shape {array.shape}, expected the axes {' '.join(v.axes)}")
        for letter, n in zip(v.letters, array.shape, strict=True):
            known, other = sizes.setdefault(letter, (int(n), v.key))
            if letter != "c" and known != n:
                raise LayoutError(
                    f"fields {other!r} and {v.key!r} differ along {letter}: {known} and {n}; choose with fields=[...]"
                )
    n_samples, n_times = (sizes.get(a, (1, ""))[0] for a in "bt")
    spatial = {a: sizes[a][0] for a in SPACE if a in sizes}
    grid = {a: n for a, n in spatial.items() if n > 1} or dict(list(spatial.items())[-1:])
    if not grid:
        raise LayoutError(f"no axis of {chosen[0].key!r} is x, y or z: {' '.join(chosen[0].axes)}")
    shape = (n_samples, n_times)
    _check_claims(container, chosen, grid, n_samples * n_times)
    ids = np.broadcast_to((trajectory + np.arange(n_samples))[:, None], shape)
    return Block(
        chosen,
        n_samples,
        n_times,
        grid,
        np.ascontiguousarray(ids, dtype=np.int64).ravel(),
        _table("time", np.arange(n_times) if time is None else time, shape, times_last=True),
        {name: _table(name, values, shape) for name, values in (quantities or {}).items()},
        max(_chunk(container.arrays[v.key], v, shape) for v in chosen),
        _chunk_grid(container.arrays[chosen[0].key], chosen[0], grid),
    )


#: Tables of a source: number, trajectory, two times and their copies while they are put together; 8 bytes each.
_TABLE_BYTES = 64


def _check_claims(container: Container, variables: Sequence[Variable], grid: Mapping[str, int], count: int) -> None:
    """One snapshot, one stored chunk and the tables of all must fit into memory: a description can claim any size."""
    lacking = shortage(_TABLE_BYTES * count)
    if lacking:
        raise LayoutError(f"a table of {count} snapshots {lacking}")
    cells = math.prod(grid.values())
    for v in variables:
        array = container.arrays[v.key]
        check_size(f"a snapshot of {v.key!r}", (len(v.channels), cells), np.float64)
        check_size(f"a stored chunk of {v.key!r}", (), array.dtype, chunks_of(array))
    check_size("a snapshot", (sum(len(v.names) for v in variables), cells), np.float32)


def _table(name: str, values: npt.ArrayLike, shape: tuple[int, int], times_last: bool = False) -> FloatArray:
    """[B * T] from a scalar, [B] (or [T] with ``times_last``) or [B, T]."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1 and not times_last:
        array = array[:, None]
    try:
        return np.array(np.broadcast_to(array, shape)).ravel()
    except ValueError:
        raise LayoutError(f"{name} has shape {np.shape(values)}, expected {shape} (samples, times)") from None


def _chunk(array: StoredArray, variable: Variable, shape: tuple[int, int]) -> int:
    """Consecutive snapshots in one stored chunk."""
    chunks = chunks_of(array)
    if chunks is None:
        return 1
    by_axis = dict(zip(variable.letters, chunks, strict=True))
    samples, times = by_axis.get("b", 1), by_axis.get("t", 1)
    # A chunk over several samples is read together only where it holds all their times.
    return min(times, shape[1]) if samples == 1 else min(samples, shape[0]) * shape[1]


def _chunk_grid(array: StoredArray, variable: Variable, grid: Mapping[str, int]) -> tuple[int, ...] | None:
    chunks = chunks_of(array)
    if chunks is None:
        return None
    by_axis = dict(zip(variable.letters, chunks, strict=True))
    return tuple(min(by_axis.get(a, 1), n) for a, n in grid.items())


def describe(container: Container, limit: int = 30) -> str:
    """Names, shapes, dtypes and axis names of the arrays, for errors."""
    lines = []
    for name, array in list(container.arrays.items())[:limit]:
        axes = f" ({', '.join(container.dims[name])})" if name in container.dims else ""
        lines.append(f"{name} {list(array.shape)} {array.dtype}{axes}")
    rest = len(container.arrays) - limit
    return "; ".join(lines) + (f"; and {rest} more" if rest > 0 else "") or "none"
