"""Turning what users pass (arrays, tensors, sequences) into checked float64 arrays."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from gmvae_fast._checks import nearest

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
REAL = (int, float, np.integer, np.floating)


def to_numpy(value: Any, name: str = "values") -> NDArray[Any]:
    """The array behind ``value``; tensors are detached and brought to the host. ``ValueError`` for ragged sequences."""
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return np.asarray((tensor.double() if tensor.is_floating_point() else tensor).numpy())
    if isinstance(value, np.ma.MaskedArray):
        return value  # with its mask, for `check_unmasked`
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be an array, got a sequence of parts of unequal shapes") from error


def as_finite(value: Any, name: str, *, ndim: int) -> FloatArray:
    """``value`` as a finite float64 array with ``ndim`` axes.

    Raises
    ------
    TypeError
        If the entries are not real numbers.
    ValueError
        If the number of axes is wrong, or if NaN or infinities occur: the message gives their number and the
        first row that holds one; or if values are masked.
    """
    check_unmasked(value, name)
    array = np.asarray(to_numpy(value, name))  # a masked array without masked values as a plain one
    if array.dtype.kind not in "fiub":
        source = "" if isinstance(value, np.ndarray) else f" from {type(value).__name__}"
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}{source}")
    if array.ndim != ndim:
        shape = "[N, D]" if ndim == 2 else "[N]"
        raise ValueError(f"{name} must have shape {shape}, got {array.shape}")
    array = array.astype(np.float64, copy=False)
    finite = np.isfinite(array)
    if not finite.all():
        bad = finite.size - np.count_nonzero(finite)
        row = int(np.argmin(finite.reshape(len(array), -1).all(axis=1)))
        raise ValueError(
            f"{name} holds {bad} NaN or infinite value(s), the first in row {row}; "
            "drop those rows from the latents and from every signal"
        )
    return array


def check_unmasked(value: Any, name: str) -> None:
    """``ValueError`` if values of a masked array are masked."""
    if masked := int(np.ma.getmaskarray(value).sum()) if np.ma.isMaskedArray(value) else 0:
        raise ValueError(
            f"{name} holds {masked} masked value(s); drop those rows from the latents and from every signal"
        )


def as_categories(value: Any, name: str) -> NDArray[Any]:
    """``value`` as an array of any type. ``ValueError`` if values are masked or missing."""
    check_unmasked(value, name)
    array = np.asarray(to_numpy(value, name))
    if array.dtype.kind in "mM":
        missing = np.isnat(array)
    elif array.dtype.kind == "O":
        missing = np.array([isinstance(entry, (float, np.floating)) and math.isnan(entry) for entry in array.flat])
    else:
        missing = np.isnan(array) if array.dtype.kind in "fc" else np.zeros(1, bool)
    if count := int(missing.sum()):
        raise ValueError(f"{name} holds {count} NaN value(s); drop those rows from the latents and from every signal")
    return array


def check_flag(value: bool, name: str) -> bool:
    """``value`` as a bool; ``TypeError`` if it is another type, such as a string, whose truth would mislead."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def address(array: NDArray[Any] | None) -> int:
    """Where native code finds a contiguous array, which the caller holds meanwhile; 0 for none."""
    return 0 if array is None else int(array.ctypes.data)


def unit_exponent(array: FloatArray) -> int:
    """The power of two that brings the largest magnitude into [1/2, 1), so that squares stay in range."""
    largest = float(np.abs(array).max(initial=0.0))
    return int(np.frexp(largest)[1])


def check_choice(value: str, name: str, choices: tuple[str, ...]) -> None:
    """Raise ``ValueError`` unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}{nearest(value, choices)}"
        )


def check_positive_integer(value: int, name: str) -> int:
    """``value`` as an int; ``TypeError`` if it is not integral, ``ValueError`` if it is below 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return int(value)


def check_seed(value: int) -> int:
    """``value`` as an int; ``TypeError`` if it is not integral, ``ValueError`` if it is negative."""
    return check_count(value, "seed")


def check_sequence(value: Any, name: str, what: str) -> tuple[Any, ...]:
    """``value`` as a tuple; ``TypeError`` if it is a single ``what`` instead of several."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a sequence, one {what} each, got {value!r}")
    return tuple(value)


def check_unit(value: float, name: str) -> float:
    """``value`` as a float strictly between 0 and 1; ``ValueError`` otherwise."""
    if not isinstance(value, REAL) or not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
    return float(value)


def check_count(value: int, name: str) -> int:
    """``value`` as an int; ``TypeError`` if it is not integral, ``ValueError`` if it is below 0."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < 0:
        raise ValueError(f"{name} must be at least 0, got {value}")
    return int(value)
