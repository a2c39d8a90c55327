"""Real roots of many cubics at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def real_cubic_roots(coefficients: Floats) -> Floats:
    """Distinct real roots of x³ + a x² + b x + c, ascending.

    The sign of the discriminant says how many there are; the values are eigenvalues of the companion matrix.

    Parameters
    ----------
    coefficients : [N, 3]
        a, b, c.

    Returns
    -------
    [N, 3]
        Three roots where the discriminant is positive; else the one real root, and NaN.
    """
    a, b, c = np.asarray(coefficients, dtype=np.float64).T
    companion = np.zeros((len(a), 3, 3))
    companion[:, 0] = -np.stack([a, b, c], axis=1)
    companion[:, 1, 0] = companion[:, 2, 1] = 1.0
    roots = np.linalg.eigvals(companion)
    discriminant = 18 * a * b * c - 4 * a**3 * c + a**2 * b**2 - 4 * b**3 - 27 * c**2
    single = roots[np.arange(len(a)), np.abs(roots.imag).argmin(axis=1)].real
    three = np.sort(roots.real, axis=1)
    alone = np.stack([single, np.full_like(single, np.nan), np.full_like(single, np.nan)], axis=1)
    found: Floats = np.where((discriminant > 0)[:, None], three, alone)
    return found
