"""Comparison of the integrator, the bifurcations and the branches with independent computations."""

from __future__ import annotations

import math

from gmvae_fast.data.systems._runs import Progress
from gmvae_fast.data.systems._validation import Band, Check, ValidationReport, run_checks, within

from . import validation_cases as c

SCIPY = "scipy DOP853, tolerance 1e-12"
ALGEBRA = "roots of the cubic"
LINEAR = "eigenvalues of the Jacobian"
EARLIER = "shares first measured for this design, within 3 sampling errors of 500 runs"
#: Share on the low branch by kappa, measured with another program when the design was chosen.
EARLIER_SHARES = {10.0: 0.10, 10.2: 0.28, 10.4: 0.62, 10.6: 0.84, 10.8: 0.965, 11.0: 0.998}


def _spread(probability: float, n: int) -> float:
    return math.sqrt(probability * (1 - probability) / n)


def _share_bands(n_runs: int) -> tuple[Band, ...]:
    """For each kappa the earlier share, and the exact probability with four sampling errors."""
    bands = []
    for kappa, earlier in EARLIER_SHARES.items():
        quantity, exact = f"share at kappa = {kappa:g}", c.exact_share(kappa)
        wide, narrow = 3 * math.hypot(_spread(earlier, 500), _spread(earlier, n_runs)), 4 * _spread(exact, n_runs)
        bands += [
            Band(quantity, earlier - wide, min(earlier + wide, 1.0), EARLIER),
            Band(quantity, exact - narrow, exact + narrow, f"quadrature {exact:.4f}, 4 sampling errors"),
        ]
    return tuple(bands)


def _checks(quick: bool) -> list[Check]:
    """In order of cost, the longest first."""
    few, cycles, shares = (8, 3, 2000) if quick else (50, 20, 20_000)
    return [
        Check(
            f"oscillating, {60 if quick else 600} runs",
            lambda stop: c.regimes(stop, 60 if quick else 600),
            (
                Band("share whose amplitude agrees", 1.0, 1.0, LINEAR),
                Band("smallest amplitude, oscillating", 0.1, 0.5, "cycle, not a slow decay"),
                Band("largest amplitude, steady", 0.0, 0.02, "start forgotten after the spin-up"),
            ),
        ),
        Check(
            f"three-variable Runge-Kutta, {cycles} runs",
            lambda stop: c.oscillator_error(stop, cycles),
            (Band("largest error", 0.0, 1e-4, SCIPY),),
        ),
        Check(
            f"published, {shares} runs each",
            lambda stop: c.published_shares(stop, tuple(EARLIER_SHARES), shares),
            _share_bands(shares),
        ),
        *(
            Check(
                f"{design} Runge-Kutta, the {few} runs nearest to the unstable state",
                lambda stop, design=design: c.scalar_error(stop, design, few),  # type: ignore[misc]
                (Band("largest error", 0.0, 5e-9, SCIPY),),
            )
            for design in ("bistable", "published")
        ),
        Check(
            "fold and cusp",
            lambda stop: c.fold(stop, 200 if quick else 2000),
            (
                Band("rate and slope on the curve", 0.0, 1e-13, "formula, rounding"),
                Band("parameters with another number of roots", 0.0, 0.0, ALGEBRA),
                Band("triple root at the cusp, distance from 2/3", 0.0, 1e-4, ALGEBRA),
            ),
        ),
        Check(
            "onsets of oscillation",
            c.onsets,
            (
                Band("lower onset b", 20.15, 20.3, "oscillations reported from about 20.2"),
                Band("upper onset b", 21.15, 21.3, "oscillations reported to about 21.2"),
                *(
                    within(f"growth at b = {b:g}, simulated over eigenvalue", 1.0, 1.0, 0.01, LINEAR)
                    for b in (19.5, 21.0, 21.5)
                ),
            ),
        ),
    ]


def validate(quick: bool = False, progress: Progress | None = None, workers: int | None = None) -> ValidationReport:
    """Compare integrator, folds, branches and onsets with scipy, algebra, quadrature and linear stability.

    Parameters
    ----------
    quick : bool
        Fewer trajectories (a few seconds); the bands of shares widen with the sampling error.
    progress : callable(done_cases, total_cases)
    workers : int
        Cases at a time; default all processors.
    """
    return run_checks("surface_reaction", _checks(quick), quick, progress, workers)
