"""JSON and .npz files of any origin: whatever is wrong with them is one kind of error, and nothing is executed."""

from __future__ import annotations

import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gmvae_fast._memory import shortage

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]
#: Dtypes by `numpy.dtype.kind`: numbers, truth values, text.
_PLAIN = "fiubcUS"


class DamagedFileError(ValueError):
    """Content that is not what its kind of file holds; the caller adds the file's name."""


def parse_json(text: str | bytes) -> Any:
    """The value; nesting beyond Python's stack and numbers beyond its limits are damage too.

    Raises
    ------
    DamagedFileError
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise DamagedFileError("not readable as JSON (nested too deeply)") from None
    except ValueError as error:  # UnicodeDecodeError and too many digits included
        raise DamagedFileError(f"not readable as JSON ({error})") from error


def read_json(path: str | os.PathLike[str], kind: type = object) -> Any:
    """The value in a file; ``kind`` is what it must be an instance of.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
    DamagedFileError
    """
    value = parse_json(Path(path).read_bytes())
    if not isinstance(value, kind):
        raise DamagedFileError(f"expected a JSON {_JSON_NAMES.get(kind, kind.__name__)}, got {type(value).__name__}")
    return value


_JSON_NAMES: dict[type, str] = {dict: "object", list: "array"}


def read_npy(path: str | os.PathLike[str]) -> np.ndarray[Any, np.dtype[Any]]:
    """The array of a .npy file, once it is known that the file holds it and that it fits into memory.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
    ValueError
        Also for Python objects, which are never unpickled.
    """
    with open(path, "rb") as stream:
        shape, _, dtype, header = npy_header(stream)
        size, held = dtype.itemsize * math.prod(shape), os.fstat(stream.fileno()).st_size - header
    if size > held:
        raise DamagedFileError(f"holds {held} bytes of an array of {size}")
    lacking = shortage(size)
    if lacking:
        raise DamagedFileError(f"its content {lacking}")
    array: np.ndarray[Any, np.dtype[Any]] = np.load(path, allow_pickle=False)
    return array


def read_npz(path: str | os.PathLike[str]) -> Arrays:
    """All arrays of an archive, once it is known that they fit into memory.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError
    DamagedFileError
        Also for members that are no arrays or hold Python objects, which are never unpickled.
    """
    try:
        check_npz(path)
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (FileNotFoundError, NotADirectoryError, PermissionError, IsADirectoryError, DamagedFileError):
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen kinds
        raise DamagedFileError(f"not a whole .npz file ({type(error).__name__}: {error})") from error


def check_npz(path: str | os.PathLike[str], *, only_compressed: bool = False) -> None:
    """Compare what the members' headers claim with what the archive holds and what fits into memory.

    ``only_compressed``: members that are not may be larger, since they are mapped.

    Raises
    ------
    DamagedFileError
    """
    total = 0
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                shape, _, dtype, header = npy_header(member)
            size = header + dtype.itemsize * math.prod(shape)
            if size != info.file_size:
                raise DamagedFileError(
                    f"{info.filename} of shape {shape} takes {size} bytes, the archive holds {info.file_size}"
                )
            mapped = only_compressed and info.compress_type == zipfile.ZIP_STORED
            total += 0 if mapped else size
    lacking = shortage(total)
    if lacking:
        raise DamagedFileError(f"its content {lacking}")


def npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, Fortran order and dtype of a .npy file or member, and the length of its header.

    Raises
    ------
    ValueError
        Also for Python objects and records.
    """
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, fortran, dtype = read(stream)
    except (RecursionError, MemoryError) as error:  # Python's parser on nested brackets
        raise DamagedFileError(f"not a .npy header ({type(error).__name__})") from None
    if dtype.kind not in _PLAIN or any(n < 0 for n in shape):
        raise DamagedFileError(f"holds {dtype} of shape {shape}, expected numbers or text")
    return shape, fortran, dtype, stream.tell()
