"""Checks of the arguments of ``simulate``, whatever the system."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gmvae_fast._checks import nearest

#: Arguments that are not choices of the user.
_PLUMBING = ("progress", "cache_dir")


def one_of(name: str, value: str, known: Iterable[str]) -> None:
    """ValueError unless ``value`` is one of ``known``; the message lists them."""
    names = list(known)
    if value not in names:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, names))}; got {value!r}{nearest(value, names)}")


def refuse_unknown(system: str, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """ValueError where ``options`` holds a name that ``function`` of ``system`` does not take; lists those it takes."""
    known = list(inspect.signature(function).parameters)
    unknown = [name for name in options if name not in known]
    if unknown:
        taken = ", ".join(name for name in known if name not in _PLUMBING)
        hint = nearest(unknown[0], known)
        raise ValueError(f"{system} has no option {', '.join(map(repr, unknown))}; it takes {taken}{hint}")
