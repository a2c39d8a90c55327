"""Reading ahead, and an order of snapshots that is both random and cheap to read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Job = TypeVar("Job")
Result = TypeVar("Result")

#: What is read in one piece of chunked files, and then shuffled; up to four such pieces are in memory at a time.
WINDOW_BYTES = 2**26


def read_ahead(work: Callable[[Job], Result], jobs: Iterable[Job], depth: int = 2) -> Iterator[Result]:
    """``work(job)`` for every job in order, up to ``depth`` of them done ahead by one background thread.

    Errors of ``work`` are raised here; the thread ends with the iteration, however that ends.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="gmvae-read-ahead")
    try:
        yield from in_order(lambda job: pool.submit(work, job), jobs, depth)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def in_order(submit: Callable[[Job], Future[Result]], jobs: Iterable[Job], depth: int) -> Iterator[Result]:
    """Results of ``submit(job)`` in the order of the jobs, up to ``depth`` of them begun ahead of use."""
    waiting: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            waiting.append(submit(job))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def window_rows(row_bytes: int, batch_size: int, limit: int | None = None) -> int:
    """Snapshots of one window: whole batches within ``limit`` bytes (WINDOW_BYTES), at least one batch."""
    limit = WINDOW_BYTES if limit is None else limit
    return max(1, limit // (max(1, row_bytes) * batch_size)) * batch_size


def shuffled_order(n: int, generator: torch.Generator, chunk_starts: Tensor | None = None, window: int = 1) -> Tensor:
    """A random order of n snapshots [n].

    Parameters
    ----------
    n : int
    generator : torch.Generator
    chunk_starts : int64 [G], optional
        First snapshot of each stored chunk, ascending from 0.  The order then is not a uniform permutation: chunks
        come in random order, and snapshots are shuffled within consecutive windows.  Snapshots of one chunk therefore
        meet in the same window (two, where it crosses an edge): a batch sees at least window / chunk chunks, and is
        as good as random where that number is large compared with the trajectories in the data.
    window : int
    """
    if chunk_starts is None:
        return torch.randperm(n, generator=generator)
    starts = chunk_starts[torch.randperm(len(chunk_starts), generator=generator)]
    ends = torch.cat([chunk_starts[1:], torch.tensor([n])])
    lengths = ends[torch.searchsorted(chunk_starts, starts)] - starts
    before = torch.cumsum(lengths, 0) - lengths
    order = torch.arange(n) + torch.repeat_interleave(starts - before, lengths)
    pieces = [part[torch.randperm(len(part), generator=generator)] for part in order.split(window)]
    return torch.cat(pieces) if pieces else order
