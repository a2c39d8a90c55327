"""The Gaussian mixture: parameters, closed-form M-step, the prior of a GM-VAE and a stand-alone estimator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gmvae_fast import ops
from gmvae_fast._checks import check_damping, check_integer, check_real

COVARIANCE_TYPES = ("diag", "spherical")
_EMPTY = 1e-10  # share of the data below which a component says nothing about its own mean and variance
_TINY = 1e-300  # keeps log and division finite for components without weight, in float64


@dataclass(frozen=True)
class MixtureParameters:
    """log_weights [K], means [K, D], log_vars [K, D]: a mixture of Gaussians with diagonal covariances."""

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor

    def to(self, like: Tensor) -> MixtureParameters:
        """The same values with the dtype and device of ``like``."""
        return MixtureParameters(*(t.to(like) for t in (self.log_weights, self.means, self.log_vars)))

    def as_tuple(self) -> tuple[Tensor, Tensor, Tensor]:
        """In the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars


@dataclass(frozen=True)
class MixturePriors:
    """Priors of the M-step as pseudo-observations; the defaults switch them off (maximum likelihood).

    Attributes
    ----------
    weight_count : float
        Pseudo-observations added to every component (Dirichlet concentration minus one).
    mean_count, mean_location : float
        ``mean_count`` pseudo-observations at ``mean_location`` in every coordinate.
    variance_count, variance_location : float
        ``variance_count`` pseudo-observations of variance ``variance_location``. Together with the mean's this is
        the mode of a normal-inverse-gamma posterior.
    """

    weight_count: float = 0.0
    mean_count: float = 0.0
    mean_location: float = 0.0
    variance_count: float = 0.0
    variance_location: float = 1.0

    def __post_init__(self) -> None:
        for name in ("weight_count", "mean_count", "variance_count"):
            check_real(name, getattr(self, name), at_least=0)
        check_real("mean_location", self.mean_location)
        check_real("variance_location", self.variance_location, above=0)


def check_covariance_type(covariance_type: str) -> None:
    """Raise with the valid names."""
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type must be one of {', '.join(COVARIANCE_TYPES)}, got {covariance_type!r}")


def m_step(
    statistics: ops.MixtureStatistics,
    previous: MixtureParameters,
    *,
    covariance_type: str = "diag",
    priors: MixturePriors | None = None,
    variance_floor: float = 0.0,
    added_variance: float = 0.0,
    damping: float = 1.0,
) -> MixtureParameters:
    r"""Mixture that minimises sum_i KL_mix for the responsibilities behind ``statistics``, in closed form.

    .. math:: \pi_c = N_c / N, \quad \mu_c = \sum_i \gamma_{ic} m_i / N_c, \quad
       \sigma_c^2 = \sum_i \gamma_{ic} [(m_i - \mu_c)^2 + s_i^2] / N_c

    Parameters
    ----------
    statistics : MixtureStatistics
        Of the whole data set.
    previous : MixtureParameters
        The mixture at which the statistics were taken: a component without weight keeps its mean and variance where
        no prior decides them, and damping mixes it in.
    covariance_type : {"diag", "spherical"}
    priors : MixturePriors, optional
    variance_floor : float
        Smallest variance returned.
    added_variance : float
        Added to every variance (scikit-learn's ``reg_covar``).
    damping : float in (0, 1]
        Share of the new natural statistics; the rest is the previous mixture's. 1 is the plain M-step.

    Returns
    -------
    MixtureParameters
        float64.
    """
    check_covariance_type(covariance_type)
    check_damping(damping)
    if statistics.count == 0:
        raise ValueError("statistics must hold at least one row, got none")
    priors = priors or MixturePriors()
    old = previous.to(statistics.weight)
    statistics = statistics.about(old.means)
    n = float(statistics.count)
    old_weight = torch.exp(old.log_weights)
    keep = (1 - damping) * old_weight * n
    weight = damping * statistics.weight + keep
    first = damping * statistics.first
    second = damping * statistics.second + keep[:, None] * torch.exp(old.log_vars)

    count = weight[:, None]
    strength = count + priors.mean_count
    shift = (first + priors.mean_count * (priors.mean_location - old.means)) / strength.clamp_min(_TINY)
    # Scatter about the new mean, the pseudo-observations' distance from it included.
    scatter = second - 2 * shift * first + count * shift.square()
    scatter = scatter + priors.mean_count * (old.means + shift - priors.mean_location).square()
    scatter = scatter + priors.variance_count * priors.variance_location
    spread = count + priors.variance_count
    variance = scatter / spread.clamp_min(_TINY)
    if covariance_type == "spherical":
        variance = variance.mean(1, keepdim=True).expand_as(variance)
    mean = torch.where(strength < _EMPTY * n, old.means, old.means + shift)
    variance = torch.where(spread < _EMPTY * n, torch.exp(old.log_vars), variance.clamp_min(0) + added_variance)
    weights = weight + priors.weight_count
    return MixtureParameters(
        torch.log(weights.clamp_min(_TINY)) - torch.log(weights.sum()),
        mean,
        torch.log(variance.clamp_min(max(variance_floor, _TINY))),
    )


class MixturePrior(nn.Module):
    """The mixture p(c) p(z|c) as part of a model. Its parameters do not require gradients unless a scheme asks.

    Parameters
    ----------
    n_components, latent_dim : int
    covariance_type : {"diag", "spherical"}
    """

    log_weights: Tensor
    means: Tensor
    log_vars: Tensor

    def __init__(self, n_components: int, latent_dim: int, covariance_type: str = "diag") -> None:
        super().__init__()
        n_components = check_integer("n_components", n_components, 1)
        latent_dim = check_integer("latent_dim", latent_dim, 1)
        check_covariance_type(covariance_type)
        self.n_components, self.latent_dim, self.covariance_type = n_components, latent_dim, covariance_type
        uniform = torch.full((n_components,), -math.log(n_components))
        self.log_weights = nn.Parameter(uniform, requires_grad=False)
        self.means = nn.Parameter(torch.zeros(n_components, latent_dim), requires_grad=False)
        self.log_vars = nn.Parameter(torch.zeros(n_components, latent_dim), requires_grad=False)

    @property
    def parameters_tuple(self) -> tuple[Tensor, Tensor, Tensor]:
        """log_weights, means, log_vars, in the order of the operators' arguments."""
        return self.log_weights, self.means, self.log_vars

    def get(self) -> MixtureParameters:
        """A copy of the parameters."""
        return MixtureParameters(*(t.detach().clone() for t in self.parameters_tuple))

    def set(self, parameters: MixtureParameters) -> None:
        """Take over ``parameters``, converted to this module's dtype and device."""
        with torch.no_grad():
            for mine, value in zip(self.parameters_tuple, parameters.as_tuple(), strict=True):
                if mine.shape != value.shape:
                    raise ValueError(f"mixture parameter must have shape {tuple(mine.shape)}, got {tuple(value.shape)}")
                mine.copy_(value)

    def kl(
        self,
        mean: Tensor,
        log_var: Tensor,
        *,
        assignment: str = "exact",
        z: Tensor | None = None,
        detach_assignment: bool = False,
    ) -> Tensor:
        """Mixture KL of each row [N]; arguments as in `gmvae_fast.ops.mixture_kl`."""
        return ops.mixture_kl(
            mean,
            log_var,
            *self.parameters_tuple,
            assignment=assignment,
            z=z,
            detach_assignment=detach_assignment,
        )

    def statistics(self, mean: Tensor, log_var: Tensor | None) -> ops.MixtureStatistics:
        """E-step over the given rows."""
        return ops.mixture_statistics(mean, log_var, *self.parameters_tuple)

    def component_kl(self, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL of each posterior to each component [N, K]; one component at a time, so that no [N, K, D] is formed."""
        pairs = zip(self.means.split(1), self.log_vars.split(1), strict=True)
        return torch.cat([ops.reference.component_kl(mean, log_var, *pair) for pair in pairs], 1)

    def responsibilities(self, mean: Tensor, log_var: Tensor | None) -> Tensor:
        """Exact responsibilities of posteriors, or p(c | z) of points (``log_var`` None): [N, K]."""
        if log_var is None:
            return ops.log_responsibilities(mean, *self.parameters_tuple)[0].exp()
        return torch.softmax(self.log_weights - self.component_kl(mean, log_var), 1)


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


def sample_mixture(
    parameters: MixtureParameters, n: int, generator: torch.Generator, component: int | None = None
) -> tuple[Tensor, Tensor]:
    """Points [n, D] and components [n]; all from one component if given. The generator's draws are made on the CPU."""
    weights, means, log_vars = (t.cpu() for t in parameters.as_tuple())
    if component is None:
        labels = torch.multinomial(weights.double().exp(), n, replacement=True, generator=generator)
    else:
        k = means.shape[0]
        if not 0 <= check_integer("component", component) < k:
            raise ValueError(f"component must be in 0..{k - 1}, got {component}")
        labels = torch.full((n,), component)
    noise = torch.randn(n, means.shape[1], generator=generator, dtype=means.dtype)
    points = means[labels] + torch.exp(0.5 * log_vars[labels]) * noise
    return points.to(parameters.means.device), labels.to(parameters.means.device)
