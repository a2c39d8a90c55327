"""How many threads to use: as many as torch, but one where the work is too small to share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

#: Multiply-adds of a training step below which a second thread gains nothing: measured on two quiet cores at 5e6
#: (16 s for either number of threads; 37 s for two threads that sleep between regions), a third faster at 1e8. On
#: cores shared with other work two threads took 242 s, since each waits for the other to be scheduled.
SMALL_STEP = 2e7


def thread_count() -> int:
    """Number of threads for native kernels, FAISS and numba: torch's intra-op setting."""
    return int(torch.get_num_threads())


@contextlib.contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Run the block with one thread if ``work`` multiply-adds are few; torch's setting is put back afterwards."""
    before = torch.get_num_threads()
    if work >= SMALL_STEP or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
