"""Snapshots that stay in their files until they are asked for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._io import to_jsonable
from gmvae_fast._memory import shortage

from .basics import FloatArray, IntArray, SnapshotFileError, as_index
from .fingerprint import array_digest, files_state
from .formats import Container
from .handles import FileHandles, SourceFile
from .layouts import Block, Region, Variable
from .on_demand import OnDemandSnapshots


class LazySnapshots(OnDemandSnapshots):
    """Labelled snapshots in files of any size, read by index: a `SnapshotSource`.

    Made by `open_snapshots`.  Picklable, and safe to use from several threads, forked and spawned processes: each
    process opens the files for itself.  Only the tables (trajectory, time, quantities, labels) are in memory.
    Attributes are those of `OnDemandSnapshots`.
    """

    def __init__(
        self,
        files: Sequence[SourceFile],
        *,
        field_names: Sequence[str],
        grid: Sequence[int],
        trajectory: IntArray,
        time_index: IntArray,
        time: FloatArray,
        quantities: Mapping[str, FloatArray],
        labels: Mapping[str, IntArray],
        coordinates: Mapping[str, FloatArray],
        mask: npt.NDArray[np.bool_] | None,
        attributes: Mapping[str, Any],
    ) -> None:
        self._handles = FileHandles(files)
        self._blocks = tuple((i, block) for i, file in enumerate(files) for block in file.blocks)
        self._starts = np.cumsum([0, *(len(block) for _, block in self._blocks)])
        self._index = np.arange(self._starts[-1])
        self.field_names = tuple(field_names)
        self.shape = (len(self.field_names), *grid)
        self.trajectory, self.time_index, self.time = trajectory, time_index, time
        self.quantities, self.labels = dict(quantities), dict(labels)
        self.coordinates, self.mask = dict(coordinates), mask
        self.attributes: dict[str, Any] = to_jsonable(dict(attributes))

    def __len__(self) -> int:
        return len(self._index)

    def subset(self, indices: int | slice | npt.ArrayLike) -> LazySnapshots:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N]); nothing is read."""
        index = as_index(indices, len(self))
        part = self._with_rows(index)
        part._index = self._index[index]
        return part

    def close(self) -> None:
        """Close the files of this process; reading opens them again."""
        self._handles.close()

    def fingerprint(self) -> dict[str, Any] | None:
        """What decides the values of the snapshots, as JSON values, without reading them.

        Two sources with equal fingerprints hold the same snapshots in the same order: the same absolute paths, each
        of unchanged size and time of change (Zarr stores and folders: all files in them), read as the same fields and
        axes with the same options, mask and selection. None where that cannot be known: a file is missing, or changed
        within the last two seconds. A file rewritten with its old size and time of change put back is not noticed.
        Open files are closed first, so that what is read next is what was described, also where a file was replaced.
        """
        self.close()
        files = self._handles.files
        state = files_state(part for file in files for part in file.parts or (file.path,))
        if state is None:
            return None
        blocks = [
            [number, b.n_samples, b.n_times, list(b.grid.items()), [[v.key, v.axes, v.select] for v in b.variables]]
            for number, b in self._blocks
        ]
        reading = hashlib.sha256(json.dumps([blocks, [file.options for file in files]]).encode()).hexdigest()
        return {
            "files": state,
            "fields": list(self.field_names),
            "reading": reading,
            "mask": array_digest(self.mask),
            "selection": array_digest(self._index),
        }

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What the files were recognised as."""
        return tuple(block for _, block in self._blocks)

    def first_file(self) -> AbstractContextManager[Container]:
        """The first file, open."""
        return self._handles.file(0)

    @property
    def chunk_starts(self) -> IntArray | None:
        """First snapshots of the groups that lie in one stored chunk; None where each is stored apart."""
        if all(block.chunk == 1 for _, block in self._blocks) or not len(self):
            return None
        block = np.searchsorted(self._starts, self._index, side="right") - 1
        length = np.array([b.chunk for _, b in self._blocks])[block]
        row = np.array([b.n_times for _, b in self._blocks])[block]
        local = self._index - self._starts[block]
        # Chunks of several times start anew with each sample; longer ones hold whole samples.
        within = np.where(length <= row, local % row, local) // length
        sample = np.where(length <= row, local // row, -1)
        change = np.flatnonzero(np.diff(block) | np.diff(sample) | np.diff(within)) + 1
        return np.concatenate([[0], change]).astype(np.int64)

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new float32 array [n, C, *grid]; cells outside ``mask`` are 0.

        Values beyond float32 become infinite.

        Raises
        ------
        IndexError
        SnapshotFileError
            Where a file has changed or is damaged; it names file and field.
        MemoryError
            For more snapshots than fit into memory, before any is read.
        """
        return self.read_region(indices)

    def read_region(self, indices: npt.ArrayLike, region: Sequence[slice] | None = None) -> npt.NDArray[np.float32]:
        """`read` of a part of the grid, a slice of positive step for each of its axes; the rest is not read.

        Files of chunks read the chunks that the part touches.
        """
        index = np.asarray(indices, dtype=np.int64)
        if index.ndim != 1:
            raise IndexError(f"indices must have one axis, got {index.shape}")
        if index.size and (index.min() < -len(self) or index.max() >= len(self)):
            raise IndexError(f"indices must lie in [{-len(self)}, {len(self)}), got {index.min()} .. {index.max()}")
        wanted = self._index[index]
        part = None if region is None else [slice(*s.indices(n)) for s, n in zip(region, self.grid, strict=True)]
        sizes = self.grid if part is None else tuple(len(range(s.start, s.stop, s.step)) for s in part)
        shape = (len(wanted), self.shape[0], *sizes)
        lacking = shortage(math.prod(shape, start=4))
        if lacking:
            raise MemoryError(f"{len(wanted)} snapshots of {shape[1:]} at once {lacking}; read fewer at a time")
        out = np.empty(shape, np.float32)
        order = np.argsort(wanted, kind="stable")
        ascending = wanted[order]
        cuts = np.searchsorted(ascending, self._starts)
        for b in np.flatnonzero(np.diff(cuts)):
            here = slice(int(cuts[b]), int(cuts[b + 1]))
            self._read_block(int(b), ascending[here] - self._starts[b], order[here], out, part)
        if self.mask is not None:
            out[:, :, ~(self.mask if part is None else self.mask[tuple(part)])] = 0
        return out

    @property
    def stored_grid(self) -> tuple[int, ...] | None:
        """Cells of a snapshot that are decoded together, along each axis of the grid; None where all are apart."""
        grids = [block.chunk_grid for _, block in self._blocks if block.chunk_grid is not None]
        return tuple(max(sizes) for sizes in zip(*grids, strict=True)) if grids else None

    def _read_block(
        self,
        number: int,
        local: IntArray,
        rows: IntArray,
        out: npt.NDArray[np.float32],
        part: Sequence[slice] | None,
    ) -> None:
        """Ascending snapshots ``local`` of one block into ``out[rows]``."""
        file, block = self._blocks[number]
        region = None if part is None else dict(zip(block.grid, part, strict=True))
        channel = 0
        with self._handles.file(file) as container, np.errstate(over="ignore"):
            for variable in block.variables:
                channels = slice(channel, channel + len(variable.names))
                channel = channels.stop
                try:
                    _read_variable(container, block, variable, local, rows, out[:, channels], region)
                except Exception as error:
                    raise SnapshotFileError(
                        f"field {variable.key!r} cannot be read ({type(error).__name__}: {error})"
                    ) from error


def _read_variable(
    container: Container,
    block: Block,
    variable: Variable,
    local: IntArray,
    rows: IntArray,
    out: npt.NDArray[np.float32],
    region: Region | None,
) -> None:
    """Ascending snapshots ``local`` of one field, or a region of them, into ``out[rows]``."""
    array = container.arrays[variable.key]
    select: Any = slice(None) if variable.select is None else list(variable.select)
    if isinstance(array, np.ndarray) and variable.letters.count("c") <= 1:
        view = variable.oriented(np.asarray(array), block.grid)
        if region is not None:  # an axis that the array lacks has one cell, which stands for all
            cells: list[Any] = [region[a] if a in variable.letters else slice(None) for a in block.grid]
            view = view[(..., *cells)]
        sample = local // block.n_times if "b" in variable.letters else np.zeros_like(local)
        time = local % block.n_times if "t" in variable.letters else np.zeros_like(local)
        out[rows] = view[sample, time][:, select]
        return
    for start, stop in _runs(local, block):
        samples, times = _slices(int(local[start]), int(local[stop - 1]), block.n_times)
        part = variable.read(array, samples, times, block.grid, region)[:, :, select]
        shape = (samples.stop - samples.start, times.stop - times.start, *out.shape[1:])
        target = rows[start:stop]
        if stop - start == 1 or bool(
            (np.diff(target) == 1).all()
        ):  # straight into place: splitting the first axis gives a view
            out[target[0] : target[-1] + 1].reshape(shape)[:] = part
        else:
            out[target] = np.broadcast_to(part, shape).reshape(-1, *out.shape[1:])


def _runs(local: IntArray, block: Block) -> list[tuple[int, int]]:
    """[start, stop) of pieces that one slice of samples and times covers: times of one sample, or whole samples."""
    new = np.diff(local) != 1
    if block.n_times > 1:
        new |= np.diff(local // block.n_times) != 0
    edges = [0, *(np.flatnonzero(new) + 1).tolist(), len(local)]
    runs: list[tuple[int, int]] = []
    for start, stop in pairwise(edges):
        joins = bool(runs) and block.n_times > 1 and local[start] - local[start - 1] == 1
        if joins and local[runs[-1][0]] % block.n_times == 0 and stop - start == block.n_times:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
    return runs


def _slices(first: int, last: int, n_times: int) -> tuple[slice, slice]:
    """Samples and times from snapshot ``first`` to ``last``: one sample, or whole ones."""
    samples = slice(first // n_times, last // n_times + 1)
    return samples, slice(first % n_times, last % n_times + 1)
