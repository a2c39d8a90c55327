"""The package's own .npz files of snapshots, as parts: what `Snapshots.save` writes and `Snapshots.load` reads."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._io import write_npz
from gmvae_fast._reading import parse_json, read_npz

from .basics import SnapshotFileError
from .layouts.snapshot_file import FORMAT, FORMAT_VERSION

METADATA = "metadata"
PARTS = ("fields", "trajectory", "time")
_TABLES = ("quantities", "labels", "coordinates")


def write_parts(path: str | os.PathLike[str], parts: Mapping[str, Any]) -> None:
    """Write the arguments of `Snapshots`, by name, as one uncompressed archive."""
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "field_names": parts["field_names"],
        "attributes": parts["attributes"],
    }
    arrays: dict[str, npt.NDArray[Any]] = {METADATA: np.array(json.dumps(metadata))}
    arrays |= {name: parts[name] for name in PARTS}
    if parts["mask"] is not None:
        arrays["mask"] = parts["mask"]
    for kind in _TABLES:
        arrays |= {f"{kind}/{name}": values for name, values in parts[kind].items()}
    write_npz(path, arrays)


def read_parts(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The arguments of `Snapshots` by name, from what `write_parts` wrote.

    Raises
    ------
    FileNotFoundError, SnapshotFileError
    """
    arrays = read_npz(path)
    missing = [name for name in (METADATA, *PARTS) if name not in arrays]
    if missing:
        raise SnapshotFileError(f"{path}: not a snapshot file, missing {', '.join(missing)}")
    metadata = parse_json(str(arrays[METADATA]))
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise SnapshotFileError(f"{path}: its metadata do not say {FORMAT!r}")
    if metadata.get("format_version") != FORMAT_VERSION:
        raise SnapshotFileError(
            f"{path}: layout version {metadata.get('format_version')!r}, this version reads {FORMAT_VERSION}"
        )
    if "field_names" not in metadata or "attributes" not in metadata:
        raise SnapshotFileError(f"{path}: its metadata lack field_names or attributes")
    tables = {
        kind: {k.removeprefix(f"{kind}/"): v for k, v in arrays.items() if k.startswith(f"{kind}/")} for kind in _TABLES
    }
    return {
        **{name: arrays[name] for name in PARTS},
        "field_names": tuple(metadata["field_names"]),
        "mask": arrays.get("mask"),
        "attributes": metadata["attributes"],
        **tables,
    }
