"""Progress: bars with rate and remaining time on a terminal; elsewhere now and then a line about countable work."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from gmvae_fast.history import EpochRecord

#: Seconds between two lines where there is no terminal.
_LINE_SECONDS = 30.0


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[status]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


@contextlib.contextmanager
def epoch_progress(
    epochs: int, done: int, n_snapshots: int, *, enabled: bool = True
) -> Iterator[Callable[[EpochRecord], None]]:
    """Yield a function that is called with each epoch's record."""
    console = Console(stderr=True)
    if not (enabled and console.is_terminal):
        yield lambda record: None
        return
    with _bar(console) as bar:
        task = bar.add_task("training", total=epochs, completed=done, status="")

        def show(record: EpochRecord) -> None:
            rate = n_snapshots / max(record.seconds, 1e-9)
            status = f"{record.phase} loss {record.loss:.4g} kl {record.kl:.3g} {rate:,.0f} snapshots/s"
            bar.update(task, completed=record.epoch, status=status)

        yield show


@contextlib.contextmanager
def run_progress(description: str, *, enabled: bool = True) -> Iterator[Callable[[int, int], None]]:
    """Yield a function (done, total) for work in countable pieces, simulation runs for instance."""
    console = Console(stderr=True)
    if not enabled:
        yield lambda done, total: None
        return
    if not console.is_terminal:
        yield _lines(description)
        return
    with _bar(console) as bar:
        task = bar.add_task(description, total=None, status="")
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(description: str) -> Callable[[int, int], None]:
    """A function (done, total) that writes a line to standard error every half minute: logs are read too."""
    started = shown = time.monotonic()
    first: int | None = None  # done before this process began

    def show(done: int, total: int) -> None:
        nonlocal shown, first
        first = done if first is None else first
        now = time.monotonic()
        if now - shown < _LINE_SECONDS:
            return
        shown = now
        left = f", about {_clock((now - started) / (done - first) * (total - done))} left" if done > first else ""
        print(f"{description}: {done}/{total} after {_clock(now - started)}{left}", file=sys.stderr, flush=True)

    return show


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
