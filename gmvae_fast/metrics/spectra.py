"""How the variance of fields is shared among scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft

from gmvae_fast._checks import check_integer
from gmvae_fast.metrics._grids import check_spacing


@dataclass(frozen=True)
class EnergySpectrum:
    """Mean square of fields by shells of wave numbers.

    Attributes
    ----------
    wavenumber : float64 [B]
        Centres of the shells, in radians per unit of length: 0, dk, 2 dk, ...
    energy : float64 [..., B]
        Of every field; its sum over the shells is the field's mean square (Parseval). Shell 0 holds the square of the
        mean and nothing else. Divided by ``width`` it is a density; of the velocity components, summed and halved, the
        kinetic energy.
    width : float
        dk = 2 pi / L, L the longest side of the box.
    """

    wavenumber: npt.NDArray[np.float64]
    energy: npt.NDArray[np.float64]
    width: float


def energy_spectrum(
    fields: npt.ArrayLike, spacing: float | Sequence[float] = 1.0, *, n_axes: int | None = None
) -> EnergySpectrum:
    """Radially binned energy spectrum of fields on a uniform grid.

    Parameters
    ----------
    fields : real [..., *grid]
        Periodic, or tapered before: what jumps across the ends of the box leaks into all scales.
    spacing : float, or one for each grid axis
        Distance between neighbouring cells.
    n_axes : {1, 2, 3}, optional
        How many of the last axes are the grid; by default all but the first two, as in [N, C, *grid].

    Returns
    -------
    EnergySpectrum
        A mode belongs to the shell whose centre is nearest to the length of its wave vector.

    Raises
    ------
    ValueError
        For other numbers of axes, empty grids, a spacing that is not above 0, or values that are not finite.
    """
    values = np.asarray(fields)
    d = values.ndim - 2 if n_axes is None else check_integer("n_axes", n_axes)
    if not 1 <= d <= min(3, values.ndim):
        raise ValueError(
            f"fields must end with 1 to 3 grid axes (n_axes; by default all but the first two), got shape "
            f"{values.shape} and {d} of them"
        )
    grid = values.shape[-d:]
    if 0 in grid:
        raise ValueError(f"fields must have cells along every grid axis, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("fields must be finite; fill masked cells before, with the mean for instance")
    steps = check_spacing(spacing, d)
    width = 2 * np.pi / max(n * h for n, h in zip(grid, steps, strict=True))
    along = [2 * np.pi * scipy.fft.fftfreq(n, h) for n, h in zip(grid[:-1], steps[:-1], strict=True)]
    along.append(2 * np.pi * scipy.fft.rfftfreq(grid[-1], steps[-1]))
    length = np.sqrt(sum(k**2 for k in np.meshgrid(*along, indexing="ij", sparse=True)))
    shell = np.rint(length / width).astype(np.int64).ravel()
    # A real field's transform holds one of each pair of conjugate modes, but for those that are their own.
    twice = np.full(len(along[-1]), 2.0)
    twice[0] = 1.0
    if grid[-1] % 2 == 0:
        twice[-1] = 1.0
    weight = np.broadcast_to(twice, length.shape).ravel() / float(np.prod(grid)) ** 2
    rows = values.reshape(-1, *grid)
    energy = np.empty((len(rows), int(shell.max()) + 1))
    for i, row in enumerate(rows):  # the transform of one field at a time
        modes = scipy.fft.rfftn(row.astype(np.float64)).ravel()
        energy[i] = np.bincount(shell, weight * (modes.real**2 + modes.imag**2), energy.shape[1])
    shells = energy.shape[1]
    return EnergySpectrum(width * np.arange(shells), energy.reshape(*values.shape[:-d], shells), float(width))
