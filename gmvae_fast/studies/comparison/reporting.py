"""How far a study is: a bar on a terminal, else a line a unit, with the time that is left."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from gmvae_fast._progress import run_progress
from gmvae_fast.studies.comparison.units import Unit

Finished = Callable[[Unit, float], None]


@contextlib.contextmanager
def unit_progress(total: int, done: int, *, enabled: bool, say: Callable[[str], None]) -> Iterator[Finished]:
    """Yield a function that is called with each finished unit and its wall seconds; ``done`` were stored before."""
    started, count = time.perf_counter(), done
    with run_progress("comparing", enabled=enabled) as show:
        show(done, total)

        def finished(unit: Unit, seconds: float) -> None:
            nonlocal count
            count += 1
            show(count, total)
            if enabled and not sys.stderr.isatty():
                left = (time.perf_counter() - started) / (count - done) * (total - count)
                say(f"[{count}/{total}] {unit}: {seconds:.1f} s; about {duration(left)} left")

        yield finished


def duration(seconds: float) -> str:
    """In seconds where they are few, else in minutes."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
