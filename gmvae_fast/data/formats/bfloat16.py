"""bfloat16 in files: the upper half of a float32 in unsigned 16-bit integers, named by an attribute.

Neither HDF5 nor Zarr has the type. The package ml_dtypes would give numpy one, but h5py cannot store it either, and
reading back is one shift, which is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .container import StoredArray, chunks_of

#: Attribute of the array, and its value.
ATTRIBUTE, NAME = "stored_as", "bfloat16"


def to_bfloat16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Bits of ``values`` rounded to the nearest bfloat16, ties to even: a relative error of at most 2^-8."""
    bits = torch.from_numpy(np.ascontiguousarray(values)).to(torch.bfloat16).view(torch.int16)
    return bits.numpy().view(np.uint16)


def from_bfloat16(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """The values, exactly."""
    return (np.asarray(bits, dtype=np.uint32) << 16).view(np.float32)


class BFloat16Array:
    """A stored array of bits that reads as float32."""

    def __init__(self, bits: StoredArray) -> None:
        self._bits = bits
        self.shape, self.dtype, self.chunks = bits.shape, np.dtype(np.float32), chunks_of(bits)

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:
        return from_bfloat16(np.asarray(self._bits[key]))


def as_stored(array: StoredArray, attributes: Mapping[str, Any]) -> StoredArray:
    """The array itself, or its values where its attributes say that it holds bfloat16."""
    if attributes.get(ATTRIBUTE) != NAME:
        return array
    if array.dtype.newbyteorder("=") != np.uint16:
        raise ValueError(f"an array with {ATTRIBUTE} = {NAME!r} must hold uint16, got {array.dtype}")
    return BFloat16Array(array)
