"""What a snapshot file holds and how it would be read, for people who do not trust a reader."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from gmvae_fast._io import to_jsonable

from .basics import SnapshotFileError
from .fingerprint import stored_bytes
from .formats import FORMATS, file_format, vtk_parts
from .handles import file_errors
from .layouts import Block
from .lazy import LazySnapshots
from .on_demand import OnDemandSnapshots
from .opening import expand_paths, open_snapshots, windowed
from .streaming import WINDOW_BYTES

_SAMPLE = 16  # snapshots that are read
_SAMPLE_BYTES = 2**28


def inspect_snapshots(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], **options: Any
) -> dict[str, Any]:
    """Describe files as `open_snapshots` with the same ``options`` reads them; a few snapshots are read.

    Parameters
    ----------
    paths, **options
        Of `open_snapshots`.

    Returns
    -------
    dict of JSON values
        ``recognised`` says whether the files can be opened; if not, ``error`` says why and what to pass, and
        ``arrays`` lists the first file's contents.

    Raises
    ------
    FileNotFoundError, SnapshotFileError
        For files that cannot be read at all.
    ValueError, TypeError
        For options that do not exist.
    """
    found = expand_paths(paths)
    description: dict[str, Any] = {
        "files": [
            {"path": path, "format": file_format(path) or "unknown", "bytes": stored_bytes(_parts(path))}
            for path in found
        ]
    }
    window = options.pop("window", None)
    try:
        data = open_snapshots(found, **{**options, "lazy": True})
        assert isinstance(data, LazySnapshots)
        view: OnDemandSnapshots = data if window is None else windowed(data, window)
    except SnapshotFileError as error:
        arrays = _arrays(found[0], description["files"][0]["format"])
        result: dict[str, Any] = to_jsonable(
            {**description, "recognised": False, "error": str(error), "arrays": arrays}
        )
        return result
    details = {**_stored(data), **_describe(view, data)}
    described: dict[str, Any] = to_jsonable({**description, "recognised": True, **details})
    return described


def _stored(data: LazySnapshots) -> dict[str, Any]:
    """What holds for the files, whatever is taken from them."""
    return {
        "variables": _variables(data, data.blocks[0]),
        "stored_grid": list(data.grid),
        "chunk": max(block.chunk for block in data.blocks),
        "chunk_grid": data.stored_grid,
    }


def _describe(data: OnDemandSnapshots, stored: LazySnapshots) -> dict[str, Any]:
    n = len(data)
    count = min(n, _SAMPLE, max(1, _SAMPLE_BYTES // (4 * int(np.prod(data.shape)))))
    rows = np.unique(np.linspace(0, max(n - 1, 0), count).round().astype(int)) if n else np.zeros(0, int)
    sample = data.read(rows)
    _, lengths = np.unique(data.trajectory, return_counts=True)
    return {
        "layout": data.attributes.get("layout"),
        "snapshots": n,
        "shape": list(data.shape),
        "axes": ["channel", *stored.blocks[0].grid],
        "window": data.attributes.get("window"),
        "field_names": list(data.field_names),
        "trajectories": {"count": len(lengths), "shortest": lengths.min(initial=n), "longest": lengths.max(initial=0)},
        "time": _range(data.time),
        "quantities": {name: _range(values) for name, values in data.quantities.items()},
        "labels": {name: np.unique(values).tolist()[:20] for name, values in data.labels.items()},
        "coordinates": {name: _range(values) for name, values in data.coordinates.items()},
        "masked_cells": 0 if data.mask is None else int((~data.mask).sum()),
        "snapshot_bytes": 4 * int(np.prod(data.shape)),
        "sample": {"snapshots": len(rows), "fields": _statistics(data, sample)},
        "shuffling": _shuffling(data),
        "advice": _advice(data, stored, sample),
    }


def _variables(data: LazySnapshots, block: Block) -> list[dict[str, Any]]:
    """Arrays of the first block as they are stored."""
    with data.first_file() as container:
        return [
            {
                "name": v.key,
                "axes": " ".join(v.axes),
                "stored_shape": list(container.arrays[v.key].shape),
                "dtype": str(container.arrays[v.key].dtype),
                "channels": list(v.names),
            }
            for v in block.variables
        ]


def _statistics(data: OnDemandSnapshots, sample: np.ndarray[Any, Any]) -> dict[str, Any]:
    result = {}
    for i, name in enumerate(data.field_names):
        values = sample[:, i] if data.mask is None else sample[:, i][:, data.mask]
        finite = values[np.isfinite(values)].astype(np.float64)
        result[name] = {
            "min": finite.min() if finite.size else None,
            "mean": finite.mean() if finite.size else None,
            "max": finite.max() if finite.size else None,
            "not_finite": int(values.size - finite.size),
        }
    return result


def _shuffling(data: OnDemandSnapshots) -> dict[str, Any]:
    """How random the order of training is: the whole set at once, or windows of so many stored chunks."""
    starts = data.chunk_starts
    if starts is None:
        return {"order": "uniform permutation", "window": len(data), "chunks_in_window": len(data)}
    window = min(len(data), max(1, WINDOW_BYTES // (4 * int(np.prod(data.shape)))))
    return {
        "order": "chunks in random order, shuffled within windows",
        "window": window,
        "chunks_in_window": max(1, round(window * len(starts) / len(data))),
    }


def _advice(data: OnDemandSnapshots, stored: LazySnapshots, sample: np.ndarray[Any, Any]) -> list[str]:
    advice = []
    values = sample if data.mask is None else sample[..., data.mask]
    if not np.isfinite(values).all():
        advice.append("values are NaN or infinite: nan='mask' masks cells that are NaN in the first snapshot")
    chunk = max(block.chunk for block in stored.blocks)
    if chunk * 4 * np.prod(stored.shape) > 2**28:
        advice.append(f"one stored chunk holds {chunk} snapshots: `gmvae-fast convert` lays them out for training")
    return advice


def _range(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    finite = values[np.isfinite(values)]
    known = {"min": finite.min(), "max": finite.max()} if finite.size else {"min": None, "max": None}
    return {**known, "distinct": len(np.unique(finite)), "missing": int(values.size - finite.size)}


def _parts(path: str) -> tuple[str, ...]:
    """A path, or the files of the list of VTK files that it is."""
    if file_format(path) == "vtk":
        with contextlib.suppress(SnapshotFileError, FileNotFoundError), file_errors(path):
            return tuple(part for part in vtk_parts(path) if os.path.exists(part)) or (path,)
    return (path,)


def _arrays(path: str, kind: str) -> list[dict[str, Any]]:
    if kind not in FORMATS:
        return []
    with file_errors(path):
        container = FORMATS[kind][0](path)
        try:
            return [
                {"name": k, "shape": list(a.shape), "dtype": str(a.dtype), "axes": list(container.dims.get(k, ()))}
                for k, a in container.arrays.items()
            ]
        finally:
            container.close()


def as_text(description: Mapping[str, Any]) -> str:
    """The description of `inspect_snapshots` for reading."""
    files = description["files"]
    size = sum(f["bytes"] for f in files)
    lines = [f"{files[0]['path']}{f' and {len(files) - 1} more' if len(files) > 1 else ''}"]
    lines.append(f"  format        {files[0]['format']}, {_in_words(size)}")
    if not description["recognised"]:
        lines += ["  not recognised", f"  {description['error']}", "  arrays:"]
        for a in description["arrays"]:
            axes = f" ({', '.join(a['axes'])})" if a["axes"] else ""
            lines.append(f"    {a['name']:30} {a['shape']} {a['dtype']}{axes}")
        return "\n".join(lines)
    d = description
    lines.append(f"  layout        {d['layout']}")
    for v in d["variables"]:
        stored = f"{v['name']} {v['stored_shape']} {v['dtype']}"
        lines.append(f"  stored        {stored}, axes {v['axes']} -> {', '.join(v['channels'])}")
    lines.append(
        f"  snapshots     {d['snapshots']} of {d['shape']} = ({', '.join(d['axes'])}), float32, row 0 lowest y"
    )
    lines.append(
        f"  on disk       {d['chunk']} snapshot(s) a chunk; one is {d['snapshot_bytes'] / 1e6:.3g} MB in memory"
    )
    s = d["shuffling"]
    lines.append(f"  shuffling     {s['order']} of {s['window']} snapshots ({s['chunks_in_window']} chunks)")
    if d["window"] is not None:
        used = {k: v for k, v in d["window"].items() if v}
        lines.append(f"  window        of {d['stored_grid']}: {used}")
    t = d["trajectories"]
    lines.append(f"  trajectories  {t['count']}, of {t['shortest']} to {t['longest']} snapshots")
    lines.append(f"  time          {_text(d['time'])}")
    for kind in ("quantities", "coordinates"):
        lines += [f"  {kind:13} {name}: {_text(r)}" for name, r in d[kind].items()]
    lines += [f"  labels        {name}: {values}" for name, values in d["labels"].items()]
    lines.append(f"  mask          {d['masked_cells']} cells left out")
    for name, s in d["sample"]["fields"].items():
        span = "nothing finite" if s["mean"] is None else f"{s['min']:.4g} .. {s['max']:.4g}, mean {s['mean']:.4g}"
        lines.append(f"  field         {name}: {span}; {s['not_finite']} not finite in {d['sample']['snapshots']} read")
    lines += [f"  note          {text}" for text in d["advice"]]
    return "\n".join(lines)


def _in_words(size: int) -> str:
    """Bytes, kB, or MB to a tenth."""
    if size < 1e3:
        return f"{size} bytes"
    return f"{size / 1e3:,.1f} kB" if size < 1e6 else f"{size / 1e6:,.1f} MB"


def _text(span: Mapping[str, Any]) -> str:
    if span["min"] is None:
        return "not known"
    missing = f", missing for {span['missing']}" if span["missing"] else ""
    return f"{span['min']:.6g} .. {span['max']:.6g}, {span['distinct']} distinct{missing}"
