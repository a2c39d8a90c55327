"""What is done to simulated snapshots before any arm sees them."""

from __future__ import annotations

import dataclasses

import numpy as np

from gmvae_fast.data import Snapshots


def last_frames(snapshots: Snapshots, count: int) -> Snapshots:
    """The last ``count`` frames of every run, in the order in which they stand."""
    runs, inverse = np.unique(snapshots.trajectory, return_inverse=True)
    kept = np.zeros(len(snapshots), dtype=bool)
    for run in range(len(runs)):
        members = np.flatnonzero(inverse == run)
        kept[members[np.argsort(snapshots.time[members], kind="stable")[-count:]]] = True
    return snapshots[kept]


def binned(snapshots: Snapshots, factor: int) -> Snapshots:
    """Means over blocks of ``factor`` cells along every grid axis; for snapshots without a mask.

    Raises
    ------
    ValueError
        Where a grid axis is no multiple of ``factor``, or there is a mask.
    """
    if snapshots.mask is not None or any(size % factor for size in snapshots.grid):
        raise ValueError(f"factor must divide the grid {snapshots.grid} of snapshots without a mask, got {factor}")
    blocks = [part for size in snapshots.grid for part in (size // factor, factor)]
    axes = tuple(range(3, 3 + 2 * len(snapshots.grid), 2))
    fields = snapshots.fields.reshape(*snapshots.fields.shape[:2], *blocks).mean(axis=axes)
    where = {name: values.reshape(-1, factor).mean(1) for name, values in snapshots.coordinates.items()}
    return dataclasses.replace(snapshots, fields=fields, coordinates=where)


def thinned(snapshots: Snapshots, factor: int) -> Snapshots:
    """Every ``factor``-th point along every grid axis, from the first; the mask likewise."""
    if factor == 1:
        return snapshots
    kept = (slice(None, None, factor),) * len(snapshots.grid)
    return dataclasses.replace(
        snapshots,
        fields=np.ascontiguousarray(snapshots.fields[(slice(None), slice(None), *kept)]),
        mask=None if snapshots.mask is None else np.ascontiguousarray(snapshots.mask[kept]),
        coordinates={name: values[::factor] for name, values in snapshots.coordinates.items()},
    )


def with_label(
    snapshots: Snapshots, name: str, source: str, classes: tuple[int, ...], texts: tuple[str, str]
) -> Snapshots:
    """A label more: 1 where label ``source`` is one of ``classes``, else 0; ``texts`` names both."""
    label = np.isin(snapshots.labels[source], classes).astype(np.int64)
    names = {**snapshots.attributes.get("label_names", {}), name: list(texts)}
    return dataclasses.replace(
        snapshots,
        labels={**snapshots.labels, name: label},
        attributes={**snapshots.attributes, "label_names": names},
    )
