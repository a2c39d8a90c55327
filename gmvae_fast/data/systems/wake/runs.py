"""What a run is, and running many of them: in parallel, resumable, stoppable."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gmvae_fast.data.cache import Arrays, cache_path, read_entry, write_entry

#: Changes whenever the numbers a run produces change; part of every cache key.
SOLVER_VERSION = 2

Progress = Callable[[int, int], None]


class SimulationError(ArithmeticError):
    """A run whose flow became infinite or NaN."""


class Interrupted(Exception):
    """Raised inside a run that was asked to stop."""


class Case(Protocol):
    """One run: a frozen description that can be executed."""

    def parameters(self) -> dict[str, Any]:
        """Everything the result depends on, as JSON values."""

    def run(self, stop: threading.Event) -> Arrays:
        """Compute; arrays named ``fields`` [S, C, H, W], ``time`` [S], ``mask`` [H, W], ``quantities/...`` and
        ``labels/...`` [S].  Looks at ``stop`` now and then and raises :class:`Interrupted`."""


_CHUNK = 2000


def march(
    flow: Any,
    steps: int,
    stop: threading.Event,
    parameters: dict[str, Any],
    amplitude: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Advance ``flow`` in chunks, so that it can be stopped and a blow-up is noticed; the forces [steps, 2].

    Raises
    ------
    SimulationError
        Names the parameters of the run and what to try.
    """
    parts = [np.zeros((0, 2))]
    done = 0
    while done < steps:
        if stop.is_set():
            raise Interrupted
        chunk = min(steps - done, _CHUNK)
        part = None if amplitude is None else amplitude[done : done + chunk]
        parts.append(flow.advance(chunk, part))
        done += chunk
        if not np.isfinite(flow.populations).all():
            raise SimulationError(
                f"the flow blew up within {done} of {steps} steps; parameters: {parameters}. "
                "Use a lower lattice velocity or more cells per diameter."
            )
    return np.concatenate(parts)


def default_workers() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _Job:
    index: int
    path: Path
    case: Case


def run_cases(
    cases: Sequence[Case],
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> list[Arrays]:
    """Results of all cases in order, from the cache where they stand there.

    Runs are spread over threads: the compiled time loop holds no GIL, so threads use all processors as well as
    processes would, without importing torch in each of them and without asking callers for a
    ``__main__`` guard.  Every run is single-threaded and depends on its parameters alone, so the results
    do not depend on the number of workers.  Interrupting keeps every finished run in the cache.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1 or None, got {workers}")
    results: list[Arrays | None] = [None] * len(cases)
    jobs = []
    for index, case in enumerate(cases):
        path = cache_path("wake", {**case.parameters(), "solver_version": SOLVER_VERSION}, cache_dir)
        results[index] = read_entry(path)
        if results[index] is None:
            jobs.append(_Job(index, path, case))
    done = len(cases) - len(jobs)
    if progress is not None:
        progress(done, len(cases))
    stop = threading.Event()
    with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="wake") as pool:
        try:
            pending: dict[Future[Arrays], _Job] = {pool.submit(job.case.run, stop): job for job in jobs}
            while pending:
                finished, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    job = pending.pop(future)
                    results[job.index] = future.result()
                    write_entry(job.path, future.result())
                    done += 1
                    if progress is not None:
                        progress(done, len(cases))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [result for result in results if result is not None]
