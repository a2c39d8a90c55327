"""Parts of snapshots and other resolutions, made as they are read: crop, stride, patches, resampling."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_integer, nearest
from gmvae_fast._io import to_jsonable

from .basics import AXES, FloatArray, IntArray, Windowing, as_index
from .fingerprint import array_digest
from .on_demand import OnDemandSnapshots
from .resampling import COVERED, METHODS, resample, resample_mask, resample_masked
from .source import SnapshotSource

#: Of full-resolution values that are in memory at a time while they are resampled or cut into patches.
PIECE_BYTES = 2**26
#: Patches of one snapshot are read together where the box around them is at most this many times their cells.
LOOSE = 2


@dataclass(frozen=True)
class Window:
    """Checked options of `window` for one grid.

    Attributes
    ----------
    region : a slice for each axis of the grid, with start, stop and step
        What crop and stride leave.
    patch, step : sizes of a patch and distances between patches in cells of the region, or None
    shape : sizes after resampling, or None
    resampling : {"auto", "area", "linear"}
    """

    region: tuple[slice, ...]
    patch: tuple[int, ...] | None
    step: tuple[int, ...] | None
    shape: tuple[int, ...] | None
    resampling: str

    @property
    def kept(self) -> tuple[int, ...]:
        """Sizes after crop and stride."""
        return tuple(len(range(s.start, s.stop, s.step)) for s in self.region)

    @property
    def grid(self) -> tuple[int, ...]:
        """Sizes of what comes out."""
        return self.shape or self.patch or self.kept

    def corners(self) -> IntArray:
        """First cells of the patches [P, axes] in the region; the last along an axis ends at its border."""
        if self.patch is None or self.step is None:
            return np.zeros((1, len(self.region)), np.int64)
        along = [
            sorted({*range(0, n - size + 1, step), n - size})
            for n, size, step in zip(self.kept, self.patch, self.step, strict=True)
        ]
        return np.array(list(itertools.product(*along)), np.int64)

    def box(self, first: Sequence[int], last: Sequence[int]) -> tuple[slice, ...]:
        """Slices of the full grid for cells ``first`` to ``last`` (excluded) of the region."""
        return tuple(
            slice(r.start + a * r.step, r.start + (b - 1) * r.step + 1, r.step)
            for r, a, b in zip(self.region, map(int, first), map(int, last), strict=True)
        )


def window(
    source: SnapshotSource,
    *,
    crop: Mapping[str, tuple[int | None, int | None]] | None = None,
    stride: int | Mapping[str, int] = 1,
    patch: Sequence[int] | None = None,
    patch_step: int | Sequence[int] | None = None,
    shape: Sequence[int] | None = None,
    resampling: str = "auto",
) -> WindowedSnapshots:
    """A part of every snapshot, many parts of every snapshot, or all at another resolution, made as they are read.

    In this order: crop, stride, patches, resampling. Files are asked for the cells that are needed only (HDF5 by
    hyperslabs, Zarr by the chunks touched; images and compressed .npz are decoded whole).

    Parameters
    ----------
    source : SnapshotSource
    crop : mapping of axis to (start, stop), optional
        Cells of the axes "x", "y", "z" of the output, as in Python slices: y from 0 at the lowest row.
    stride : int, or mapping of axis to int
        Every so many cells; values between are left out, not averaged.
    patch : sizes in the order of the grid, (z, y, x), optional
        Every snapshot becomes that many snapshots, its patches, in the order of their places. The last patch along an
        axis ends at the border, overlapping the one before where the sizes do not divide. Patches keep the trajectory,
        time, quantities and labels of their snapshot, and have quantities "patch_x", ... (their centre, in units of
        the coordinate, or cells of the stored grid where there is none) and the label "patch" (their number). Where
        there is a mask, patches not wholly inside it are left out.
    patch_step : int or sizes, optional
        Distance between patches; default ``patch``, so that they lie side by side.
    shape : sizes in the order of the grid, optional
        Resampled to this grid, for instance the one a network expects.
    resampling : {"auto", "area", "linear"}
        See `gmvae_fast.data.resampling.resample`. With a mask only the cells inside it are averaged, and a new cell
        counts where at least half of it lies inside.

    Returns
    -------
    WindowedSnapshots
        A `SnapshotSource`, picklable if ``source`` is.

    Raises
    ------
    ValueError
        Naming the option that does not fit the grid.
    """
    return WindowedSnapshots(
        source, _checked(tuple(source.shape[1:]), crop, stride, patch, patch_step, shape, resampling)
    )


class WindowedSnapshots(OnDemandSnapshots):
    """What `window` makes of a source."""

    def __init__(self, source: SnapshotSource, options: Window) -> None:
        self._source, self._window = source, options
        self._corners = options.corners()
        cut = options.box([0] * len(options.region), options.kept)
        mask = None if source.mask is None else source.mask[cut]
        dropped = 0
        if mask is not None and options.patch is not None:
            whole = [bool(mask[_part(corner, options.patch)].all()) for corner in self._corners]
            if not any(whole):
                raise ValueError(f"patch {options.patch}: none lies wholly inside the mask; use smaller ones")
            dropped = len(whole) - sum(whole)
            self._corners, mask = self._corners[whole], None
        patches = len(self._corners)
        rows = np.repeat(np.arange(len(source)), patches)
        self._rows, self._patch = rows, np.tile(np.arange(patches), len(source))
        self.field_names, self.shape = tuple(source.field_names), (source.shape[0], *options.grid)
        self.trajectory, self.time = source.trajectory[rows], source.time[rows]
        index = getattr(source, "time_index", None)
        self.time_index = np.zeros(len(rows), np.int64) if index is None else index[rows]
        self.quantities = {k: v[rows] for k, v in source.quantities.items()}
        self.labels = {k: v[rows] for k, v in source.labels.items()}
        self._mask_before = mask
        self.mask = mask
        if mask is not None and options.shape is not None:
            self.mask = resample_mask(mask, options.shape, options.resampling) >= COVERED
        axes = AXES[: len(options.region)][::-1]
        self.coordinates = _coordinates(source.coordinates, axes, options, patched=options.patch is not None)
        if options.patch is not None:
            self._add_places(axes, source.coordinates)
        described = {**asdict(options), "region": [[s.start, s.stop, s.step] for s in options.region]}
        details = to_jsonable({**described, "patches_outside_mask": dropped})
        self.attributes = {**source.attributes, "window": details}

    def _add_places(self, axes: Sequence[str], coordinates: Mapping[str, FloatArray]) -> None:
        assert self._window.patch is not None
        for i, (axis, part, size) in enumerate(zip(axes, self._window.region, self._window.patch, strict=True)):
            cells = np.arange(part.start, part.stop, part.step)
            along = coordinates[axis][cells] if axis in coordinates else cells.astype(np.float64)
            centres = np.array([along[first : first + size].mean() for first in self._corners[:, i]])
            self.quantities[f"patch_{axis}"] = centres[self._patch]
        self.labels["patch"] = self._patch.astype(np.int64)

    def subset(self, indices: int | slice | npt.ArrayLike) -> WindowedSnapshots:
        """The snapshots at ``indices`` (an integer, a slice, integers, or a boolean mask [N]); nothing is read."""
        index = as_index(indices, len(self))
        part = self._with_rows(index)
        part._rows, part._patch = self._rows[index], self._patch[index]
        return part

    def close(self) -> None:
        """Close the files of this process; reading opens them again."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()

    def fingerprint(self) -> dict[str, Any] | None:
        """As that of `LazySnapshots`, with the options; None where the source has none."""
        method = getattr(self._source, "fingerprint", None)
        known = None if method is None else method()
        if known is None:
            return None
        places = {"rows": array_digest(self._rows), "patches": array_digest(self._patch)}
        return {"source": known, "window": self.attributes["window"], **places}

    @property
    def chunk_starts(self) -> IntArray | None:
        """First snapshots of the groups that are cheap to read together; None where each is as cheap alone."""
        groups = self._groups(self._rows)
        if groups is None or not len(groups):
            return None
        return np.concatenate([[0], np.flatnonzero(np.diff(groups)) + 1]).astype(np.int64)

    def _groups(self, rows: IntArray) -> IntArray | None:
        """A number for every row of the source, equal where they are decoded together."""
        starts = self._source.chunk_starts
        if starts is not None:
            return np.searchsorted(starts, rows, side="right")
        return rows if self._decodes_whole else None

    @property
    def _decodes_whole(self) -> bool:
        """Whether reading one patch decodes much more than it."""
        stored: tuple[int, ...] | None = getattr(self._source, "stored_grid", None)
        if self._window.patch is None or stored is None:
            return False
        return math.prod(stored) > LOOSE * math.prod(self._window.patch)

    def read(self, indices: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Snapshots at ``indices`` [n] as a new float32 array [n, C, *grid]; cells outside ``mask`` are 0."""
        index = np.asarray(indices, dtype=np.int64)
        if index.ndim != 1:
            raise IndexError(f"indices must have one axis, got {index.shape}")
        if index.size and (index.min() < -len(self) or index.max() >= len(self)):
            raise IndexError(f"indices must lie in [{-len(self)}, {len(self)}), got {index.min()} .. {index.max()}")
        rows, patches = self._rows[index], self._patch[index]
        out = np.empty((len(index), *self.shape), np.float32)
        order = np.lexsort((patches, rows))
        for here in self._pieces(rows[order]):
            places = order[here]
            out[places] = self._finished(self._cut(rows[places], patches[places]))
        return out

    def _pieces(self, rows: IntArray) -> Iterator[slice]:
        """Parts of ascending rows of the source that are in memory together: what is decoded together, if it fits."""
        groups = self._groups(rows)
        edges = np.arange(len(rows)) if groups is None else np.flatnonzero(np.diff(groups, prepend=-1))
        most = max(1, PIECE_BYTES // (4 * self.shape[0] * math.prod(self._window.patch or self._window.kept)))
        start = 0
        while start < len(rows):
            fitting = edges[(edges > start) & (edges <= start + most)]
            end = len(rows) if start + most >= len(rows) else int(fitting[-1]) if len(fitting) else start + most
            yield slice(start, end)
            start = end

    def _cut(self, rows: IntArray, patches: IntArray) -> npt.NDArray[np.float32]:
        """Full-resolution parts [n, C, *patch] for ascending rows."""
        options = self._window
        size = options.patch or options.kept
        if options.patch is None:
            return self._read(rows, options.box([0] * len(size), size))
        out = np.empty((len(rows), self.shape[0], *size), np.float32)
        groups = self._groups(rows)
        for here in _equal(rows if groups is None else groups):
            corners = self._corners[patches[here]]
            low, high = corners.min(0), corners.max(0) + size
            wanted, place = np.unique(rows[here], return_inverse=True)
            around = len(wanted) * math.prod(int(n) for n in high - low)
            fits = 4 * self.shape[0] * around <= PIECE_BYTES
            if fits and (self._decodes_whole or around <= LOOSE * len(corners) * math.prod(size)):
                box = self._read(wanted, options.box(low, high))
                for i, (row, corner) in enumerate(zip(place, corners - low, strict=True), here.start):
                    out[i] = box[(row, slice(None), *_part(corner, size))]
                continue
            for p in np.unique(patches[here]):
                same = here.start + np.flatnonzero(patches[here] == p)
                corner = self._corners[p]
                out[same] = self._read(rows[same], options.box(corner, corner + size))
        return out

    def _read(self, rows: IntArray, box: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        method = getattr(self._source, "read_region", None)
        if method is not None:
            part: npt.NDArray[np.float32] = method(rows, box)
            return part
        return self._source.read(rows)[(slice(None), slice(None), *box)]

    def _finished(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        shape, method = self._window.shape, self._window.resampling
        if shape is None:
            if self.mask is not None:
                values[:, :, ~self.mask] = 0
            return values
        if self._mask_before is not None:
            return resample_masked(values, self._mask_before, shape, method)
        return np.asarray(resample(values, shape, method), dtype=np.float32)


def _part(corner: npt.NDArray[Any], size: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(int(c), int(c) + n) for c, n in zip(corner, size, strict=True))


def _equal(values: IntArray) -> Iterator[slice]:
    """Runs of equal values."""
    edges = [*np.flatnonzero(np.diff(values, prepend=values[:1] - 1)).tolist(), len(values)]
    for a, b in itertools.pairwise(edges):
        yield slice(a, b)


def _coordinates(
    coordinates: Mapping[str, FloatArray], axes: Sequence[str], options: Window, patched: bool
) -> dict[str, FloatArray]:
    """Of what comes out; those of patches from their first cell on, if all have the same."""
    found: dict[str, FloatArray] = {}
    for i, (axis, part) in enumerate(zip(axes, options.region, strict=True)):
        if axis not in coordinates:
            continue
        along = coordinates[axis][part]
        if patched:
            assert options.patch is not None
            steps = np.diff(along)
            if len(steps) and not np.allclose(steps, steps[0]):
                continue
            along = (along - along[0])[: options.patch[i]]
        if options.shape is not None:
            along = resample(along[None, None], (options.shape[i],), options.resampling)[0, 0].astype(np.float64)
        found[axis] = along
    return found


def _checked(
    grid: tuple[int, ...],
    crop: Mapping[str, tuple[int | None, int | None]] | None,
    stride: int | Mapping[str, int],
    patch: Sequence[int] | None,
    patch_step: int | Sequence[int] | None,
    shape: Sequence[int] | None,
    resampling: str,
) -> Window:
    axes = AXES[: len(grid)][::-1]
    region = []
    crop = _by_axis("crop", crop or {}, axes)
    strides = _by_axis("stride", stride if isinstance(stride, Mapping) else dict.fromkeys(axes, stride), axes)
    for axis, n in zip(axes, grid, strict=True):
        start, stop = _edges(axis, crop.get(axis, (None, None)), n)
        step = check_integer(f"stride of {axis}", strides.get(axis, 1), 1)
        region.append(slice(start, start + (stop - 1 - start) // step * step + 1, step))
    kept = tuple(len(range(s.start, s.stop, s.step)) for s in region)
    sizes = _sizes("patch", patch, kept)
    if sizes is not None and any(size > n for size, n in zip(sizes, kept, strict=True)):
        raise ValueError(f"patch must fit into the grid {kept} that crop and stride leave, got {sizes}")
    if patch_step is not None and sizes is None:
        raise ValueError(f"patch_step needs patch, got patch_step={patch_step!r} alone")
    steps = [patch_step] * len(grid) if isinstance(patch_step, int) else patch_step
    step_sizes = sizes if steps is None else _sizes("patch_step", steps, kept)
    if resampling not in METHODS:
        raise ValueError(
            f"resampling must be one of {', '.join(METHODS)}, got {resampling!r}{nearest(resampling, METHODS)}"
        )
    new = _sizes("shape", shape, kept)
    if new is not None and resampling == "area" and any(a > b for a, b in zip(new, sizes or kept, strict=True)):
        raise ValueError(f"resampling='area' makes grids coarser only, got shape {new} for {sizes or kept}; use 'auto'")
    return Window(tuple(region), sizes, step_sizes, None if new == (sizes or kept) else new, resampling)


def _by_axis(name: str, values: Mapping[str, Any], axes: Sequence[str]) -> dict[str, Any]:
    unknown = sorted(set(values) - set(axes))
    if unknown:
        raise ValueError(f"{name} must name axes among {', '.join(sorted(axes))}, got {', '.join(map(str, unknown))}")
    return dict(values)


def _edges(axis: str, given: Any, n: int) -> tuple[int, int]:
    try:
        start, stop = given
        start, stop, _ = slice(start, stop).indices(n)
    except (TypeError, ValueError):
        raise ValueError(f"crop of {axis} must be (start, stop) in cells, got {given!r}") from None
    if start >= stop:
        raise ValueError(f"crop of {axis} must keep at least one of its {n} cells, got {given!r}")
    return start, stop


def _sizes(name: str, given: Sequence[int] | None, grid: tuple[int, ...]) -> tuple[int, ...] | None:
    if given is None:
        return None
    sizes = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(sizes) != len(grid):
        raise ValueError(f"{name} must be {len(grid)} sizes, in the order of the grid {grid}, got {given!r}")
    return tuple(check_integer(name, n, 1) for n in sizes)


Windowing._make_window = staticmethod(window)
