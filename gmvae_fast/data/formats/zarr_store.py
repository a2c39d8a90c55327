"""Zarr stores, versions 2 and 3."""

from __future__ import annotations

from typing import Any

from .bfloat16 import as_stored
from .container import Container, StoredArray, plain, require


def open_zarr(path: str) -> Container:
    """Every array and attribute of the store."""
    zarr = require("zarr", f"{path} (Zarr)")
    root = zarr.open(path, mode="r")
    members = {"data": root} if isinstance(root, zarr.Array) else dict(root.members(max_depth=None))
    arrays: dict[str, StoredArray] = {}
    attributes: dict[str, Any] = {"": {k: plain(v) for k, v in root.attrs.asdict().items()}}
    dims: dict[str, tuple[str, ...]] = {}
    for name, item in members.items():
        attributes[name] = {k: plain(v) for k, v in item.attrs.asdict().items()}
        if not isinstance(item, zarr.Array):
            continue
        if {"scale_factor", "add_offset"} & attributes[name].keys():
            raise ValueError(f"{name} is stored as scaled integers, which format='xarray' undoes")
        arrays[name] = as_stored(item, attributes[name])
        named = getattr(item.metadata, "dimension_names", None) or attributes[name].get("_ARRAY_DIMENSIONS")
        if named and all(named):
            dims[name] = tuple(str(n) for n in named)
    return Container(arrays, attributes, dims)
