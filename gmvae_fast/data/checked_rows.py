"""One array in a file, and a checksum of each of its rows: a .npy file of float32 with CRC-32 sums behind it."""

from __future__ import annotations

import contextlib
import math
import os
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._reading import npy_header

from .basics import SnapshotFileError
from .formats import Container

ARRAY = "data"
_DTYPE, _SUM = np.dtype("<f4"), np.dtype("<u4")


class CheckedRows:
    """Rows [N, ...] of a file that `write_checked` made; each is compared with its checksum when it is first read.

    Raises
    ------
    ValueError
        For a file of another kind or length.
    """

    def __init__(self, path: str) -> None:
        with open(path, "rb") as stream:
            self.shape, fortran, self.dtype, start = npy_header(stream)
            held = os.fstat(stream.fileno()).st_size
        n = self.shape[0] if self.shape else 0
        end = start + math.prod(self.shape, start=self.dtype.itemsize)
        if not n or fortran or self.dtype != _DTYPE or held != end + _SUM.itemsize * n:
            raise ValueError(
                f"holds {self.dtype} {self.shape} in {held} bytes, expected float32 rows and their checksums"
            )
        self._path = path
        self._rows = np.memmap(path, _DTYPE, "r", start, self.shape)
        self._sums = np.memmap(path, _SUM, "r", end, (n,))
        self._sound = np.zeros(n, dtype=np.bool_)

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        """Rows at integers [n], as a new array.

        Raises
        ------
        SnapshotFileError
            For a damaged row; the file is removed, so that nobody reads it again.
        """
        values: npt.NDArray[np.float32] = self._rows[key]
        for i in np.flatnonzero(~self._sound[key]):
            if zlib.crc32(values[i].data) != self._sums[key[i]]:
                with contextlib.suppress(OSError):
                    Path(self._path).unlink()
                raise SnapshotFileError(
                    f"{self._path}: snapshot {key[i]} of this decoded copy is damaged (its checksum differs from the "
                    "one stored); the copy is removed, open the data again to have another one made"
                )
        self._sound[key] = True
        return values


def open_checked(path: str) -> Container:
    """The rows, called "data"."""
    return Container({ARRAY: CheckedRows(path)})


def write_checked(path: Path, shape: Sequence[int], pieces: Iterable[npt.NDArray[np.float32]]) -> None:
    """Rows that come in consecutive pieces, by plain writes: into a memory map, a full disk would end the process."""
    sums: list[int] = []
    with open(path, "wb") as stream:
        header = {"descr": _DTYPE.str, "fortran_order": False, "shape": tuple(shape)}
        np.lib.format.write_array_header_1_0(stream, header)
        for piece in pieces:
            rows = np.ascontiguousarray(piece, _DTYPE)
            stream.write(rows.data)
            sums += [zlib.crc32(row.data) for row in rows]
        stream.write(np.array(sums, _SUM).data)
        stream.flush()
        os.fsync(stream.fileno())
