"""Checks that the measures of fields on grids share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gmvae_fast._checks import check_real


def check_spacing(spacing: float | Sequence[float], n_axes: int) -> tuple[float, ...]:
    """One grid spacing for each of ``n_axes`` axes; a single number stands for all of them."""
    values = [spacing] * n_axes if np.ndim(spacing) == 0 else list(spacing)  # type: ignore[arg-type]
    if len(values) != n_axes:
        raise ValueError(f"spacing must be one number or one for each of {n_axes} axes, got {len(values)}")
    return tuple(check_real("spacing", value, above=0) for value in values)
