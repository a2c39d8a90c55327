"""Warnings of work that is done several times for one call of the user."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

TO_CALLER = 4  # this generator, contextlib, the function with the block, its caller


@contextmanager
def each_once() -> Iterator[None]:
    """Give every distinct warning of the block once, after it, in the name of the caller of the function around it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for message, category in dict.fromkeys((str(found.message), found.category) for found in caught):
        warnings.warn(message, category, stacklevel=TO_CALLER)
