"""`open_snapshots`: from paths of any format to one source of labelled snapshots."""

from __future__ import annotations

import contextlib
import functools
import glob
import inspect
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import nearest

from .basics import IntArray, SnapshotFileError
from .copies import CopiedSnapshots, copied
from .formats import (
    FORMATS,
    Container,
    FrameOptions,
    file_format,
    is_listed,
    is_single_frame,
    natural_key,
    open_images,
    open_vtk,
    read_all,
    vtk_parts,
)
from .handles import SourceFile, file_errors
from .layouts import LAYOUTS, Block, FileLayout, LayoutError, Request, recognise
from .lazy import LazySnapshots
from .readers import READERS
from .snapshots import Snapshots
from .source import SnapshotSource
from .tables import join_table
from .windows import WindowedSnapshots
from .windows import window as make_window

Path_ = str | os.PathLike[str]
#: .npy and .npz files up to this size are held in memory unless ``lazy`` says otherwise.
IN_MEMORY_BYTES = 2**30


def open_snapshots(
    paths: Path_ | Iterable[Path_],
    fields: str | Sequence[str] | None = None,
    format: str = "auto",
    dims: str | Mapping[str, str] | None = None,
    *,
    lazy: bool | None = None,
    quantities: Path_ | None = None,
    mask: str | npt.NDArray[np.bool_] | None = None,
    nan: str = "keep",
    joined: bool = False,
    roi: tuple[int, int, int, int] | None = None,
    background: int | npt.NDArray[Any] | None = None,
    downsample: int = 1,
    window: Mapping[str, Any] | None = None,
    cache: bool | Path_ = False,
) -> Snapshots | LazySnapshots | WindowedSnapshots | CopiedSnapshots:
    """Open snapshots in files of any size: NumPy, HDF5, Zarr, NetCDF, image series.

    Only descriptions, coordinates and quantities are read; snapshots are read when they are asked for.

    Parameters
    ----------
    paths : path, glob pattern, or several
        Files, Zarr stores, and folders of camera frames; they follow one another in the order of their numbers
        within a pattern.
    fields : name or names, optional
        Fields, or single channels of them, in the order of the channels; default: those that vary in time (else by
        sample).
    format : str
        "auto", or a layout: "the_well", "pdebench", "jhtdb", "named_axes", "snapshots" (the package's own), "array";
        "xarray" opens the files with xarray whatever their suffix.
    dims : str, or mapping of field to str, optional
        Axes of arrays in a layout that is not recognised, a letter each: "b t x y c" with b trajectories, t times, c
        channels, x, y, z space, and "-y" for an axis stored from high to low. Axes are never guessed from sizes.
    lazy : bool, optional
        False reads everything into memory; default: .npy and .npz files below 1 GiB are in memory, nothing else.
    quantities : path, optional
        CSV (or Parquet) table beside the data: columns "file", "trajectory", "time_index" say what a row is about,
        without them row i is snapshot i. A file is its name, or as much of its path as tells it apart; beside it
        trajectories are counted within the file, else through all files. Columns of text become labels.
    mask : name of an array in the first file, or bool [*grid], optional
        Where the field is defined; elsewhere snapshots are 0 and losses leave the cells out.
    nan : {"keep", "mask"}
        "mask": cells that are NaN in the first snapshot are masked in all. `gmvae_fast.fit` refuses other NaN.
    joined : bool
        The files are consecutive parts of the same trajectories, not trajectories of their own.
    roi, background, downsample
        Of camera frames, see `gmvae_fast.data.FrameOptions`.
    window : mapping, optional
        Crop, stride, patches, resampling: options of `gmvae_fast.data.window`, like ``{"stride": 2}``.
    cache : bool or folder
        Decode slow files (compressed, images, NetCDF, windows of them) now, once, into a copy on the local disk, in
        this folder or in "copies" of `gmvae_fast.data.cache_directory`, and read that; later calls find it there. See
        `gmvae_fast.data.copies.copied`.

    Returns
    -------
    Snapshots, LazySnapshots, WindowedSnapshots or CopiedSnapshots
        All are a `SnapshotSource`: float32 (C, *grid), the last axes (y, x), row 0 the lowest y. Axes of space with
        one point only are dropped.

    Raises
    ------
    FileNotFoundError
    SnapshotFileError
        Naming the file: damaged, of an unknown layout (with what was found), without a field asked for, or unlike
        the first file.
    ValueError, TypeError
        For options that do not exist or do not fit.
    ImportError
        Naming the extra to install.
    """
    options = FrameOptions(roi, background, downsample)
    request = Request(_names(fields), dims)
    if format not in ("auto", "xarray", *LAYOUTS):
        hint = nearest(format, ("xarray", *LAYOUTS))
        raise ValueError(f"format must be auto, xarray or one of {', '.join(LAYOUTS)}, got {format!r}{hint}")
    if nan not in ("keep", "mask"):
        raise ValueError(f"nan must be 'keep' or 'mask', got {nan!r}{nearest(nan, ('keep', 'mask'))}")
    found = expand_paths(paths)
    unchanged = quantities is None and mask is None and nan == "keep" and window is None
    plain = unchanged and request == Request() and format == "auto"
    if plain and len(found) == 1 and _fits_in_memory(found[0], lazy):
        return READERS[Path(found[0]).suffix.lower()](found[0])
    sources = [_recognised(job, request, format) for job in _jobs(found, options, format)]
    result = _combined(sources, joined)
    if quantities is not None:
        _add_table(result, quantities, sources)
    _set_mask(result, sources[0][0], mask, nan)
    chosen = result if window is None else windowed(result, window)
    if lazy is False:
        return chosen.load()
    return chosen if cache is False else copied(chosen, None if cache is True else cache)


def windowed(source: SnapshotSource, options: Mapping[str, Any]) -> WindowedSnapshots:
    """`window` with options from a mapping; unknown ones are refused by name."""
    known = [name for name in inspect.signature(make_window).parameters if name != "source"]
    unknown = sorted(set(options) - set(known))
    if unknown:
        hint = nearest(unknown[0], known)
        raise ValueError(f"window must hold options among {', '.join(known)}, got {', '.join(map(str, unknown))}{hint}")
    return make_window(source, **options)


def expand_paths(paths: Path_ | Iterable[Path_]) -> list[str]:
    """Existing paths; patterns are replaced by what they match, in natural order.

    Raises
    ------
    FileNotFoundError, TypeError
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise FileNotFoundError("paths must name at least one file, got none")
    found: list[str] = []
    for item in given:
        if not isinstance(item, str | os.PathLike):
            raise TypeError(f"paths must be paths or glob patterns, got {type(item).__name__}")
        path = os.fspath(item)
        if os.path.exists(path):
            found.append(path)
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True), key=natural_key)
            if not matches:
                raise FileNotFoundError(f"{path}: no file matches the pattern")
            found += matches
        else:
            raise FileNotFoundError(f"{path}: no such file or folder{_similar(path)}")
    return found


def _similar(path: str) -> str:
    """Advice to one who mistyped a name, by what lies beside it."""
    folder, name = os.path.split(os.path.normpath(path))
    with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
        return nearest(name, [entry.name for entry in itertools.islice(entries, 10_000)], 0.75)  # suffixes are alike
    return ""


def _names(fields: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if fields is None:
        return None
    names = (fields,) if isinstance(fields, str) else tuple(fields)
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise ValueError(f"fields must be distinct names, at least one, got {fields!r}")
    return names


def _fits_in_memory(path: str, lazy: bool | None) -> bool:
    if Path(path).suffix.lower() not in READERS or os.path.isdir(path):
        return False
    return not lazy and (lazy is False or os.path.getsize(path) <= IN_MEMORY_BYTES)


class _Job(NamedTuple):
    """One source of snapshots, as `SourceFile` describes it once its layout is known."""

    path: str
    opener: Callable[[str], Container]
    parts: tuple[str, ...] = ()
    options: str = ""


def _jobs(paths: list[str], options: FrameOptions, format: str) -> list[_Job]:
    """What is opened for each source; single frames are gathered by folder."""
    kinds = ["xarray" if format == "xarray" else file_format(path) for path in paths]
    if not options.unchanged and set(kinds) != {"images"}:
        raise ValueError("roi, background and downsample are for image files only")
    jobs: list[_Job] = []
    frames: dict[tuple[str, str], list[str]] = {}
    for path, kind in zip(paths, kinds, strict=True):
        if kind is None and os.path.isdir(path):
            raise SnapshotFileError(
                f"{path}: a folder of neither images nor VTK files, and no Zarr store; folders of frames and other "
                f"files are given themselves: {os.path.join(path, '*')}"
            )
        if kind is None:
            suffixes = sorted({s for _, known, _ in FORMATS.values() for s in known})
            raise SnapshotFileError(f"{path}: no reader for {Path(path).suffix!r}; readable are {', '.join(suffixes)}")
        if kind not in ("images", "vtk"):
            jobs.append(_Job(path, FORMATS[kind][0], options=kind))
            continue
        with file_errors(path):
            single = not os.path.isdir(path) and (is_single_frame(path) if kind == "images" else not is_listed(path))
        if single:
            frames.setdefault((kind, os.path.dirname(path) or "."), []).append(path)
        elif kind == "vtk":
            jobs.append(_vtk_job(path))
        else:
            opener = functools.partial(open_images, options=options)
            jobs.append(_Job(path, opener, options=options.fingerprint))
    for (kind, folder), files in frames.items():
        if kind == "vtk":
            jobs.append(_Job(folder, functools.partial(open_vtk, files=files), tuple(files), kind))
            continue
        opener = functools.partial(open_images, options=options, files=files)
        jobs.append(_Job(folder, opener, tuple(files), options.fingerprint))
    return jobs


def _vtk_job(path: str) -> _Job:
    """A folder of VTK output, or a list of files and times; the files it consists of belong to its fingerprint."""
    with file_errors(path):
        return _Job(path, open_vtk, vtk_parts(path), "vtk")


def _recognised(job: _Job, request: Request, format: str) -> tuple[SourceFile, FileLayout]:
    with file_errors(job.path):
        container = job.opener(job.path)
        try:
            layout = recognise(container, request, "auto" if format == "xarray" else format)
        finally:
            container.close()
    return SourceFile(job.path, job.opener, layout.blocks, job.parts, job.options), layout


def _combined(sources: list[tuple[SourceFile, FileLayout]], joined: bool) -> LazySnapshots:
    """One source of all files' snapshots, after fields and grids are compared."""
    blocks: list[Block] = [block for _, layout in sources for block in layout.blocks]
    first = blocks[0]
    for file, _ in sources:
        for block in file.blocks:
            if block.channels != first.channels or block.grid != first.grid:
                raise SnapshotFileError(
                    f"{file.path}: fields {', '.join(block.channels)} on {block.grid}, expected those of "
                    f"{sources[0][0].path}: {', '.join(first.channels)} on {first.grid}"
                )
    trajectory, offset = [], 0
    for _, layout in sources:
        local = np.concatenate([block.trajectory for block in layout.blocks])
        trajectory.append(local + offset)
        offset += 0 if joined or not local.size else int(local.max()) + 1
    ids = np.concatenate(trajectory)
    sizes = [sum(map(len, layout.blocks)) for _, layout in sources]
    names = dict.fromkeys(name for block in blocks for name in block.quantities)
    labels = dict.fromkeys(name for _, layout in sources for name in layout.labels)
    attributes = {
        **sources[0][1].attributes,
        "layout": sources[0][1].layout,
        "source": [Path(file.path).name for file, _ in sources[:100]],
    }
    return LazySnapshots(
        [file for file, _ in sources],
        field_names=_distinct(first.channels),
        grid=tuple(first.grid.values()),
        trajectory=ids,
        time_index=_counts(ids),
        time=np.concatenate([block.time for block in blocks]),
        quantities={n: np.concatenate([b.quantities.get(n, np.full(len(b), np.nan)) for b in blocks]) for n in names},
        labels={
            name: np.concatenate([x.labels.get(name, np.full(n, -1)) for (_, x), n in zip(sources, sizes, strict=True)])
            for name in labels
        },
        coordinates=sources[0][1].coordinates,
        mask=sources[0][1].mask,
        attributes=attributes,
    )


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise LayoutError(f"field names must be distinct, got {names}; choose with fields=[...]")
    return names


def _counts(ids: IntArray) -> IntArray:
    """How many snapshots of the same trajectory stand before each."""
    order = np.argsort(ids, kind="stable")
    starts = np.flatnonzero(np.diff(ids[order], prepend=ids[order][:1] - 1)) if ids.size else np.zeros(0, np.int64)
    counts = np.empty(len(ids), dtype=np.int64)
    counts[order] = np.arange(len(ids)) - np.repeat(starts, np.diff([*starts, len(ids)]))
    return counts


def _add_table(result: LazySnapshots, path: Path_, sources: list[tuple[SourceFile, FileLayout]]) -> None:
    sizes = [sum(map(len, layout.blocks)) for _, layout in sources]
    within = [np.concatenate([block.trajectory for block in layout.blocks]) for _, layout in sources]
    keys: dict[str, npt.NDArray[Any]] = {
        "file": np.repeat(np.arange(len(sources)), sizes),
        "trajectory": result.trajectory,
        "trajectory in file": np.concatenate(within),
        "time_index": result.time_index,
    }
    values, labels, texts = join_table(path, keys, len(result), [file.path for file, _ in sources])
    both = sorted(((result.quantities.keys() | values.keys()) & labels.keys()) | (values.keys() & result.labels.keys()))
    if both:
        raise SnapshotFileError(f"{path}: {', '.join(both)} would be both a quantity and a label")
    result.quantities |= values
    result.labels |= labels
    if texts:
        result.attributes["label_names"] = {**result.attributes.get("label_names", {}), **texts}


def _set_mask(result: LazySnapshots, first: SourceFile, mask: str | npt.NDArray[np.bool_] | None, nan: str) -> None:
    grid = result.grid
    valid = result.mask
    if mask is not None:
        given = _stored_mask(first, mask) if isinstance(mask, str) else np.asarray(mask)
        if given.shape != grid or given.dtype.kind not in "biu":
            raise ValueError(f"mask must be bool {grid} (the output's axes), got {given.dtype} {given.shape}")
        valid = given.astype(np.bool_)
    if nan == "mask" and len(result):
        finite = ~np.isnan(result.read([0])[0]).any(axis=0)
        valid = finite if valid is None else finite & valid
    if valid is not None and not valid.any():
        raise SnapshotFileError(f"{first.path}: the mask leaves no cell at all")
    result.mask = None if valid is None or valid.all() else valid


def _stored_mask(first: SourceFile, key: str) -> npt.NDArray[Any]:
    """An array of the file over the grid, brought into the output's order by the axes of the first field."""
    with file_errors(first.path):
        container = first.opener(first.path)
        try:
            if key not in container.arrays:
                raise LayoutError(f"mask {key!r} is not among the arrays {sorted(container.arrays)}")
            values = np.squeeze(read_all(container.arrays[key]))
        finally:
            container.close()
    block = first.blocks[0]
    axes = [(a, letter) for a, letter in zip(block.variables[0].axes, block.variables[0].letters, strict=True)]
    spatial = [(a, letter) for a, letter in axes if letter in block.grid]
    if values.ndim != len(spatial):
        expected = " ".join(a for a, _ in spatial)
        raise ValueError(f"{first.path}: mask {key!r} has shape {values.shape}, expected the axes {expected}")
    values = values[tuple(slice(None, None, -1 if a.startswith("-") else 1) for a, _ in spatial)]
    return values.transpose([[letter for _, letter in spatial].index(g) for g in block.grid])
