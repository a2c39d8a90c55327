"""A study folder as frozen, checked dataclasses: what is mandatory is read or refused, the rest may be None.

Mandatory: ``study.json`` and, for every seed, ``config.json``, ``history.json``, ``embedding.npz``,
``mixture.npz``, ``scores.json``. Optional: ``coordinates.npz``, ``validation.json``, ``summary.json`` and,
for every seed, ``reconstructions.npz``, ``samples.npz``, ``metrics.json``.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gmvae_fast.report.reading import Array, Arrays, Record, ReportError, read_json, read_npz
from gmvae_fast.report.study import (
    EPOCH_TERMS,
    RESAMPLED_COLUMNS,
    SCORE_COLUMNS,
    Contingency,
    Coordinates,
    DataDescription,
    Epoch,
    Event,
    Latents,
    Metrics,
    Mixture,
    Reconstructions,
    Run,
    Samples,
    ScoreRow,
    Scores,
    Spread,
    Study,
    SweepPoint,
    Target,
    Validation,
    ValidationRow,
)


def load_study(study_dir: str | os.PathLike[str]) -> Study:
    """Read and check a study folder; see the module's text for what is mandatory."""
    root = Path(study_dir)
    if not root.is_dir():
        raise ReportError(f"{root}: no such study folder")
    record = read_json(root, "study.json")
    data = _data(record.record("data"))
    seeds = record.integers("seeds")
    if not seeds:
        raise record.fault("seeds", "at least one seed")
    return Study(
        title=record.text("title"),
        system=record.text("system"),
        geometry=record.text("geometry", ""),
        design=record.text("design", ""),
        command=record.text("command"),
        created=record.text("created", ""),
        seeds=seeds,
        versions=record.record("versions", optional=True).values,
        machine=record.record("machine", optional=True).values,
        data=data,
        notes=record.texts("notes", optional=True),
        targets=tuple(_target(row) for row in record.records("targets", optional=True)),
        timings=record.number_map("timings_s"),
        coordinates=_coordinates(root, data.shape),
        validation=_validation(root),
        summary=_summary(root),
        runs=tuple(_run(root, seed, data.shape) for seed in seeds),
    )


def _data(record: Record) -> DataDescription:
    shape, names = record.integers("shape"), record.texts("field_names")
    if len(shape) not in (2, 3, 4) or min(shape) < 1:
        raise record.fault("shape", "[C, D, H, W], [C, H, W] or [C, W], all positive")
    if len(names) != shape[0]:
        raise record.fault("field_names", f"{shape[0]} names, one per field")
    return DataDescription(
        n_snapshots=record.integer("n_snapshots"),
        n_train=record.number("n_train"),
        n_test=record.number("n_test"),
        shape=shape,
        field_names=names,
        attributes=record.record("attributes", optional=True).values,
    )


def _target(row: Record) -> Target:
    return Target(row.text("name"), row.number("value"), row.text("bound", ""), row.flag("passed"))


def _coordinates(root: Path, shape: tuple[int, ...]) -> Coordinates | None:
    if not (root / "coordinates.npz").exists():
        return None
    arrays = read_npz(root, "coordinates.npz")
    y = arrays.optional("y", (shape[-2],)) if len(shape) > 2 else None
    solid = arrays.optional("solid", shape[1:], "bool")
    return Coordinates(arrays.optional("x", (shape[-1],)), y, solid if solid is None else _plane(solid, len(shape)))


def _plane(values: Array, dims: int) -> Array:
    """Of volumes [..., D, H, W] (``dims`` 4, with the channels) the plane in the middle, which is what is drawn."""
    return values[..., values.shape[-3] // 2, :, :] if dims == 4 else values


def _validation(root: Path) -> Validation | None:
    if not (root / "validation.json").exists():
        return None
    record = read_json(root, "validation.json")
    rows = tuple(
        ValidationRow(
            row.text("case", ""),
            row.text("quantity"),
            row.number("value"),
            row.number("low"),
            row.number("high"),
            row.text("source", ""),
            row.flag("passed"),
        )
        for row in record.records("rows")
    )
    return Validation(rows, record.flag("passed"), record.flag("quick", False))


def _summary(root: Path) -> dict[str, Spread] | None:
    if not (root / "summary.json").exists():
        return None
    metrics = read_json(root, "summary.json").record("metrics")
    rows = {name: metrics.record(name) for name in metrics.values}
    return {name: Spread(row.number("mean"), row.number("std"), row.numbers("values")) for name, row in rows.items()}


def _run(root: Path, seed: int, shape: tuple[int, ...]) -> Run:
    folder = f"seed_{seed}"
    history = read_json(root, f"{folder}/history.json")
    mixture = _mixture(read_npz(root, f"{folder}/mixture.npz"))
    return Run(
        seed=seed,
        config=read_json(root, f"{folder}/config.json").values,
        epochs=tuple(_epoch(row) for row in history.records("epochs")),
        events=tuple(
            Event(row.number("epoch"), row.text("kind"), row.text("message", ""))
            for row in history.records("events", optional=True)
        ),
        latents=_latents(read_npz(root, f"{folder}/embedding.npz"), mixture),
        mixture=mixture,
        reconstructions=_reconstructions(root, f"{folder}/reconstructions.npz", shape),
        samples=_samples(root, f"{folder}/samples.npz", shape),
        scores=_scores(read_json(root, f"{folder}/scores.json")),
        metrics=_metrics(root, f"{folder}/metrics.json", len(mixture.weights)),
    )


def _epoch(row: Record) -> Epoch:
    terms = {name: row.number(name) for name in EPOCH_TERMS}
    return Epoch(float(row.integer("epoch")), row.text("phase", ""), terms, row.numbers("occupancy"))


def _mixture(arrays: Arrays) -> Mixture:
    means = arrays.get("means", (None, None))
    if min(means.shape) < 1:
        raise arrays.fault(f"array 'means' is empty: shape {list(means.shape)}")
    weights = arrays.get("weights", (len(means),))
    return Mixture(weights, means, _covariances(arrays, means.shape))


def _covariances(arrays: Arrays, shape: tuple[int, ...]) -> Array:
    """Matrices [K, D, D], stored as such or as the log variances of a diagonal."""
    k, d = shape
    dense = arrays.optional("covariances", (k, d, d))
    if dense is not None:
        return np.asarray(dense, dtype=np.float64)
    covariances = np.zeros((k, d, d))
    covariances[:, range(d), range(d)] = np.exp(np.asarray(arrays.get("log_vars", shape), dtype=np.float64))
    return covariances


def _latents(arrays: Arrays, mixture: Mixture) -> Latents:
    n_components, latent_dim = mixture.means.shape
    mean = arrays.get("mean", (None, latent_dim))
    n = len(mean)
    if n == 0:
        raise arrays.fault("array 'mean' holds no snapshots")
    component = arrays.get("component", (n,), "whole")
    if component.min() < 0 or component.max() >= n_components:
        raise arrays.fault(f"array 'component' should lie in 0..{n_components - 1} (mixture.npz)")
    return Latents(
        mean=mean,
        log_var=arrays.get("log_var", mean.shape),
        responsibilities=arrays.get("responsibilities", (n, n_components)),
        component=component,
        is_test=arrays.get("is_test", (n,), "bool"),
        quantities=arrays.with_prefix("quantity_", n, "number"),
        labels={name: _as_text(a) for name, a in arrays.with_prefix("label_", n, "any").items()},
    )


def _as_text(array: Array) -> Array:
    """Label values as text; bytes are decoded, whole floats lose their ".0"."""
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "f" and np.all(np.isfinite(array)) and np.all(array == np.rint(array)):
        array = array.astype(np.int64)
    return array.astype(np.str_)


def _reconstructions(root: Path, name: str, shape: tuple[int, ...]) -> Reconstructions | None:
    if not (root / name).exists():
        return None
    arrays = read_npz(root, name)
    original = arrays.get("original", (None, *shape))
    n = len(original)
    titles = arrays.optional("title", (n,), "any")
    return Reconstructions(
        index=arrays.get("index", (n,), "whole"),
        original=_plane(original, len(shape)),
        reconstruction=_plane(arrays.get("reconstruction", original.shape), len(shape)),
        titles=("",) * n if titles is None else tuple(str(title) for title in _as_text(titles)),
    )


def _samples(root: Path, name: str, shape: tuple[int, ...]) -> Samples | None:
    if not (root / name).exists():
        return None
    arrays = read_npz(root, name)
    fields = arrays.get("fields", (None, *shape))
    return Samples(arrays.get("component", (len(fields),), "whole"), _plane(fields, len(shape)))


def _scores(record: Record) -> Scores:
    return Scores(
        n_neighbors=record.integer("n_neighbors"),
        n_components=record.integer("n_components"),
        n_nodes=record.integer("n_nodes"),
        weights=record.text("weights", ""),
        rows=tuple(
            ScoreRow(row.text("signal"), {key: row.number(key) for key in SCORE_COLUMNS + RESAMPLED_COLUMNS})
            for row in record.records("rows")
        ),
        sweep=tuple(
            SweepPoint(row.integer("n_neighbors"), row.integer("n_components"), row.number_map("scores"))
            for row in record.records("neighbor_sweep", optional=True)
        ),
    )


def _metrics(root: Path, name: str, n_components: int) -> Metrics | None:
    if not (root / name).exists():
        return None
    record = read_json(root, name)
    tables = record.record("contingency", optional=True)
    return Metrics(
        held_out_error=record.number("held_out_error"),
        train_error=record.number("train_error"),
        held_out_error_by_field=record.number_map("held_out_error_by_field"),
        agreement={key: record.number_map(key) for key in ("ari", "ari_held_out", "nmi")},
        contingency={label: _contingency(tables.record(label), n_components) for label in tables.values},
    )


def _contingency(record: Record, n_components: int) -> Contingency:
    names = tuple(str(name) for name in record.sequence("rows"))
    if not names:
        return Contingency((), np.zeros((0, n_components), np.int64))
    try:
        table = np.array(record.sequence("table"), dtype=np.int64).reshape(len(names), -1)
    except (ValueError, TypeError, OverflowError) as error:
        raise record.fault("table", f"{len(names)} rows of whole numbers") from error
    if table.shape[1] != n_components:
        raise record.fault("table", f"{n_components} counts per row, one per component")
    return Contingency(names, table)
