"""HDF5 files, NetCDF-4 included when asked for."""

from __future__ import annotations

import itertools
import math
from typing import Any

from .bfloat16 import as_stored
from .container import Container, StoredArray, plain, require
from .hostile import Seen, check_inflated, inside, may_inflate, span_of

#: Number of the filter (H5Z_FILTER_DEFLATE).
_DEFLATE = 1


def open_hdf5(path: str) -> Container:
    """Every dataset and attribute of the file; nothing is read but their descriptions.

    Links into other files are not followed; datasets whose values lie in other files are refused unless those lie in
    the file's folder.
    """
    h5py = require("h5py", f"{path} (HDF5)")
    file = h5py.File(path, "r")
    arrays: dict[str, StoredArray] = {}
    attributes: dict[str, Any] = {"": {k: plain(v) for k, v in file.attrs.items()}}
    dims: dict[str, tuple[str, ...]] = {}

    def visit(name: str, item: Any) -> None:
        attributes[name] = _attributes(h5py, item)
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            _check_sources(item)
            stored = DeflatedArray(item) if _deflations(item) else item
            arrays[name] = as_stored(stored, attributes[name])
            labels = tuple(_axis_name(axis) for axis in item.dims)
            if labels and all(labels):
                dims[name] = labels

    try:
        file.visititems(visit)
    except BaseException:
        file.close()
        raise
    return Container(arrays, attributes, dims, file.close)


def check_links(path: str) -> None:
    """Before a library opens an HDF5 file that follows whatever links are in it.

    Raises
    ------
    ValueError
        For links and values in other files, and for chunks that inflate beyond what they should hold.
    """
    h5py = require("h5py", f"{path} (HDF5)")

    def visit(name: str, link: Any) -> None:
        if isinstance(link, h5py.ExternalLink):
            raise ValueError(f"{name} is a link into the file {link.filename!r}")

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape is not None:
            _check_sources(item)
            if _deflations(item):
                DeflatedArray(item).check_all()

    with h5py.File(path, "r") as file:
        file.visititems_links(visit)
        file.visititems(check)


def _check_sources(dataset: Any) -> None:
    """Values in other files: external storage and virtual datasets."""
    names = [entry[0] for entry in dataset.external or ()]
    if dataset.is_virtual:
        names += [source.file_name for source in dataset.virtual_sources()]
    for name in names:
        if name != ".":  # the file itself
            try:
                inside("", name)
            except ValueError as error:
                raise ValueError(f"{dataset.name} {error}") from None


def _deflations(dataset: Any) -> int:
    """How often the dataset's filters deflate: more than once inflates a million times."""
    created = dataset.id.get_create_plist()
    count = [created.get_filter(i)[0] for i in range(created.get_nfilters())].count(_DEFLATE)
    if count > 1:
        raise ValueError(f"{dataset.name} is deflated {count} times over")
    return count


class DeflatedArray:
    """A dataset of gzip chunks. HDF5 inflates them whatever comes out: those that could fill the memory are checked."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.shape, self.dtype, self.chunks = dataset.shape, dataset.dtype, dataset.chunks
        self._size = math.prod(dataset.chunks, start=dataset.dtype.itemsize)
        self._seen = Seen()

    def __getitem__(self, key: Any) -> Any:
        for offset in itertools.product(*map(_starts, self._spans(key), self.chunks)):
            if offset in self._seen:
                continue
            try:
                self._check(offset, self._dataset.id.get_chunk_info_by_coord(offset).size)
            except (OSError, RuntimeError, TypeError):  # not stored: fill values
                continue
        return self._dataset[key]

    def check_all(self) -> None:
        """Every stored chunk."""
        self._dataset.id.chunk_iter(lambda info: self._check(info.chunk_offset, info.size))

    def _check(self, offset: tuple[int, ...], stored: int | None) -> None:
        if not stored:
            return
        if stored > 2 * self._size + 4096:  # deflate adds five bytes in 16 KB
            raise ValueError(f"a chunk of {self._size} bytes is stored in {stored}")
        if may_inflate(stored):
            check_inflated("a chunk", "zlib", bytes(self._dataset.id.read_direct_chunk(offset)[1]), self._size)
        self._seen.add(offset)

    def _spans(self, key: Any) -> list[range]:
        keys = key if isinstance(key, tuple) else (key,)
        padded = (*keys, *(slice(None),) * (len(self.shape) - len(keys)))
        return [span_of(part, n) for n, part in zip(self.shape, padded, strict=True)]


def _starts(span: range, chunk: int) -> range:
    """First cells of the chunks that a span touches."""
    return range(span.start // chunk * chunk, span.stop, chunk) if len(span) else range(0)


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
