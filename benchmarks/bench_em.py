"""One EM sweep (E- and M-step over all rows) against one scikit-learn GaussianMixture iteration, equal threads.

    make bench                                                    everything, one table
    python -m pytest benchmarks/bench_em.py --benchmark-enable    this file

The sweep's answer is checked first: from the same start, one iteration of both gives the same mixture.
"""

from __future__ import annotations

import resource
import warnings

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

import gmvae_fast as gf
from gmvae_fast.mixture import MixtureParameters, m_step

N, D, K = 1_000_000, 8, 16
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@pytest.fixture(scope="module")
def problem():
    gen = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(K, D, generator=gen)
    x = centres[torch.randint(0, K, (N,), generator=gen)] + torch.randn(N, D, generator=gen)
    return x, MixtureParameters(torch.full((K,), -np.log(K)), x[:K].clone(), torch.ones(K, D))


def sweep(x: torch.Tensor, parameters: MixtureParameters) -> MixtureParameters:
    return m_step(gf.ops.mixture_statistics(x, None, *parameters.as_tuple()), parameters, added_variance=1e-6)


def sklearn_mixture(parameters: MixtureParameters, iterations: int) -> GaussianMixture:
    return GaussianMixture(
        K,
        covariance_type="diag",
        max_iter=iterations,
        tol=0,
        init_params="random_from_data",
        weights_init=np.full(K, 1 / K),
        means_init=parameters.means.double().numpy(),
        precisions_init=np.exp(-parameters.log_vars.double().numpy()),
    )


def sklearn_iteration(mixture: GaussianMixture, x: np.ndarray) -> None:
    """What scikit-learn's fit repeats; its public interface has no single iteration."""
    _, log_resp = mixture._e_step(x)
    mixture._m_step(x, log_resp)


def peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.parametrize("contender", ["native", "scikit-learn"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_em_sweep(benchmark, problem, contender, dtype):
    benchmark.group = f"EM sweep N={N} D={D} K={K} {dtype}"
    x, parameters = problem
    x, parameters = x.to(DTYPES[dtype]), parameters.to(torch.empty((), dtype=DTYPES[dtype]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration has not converged, as asked
        if contender == "native":
            small = x[:20_000]
            ours = sweep(small, parameters)
            theirs = sklearn_mixture(parameters, 1).fit(small.double().numpy())
            error = np.abs(ours.means.numpy() - theirs.means_).max() / np.abs(theirs.means_).max()
            assert error < 1e-5, f"one iteration differs from scikit-learn's by {error:.1e}"
            function, arguments = sweep, (x, parameters)
        else:
            mixture = sklearn_mixture(parameters, 1).fit(x[:20_000].numpy())
            function, arguments = sklearn_iteration, (mixture, x.numpy())
    # The peak is the process's: natives run first (as listed), so each contender's growth is its own.
    before = peak_memory_mib()
    rounds = 15 if contender == "native" else 5
    benchmark.pedantic(function, args=arguments, warmup_rounds=1, rounds=rounds)
    benchmark.extra_info["peak_extra_memory_MiB"] = peak_memory_mib() - before
