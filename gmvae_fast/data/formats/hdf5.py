"""HDF5 files, NetCDF-4 included when asked for."""

from __future__ import annotations

from typing import Any

from .bfloat16 import as_stored
from .container import Container, StoredArray, plain, require


def open_hdf5(path: str) -> Container:
    """Every dataset and attribute of the file; nothing is read but their descriptions."""
    h5py = require("h5py", f"{path} (HDF5)")
    file = h5py.File(path, "r")
    arrays: dict[str, StoredArray] = {}
    attributes: dict[str, Any] = {"": {k: plain(v) for k, v in file.attrs.items()}}
    dims: dict[str, tuple[str, ...]] = {}

    def visit(name: str, item: Any) -> None:
        attributes[name] = _attributes(h5py, item)
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            arrays[name] = as_stored(item, attributes[name])
            labels = tuple(_axis_name(axis) for axis in item.dims)
            if labels and all(labels):
                dims[name] = labels

    try:
        file.visititems(visit)
    except BaseException:
        file.close()
        raise
    return Container(arrays, attributes, dims, file.close)


def _attributes(h5py: Any, item: Any) -> dict[str, Any]:
    kept = {}
    for name in item.attrs:
        if name in ("REFERENCE_LIST", "DIMENSION_LIST"):
            continue  # references between datasets, which `dims` resolves
        value = item.attrs[name]
        if not isinstance(value, h5py.Reference | h5py.Empty):
            kept[name] = plain(value)
    return kept


def _axis_name(axis: Any) -> str:
    if axis.label:
        return str(axis.label)
    return str(axis[0].name).rsplit("/", 1)[-1] if len(axis) else ""
