"""NetCDF and whatever else xarray opens."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .container import Container, StoredArray, plain, require
from .hdf5 import check_links


class XarrayArray:
    """A variable that reads through xarray, which scales packed integers and turns fill values into NaN."""

    def __init__(self, variable: Any) -> None:
        self._variable = variable
        self.shape = tuple(int(s) for s in variable.shape)
        self.dtype = np.dtype(variable.dtype)
        self.chunks = variable.encoding.get("chunksizes") or None

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self._variable[key].values)


def open_xarray(path: str) -> Container:
    """Data variables and coordinates with the names of their axes; times stay numbers in the file's units.

    Raises
    ------
    ValueError
        For a NetCDF-4 file (which is HDF5) that links to other files.
    """
    xarray = require("xarray", f"{path} (NetCDF or another format of xarray)")
    if os.path.isfile(path):
        with open(path, "rb") as file:
            is_hdf5 = file.read(8) == b"\x89HDF\r\n\x1a\n"
        if is_hdf5:
            check_links(path)
    data = xarray.open_dataset(path, decode_times=False, cache=False, chunks=None)
    arrays: dict[str, StoredArray] = {str(name): XarrayArray(v) for name, v in data.variables.items()}
    attributes: dict[str, Any] = {"": {str(k): plain(v) for k, v in data.attrs.items()}}
    attributes |= {str(n): {str(k): plain(a) for k, a in v.attrs.items()} for n, v in data.variables.items()}
    dims = {str(name): tuple(str(d) for d in v.dims) for name, v in data.variables.items()}
    return Container(arrays, attributes, dims, data.close)
