"""Baseline: proper orthogonal decomposition and a regression of its coefficients on the conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.interpolate import RBFInterpolator

from gmvae_fast._checks import check_integer, check_real
from gmvae_fast.baselines._features import PrincipalComponents
from gmvae_fast.generation.conditions import Generator, check_span, training_source, without_repeats
from gmvae_fast.model import GMVAE

#: With more distinct conditions than this the spline is a local one, of so many neighbours.
_NEIGHBORS = 200


class PodRegression(Generator):
    """POD modes of normalised snapshots (scikit-learn) with thin-plate splines through their coefficients (SciPy).

    Coefficients of equal conditions are averaged. Outside the training range the splines go on.

    Parameters
    ----------
    n_modes : int
        Fewer where the data do not have as many.
    smoothing : float
        Of the spline, see `scipy.interpolate.RBFInterpolator`; 0 goes through the training coefficients.
    seed : int
        Of the randomised solver for large matrices.

    Attributes
    ----------
    scale : ConditionScale
        Names, scales and range of the training conditions, once fitted.
    explained : float
        Share of the variance of normalised snapshots in the modes.
    """

    explained: float

    def __init__(self, n_modes: int = 20, *, smoothing: float = 0.0, seed: int = 0) -> None:
        self.n_modes = check_integer("n_modes", n_modes, 1)
        self.smoothing = check_real("smoothing", smoothing, at_least=0)
        self.seed = check_integer("seed", seed)
        self._modes: PrincipalComponents | None = None
        self._spline: RBFInterpolator | None = None

    def fit(self, model: GMVAE | None, data: Any, conditions: Any, *, names: Sequence[str] | None = None) -> Self:
        """Decompose the snapshots and fit the splines; arguments as in `Generator.fit`.

        Raises
        ------
        ImportError
            Without scikit-learn.
        ValueError
            Naming the argument that does not fit; for conditions that do not span their space.
        """
        source = training_source(model, data)
        scale, table = self._take(source, conditions, names)
        modes = PrincipalComponents(data, self.n_modes, self.seed, fewer=True)
        coefficients = modes.embed(data).astype(np.float64)
        points, values = without_repeats(scale.standardise(table)[:, scale.varies], coefficients)
        neighbors = _NEIGHBORS if len(points) > _NEIGHBORS else None
        check_span(points)
        spline = RBFInterpolator(points, values, neighbors=neighbors, smoothing=self.smoothing)
        self.scale, self.explained = scale, modes.explained
        self._modes, self._spline = modes, spline
        return self

    def predict(self, conditions: Any) -> npt.NDArray[np.float32]:
        """Fields [M, *input_shape] at M conditions, in data units."""
        scale = self._fitted()
        assert self._modes is not None
        assert self._spline is not None
        queries = scale.standardise(scale.read(conditions))[:, scale.varies]
        return self._modes.decode(self._spline(queries))
