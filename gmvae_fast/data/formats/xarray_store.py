"""NetCDF and whatever else xarray opens."""

from __future__ import annotations

from typing import Any

import numpy as np

from .container import Container, StoredArray, plain, require


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
    """Data variables and coordinates with the names of their axes; times stay numbers in the file's units."""
    xarray = require("xarray", f"{path} (NetCDF or another format of xarray)")
    data = xarray.open_dataset(path, decode_times=False, cache=False, chunks=None)
    arrays: dict[str, StoredArray] = {str(name): XarrayArray(v) for name, v in data.variables.items()}
    attributes: dict[str, Any] = {"": {str(k): plain(v) for k, v in data.attrs.items()}}
    attributes |= {str(n): {str(k): plain(a) for k, a in v.attrs.items()} for n, v in data.variables.items()}
    dims = {str(name): tuple(str(d) for d in v.dims) for name, v in data.variables.items()}
    return Container(arrays, attributes, dims, data.close)
