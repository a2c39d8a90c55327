"""Gaussian mixture by expectation-maximisation, spelled as scikit-learn's, on the package's kernels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gmvae_fast import ops
from gmvae_fast._checks import check_integer, check_real
from gmvae_fast.mixture import MixtureParameters, check_covariance_type, m_step, sample_mixture

_TINY = 1e-300  # keeps the logarithm of a variance finite, in float64


class GaussianMixture:
    """Gaussian mixture by expectation-maximisation on the package's kernels; names as in scikit-learn.

    Parameters
    ----------
    n_components : int
    covariance_type : {"diag", "spherical"}
    tol : float
        EM stops when the mean log likelihood changes by less.
    reg_covar : float
        Added to every variance in each M-step.
    max_iter, n_init : int
        Most iterations of one start, and number of starts; the start with the best likelihood is kept.
    init_params : {"k-means++", "random"}
        How the first means are drawn from the data: spread out (Arthur & Vassilvitskii 2007) or uniformly.
    weights_init [K], means_init [K, D], precisions_init [K, D] or [K] : array, optional
        Given start; missing ones are drawn.
    random_state : int
        Seed of every draw.

    Attributes
    ----------
    weights_ [K], means_ [K, D], covariances_ [K, D] (diag) or [K] (spherical), converged_, n_iter_, lower_bound_
        After `fit`; arrays of the kind (numpy or torch) and dtype that came in. ``parameters_`` holds the same in
        float64.

    Notes
    -----
    Steps, stopping rule and ``lower_bound_`` (the mean log likelihood before the last M-step) are scikit-learn's, so
    that both give the same result from the same given start.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "diag",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "k-means++",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, log_var: Any = None) -> GaussianMixture:
        """Fit to points ``X`` [N, D], or to Gaussian posteriors with means ``X`` and log variances ``log_var``.

        Raises
        ------
        ValueError
            For non-finite values, fewer rows than components, or a parameter outside its range.
        """
        self._check_parameters()
        points = as_rows(X, "X")
        if points.shape[0] < self.n_components:
            raise ValueError(f"X must have at least n_components = {self.n_components} rows, got {points.shape[0]}")
        spread = None
        if log_var is not None:
            spread = as_rows(log_var, "log_var").to(points)
            if spread.shape != points.shape:
                raise ValueError(f"log_var must have the shape of X {tuple(points.shape)}, got {tuple(spread.shape)}")
        generator = torch.Generator().manual_seed(self.random_state)
        best: tuple[float, MixtureParameters, bool, int] | None = None
        for _ in range(self.n_init):
            run = self._run_em(points, spread, self._start(points, generator))
            if math.isfinite(run[0]) and (best is None or run[0] > best[0]):
                best = run
        if best is None:
            raise ValueError(
                "the likelihood is not finite: a component shrank to a point of X or log_var is too wide; increase "
                f"reg_covar (now {self.reg_covar:g}) or reduce n_components (now {self.n_components})"
            )
        self._as_numpy = not isinstance(X, Tensor)
        self._dtype, self._device = points.dtype, points.device
        self.lower_bound_, self.parameters_, self.converged_, self.n_iter_ = best
        return self

    def _check_parameters(self) -> None:
        check_covariance_type(self.covariance_type)
        for name in ("n_components", "max_iter", "n_init"):
            check_integer(name, getattr(self, name), 1)
        for name in ("tol", "reg_covar"):
            check_real(name, getattr(self, name), at_least=0)
        check_integer("random_state", self.random_state)
        if self.init_params not in ("k-means++", "random"):
            raise ValueError(f"init_params must be 'k-means++' or 'random', got {self.init_params!r}")

    def _start(self, points: Tensor, generator: torch.Generator) -> MixtureParameters:
        n, d = points.shape
        k = self.n_components
        double = points.double()
        weights = self._given(self.weights_init, (k,), "weights_init", points)
        means = self._given(self.means_init, (k, d), "means_init", points)
        if means is None and self.init_params == "k-means++":
            means = kmeans_plus_plus(double, k, generator)
        elif means is None:
            means = double[torch.randperm(n, generator=generator)[:k].to(points.device)]
        nearest = torch.full_like(double[:, 0], math.inf)
        for center in means:  # one at a time: differences are exact far from the origin, and no [N, K] is formed
            nearest = torch.minimum(nearest, (double - center).square().sum(1))
        overall = double.var(0, unbiased=False).mean()
        variance = torch.maximum(nearest.mean() / d, 1e-3 * overall) + self.reg_covar
        log_weights = torch.log(weights) if weights is not None else torch.full_like(means[:, 0], -math.log(k))
        log_vars = torch.log(variance.clamp_min(_TINY)).expand(k, d)
        if self.precisions_init is not None:
            shape = (k, d) if self.covariance_type == "diag" else (k,)
            precision = self._given(self.precisions_init, shape, "precisions_init", points)
            assert precision is not None
            log_vars = -torch.log(precision if precision.ndim == 2 else precision[:, None]).expand(k, d)
        return MixtureParameters(log_weights, means, log_vars.clone())

    @staticmethod
    def _given(value: Any, shape: tuple[int, ...], name: str, like: Tensor) -> Tensor | None:
        if value is None:
            return None
        tensor = value.detach() if isinstance(value, Tensor) else torch.from_numpy(np.array(value, dtype=np.float64))
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} must be finite, got {value!r}")
        if name == "precisions_init" and not bool((tensor > 0).all()):
            raise ValueError(f"{name} must be positive, got {value!r}")
        if name == "weights_init" and (bool((tensor < 0).any()) or abs(float(tensor.sum()) - 1) > 1e-4):
            raise ValueError(f"{name} must not be negative and must sum to 1, got {value!r}")
        return tensor.to(like.device, torch.float64)

    def _run_em(
        self, points: Tensor, log_var: Tensor | None, start: MixtureParameters
    ) -> tuple[float, MixtureParameters, bool, int]:
        parameters, bound, converged, iteration = start, -math.inf, False, 0
        while iteration < self.max_iter and not converged:
            iteration += 1
            statistics = ops.mixture_statistics(points, log_var, *parameters.to(points).as_tuple())
            previous, bound = bound, float(statistics.log_evidence) / points.shape[0]
            parameters = m_step(
                statistics,
                parameters.to(points),
                covariance_type=self.covariance_type,
                added_variance=self.reg_covar,
            )
            converged = abs(bound - previous) < self.tol
        return bound, parameters, converged, iteration

    # -- results ---------------------------------------------------------------------------------------------

    @property
    def weights_(self) -> Any:
        """Mixture weights [K]."""
        return self._out(torch.exp(self._fitted().log_weights).to(self._dtype))

    @property
    def means_(self) -> Any:
        """Component means [K, D]."""
        return self._out(self._fitted().means.to(self._dtype))

    @property
    def covariances_(self) -> Any:
        """Variances [K, D] for "diag", [K] for "spherical"."""
        variances = torch.exp(self._fitted().log_vars).to(self._dtype)
        return self._out(variances if self.covariance_type == "diag" else variances[:, 0])

    @property
    def precisions_(self) -> Any:
        """Inverse variances, shaped as `covariances_`."""
        return 1 / self.covariances_

    def predict_proba(self, X: Any) -> Any:
        """Responsibilities p(c | x) [N, K]."""
        return self._like(X, self._log_responsibilities(X)[0].exp())

    def predict(self, X: Any) -> Any:
        """Most probable component [N]."""
        return self._like(X, self._log_responsibilities(X)[0].argmax(1))

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """`fit`, then `predict`."""
        return self.fit(X).predict(X)

    def score_samples(self, X: Any) -> Any:
        """log p(x) [N]."""
        return self._like(X, self._log_responsibilities(X)[1])

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of log p(x)."""
        return float(self._log_responsibilities(X)[1].double().mean())

    def bic(self, X: Any) -> float:
        """Bayesian information criterion, lower is better."""
        n = as_rows(X, "X").shape[0]
        return -2 * n * self.score(X) + self._n_parameters() * math.log(n)

    def aic(self, X: Any) -> float:
        """Akaike information criterion, lower is better."""
        return -2 * as_rows(X, "X").shape[0] * self.score(X) + 2 * self._n_parameters()

    def sample(self, n_samples: int = 1, *, seed: int | None = None) -> tuple[Any, Any]:
        """Draw points [n, D] and their components [n] (``seed`` defaults to ``random_state``)."""
        n_samples = check_integer("n_samples", n_samples, 1)
        generator = torch.Generator().manual_seed(self.random_state if seed is None else seed)
        points, labels = sample_mixture(self._fitted(), n_samples, generator)
        return self._out(points.to(self._dtype)), self._out(labels)

    def _log_responsibilities(self, X: Any) -> tuple[Tensor, Tensor]:
        parameters = self._fitted()
        points = as_rows(X, "X")
        if points.shape[1] != parameters.means.shape[1]:
            raise ValueError(f"X must have {parameters.means.shape[1]} columns as in fit, got {points.shape[1]}")
        with torch.no_grad():
            return ops.log_responsibilities(points, *parameters.to(points).as_tuple())

    def _n_parameters(self) -> int:
        k, d = self._fitted().means.shape
        return k - 1 + k * d + (k * d if self.covariance_type == "diag" else k)

    def _fitted(self) -> MixtureParameters:
        parameters = getattr(self, "parameters_", None)
        if parameters is None:
            raise RuntimeError("this GaussianMixture is not fitted yet: call fit first")
        assert isinstance(parameters, MixtureParameters)
        return parameters

    def _out(self, value: Tensor) -> Any:
        return value.cpu().numpy() if self._as_numpy else value.to(self._device)

    @staticmethod
    def _like(X: Any, value: Tensor) -> Any:
        return value if isinstance(X, Tensor) else value.cpu().numpy()


def as_rows(value: Any, name: str) -> Tensor:
    """Finite floating [N, D] tensor from an array or tensor; integers become float64, half precision float32."""
    tensor = value if isinstance(value, Tensor) else _array_to_tensor(np.asarray(value), name)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be real numbers, got {tensor.dtype}")
    if tensor.dtype not in (torch.float32, torch.float64):
        tensor = tensor.float() if tensor.is_floating_point() else tensor.double()
    if tensor.ndim != 2 or tensor.shape[1] == 0:
        raise ValueError(f"{name} must have shape [N, D] with D >= 1, got {tuple(tensor.shape)}")
    tensor = tensor.detach()
    finite = torch.isfinite(tensor).all(1)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0, 0])
        raise ValueError(f"{name} must be finite, got NaN or inf in {int((~finite).sum())} rows, the first is {first}")
    return tensor


def _array_to_tensor(array: np.ndarray, name: str) -> Tensor:
    """Big-endian, read-only and extended-precision arrays included, which torch does not take as they are."""
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got dtype {array.dtype}")
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    # A copy only where torch cannot share the memory: [N, D] rows are small beside snapshots.
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def kmeans_plus_plus(points: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """K rows of ``points`` [N, D], each drawn with probability proportional to its squared distance to those before."""
    n = points.shape[0]
    chosen = [int(torch.randint(n, (1,), generator=generator))]
    distance = (points - points[chosen[0]]).square().sum(1)
    for _ in range(1, k):
        total = distance.sum()
        if not bool(total > 0):  # fewer distinct rows than components: any row will do
            chosen.append(int(torch.randint(n, (1,), generator=generator)))
            continue
        draw = torch.rand(1, generator=generator, dtype=torch.float64).to(points.device) * total
        # right=True passes over rows of no weight, those already chosen
        index = min(int(torch.searchsorted(distance.cumsum(0), draw, right=True)), n - 1)
        chosen.append(index)
        distance = torch.minimum(distance, (points - points[index]).square().sum(1))
    return points[chosen]
