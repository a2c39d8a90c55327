"""Zarr stores, versions 2 and 3."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from typing import Any

from .bfloat16 import as_stored
from .container import Container, StoredArray, plain, require
from .first_states import FirstStates
from .hostile import HEAD, Seen, check_inflated, head_tells, may_inflate, span_of

COMPRESSORS = ("blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2")
#: Codecs of numbers; a store may name any that is installed, and pickle among them executes what it decodes.
CODECS = frozenset(
    (
        *COMPRESSORS,
        *("crc32c", "crc32", "adler32", "fletcher32", "jenkins_lookup3"),
        *("bytes", "endian", "transpose", "sharding_indexed", "astype", "shuffle", "packbits"),
        *("delta", "fixedscaleoffset", "quantize", "bitround"),
    )
)


def open_zarr(path: str) -> Container:
    """Every array and attribute of the store.

    Raises
    ------
    ValueError
        For a folder that is no store, names that leave it, and codecs that are not in ``CODECS``.
    """
    zarr = require("zarr", f"{path} (Zarr)")
    try:
        root = zarr.open(path, mode="r")
    except FileNotFoundError as error:
        raise ValueError(f"no group or array is described in it ({error})") from None
    # Sorted: a folder lists its members in any order, and the order of the fields is that of the channels.
    members = {"data": root} if isinstance(root, zarr.Array) else dict(sorted(root.members(max_depth=None)))
    arrays: dict[str, StoredArray] = {}
    attributes: dict[str, Any] = {"": {k: plain(v) for k, v in root.attrs.asdict().items()}}
    dims: dict[str, tuple[str, ...]] = {}
    for name, item in members.items():
        if ".." in name.replace("\\", "/").split("/"):  # consolidated metadata name what they like
            raise ValueError(f"{name!r} leaves the store")
        attributes[name] = {k: plain(v) for k, v in item.attrs.asdict().items()}
        if not isinstance(item, zarr.Array):
            continue
        if {"scale_factor", "add_offset"} & attributes[name].keys():
            raise ValueError(f"{name} is stored as scaled integers, which format='xarray' undoes")
        stored = _checked(path, name if item is not root else "", item)
        arrays[name] = as_stored(stored, attributes[name])
        named = getattr(item.metadata, "dimension_names", None) or attributes[name].get("_ARRAY_DIMENSIONS")
        if named and all(named):
            dims[name] = tuple(str(n) for n in named)
    return Container(arrays, attributes, dims)


def _checked(path: str, name: str, array: Any) -> StoredArray:
    """The array, once its codecs are known; as one that looks at the files of its chunks before they are read."""
    codecs = list(_codecs(array.metadata.to_dict()))
    unknown = sorted(set(codecs) - CODECS)
    if unknown:
        raise ValueError(f"{name or 'the array'} is stored with the codec {', '.join(unknown)}, which is not read")
    compressors = [codec for codec in codecs if codec in COMPRESSORS]
    if len(compressors) > 1:
        raise ValueError(f"{name or 'the array'} is compressed {len(compressors)} times over")
    if not os.path.isdir(path):
        return array  # type: ignore[no-any-return]
    if not compressors or "sharding_indexed" in codecs:
        return WatchedArray(array, os.path.join(path, name))
    return CompressedArray(array, os.path.join(path, name), compressors[0])


def _codecs(value: Any) -> Iterator[str]:
    """Names of the codecs in an array's metadata, those within shards included."""
    described = value if isinstance(value, dict) else {}
    for key in ("compressor", "filters", "codecs", "index_codecs"):
        found = described.get(key)
        for codec in found if isinstance(found, list | tuple) else [found]:
            if isinstance(codec, dict) and (own := codec.get("id", codec.get("name"))) is not None:
                yield str(own).removeprefix("numcodecs.")
                yield from _codecs(codec.get("configuration"))


class WatchedArray:
    """A Zarr array whose chunks must stay what they were when they were first read.

    One that vanished would be read as the fill value: by the format's rules an absent chunk is nothing but that.
    """

    def __init__(self, array: Any, folder: str) -> None:
        self._array, self._folder = array, folder
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks
        self._stored: tuple[int, ...] = getattr(array, "shards", None) or array.chunks  # of one file
        self._counts = [-(-n // size) for n, size in zip(self.shape, self._stored, strict=True)]
        self._states = FirstStates()

    def __getitem__(self, key: Any) -> Any:
        keys = key if isinstance(key, tuple) else (key,)
        spans = []
        padded = (*keys, *(slice(None),) * (len(self.shape) - len(keys)))
        for n, size, part in zip(self.shape, self._stored, padded, strict=True):
            span = span_of(part, n)
            spans.append(range(span.start // size, -(-span.stop // size)) if len(span) else range(0))
        for place in itertools.product(*spans):
            self._check(place, os.path.join(self._folder, self._array.metadata.encode_chunk_key(place)))
        return self._array[key]

    def _check(self, place: tuple[int, ...], file: str) -> None:
        number = 0
        for index, count in zip(place, self._counts, strict=True):
            number = number * count + index
        self._states.check(number, file)


class CompressedArray(WatchedArray):
    """A Zarr array of compressed chunks, which are looked at before a codec inflates them whatever comes out."""

    def __init__(self, array: Any, folder: str, codec: str) -> None:
        super().__init__(array, folder)
        self._codec = codec
        self._size = math.prod(array.chunks, start=array.dtype.itemsize)
        self._seen = Seen()

    def _check(self, place: tuple[int, ...], file: str) -> None:
        super()._check(place, file)
        if place in self._seen:
            return
        try:
            stored = os.path.getsize(file)
        except OSError:
            return  # a fill value
        if stored > 2 * self._size + 4096:
            raise ValueError(f"a chunk of {self._size} bytes is stored in {stored}")
        if self._codec not in ("zlib", "gzip") or may_inflate(stored):
            with open(file, "rb") as stream:
                content = stream.read(HEAD)
                content += b"" if head_tells(self._codec, content) else stream.read()
            check_inflated("a chunk", self._codec, content, self._size)
        self._seen.add(place)
