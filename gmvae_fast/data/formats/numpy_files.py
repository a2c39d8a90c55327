"""Memory-mapped .npy files, and .npz archives whose members are mapped where they are not compressed."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._reading import check_npz, npy_header

from .container import Container, StoredArray


def open_npy(path: str) -> Container:
    """One array, called "data"."""
    with open(path, "rb") as file:
        npy_header(file)  # numpy's own errors advise to unpickle
    return Container({"data": np.load(path, mmap_mode="r", allow_pickle=False)})


def open_npz(path: str) -> Container:
    """The members of an archive; compressed ones are read whole, if together they fit into memory."""
    check_npz(path, only_compressed=True)
    arrays: dict[str, StoredArray] = {}
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as loaded:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            mapped = _mapped(path, archive, info) if info.compress_type == zipfile.ZIP_STORED else None
            arrays[name] = loaded[name] if mapped is None else mapped
    return Container(arrays)


def _mapped(path: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> npt.NDArray[Any] | None:
    """The member as a view of the file; None for what cannot be one (text, objects, nothing inside)."""
    with archive.open(info) as member:
        shape, fortran, dtype, header = npy_header(member)
    if dtype.kind not in "fiub" or 0 in shape or shape == ():
        return None
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)  # lengths of name and extra field in the member's own header
        lengths = np.frombuffer(file.read(4), "<u2")
    start = info.header_offset + 30 + int(lengths.sum()) + header
    order: Any = "F" if fortran else "C"
    return np.memmap(path, dtype, "r", offset=start, shape=shape, order=order)
