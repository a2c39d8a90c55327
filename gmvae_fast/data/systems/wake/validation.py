"""Comparison of the solver with exact solutions and with the literature."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from .runs import Progress, default_workers

SCHAEFER_TUREK = "Schaefer & Turek 1996"
JOHN = "John, Int. J. Numer. Meth. Fluids 44, 777 (2004)"
WIDE = "Williamson 1989; Liu et al. 1998; Linnick & Fasel 2005"
RE_200 = "Liu et al. 1998 (1.31) to Berthelsen & Faltinsen 2008 (1.37)"
LIFT_200 = "Liu et al. 1998 (0.69) to Berthelsen & Faltinsen 2008 (0.70)"


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
        return f"{self.table()}\nvalidation of the wake ({'quick' if self.quick else 'full'}): {verdict}"


@dataclass(frozen=True)
class _Band:
    quantity: str
    low: float
    high: float
    source: str


@dataclass(frozen=True)
class _Check:
    case: str
    run: Callable[[threading.Event], dict[str, float]]
    bands: tuple[_Band, ...]


def _within(quantity: str, low: float, high: float, tolerance: float, source: str) -> _Band:
    """A reference interval widened by a relative tolerance on both sides."""
    span = tolerance * max(abs(low), abs(high))
    note = f"{source}, within {100 * tolerance:g}%" if tolerance else source
    return _Band(quantity, low - span, high + span, note)


def _exact_checks() -> list[_Check]:
    from . import validation_cases as c

    return [
        _Check("Taylor-Green", c.taylor_green, (_within("decay rate", 1.0, 1.0, 0.01, "exact"),)),
        _Check("Poiseuille, 20 cells", c.poiseuille, (_Band("largest error", 0.0, 0.005, "exact, second order"),)),
    ]


def _quick_checks() -> list[_Check]:
    """Coarse: 20 cells a diameter at three times the Mach number of a careful run; hence wider bands for lift.

    The free stream has 10 cells a diameter and a blockage of 5%: each raises drag by about 5%.
    """
    from . import validation_cases as c

    return [
        _Check(
            "channel 2D-1, D = 20 cells",
            lambda stop: c.channel_steady(stop, 20, 0.1),
            (
                _within("drag", 5.5795, 5.5795, 0.02, SCHAEFER_TUREK),
                _within("lift", 0.0106, 0.0106, 0.15, SCHAEFER_TUREK),
                _within("pressure drop", 0.1175, 0.1175, 0.02, SCHAEFER_TUREK),
            ),
        ),
        _Check(
            "channel 2D-2, D = 20 cells",
            lambda stop: c.channel_shedding(stop, 20, 0.1),
            (
                _within("largest drag", 3.22, 3.24, 0.03, SCHAEFER_TUREK),
                _within("largest lift", 0.99, 1.01, 0.10, SCHAEFER_TUREK),
                _within("Strouhal", 0.295, 0.305, 0.03, SCHAEFER_TUREK),
            ),
        ),
        _Check(
            "free stream Re 100, D = 10 cells, 20 D wide",
            lambda stop: c.stream(stop, 100.0, 10, 0.1, (24.0, 20.0, 8.0), 100.0),
            (
                _within("Strouhal", 0.164, 0.167, 0.04, WIDE),
                _within("drag", 1.33, 1.38, 0.08, WIDE),
            ),
        ),
    ]


def _full_checks() -> list[_Check]:
    """In order of cost, the longest first, so that two processors finish together."""
    from . import validation_cases as c

    wide = (50.0, 40.0, 16.0)
    return [
        _Check(
            "free stream Re 100, D = 20 cells, 40 D wide",
            lambda stop: c.stream(stop, 100.0, 20, 0.05, wide, 120.0),
            (
                _Band("Strouhal", 0.164, 0.167, WIDE),
                _Band("drag", 1.33, 1.38, WIDE),
                _within("lift amplitude", 0.33, 0.34, 0.10, WIDE),
            ),
        ),
        _Check(
            "free stream Re 200, D = 20 cells, 40 D wide",
            lambda stop: c.stream(stop, 200.0, 20, 0.05, wide, 120.0),
            (
                _Band("Strouhal", 0.195, 0.200, WIDE),
                _Band("drag", 1.31, 1.37, RE_200),
                _within("lift amplitude", 0.69, 0.70, 0.10, LIFT_200),
            ),
        ),
        _Check(
            "channel 2D-3, D = 40 cells",
            lambda stop: c.channel_pulse(stop, 40, 0.05),
            (
                _within("largest drag", 2.9509, 2.9509, 0.02, JOHN),
                _within("largest lift", 0.4779, 0.4779, 0.06, JOHN),
                _within("final pressure drop", -0.1116, -0.1116, 0.03, JOHN),
            ),
        ),
        _Check(
            "channel 2D-2, D = 40 cells",
            lambda stop: c.channel_shedding(stop, 40, 0.05),
            (
                _within("largest drag", 3.22, 3.24, 0.03, SCHAEFER_TUREK),
                _within("largest lift", 0.99, 1.01, 0.03, SCHAEFER_TUREK),
                _within("Strouhal", 0.295, 0.305, 0.03, SCHAEFER_TUREK),
            ),
        ),
        _Check(
            "channel 2D-1, D = 40 cells",
            lambda stop: c.channel_steady(stop, 40, 0.05),
            (
                _within("drag", 5.5795, 5.5795, 0.02, SCHAEFER_TUREK),
                _within("lift", 0.0106, 0.0106, 0.05, SCHAEFER_TUREK),
                _within("pressure drop", 0.1175, 0.1175, 0.01, SCHAEFER_TUREK),
            ),
        ),
    ]


def validate(quick: bool = False, progress: Progress | None = None, workers: int | None = None) -> ValidationReport:
    """Compare the solver with exact solutions and published benchmarks.

    Parameters
    ----------
    quick : bool
        Coarse grids with wider, stated bands (seconds) instead of the full comparison (minutes).
    progress : callable(done_cases, total_cases)
    workers : int
        Cases at a time; default all processors.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1 or None, got {workers}")
    checks = [*(_quick_checks() if quick else _full_checks()), *_exact_checks()]
    measured: dict[str, tuple[dict[str, float], float]] = {}
    stop = threading.Event()
    if progress is not None:
        progress(0, len(checks))
    with ThreadPoolExecutor(workers or default_workers(), thread_name_prefix="wake") as pool:
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
    return ValidationReport(rows, {case: seconds for case, (_, seconds) in measured.items()}, quick)


def _timed(check: _Check, stop: threading.Event) -> tuple[str, dict[str, float], float]:
    start = time.perf_counter()
    values = check.run(stop)
    return check.case, values, time.perf_counter() - start
