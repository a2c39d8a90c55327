"""Passes over snapshots that are read elsewhere, by a thread or by processes, ahead of use and in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .streaming import in_order, shuffled_order, window_rows
from .workers import call, start_workers

#: Of results that wait for each worker to be asked for: as many as fit, one to four.
AHEAD_BYTES = 2**26
#: Stored chunks in one piece of an ordered pass: those cut at its ends are decoded twice.
_CHUNKS = 8


class _Pass(NamedTuple):
    kind: str
    batch_size: int


class _Begun(NamedTuple):
    """The first piece of a pass that has not been asked for yet."""

    indices: Tensor
    result: Future[Any]


class Passes:
    """Batches of one reader's snapshots, in order or shuffled, whoever reads them.

    While the last pieces of a pass are used, the first piece of the next one is read already: passes alternate in
    training (an epoch, then all latents), so the one that followed last time is expected again. Should another one
    come, that piece was read in vain.

    Parameters
    ----------
    reader : object
        ``reader.batch(indices)`` gives a tensor; picklable where there are workers.
    n, row_bytes : int
        Number of snapshots, size of one.
    chunk_starts : int64 [G] or None
        See `gmvae_fast.data.source.SnapshotSource`.
    workers : int
        Processes; 0: one thread.
    """

    def __init__(self, reader: Any, n: int, row_bytes: int, chunk_starts: Tensor | None, workers: int) -> None:
        self._reader, self._n, self._row_bytes, self._workers = reader, n, row_bytes, workers
        self._chunk_starts = chunk_starts
        self._executor: Executor | None = None
        self._last: _Pass | None = None
        self._followed_by: dict[_Pass, _Pass] = {}
        self._generator: torch.Generator | None = None
        self._expected_order: tuple[Tensor, Tensor, Tensor] | None = None  # state before, order, state after
        self._begun: _Begun | None = None

    def ordered(self, batch_size: int) -> Iterator[Tensor]:
        """All snapshots in order."""
        this = _Pass("ordered", batch_size)
        return self._batches(this, torch.arange(self._n).split(self._ordered_piece(batch_size)))

    def shuffled(self, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
        """All snapshots in an order drawn from ``generator``, see `gmvae_fast.data.streaming.shuffled_order`."""
        self._generator = generator
        order, after = self._order(batch_size, generator)
        generator.set_state(after)
        return self._batches(_Pass("shuffled", batch_size), order.split(self.window(batch_size)))

    def parts(self, order: Tensor, sizes: Sequence[int], batch_size: int) -> Iterator[Tensor]:
        """Snapshots at ``order`` in parts of the given ``sizes``, as many read together as fill the window."""
        together = max(1, self.window(batch_size) // batch_size)
        pieces = [list(sizes[i : i + together]) for i in range(0, len(sizes), together)]
        jobs = order.split([sum(piece) for piece in pieces])
        for rows, piece in zip(self._results("batch", jobs), pieces, strict=True):
            yield from torch.as_tensor(rows).split(piece)

    def call(self, method: str, batch_size: int) -> Iterator[Any]:
        """Results of a method of the reader for pieces of whole batches, in order."""
        return self._results(method, torch.arange(self._n).split(self._ordered_piece(batch_size)))

    def window(self, batch_size: int) -> int:
        """Snapshots that are read together: a batch, more where reading one means to decode a whole chunk."""
        return batch_size if self._chunk_starts is None else window_rows(self._row_bytes, batch_size)

    def forget(self) -> None:
        """Expect nothing after the next pass: no piece is read before it is asked for."""
        self._last = self._begun = None
        self._followed_by.clear()

    def close(self) -> None:
        """End the thread or the processes; they start again when needed."""
        self._begun = None
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _ordered_piece(self, batch_size: int) -> int:
        if self._chunk_starts is None:
            return batch_size
        longest = math.ceil(self._n / len(self._chunk_starts))
        return min(self.window(batch_size), math.ceil(_CHUNKS * longest / batch_size) * batch_size)

    def _batches(self, this: _Pass, jobs: Sequence[Tensor]) -> Iterator[Tensor]:
        if self._last is not None:
            self._followed_by[self._last] = this
        self._last = this
        for rows in self._results("batch", jobs, then=self._begin_next):
            yield from torch.as_tensor(rows).split(this.batch_size)

    def _results(self, method: str, jobs: Sequence[Tensor], then: Callable[[], None] | None = None) -> Iterator[Any]:
        """Results in the order of the jobs; ``then`` is called once all of them are begun."""

        def all_jobs() -> Iterable[Tensor]:
            yield from jobs
            if then is not None:
                then()

        size = self._row_bytes * max(1, *map(len, jobs))
        depth = max(1, min(4, AHEAD_BYTES // size)) * self._workers or 2
        if self._executor is None:
            self._executor = (
                start_workers(self._reader, self._workers, (depth + 2) * size)
                if self._workers
                else ThreadPoolExecutor(1, thread_name_prefix="gmvae-read-ahead")
            )
        yield from in_order(lambda indices: self._submit(method, indices), all_jobs(), depth)

    def _submit(self, method: str, indices: Tensor) -> Future[Any]:
        assert self._executor is not None
        begun, self._begun = self._begun, None
        if begun is not None and method == "batch":
            if torch.equal(begun.indices, indices):
                return begun.result
            begun.result.cancel()
        if self._workers:
            return self._executor.submit(call, method, indices)
        return self._executor.submit(getattr(self._reader, method), indices)

    def _begin_next(self) -> None:
        expected = None if self._last is None else self._followed_by.get(self._last)
        if expected is None:
            return
        if expected.kind == "ordered":
            indices = torch.arange(min(self._n, self._ordered_piece(expected.batch_size)))
        else:
            assert self._generator is not None
            indices = self._order(expected.batch_size, self._generator)[0][: self.window(expected.batch_size)]
        self._begun = _Begun(indices, self._submit("batch", indices))

    def _order(self, batch_size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The next order, and the generator's state after it; the generator is left as it is."""
        before = generator.get_state()
        if self._expected_order is not None and torch.equal(self._expected_order[0], before):
            return self._expected_order[1:]
        twin = torch.Generator(generator.device)
        twin.set_state(before)
        order = shuffled_order(self._n, twin, self._chunk_starts, self.window(batch_size))
        self._expected_order = (before, order, twin.get_state())
        return order, self._expected_order[2]
