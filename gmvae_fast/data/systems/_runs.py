"""Running many cases of a system: in parallel, from the cache where they stand there, stoppable."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gmvae_fast._io import remove_abandoned
from gmvae_fast.data.cache import Arrays, cache_directory, cache_path, read_entry, write_entry

Progress = Callable[[int, int], None]


class Interrupted(Exception):
    """Raised inside a run that was asked to stop."""


class Case(Protocol):
    """One run, or a block of short ones: a frozen description that can be executed."""

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on, as JSON values."""

    def run(self, stop: threading.Event) -> Arrays:
        """Compute; arrays named ``fields`` [S, C, *grid], ``quantities/...`` and ``labels/...`` [S], and what else the
        system needs.  Looks at ``stop`` now and then and raises :class:`Interrupted`."""


def default_workers() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def join_runs(results: Sequence[Arrays]) -> dict[str, Any]:
    """``fields``, ``quantities`` and ``labels`` of all runs, one after the other, as `Snapshots` takes them."""
    joined = {name: np.concatenate([result[name] for result in results]) for name in results[0] if "/" in name}
    return {
        "fields": np.concatenate([result["fields"] for result in results]),
        **{
            kind: {k.partition("/")[2]: v for k, v in joined.items() if k.startswith(f"{kind}/")}
            for kind in ("quantities", "labels")
        },
    }


@dataclass(frozen=True)
class _Job:
    index: int
    path: Path
    case: Case

    def run(self, stop: threading.Event) -> Arrays:
        """Compute and keep, before the thread takes the next job: a kill costs each thread the run it is at."""
        result = self.case.run(stop)
        write_entry(self.path, result)
        return result


def run_cases(
    system: str,
    version: int,
    cases: Sequence[Case],
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Arrays]:
    """Results of all cases in order, from the cache where they stand there.

    Runs are spread over threads: compiled loops and large array operations hold no GIL, so threads use all
    processors as well as processes would, without importing torch in each of them and without asking callers for a
    ``__main__`` guard.  Every run is single-threaded and depends on its parameters alone, so the results
    do not depend on the number of workers.  Interrupting keeps every finished run in the cache; killing costs at most
    one run a worker, the one in flight.

    Parameters
    ----------
    system, version
        Name of the system and the version of its solver; both are part of every cache key.
    cases : sequence of Case
    workers : int
        Cases at a time; default all processors.
    cache_dir : path
    progress : callable(done_cases, total_cases)
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1 or None, got {workers}")
    remove_abandoned(cache_directory(cache_dir) / system)
    results: list[Arrays | None] = [None] * len(cases)
    jobs = []
    for index, case in enumerate(cases):
        path = cache_path(system, {**case.parameters(), "solver_version": version}, cache_dir)
        results[index] = read_entry(path)
        if results[index] is None:
            jobs.append(_Job(index, path, case))
    done = len(cases) - len(jobs)
    if progress is not None:
        progress(done, len(cases))
    stop = threading.Event()
    with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix=system) as pool:
        try:
            pending: dict[Future[Arrays], _Job] = {pool.submit(job.run, stop): job for job in jobs}
            while pending:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    results[pending.pop(future).index] = future.result()
                    done += 1
                    if progress is not None:
                        progress(done, len(cases))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [result for result in results if result is not None]
