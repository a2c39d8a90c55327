"""Snapshots read (and decoded) in other processes, handed over in order through shared memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

#: Of results that wait for each worker to be asked for; at least one result, however large.
AHEAD_BYTES = 2**26
_SHARED_MEMORY = "/dev/shm"


class WorkerPool:
    """Processes that work on jobs, each job a function's name and indices, with results in the order of the jobs.

    Built on torch's DataLoader, which starts the processes, moves tensors through shared memory and reports errors
    and deaths of workers. The processes live until `close` and serve one iteration at a time.

    Parameters
    ----------
    owner : object
        Its method of the name a job holds is called with the job's indices; it reaches each process once, by fork or
        pickled.
    workers : int
        At least one. Processes start as ``multiprocessing.get_start_method()`` says.
    result_bytes : int
        Size of one result.
    """

    def __init__(self, owner: Any, workers: int, result_bytes: int) -> None:
        ahead = max(1, min(8, AHEAD_BYTES // max(1, result_bytes)))
        self._jobs = _Jobs()
        # Containers often have 64 MiB of shared memory; through a pipe arrays are slower, but need none.
        shared = _room_for((workers * ahead + 2) * result_bytes)
        self._loader = DataLoader(
            _Work(owner, shared),
            batch_size=None,
            sampler=self._jobs,
            num_workers=workers,
            prefetch_factor=ahead,
            persistent_workers=True,
            collate_fn=_unchanged,
        )
        self._iteration = 0

    def map(self, method: str, jobs: Sequence[Tensor]) -> Iterator[Any]:
        """Results of ``owner.method(indices)`` for all jobs; arrays where there is no shared memory for tensors."""
        self._iteration += 1
        mine, self._jobs.jobs = self._iteration, [(method, indices) for indices in jobs]
        results = iter(self._loader)
        for _ in jobs:
            if self._iteration != mine:
                raise RuntimeError("workers serve one iteration over the data at a time; finish the first one")
            yield next(results)

    def close(self) -> None:
        """End the processes."""
        iterator: Any = self._loader._iterator
        self._loader._iterator = None
        if iterator is not None:
            iterator._shutdown_workers()  # what its finalizer does, which an error's traceback may put off


class _Jobs(Sampler[Any]):
    """What the next iteration works on."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, Tensor]] = []

    def __iter__(self) -> Iterator[Any]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)


class _Work(Dataset[Any]):
    def __init__(self, owner: Any, shared: bool) -> None:
        self._owner, self._shared = owner, shared

    def __getitem__(self, job: tuple[str, Tensor]) -> Any:
        method, indices = job
        work: Callable[[Tensor], Any] = getattr(self._owner, method)
        result = work(indices)
        return result.numpy() if isinstance(result, Tensor) and not self._shared else result


def _unchanged(result: Any) -> Any:
    return result


def _room_for(size: int) -> bool:
    return not os.path.isdir(_SHARED_MEMORY) or shutil.disk_usage(_SHARED_MEMORY).free > 2 * size
