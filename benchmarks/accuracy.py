"""Errors against float64, near the origin and far from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

OFFSETS = (0, 10, 100, 1000)
SAMPLE = 1024  # rows compared: [N, K, D] in float64 must fit


def largest_error(values: Sequence[Tensor], references: Sequence[Tensor]) -> float:
    """Largest deviation of any tensor relative to its reference's largest value; NaN counts as infinite."""
    worst = 0.0
    for value, reference in zip(values, references, strict=True):
        error = float((value.detach().double() - reference).abs().max() / reference.abs().max())
        worst = max(worst, error if error == error else float("inf"))
    return worst


def errors_at_offsets(
    compute: Callable[[int], Sequence[Tensor]], exact: Callable[[int], Sequence[Tensor]]
) -> dict[str, float]:
    """`largest_error` of ``compute(offset)`` against ``exact(offset)`` for every latent offset."""
    return {str(offset): largest_error(compute(offset), exact(offset)) for offset in OFFSETS}


def check(name: str, error: float, bound: float) -> None:
    """Raise if a contender's answer is wrong: what is wrong is not timed."""
    if not error <= bound:
        raise AssertionError(f"{name} is wrong by {error:.1e} of the largest value, more than {bound:.0e}")
