"""Comparison of the solver with exact solutions and with the literature."""

from __future__ import annotations

from gmvae_fast.data.systems._runs import Progress
from gmvae_fast.data.systems._validation import Band, Check, ValidationReport, run_checks, within

SCHAEFER_TUREK = "Schaefer & Turek 1996"
JOHN = "John, Int. J. Numer. Meth. Fluids 44, 777 (2004)"
WIDE = "Williamson 1989; Liu et al. 1998; Linnick & Fasel 2005"
RE_200 = "Liu et al. 1998 (1.31) to Berthelsen & Faltinsen 2008 (1.37)"
LIFT_200 = "Liu et al. 1998 (0.69) to Berthelsen & Faltinsen 2008 (0.70)"


def _exact_checks() -> list[Check]:
    from . import validation_cases as c

    return [
        Check("Taylor-Green", c.taylor_green, (within("decay rate", 1.0, 1.0, 0.01, "exact"),)),
        Check("Poiseuille, 20 cells", c.poiseuille, (Band("largest error", 0.0, 0.005, "exact, second order"),)),
    ]


def _quick_checks() -> list[Check]:
    """Coarse: 20 cells a diameter at three times the Mach number of a careful run; hence wider bands for lift.

    The free stream has 10 cells a diameter and a blockage of 5%: each raises drag by about 5%.
    """
    from . import validation_cases as c

    return [
        Check(
            "channel 2D-1, D = 20 cells",
            lambda stop: c.channel_steady(stop, 20, 0.1),
            (
                within("drag", 5.5795, 5.5795, 0.02, SCHAEFER_TUREK),
                within("lift", 0.0106, 0.0106, 0.15, SCHAEFER_TUREK),
                within("pressure drop", 0.1175, 0.1175, 0.02, SCHAEFER_TUREK),
            ),
        ),
        Check(
            "channel 2D-2, D = 20 cells",
            lambda stop: c.channel_shedding(stop, 20, 0.1),
            (
                within("largest drag", 3.22, 3.24, 0.03, SCHAEFER_TUREK),
                within("largest lift", 0.99, 1.01, 0.10, SCHAEFER_TUREK),
                within("Strouhal", 0.295, 0.305, 0.03, SCHAEFER_TUREK),
            ),
        ),
        Check(
            "free stream Re 100, D = 10 cells, 20 D wide",
            lambda stop: c.stream(stop, 100.0, 10, 0.1, (24.0, 20.0, 8.0), 100.0),
            (
                within("Strouhal", 0.164, 0.167, 0.04, WIDE),
                within("drag", 1.33, 1.38, 0.08, WIDE),
            ),
        ),
    ]


def _full_checks() -> list[Check]:
    """In order of cost, the longest first, so that two processors finish together."""
    from . import validation_cases as c

    wide = (50.0, 40.0, 16.0)
    return [
        Check(
            "free stream Re 100, D = 20 cells, 40 D wide",
            lambda stop: c.stream(stop, 100.0, 20, 0.05, wide, 120.0),
            (
                Band("Strouhal", 0.164, 0.167, WIDE),
                Band("drag", 1.33, 1.38, WIDE),
                within("lift amplitude", 0.33, 0.34, 0.10, WIDE),
            ),
        ),
        Check(
            "free stream Re 200, D = 20 cells, 40 D wide",
            lambda stop: c.stream(stop, 200.0, 20, 0.05, wide, 120.0),
            (
                Band("Strouhal", 0.195, 0.200, WIDE),
                Band("drag", 1.31, 1.37, RE_200),
                within("lift amplitude", 0.69, 0.70, 0.10, LIFT_200),
            ),
        ),
        Check(
            "channel 2D-3, D = 40 cells",
            lambda stop: c.channel_pulse(stop, 40, 0.05),
            (
                within("largest drag", 2.9509, 2.9509, 0.02, JOHN),
                within("largest lift", 0.4779, 0.4779, 0.06, JOHN),
                within("final pressure drop", -0.1116, -0.1116, 0.03, JOHN),
            ),
        ),
        Check(
            "channel 2D-2, D = 40 cells",
            lambda stop: c.channel_shedding(stop, 40, 0.05),
            (
                within("largest drag", 3.22, 3.24, 0.03, SCHAEFER_TUREK),
                within("largest lift", 0.99, 1.01, 0.03, SCHAEFER_TUREK),
                within("Strouhal", 0.295, 0.305, 0.03, SCHAEFER_TUREK),
            ),
        ),
        Check(
            "channel 2D-1, D = 40 cells",
            lambda stop: c.channel_steady(stop, 40, 0.05),
            (
                within("drag", 5.5795, 5.5795, 0.02, SCHAEFER_TUREK),
                within("lift", 0.0106, 0.0106, 0.05, SCHAEFER_TUREK),
                within("pressure drop", 0.1175, 0.1175, 0.01, SCHAEFER_TUREK),
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
    checks = [*(_quick_checks() if quick else _full_checks()), *_exact_checks()]
    return run_checks("wake", checks, quick, progress, workers)
