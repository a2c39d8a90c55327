"""Units of a study, done in parallel processes; finished ones are stored as they come."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from gmvae_fast._threads import threads_for
from gmvae_fast.data import Snapshots
from gmvae_fast.data.systems._runs import default_workers
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.questions.base import Bench
from gmvae_fast.studies.comparison.rows import Row
from gmvae_fast.studies.comparison.store import ResultStore
from gmvae_fast.studies.comparison.units import Unit, config_hash
from gmvae_fast.studies.comparison.work import perform
from gmvae_fast.studies.folder import StudyError

_Outcome = list[Row]


@dataclass(frozen=True)
class Failure:
    """A unit that ended in an error: nothing of it is stored, and it is tried again next time."""

    unit: Unit
    message: str


@dataclass(frozen=True)
class Setting:
    """Where and how units are done.

    Attributes
    ----------
    folder : Path
        Of the study.
    data : mapping of case name to path
        Snapshots as compared.
    cases : mapping of name to StudyCase
    profile : Profile
    revision, versions : str
        Stored with every row.
    """

    folder: Path
    data: Mapping[str, Path]
    cases: Mapping[str, StudyCase]
    profile: Profile
    revision: str
    versions: str

    def hash_of(self, unit: Unit) -> str:
        """Configuration hash of a unit."""
        return config_hash(unit, self.cases[unit.case], self.profile)


def run_units(
    units: Sequence[Unit],
    setting: Setting,
    store: ResultStore,
    workers: int | None = None,
    finished: Callable[[Unit, float], None] | None = None,
) -> list[Failure]:
    """Do those of ``units`` that are not stored yet.

    Parameters
    ----------
    units : sequence of Unit
    setting : Setting
    store : ResultStore
    workers : int
        Processes at a time, default all processors; with 1 everything is done in this process.
    finished : callable(unit, wall seconds)
        Called after a unit is stored.

    Returns
    -------
    list of Failure
        Units that raised an error; the others are done all the same.

    Raises
    ------
    StudyError
        When a process ends abruptly, for want of memory for instance; finished units are kept.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1 or None, got {workers}")
    waiting = [unit for unit in units if setting.hash_of(unit) not in store]
    count = min(workers or default_workers(), len(waiting))
    failures = []
    for unit, outcome in _outcomes(waiting, setting, count):
        if isinstance(outcome, Exception):
            failures.append(Failure(unit, f"{type(outcome).__name__}: {outcome}"))
            continue
        store.append(outcome)
        if finished is not None:
            finished(unit, outcome[-1].wall_s)
    return failures


def _outcomes(units: Sequence[Unit], setting: Setting, workers: int) -> Iterator[tuple[Unit, _Outcome | Exception]]:
    if workers <= 1:
        for unit in units:
            with threads_for(0):  # as in a worker process: sums of several threads differ in their last digits
                outcome = _attempt(unit, setting)
            yield unit, outcome
        return
    # spawn: torch's threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            pending: dict[Future[_Outcome | Exception], Unit] = {
                pool.submit(_attempt, unit, setting): unit for unit in units
            }
            while pending:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
        except BrokenProcessPool as err:
            raise StudyError(
                "a worker process ended abruptly, maybe for want of memory; finished units are kept: run the same "
                "command again to go on, with fewer --workers"
            ) from err
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()  # a unit may take minutes, and nobody would store it
            raise


def _attempt(unit: Unit, setting: Setting) -> _Outcome | Exception:
    """What the unit found, or the error it ended in: one arm that fails does not end the study."""
    try:
        bench = Bench(setting.cases[unit.case], setting.profile, _load(setting.data[unit.case]))
        return perform(unit, bench, setting.revision, setting.versions)
    except (ValueError, TypeError, RuntimeError, ArithmeticError, ImportError, KeyError) as err:
        return err


@functools.lru_cache(maxsize=4)
def _load(path: Path) -> Snapshots:
    return Snapshots.load(path)
