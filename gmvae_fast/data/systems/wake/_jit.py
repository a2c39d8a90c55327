"""The one way this solver compiles: typed, released from the GIL, cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

try:
    import numba
except ImportError as error:  # pragma: no cover - exercised by hiding numba in a test
    raise ImportError(
        "the simulated systems need numba, which is not installed; run: pip install gmvae_fast[systems]"
    ) from error

_Function = TypeVar("_Function", bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compile ``function`` in nopython mode and keep the machine code on disk.

    ``error_model="numpy"`` removes the zero-division branches that stop vectorisation (a factor of seven);
    ``fastmath`` lets sums be reordered; checks for NaN are made outside compiled code, where they still work.
    numba notices changes of the function's own file only: call nothing compiled in another file.
    """
    return cast(_Function, numba.njit(error_model="numpy", fastmath=True, nogil=True, cache=True)(function))


def exact_kernel(function: _Function) -> _Function:
    """`kernel` for kernels that call kernels: the same numbers whether a process compiles it or finds it on disk.

    A called kernel stands in the machine code of its own and in that of each caller, and which copy runs depends on
    what was compiled in this process. So nothing may be reordered or contracted that depends on the surroundings:
    with ``fastmath`` the first run after an installation differed from all later ones in the last digits.
    """
    flags = {"nnan", "ninf", "nsz"}
    return cast(_Function, numba.njit(error_model="numpy", fastmath=flags, nogil=True, cache=True)(function))


def driver(function: _Function) -> _Function:
    """Compile ``function``, which calls kernels of other files, afresh in each process (about a second).

    Its machine code contains theirs; kept on disk it would survive a change of theirs.
    """
    return cast(_Function, numba.njit(error_model="numpy", fastmath=True, nogil=True)(function))
