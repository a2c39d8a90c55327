"""HDF5 files that survive a full disk.

The library (HDF5 1.14) writes much of a file late, when objects are let go or the file is closed. Where that fails it
cannot close the file any more, and ends the process with a signal when Python does. So it writes through an object that
never tells it of an error, and tells us.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .formats.container import require


class _Patient:
    """An unbuffered file for h5py; what cannot be written is dropped, and ``error`` is the first reason."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def read(self, size: int = -1) -> bytes:
        return self._stream.read(size)

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)  # type: ignore[attr-defined, no-any-return] # of raw files too

    def write(self, data: Any) -> int:
        content = memoryview(data)
        with self._noting():
            written = 0
            while written < len(content):  # near the end of the disk less is written than asked for
                written += self._stream.write(content[written:])
        return len(content)

    def truncate(self, size: int) -> int:
        with self._noting():
            self._stream.truncate(size)
        return size

    def flush(self) -> None:
        """Nothing is held back."""

    @contextlib.contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error


class Hdf5Writer:
    """A new HDF5 file.

    Attributes
    ----------
    file : h5py.File
    """

    def __init__(self, file: Any, stream: _Patient) -> None:
        self.file, self._stream = file, stream

    def check(self) -> None:
        """Raise the OSError of the first write that failed; to be called after each larger one."""
        if self._stream.error is not None:
            raise self._stream.error


@contextlib.contextmanager
def hdf5_writer(path: Path) -> Iterator[Hdf5Writer]:
    """Within it the file is open; at its end it is closed and on the disk.

    Raises
    ------
    OSError
        Where something could not be written.
    """
    h5py = require("h5py", f"{path} (HDF5)")
    with open(path, "w+b", buffering=0) as raw:
        stream = _Patient(raw)
        with h5py.File(stream, "w") as file:
            writer = Hdf5Writer(file, stream)
            yield writer
        writer.check()
        os.fsync(raw.fileno())
