"""What the validation of every system shares: bands, the table, and measuring several cases at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ._runs import Progress, default_workers


@dataclass(frozen=True)
class ValidationRow:
    """One measured number and the band it has to lie in."""

    case: str
    quantity: str
    value: float
    low: float
    high: float
    source: str

    @property
    def passed(self) -> bool:
        """Whether the value lies in the band; NaN does not."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class ValidationReport:
    """All rows, and the wall-clock seconds of each case."""

    rows: tuple[ValidationRow, ...]
    seconds: dict[str, float]
    quick: bool
    system: str = "wake"

    @property
    def passed(self) -> bool:
        """Whether every row passed."""
        return bool(self.rows) and all(row.passed for row in self.rows)

    def table(self) -> str:
        """The rows as aligned text."""
        head = ("case", "quantity", "value", "low", "high", "", "source")
        body = [
            (
                row.case,
                row.quantity,
                f"{row.value:.5g}",
                f"{row.low:.5g}",
                f"{row.high:.5g}",
                "pass" if row.passed else "FAIL",
                row.source,
            )
            for row in self.rows
        ]
        widths = [max(len(line[i]) for line in (head, *body)) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) for line in (head, *body)]
        return "\n".join(line.rstrip() for line in lines)

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        name = self.system.replace("_", " ")
        return f"{self.table()}\nvalidation of the {name} ({'quick' if self.quick else 'full'}): {verdict}"


@dataclass(frozen=True)
class Band:
    """A quantity and the interval it has to lie in."""

    quantity: str
    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Check:
    """A case to run, and a band for each of the numbers it returns."""

    case: str
    run: Callable[[threading.Event], dict[str, float]]
    bands: tuple[Band, ...]


def within(quantity: str, low: float, high: float, tolerance: float, source: str) -> Band:
    """A reference interval widened by a relative tolerance on both sides."""
    span = tolerance * max(abs(low), abs(high))
    note = f"{source}, within {100 * tolerance:g}%" if tolerance else source
    return Band(quantity, low - span, high + span, note)


def run_checks(
    system: str, checks: Sequence[Check], quick: bool, progress: Progress | None = None, workers: int | None = None
) -> ValidationReport:
    """Run the checks and compare; rows come in reverse order of ``checks``, which start with the longest.

    Parameters
    ----------
    system, quick
        For the report.
    checks : sequence of Check
        Their cases have different names.
    progress : callable(done_cases, total_cases)
    workers : int
        Cases at a time; default all processors.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1 or None, got {workers}")
    measured: dict[str, tuple[dict[str, float], float]] = {}
    stop = threading.Event()
    if progress is not None:
        progress(0, len(checks))
    with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix=system) as pool:
        try:
            pending: set[Future[tuple[str, dict[str, float], float]]] = {
                pool.submit(_timed, check, stop) for check in checks
            }
            while pending:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    case, values, seconds = future.result()
                    measured[case] = (values, seconds)
                    if progress is not None:
                        progress(len(measured), len(checks))
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    rows = tuple(
        ValidationRow(check.case, b.quantity, measured[check.case][0][b.quantity], b.low, b.high, b.source)
        for check in reversed(checks)
        for b in check.bands
    )
    return ValidationReport(rows, {case: seconds for case, (_, seconds) in measured.items()}, quick, system)


def _timed(check: Check, stop: threading.Event) -> tuple[str, dict[str, float], float]:
    start = time.perf_counter()
    values = check.run(stop)
    return check.case, values, time.perf_counter() - start
