"""Checks of the arguments that every system's ``simulate`` takes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """ValueError unless ``value`` is one of ``known``; the message lists them."""
    names = list(known)
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}; got {value!r}")


def whole_number(name: str, value: int, lowest: int) -> int:
    """``value`` as int; ValueError unless it is an integer of at least ``lowest``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
        raise ValueError(f"{name} must be an integer >= {lowest}, got {value!r}")
    return int(value)
