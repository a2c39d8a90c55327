"""JSON and npz files as checked values: every fault becomes a :class:`ReportError` that names the file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gmvae_fast._reading import DamagedFileError, parse_json
from gmvae_fast._reading import read_npz as load_npz

Array = NDArray[Any]
ARRAY_KINDS = {"number": "fiub", "whole": "iu", "bool": "b", "any": "fiubUS"}  # numpy dtype kinds


class ReportError(ValueError):
    """A study folder that cannot be reported on: names the file and what is wrong with it."""


@dataclass(frozen=True)
class Record:
    """A JSON object and where it stands, for messages such as ``seed_0/scores.json: rows[2]: ...``."""

    where: str
    values: Mapping[str, Any]

    def fault(self, key: str, expected: str) -> ReportError:
        """The error for ``key`` not being ``expected``, saying what arrived."""
        if key not in self.values:
            return ReportError(f"{self.where}: {key!r} is missing; expected {expected}")
        return ReportError(f"{self.where}: {key!r} should be {expected}, got {_shorten(self.values[key])}")

    def has(self, key: str) -> bool:
        """Whether ``key`` is there and not null."""
        return self.values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """A string; ``default`` when absent or null, an error if there is no default."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self.fault(key, "a string")
        return value

    def number(self, key: str) -> float:
        """A float; NaN when absent or null, since JSON has no other way to write NaN."""
        value = self.values.get(key)
        if value is None:
            return math.nan
        if not _is_number(value):
            raise self.fault(key, "a number or null")
        return float(value)

    def integer(self, key: str) -> int:
        """A whole number, mandatory."""
        value = self.values.get(key)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not float(value).is_integer():
            raise self.fault(key, "a whole number")
        return int(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false; ``default`` when absent."""
        value = self.values.get(key, default)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def sequence(self, key: str, *, optional: bool = False) -> list[Any]:
        """A list; empty when absent and ``optional``."""
        value = self.values.get(key)
        if value is None and optional:
            return []
        if not isinstance(value, list):
            raise self.fault(key, "a list")
        return value

    def texts(self, key: str, *, optional: bool = False) -> tuple[str, ...]:
        """A list of strings."""
        items = self.sequence(key, optional=optional)
        if not all(isinstance(item, str) for item in items):
            raise self.fault(key, "a list of strings")
        return tuple(items)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        items = self.sequence(key)
        if not all(isinstance(item, int) and not isinstance(item, bool) for item in items):
            raise self.fault(key, "a list of whole numbers")
        return tuple(items)

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of numbers (null is NaN); empty when absent."""
        items = self.sequence(key, optional=True)
        if not all(item is None or _is_number(item) for item in items):
            raise self.fault(key, "a list of numbers")
        return tuple(math.nan if item is None else float(item) for item in items)

    def record(self, key: str, *, optional: bool = False) -> Record:
        """A nested object; empty when absent and ``optional``."""
        value = self.values.get(key)
        if value is None and optional:
            value = {}
        if not isinstance(value, dict):
            raise self.fault(key, "an object")
        return Record(f"{self.where}: {key}", value)

    def records(self, key: str, *, optional: bool = False) -> list[Record]:
        """A list of objects."""
        items = self.sequence(key, optional=optional)
        if not all(isinstance(item, dict) for item in items):
            raise self.fault(key, "a list of objects")
        return [Record(f"{self.where}: {key}[{i}]", item) for i, item in enumerate(items)]

    def number_map(self, key: str) -> dict[str, float]:
        """An object of numbers, for instance ``{"u": 0.02}``; empty when absent."""
        inner = self.record(key, optional=True)
        return {name: inner.number(name) for name in inner.values}


@dataclass(frozen=True)
class Arrays:
    """The arrays of one npz file and its name, for messages."""

    where: str
    values: Mapping[str, Array]

    def fault(self, message: str) -> ReportError:
        """An error about this file."""
        return ReportError(f"{self.where}: {message}")

    def get(self, name: str, shape: tuple[int | None, ...], kind: str = "number") -> Array:
        """The array ``name``, checked: None in ``shape`` is any length; ``kind`` as in ARRAY_KINDS."""
        if name not in self.values:
            held = ", ".join(sorted(self.values)) or "nothing"
            raise self.fault(f"array {name!r} is missing; the file holds {held}")
        array = self.values[name]
        wanted = "[" + ", ".join("any" if n is None else str(n) for n in shape) + "]"
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            raise self.fault(f"array {name!r} should have shape {wanted}, got {list(array.shape)}")
        if array.dtype.kind not in ARRAY_KINDS[kind]:
            raise self.fault(f"array {name!r} should hold {kind} values, got dtype {array.dtype}")
        return array

    def optional(self, name: str, shape: tuple[int | None, ...], kind: str = "number") -> Array | None:
        """Like :meth:`get`, but None when the array is absent."""
        return self.get(name, shape, kind) if name in self.values else None

    def with_prefix(self, prefix: str, length: int, kind: str) -> dict[str, Array]:
        """Arrays named ``<prefix><name>`` of shape [length], by name, in the order of the file."""
        names = [key for key in self.values if key.startswith(prefix)]
        return {key.removeprefix(prefix): self.get(key, (length,), kind) for key in names}


def read_json(root: Path, name: str) -> Record:
    """The JSON object in ``root/name``; NaN and Infinity are accepted, Python writes them by default."""
    try:
        value = parse_json(_existing(root, name).read_bytes())
    except (OSError, DamagedFileError) as error:
        raise ReportError(f"{name}: {error}") from error
    if not isinstance(value, dict):
        raise ReportError(f"{name}: should hold a JSON object, got {_shorten(value)}")
    return Record(name, value)


def read_npz(root: Path, name: str) -> Arrays:
    """All arrays of ``root/name``; pickled objects are refused, so that reading runs no code."""
    path = _existing(root, name)
    try:
        return Arrays(name, load_npz(path))
    except (OSError, DamagedFileError) as error:
        raise ReportError(f"{name}: not readable as npz: {error}") from error


def _existing(root: Path, name: str) -> Path:
    path = root / name
    if not path.is_file():
        raise ReportError(f"{name}: missing from {root}; `gmvae-fast embed` and `gmvae-fast score` fill a study folder")
    return path


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shorten(value: object, limit: int = 80) -> str:
    text = f"{type(value).__name__} {value!r}"
    return text if len(text) <= limit else text[: limit - 3] + "..."
