"""Telling that one of the many files of a store or a series has changed while it is read."""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

_BLOCK = 4096
_UNSEEN, _MISSING = 0, 1


class FirstStates:
    """Sizes and times of change of files when they were first read, by number; 8 bytes each.

    Without it, a chunk of a Zarr store that is deleted reads as the fill value, and a frame that is overwritten as
    another one.
    """

    def __init__(self) -> None:
        self._blocks: dict[int, npt.NDArray[np.int64]] = {}

    def check(self, number: int, path: str) -> None:
        """Compare the file ``number`` with what it was at the first call, at which it may be missing.

        Raises
        ------
        ValueError
            Where it is another one, or gone.
        """
        try:
            found = os.stat(path)
            state = hash((found.st_size, found.st_mtime_ns))
            state += 2 if state in (_UNSEEN, _MISSING) else 0
        except (FileNotFoundError, NotADirectoryError):
            state = _MISSING
        key, place = divmod(number, _BLOCK)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = np.zeros(_BLOCK, np.int64)
        before = int(block[place])
        if before == _UNSEEN:
            block[place] = state
        elif state != before:
            what = "is gone, it was there when it was" if state == _MISSING else "has changed since it was"
            raise ValueError(f"{os.path.basename(path)} {what} first read")
