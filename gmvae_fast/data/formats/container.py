"""Arrays of one opened file by name: what every file format is turned into before its layout is recognised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gmvae_fast._optional import require as require

from .hostile import check_size


class StoredArray(Protocol):
    """An array that reads from its file when it is sliced with integers and slices of step 1."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


def _nothing() -> None:
    return None


@dataclass
class Container:
    """An open file.

    Attributes
    ----------
    arrays : mapping of path ("group/name") to StoredArray
    attributes : mapping of path to attributes; "" is the root
    dims : mapping of path to the names of its axes, where the file gives them
    close : called when the file is no longer needed
    """

    arrays: dict[str, StoredArray]
    attributes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    dims: dict[str, tuple[str, ...]] = field(default_factory=dict)
    close: Callable[[], None] = _nothing

    @property
    def root(self) -> Mapping[str, Any]:
        """Attributes of the file itself."""
        return self.attributes.get("", {})


def chunks_of(array: StoredArray) -> tuple[int, ...] | None:
    """Shape of the pieces in which the file stores the array; None where it is one piece."""
    chunks = getattr(array, "chunks", None)
    return tuple(int(c) for c in chunks) if chunks else None


def plain(value: Any) -> Any:
    """An attribute as Python text, number or list of them."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, np.ndarray):
        return [plain(v) for v in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


def read_all(array: StoredArray) -> npt.NDArray[Any]:
    """The whole array, if it fits into memory.

    Raises
    ------
    ValueError
        Where it does not; a description of a few bytes can claim any shape.
    """
    check_size("an array", array.shape, array.dtype, chunks_of(array))
    return np.asarray(array[()] if array.shape == () else array[(slice(None),) * len(array.shape)])
