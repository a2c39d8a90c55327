"""One EM sweep (E- and M-step over all rows) against one scikit-learn GaussianMixture iteration, equal threads.

    make bench                                                     everything, one table
    python -m pytest benchmarks/bench_em.py --benchmark-only       this file

Answers first: from the same start, one sweep of every contender gives the mixture that scikit-learn's fit gives in
float64. Covariance types are those of the installed package (`gmvae_fast.mixture.COVARIANCE_TYPES`).
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

import gmvae_fast as gf
from accuracy import check, errors_at_offsets
from em_forms import Mixture, gemm_sweep
from gmvae_fast.mixture import COVARIANCE_TYPES, MixtureParameters, m_step
from peak_memory import at_both_sizes, peak_extra_mib
from race import run_race

D, K = 8, 16
DTYPES = {"float32": torch.float32, "float64": torch.float64}
#: The contract is stated for "diag"; scikit-learn takes seconds for each sweep of the others at that size.
ROWS = {"diag": 1_000_000}
OTHER_ROWS = 200_000
WARM_UP_ROWS = 2_000  # of the memory measurement: enough for K full covariances in float32
SAMPLE = 20_000  # rows of the comparison with float64
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # of the largest value; the GEMM forms cancel
ADDED_VARIANCE = 1e-6
CONTENDERS = ("native", "scikit-learn", "torch, GEMM form")


def data(n: int, dtype: str, offset: float = 0.0) -> Tensor:
    """Rows [N, D] around K centres."""
    gen = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(K, D, generator=gen)
    x = centres[torch.randint(0, K, (n,), generator=gen)] + torch.randn(n, D, generator=gen) + offset
    return x.to(DTYPES[dtype])


def start(x: Tensor, covariance_type: str) -> Mixture:
    """Equal weights, the first K rows, unit covariances."""
    eye = torch.eye(D, dtype=x.dtype)
    shapes = {"diag": torch.ones(K, D), "spherical": torch.ones(K), "tied": eye, "full": eye.repeat(K, 1, 1)}
    return torch.full((K,), 1 / K, dtype=x.dtype), x[:K].clone(), shapes[covariance_type].to(x.dtype)


# --- contenders: (rows, covariance type) -> a call that makes one sweep --------------------------------------------


def native_sweep(x: Tensor, covariance_type: str) -> Callable[[], Mixture]:
    """Statistics and M-step."""
    weights, means, covariances = start(x, covariance_type)
    dense = covariance_type in ("tied", "full")
    log_vars = None if dense else torch.zeros_like(means)
    parameters = MixtureParameters(weights.log(), means, log_vars, covariances if dense else None)  # unit: own factor

    def sweep() -> Mixture:
        statistics = gf.ops.mixture_statistics(x, None, *parameters.as_tuple())
        new = m_step(statistics, parameters, covariance_type=covariance_type, added_variance=ADDED_VARIANCE)
        return new.log_weights.exp(), new.means, shaped(new, covariance_type)

    return sweep


def shaped(parameters: MixtureParameters, covariance_type: str) -> Tensor:
    """Covariances in scikit-learn's shape."""
    if parameters.log_vars is None:
        covariances = parameters.covariances()
        return covariances if covariance_type == "full" else covariances[0]
    variances = parameters.log_vars.exp()
    return variances if covariance_type == "diag" else variances[:, 0]


def initial_values(x: Tensor, covariance_type: str) -> dict[str, np.ndarray]:
    """The start as keywords of both estimators; unit covariances are their own inverses."""
    names = ("weights_init", "means_init", "precisions_init")
    return {name: t.numpy() for name, t in zip(names, start(x, covariance_type), strict=True)}


def sklearn_fit(x: Tensor, covariance_type: str) -> GaussianMixture:
    """After one iteration by its public interface."""
    values = initial_values(x, covariance_type)
    mixture = GaussianMixture(
        K, covariance_type=covariance_type, max_iter=1, tol=0, init_params="random_from_data", **values
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one iteration has not converged, as asked
        return mixture.fit(x.numpy())


def sklearn_sweep(x: Tensor, covariance_type: str) -> Callable[[], Mixture]:
    """What scikit-learn's fit repeats; its public interface has no single iteration."""
    mixture, rows = sklearn_fit(x[:SAMPLE], covariance_type), x.numpy()
    first = start(x, covariance_type)

    def sweep() -> Mixture:
        mixture.weights_, mixture.means_ = first[0].numpy(), first[1].numpy()
        mixture.precisions_cholesky_ = first[2].numpy()  # units again
        _, log_resp = mixture._e_step(rows)
        mixture._m_step(rows, log_resp)
        return _as_tensors(mixture)

    return sweep


def _as_tensors(mixture: GaussianMixture) -> Mixture:
    return torch.from_numpy(mixture.weights_), torch.from_numpy(mixture.means_), torch.from_numpy(mixture.covariances_)


def torch_sweep(x: Tensor, covariance_type: str) -> Callable[[], Mixture]:
    return functools.partial(gemm_sweep, x, start(x, covariance_type), covariance_type, ADDED_VARIANCE)


def prepare(contender: str, n: int, dtype: str, covariance_type: str, offset: float = 0.0) -> Callable[[], Mixture]:
    """One sweep of ``contender`` over rows made for it."""
    makers = dict(zip(CONTENDERS, (native_sweep, sklearn_sweep, torch_sweep), strict=True))
    return makers[contender](data(n, dtype, offset), covariance_type)


# --- accuracy -----------------------------------------------------------------------------------------------------


@functools.cache
def exact(dtype: str, covariance_type: str, offset: float) -> Mixture:
    """scikit-learn's first iteration in float64 on the same rows, moved to the origin, where it does not cancel."""
    x = data(SAMPLE, dtype, offset).double() - offset
    return _as_tensors(sklearn_fit(x, covariance_type))


def sweep_errors(contender: str, dtype: str, covariance_type: str) -> dict[str, float]:
    """By offset; infinite where the contender gives up, as scikit-learn does when a variance becomes negative."""

    def compute(offset: int) -> tuple[Tensor, ...]:
        try:
            weights, means, covariances = prepare(contender, SAMPLE, dtype, covariance_type, offset)()
        except (ValueError, torch.linalg.LinAlgError):
            return tuple(torch.full_like(t, torch.inf) for t in exact(dtype, covariance_type, offset))
        return weights, means.double() - offset, covariances  # an error of a mean must not shrink with the offset

    return errors_at_offsets(compute, lambda offset: exact(dtype, covariance_type, offset))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_em_sweep(benchmark, covariance_type, dtype):
    n = ROWS.get(covariance_type, OTHER_ROWS)
    benchmark.group = f"EM sweep {covariance_type} N={n} D={D} K={K} {dtype}"
    threads = torch.get_num_threads()
    with threadpool_limits(threads):
        errors = {name: sweep_errors(name, dtype, covariance_type) for name in CONTENDERS}
        for name in CONTENDERS:
            check(name, errors[name]["0"], TOLERANCE[dtype])
        sweeps = {name: prepare(name, n, dtype, covariance_type) for name in CONTENDERS}
        rows = run_race(benchmark, sweeps, seconds=8.0, at_most=30)
    for name, row in rows.items():
        row["error_at_offset"] = errors[name]
        sizes = at_both_sizes(prepare, (name, n, dtype, covariance_type), (name, WARM_UP_ROWS, dtype, covariance_type))
        row["peak_extra_MiB"] = peak_extra_mib(*sizes, threads)
