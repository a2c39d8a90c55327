"""Gaussian mixture by expectation-maximisation, spelled as scikit-learn's, on the package's kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from gmvae_fast._checks import check_integer, check_real, check_sample_weight, nearest
from gmvae_fast._covariances import (
    DENSE,
    CovarianceError,
    check_covariance_type,
    from_factor,
    in_range,
    n_covariance_parameters,
    precision_factors,
)
from gmvae_fast._em import EmRun, EmSettings, evaluate, log_likelihood, run_em
from gmvae_fast._estimator import Estimator
from gmvae_fast._mixture_start import INIT_PARAMS, GivenStart, draw_sample
from gmvae_fast._rows import Rows
from gmvae_fast.m_step import MixtureParameters, MixturePriors
from gmvae_fast.mixture import sample_mixture


class GaussianMixture(Estimator):
    """Gaussian mixture by expectation-maximisation on the package's kernels; names as in scikit-learn.

    Parameters
    ----------
    n_components : int
    covariance_type : {"diag", "spherical", "tied", "full"}
    tol : float
        EM stops when the mean log likelihood changes by less.
    reg_covar : float
        Added to every variance, or to the diagonal of every covariance, in each M-step.
    max_iter, n_init : int
        Most iterations of one start, and number of starts; the start with the best likelihood is kept.
    init_params : {"k-means++", "kmeans", "random_from_data", "random"}
        How the first means are drawn: rows spread out (Arthur & Vassilvitskii 2007), these refined by 30 steps of
        k-means, rows drawn uniformly, or means of all rows under random responsibilities. They are drawn from all
        rows where these are few, else from a uniform sample of 131 072 rows (fewer where these make more than 64 MiB,
        but at least 64 per component). Weights start equal, covariances as one multiple of the identity.
    weights_init [K], means_init [K, D], precisions_init : array, optional
        Given start; missing ones are drawn. Precisions are [K, D] (diag), [K] (spherical), [D, D] (tied) or
        [K, D, D] (full).
    priors : MixturePriors, optional
        Maximum a posteriori instead of maximum likelihood: the stopping rule and ``lower_bound_`` are then those of
        the log likelihood plus the log prior density (up to its constant), over N.
    warm_start : bool
        Start the next `fit` from the last one's result.
    chunk_size : int, optional
        Rows at a time. By default contiguous float32 and float64 arrays in memory are swept whole, everything else
        in chunks of about 64 MiB. The result does not depend on it beyond rounding.
    random_state : int
        Seed of every draw.

    Attributes
    ----------
    weights_ [K], means_ [K, D], covariances_, precisions_, precisions_cholesky_ (shaped as ``precisions_init``)
        After `fit`; arrays of the kind (numpy or torch) and dtype that came in. ``precisions_cholesky_`` is the upper
        triangular U with precision U U', the inverse standard deviation for diag and spherical. ``parameters_`` holds
        the mixture in float64.
    converged_ : bool
    n_iter_, n_features_in_ : int
    lower_bound_ : float
        Mean log likelihood before the last M-step; ``lower_bounds_`` lists those of every iteration.

    Notes
    -----
    Steps, stopping rule and ``lower_bound_`` are scikit-learn's, so that both give the same result from the same
    given start. ``X`` may be an array, a tensor, a memmap, or anything with shape, dtype and slicing (h5py dataset,
    zarr array): such data are read by chunks in every iteration and never held whole.
    """

    lower_bound_: float
    parameters_: MixtureParameters

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
        priors: MixturePriors | None = None,
        warm_start: bool = False,
        chunk_size: int | None = None,
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
        self.priors = priors
        self.warm_start = warm_start
        self.chunk_size = chunk_size
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any = None, *, log_var: Any = None, sample_weight: Any = None) -> GaussianMixture:
        """Fit to points ``X`` [N, D], or to Gaussian posteriors with means ``X`` and log variances ``log_var``.

        With ``sample_weight`` [N], at least 0, each row counts that often in every step; starting points are drawn
        from all rows of positive weight alike.

        Raises
        ------
        ValueError
            For non-finite values, fewer rows than components, a parameter outside its range, or data whose likelihood
            has no maximum with this ``reg_covar``.
        TypeError
            For anything but real numbers.
        """
        self._check_parameters()
        rows = Rows(X, "X", self.chunk_size)
        weight = None
        if sample_weight is not None:
            weight = torch.as_tensor(check_sample_weight(sample_weight, len(rows)))
            if not bool(weight.all()):  # those rows are not there, for starting points neither
                kept = weight.nonzero().flatten()
                at: Any = kept if rows.is_tensor else kept.numpy()
                weight, log_var = weight[kept], None if log_var is None else log_var[at]
                rows = Rows(X[at], "X", self.chunk_size)
            weight = weight.to(rows.device)
        if len(rows) < self.n_components:
            raise ValueError(f"X must have at least n_components = {self.n_components} rows, got {len(rows)}")
        spread = None if log_var is None else self._posterior_rows(log_var, rows)
        best = self._best_run(rows, spread, weight)
        self._as_numpy, self._dtype, self._device = not rows.is_tensor, rows.dtype, rows.device
        self._fitted_type = self.covariance_type
        self.n_features_in_ = rows.shape[1]
        self.lower_bound_, self.lower_bounds_, self.n_iter_ = best.bounds[-1], best.bounds, len(best.bounds)
        self.parameters_, self.converged_ = best.parameters, best.converged
        return self

    def _best_run(self, rows: Rows, spread: Rows | None, weight: Tensor | None) -> EmRun:
        """Every start brought to its end; the one with the highest bound."""
        settings = EmSettings(self.covariance_type, self.tol, self.max_iter, self.reg_covar, self.priors)
        previous = self.lower_bound_ if self._continues() else -math.inf
        best: EmRun | None = None
        failure = "the likelihood is not finite"
        for start in self._starts(rows):
            try:
                run = run_em(rows, spread, start, settings, previous, weight)
            except CovarianceError as err:
                failure = str(err)
                continue
            if not in_range(run.parameters.log_vars, run.parameters.cholesky, rows.dtype):
                failure = "its covariances or their inverses are out of range"
            elif math.isfinite(run.bounds[-1]) and (best is None or run.bounds[-1] > best.bounds[-1]):
                best = run
        if best is not None:
            return best
        raise ValueError(
            "no start gave a mixture: a component shrank to a point or plane of X, or values are too large or small "
            f"for {str(rows.dtype).removeprefix('torch.')}; increase reg_covar (now {self.reg_covar:g}), reduce "
            f"n_components (now {self.n_components}), or scale the data ({failure})"
        )

    def _check_parameters(self) -> None:
        check_covariance_type(self.covariance_type)
        for name in ("n_components", "max_iter", "n_init"):
            check_integer(name, getattr(self, name), 1)
        for name in ("tol", "reg_covar"):
            check_real(name, getattr(self, name), at_least=0)
        check_integer("random_state", self.random_state)
        if self.init_params not in INIT_PARAMS:
            hint = nearest(self.init_params, INIT_PARAMS)
            raise ValueError(f"init_params must be one of {', '.join(INIT_PARAMS)}, got {self.init_params!r}{hint}")
        if not isinstance(self.priors, MixturePriors | None):
            raise TypeError(f"priors must be MixturePriors or None, got {type(self.priors).__name__}")

    def _continues(self) -> bool:
        """Whether this fit starts from the last one's result."""
        return self.warm_start and hasattr(self, "parameters_")

    def _posterior_rows(self, log_var: Any, rows: Rows) -> Rows:
        spread = Rows(log_var, "log_var", self.chunk_size)
        if spread.shape != rows.shape:
            raise ValueError(f"log_var must have the shape of X {rows.shape}, got {spread.shape}")
        spread.check_finite()
        return spread

    def _starts(self, rows: Rows) -> Iterator[MixtureParameters]:
        """The first mixture of every start; one where nothing is drawn. Checks that every row is finite."""
        k, d = self.n_components, rows.shape[1]
        given = GivenStart(self.weights_init, self.means_init, self.precisions_init, self.covariance_type, k, d)
        like = torch.empty(0, dtype=torch.float64, device=rows.device)
        generator = torch.Generator().manual_seed(self.random_state)
        last = self.parameters_ if self._continues() else None
        if last is None and given.needs_sample:
            sample = draw_sample(rows, k, generator)
            for _ in range(self.n_init if given.means is None else 1):
                yield given.complete(sample, self.reg_covar, self.init_params, generator).to(like)
            return
        rows.check_finite()
        if last is None:
            yield given.complete(None, self.reg_covar, self.init_params, generator).to(like)
        elif last.means.shape == (k, d) and (last.cholesky is not None) == (self.covariance_type in DENSE):
            yield last.to(like)
        else:
            raise ValueError("warm_start needs the n_components, covariance_type and columns of the last fit")

    # -- the fitted mixture ----------------------------------------------------------------------------------

    @property
    def weights_(self) -> Any:
        """Mixture weights [K]."""
        return self._out(torch.exp(self._fitted().log_weights))

    @property
    def means_(self) -> Any:
        """Component means [K, D]."""
        return self._out(self._fitted().means)

    @property
    def covariances_(self) -> Any:
        """Variances [K, D] (diag) or [K] (spherical), covariances [D, D] (tied) or [K, D, D] (full)."""
        cholesky = self._fitted().cholesky
        return self._out(self._variances() if cholesky is None else from_factor(cholesky))

    @property
    def precisions_(self) -> Any:
        """Inverses of `covariances_`, in their shape."""
        cholesky = self._fitted().cholesky
        if cholesky is None:
            return self._out(1 / self._variances())
        upper = precision_factors(cholesky)
        return self._out(upper @ upper.mT)

    @property
    def precisions_cholesky_(self) -> Any:
        """Upper triangular U with precision U U', or inverse standard deviations; shaped as `covariances_`."""
        cholesky = self._fitted().cholesky
        return self._out(self._variances().rsqrt() if cholesky is None else precision_factors(cholesky))

    def _variances(self) -> Tensor:
        log_vars = self._fitted().log_vars
        assert log_vars is not None
        return torch.exp(log_vars[:, 0] if self._fitted_type == "spherical" else log_vars)

    # -- use -------------------------------------------------------------------------------------------------

    def predict_proba(self, X: Any) -> Any:
        """Responsibilities p(c | x) [N, K]."""
        rows = self._rows(X)
        return self._filled(rows, (self._fitted().means.shape[0],), lambda log_resp, _: log_resp.exp_())

    def predict(self, X: Any) -> Any:
        """Most probable component [N]."""
        return self._filled(self._rows(X), (), lambda log_resp, _: log_resp.argmax(1), torch.int64)

    def fit_predict(self, X: Any, y: Any = None) -> Any:
        """`fit`, then `predict`."""
        return self.fit(X).predict(X)

    def score_samples(self, X: Any) -> Any:
        """log p(x) [N]."""
        return self._filled(self._rows(X), (), lambda _, log_prob: log_prob)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of log p(x)."""
        total, n = self._log_likelihood(X)
        return total / n

    def bic(self, X: Any) -> float:
        """Bayesian information criterion -2 log p(X) + P log N with P free parameters; lower is better."""
        total, n = self._log_likelihood(X)
        return -2 * total + self._n_parameters() * math.log(n)

    def aic(self, X: Any) -> float:
        """Akaike information criterion -2 log p(X) + 2 P; lower is better."""
        return -2 * self._log_likelihood(X)[0] + 2 * self._n_parameters()

    def icl(self, X: Any) -> float:
        """Integrated completed likelihood, `bic` - 2 sum_i max_c log p(c | x_i); lower is better.

        BIC plus twice the entropy term of the most probable components, which punishes overlap: it counts clusters
        where BIC counts Gaussians (Biernacki, Celeux, Govaert 2000, IEEE PAMI 22(7), 719-725).
        """
        rows = self._rows(X, at_least=1)
        total = 0.0  # log p(x_i, c_i) of the most probable component c_i
        for _, log_resp, log_prob in evaluate(rows, self._fitted()):
            total += float((log_prob + log_resp.amax(1)).double().sum())
        return -2 * total + self._n_parameters() * math.log(len(rows))

    def sample(self, n_samples: int = 1, *, seed: int | None = None) -> tuple[Any, Any]:
        """Draw points [n, D] and their components [n] (``seed`` defaults to ``random_state``)."""
        n_samples = check_integer("n_samples", n_samples, 1)
        generator = torch.Generator().manual_seed(self.random_state if seed is None else seed)
        points, labels = sample_mixture(self._fitted(), n_samples, generator)
        return self._out(points), labels.cpu().numpy() if self._as_numpy else labels.to(self._device)

    def _rows(self, X: Any, at_least: int = 0) -> Rows:
        d = self._fitted().means.shape[1]
        rows = Rows(X, "X", self.chunk_size)
        if rows.shape[1] != d:
            raise ValueError(f"X must have {d} columns as in fit, got {rows.shape[1]}")
        if len(rows) < at_least:
            raise ValueError(f"X must have at least {at_least} row, got {len(rows)}")
        return rows

    def _filled(self, rows: Rows, width: tuple[int, ...], part: Any, dtype: torch.dtype | None = None) -> Any:
        """``part(log_resp, log_prob)`` of every chunk, joined into [N, *width]."""
        out = torch.empty((len(rows), *width), dtype=dtype or rows.dtype, device=rows.device)
        for first, log_resp, log_prob in evaluate(rows, self._fitted()):
            out[first : first + len(log_prob)] = part(log_resp, log_prob)
        return out if rows.is_tensor else out.numpy()

    def _log_likelihood(self, X: Any) -> tuple[float, int]:
        """log p(X) and N."""
        rows = self._rows(X, at_least=1)
        return log_likelihood(rows, self._fitted()), len(rows)

    def _n_parameters(self) -> int:
        k, d = self._fitted().means.shape
        return k - 1 + k * d + n_covariance_parameters(self._fitted_type, k, d)

    def _fitted(self) -> MixtureParameters:
        parameters = getattr(self, "parameters_", None)
        if parameters is None:
            raise RuntimeError("this GaussianMixture is not fitted yet: call fit first")
        assert isinstance(parameters, MixtureParameters)
        return parameters

    def _out(self, value: Tensor) -> Any:
        value = value.to(self._dtype)
        return value.cpu().numpy() if self._as_numpy else value.to(self._device)
