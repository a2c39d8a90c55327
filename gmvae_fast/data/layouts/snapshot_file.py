"""The package's own layout: fields [N, C, *grid] beside trajectory, time, quantities, labels, coordinates, mask."""

from __future__ import annotations

import dataclasses

import numpy as np

from gmvae_fast._reading import parse_json
from gmvae_fast.data.formats import Container, read_all

from .base import SPACE, FileLayout, LayoutError, Request, Variable, make_block

FORMAT = "gmvae_fast.snapshots"
FORMAT_VERSION = 1


def recognise(container: Container, request: Request) -> FileLayout | None:
    """By the metadata: an attribute of the root, or an array in .npz."""
    text = container.root.get("metadata")
    if text is None and "metadata" in container.arrays and container.arrays["metadata"].dtype.kind in "US":
        stored = read_all(container.arrays["metadata"]).item()
        text = stored.decode() if isinstance(stored, bytes) else stored
    if not isinstance(text, str) or FORMAT not in text or "fields" not in container.arrays:
        return None
    try:
        metadata = parse_json(text)
        names, attributes = tuple(metadata["field_names"]), dict(metadata["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"its metadata are damaged ({error!r})") from error
    if metadata.get("format") != FORMAT or metadata.get("format_version") != FORMAT_VERSION:
        version = metadata.get("format_version")
        raise LayoutError(f"layout version {version!r} of {metadata.get('format')!r}, expected {FORMAT_VERSION}")
    fields = container.arrays["fields"]
    space = SPACE[-(len(fields.shape) - 2) :]
    variable = Variable("fields", "fields", ("b", "c", *space), names)
    if len(names) != fields.shape[1]:
        raise LayoutError(f"{len(names)} field_names for fields of shape {fields.shape}")
    block = make_block(container, [variable], request, quantities=_group(container, "quantities"))
    tables = {name: read_all(container.arrays[name]) for name in ("trajectory", "time") if name in container.arrays}
    for name, values in tables.items():
        if values.shape != (len(block),):
            raise LayoutError(f"{name} has shape {values.shape}, expected ({len(block)},)")
    block = dataclasses.replace(
        block,
        trajectory=tables.get("trajectory", block.trajectory).astype(np.int64),
        time=tables.get("time", block.time).astype(np.float64),
    )
    coordinates = {a: v for a, v in _group(container, "coordinates").items() if a in block.grid}
    labels = {name: values.astype(np.int64) for name, values in _group(container, "labels").items()}
    mask = read_all(container.arrays["mask"]).astype(np.bool_) if "mask" in container.arrays else None
    return FileLayout("snapshots", (block,), coordinates, attributes, labels, mask)


def _group(container: Container, kind: str) -> dict[str, np.ndarray]:
    start = f"{kind}/"
    return {
        k.removeprefix(start): read_all(v).astype(np.float64)
        for k, v in container.arrays.items()
        if k.startswith(start)
    }
