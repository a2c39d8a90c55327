"""The operators against the forms that a torch user would write and against other packages.

    make bench                                                     everything, one table
    make bench-others                                              mixture_kl beside scvi-tools and ClustPy
    python -m pytest benchmarks/bench_ops.py --benchmark-only      this file

One group per shape; see README.md for how contenders are measured and what their answers are checked against. "rows"
asks for the gradient of the posterior (mixture frozen, as in block training), "all" also for that of the mixture.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

import gmvae_fast as gf
from accuracy import SAMPLE, check, errors_at_offsets, largest_error
from forms import compiled, gemm_log_responsibilities
from gmvae_fast.ops import reference
from kl_contenders import CONTENDERS, TOLERANCE, Problem, exact_gradients, gradient_step, prepared
from peak_memory import at_both_sizes, peak_extra_mib
from race import run_race

#: N, D, K
SHAPES = [(65536, 2, 3), (2048, 8, 10), (65536, 8, 16), (2048, 8, 16), (16384, 32, 32), (16384, 64, 64), (256, 8, 10)]
RESPONSIBILITY_SHAPES = [(65536, 2, 3), (2048, 8, 10), (65536, 8, 16), (16384, 32, 32)]
CALL_SHAPES = [(1, 2, 2), (2, 2, 2)]
SECONDS = 3.0  # for the rounds of one group


@pytest.fixture(autouse=True)
def equal_threads():
    """torch's number for every BLAS and OpenMP library; compiled graphs of one group say nothing about the next."""
    torch.compiler.reset()
    with threadpool_limits(torch.get_num_threads()):
        yield


# --- mixture_kl -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["rows", "all"])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_mixture_kl_forward_backward(benchmark, n, d, k, gradient):
    benchmark.group = f"mixture_kl fwd+bwd {gradient} N={n} D={d} K={k}"
    problem = Problem(n, d, k, gradient)
    skipped = {name: reason for name, c in CONTENDERS.items() if (reason := c.reason_to_skip(problem))}
    steps = {name: c.prepare(problem) for name, c in CONTENDERS.items() if name not in skipped}
    for name, step in steps.items():
        CONTENDERS[name].check(name, problem, step)
    errors = {name: _gradient_errors(name, problem) for name in steps}
    rows = run_race(benchmark, steps, seconds=SECONDS)
    for name, row in rows.items():
        row["error_at_offset"] = errors[name]
        if not CONTENDERS[name].compiled:  # compiling anew in another process costs seconds for each
            factories = at_both_sizes(prepared, (name, problem), (name, Problem(4, 2, 2, gradient)))
            row["peak_extra_MiB"] = peak_extra_mib(*factories, torch.get_num_threads())
    benchmark.extra_info["skipped"] = skipped


def _gradient_errors(name: str, problem: Problem) -> dict[str, float] | None:
    """Of the deterministic forms; a compiled one has the arithmetic of its source up to the order of sums."""
    form = CONTENDERS[name].form
    if form is None or CONTENDERS[name].compiled:
        return None

    def moved(offset: int) -> Problem:
        return Problem(min(problem.n, SAMPLE), problem.d, problem.k, problem.gradient, offset)

    return errors_at_offsets(
        lambda offset: gradient_step(form, moved(offset))(), lambda offset: exact_gradients(moved(offset))
    )


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward+backward"])
@pytest.mark.parametrize(("n", "d", "k"), CALL_SHAPES)
def test_call_overhead(benchmark, n, d, k, backward):
    """Inputs want a gradient, so that forward includes what autograd records."""
    benchmark.group = f"mixture_kl call {'fwd+bwd' if backward else 'fwd'} rows N={n} D={d} K={k}"
    problem = Problem(n, d, k, "rows")
    names = ["native", "GEMM form", "GEMM form, compiled", "broadcast"]
    for name in names:
        CONTENDERS[name].check(name, problem, CONTENDERS[name].prepare(problem))
    arguments = problem.inputs()
    if backward:
        calls = {name: CONTENDERS[name].prepare(problem) for name in names}
    else:
        forms = {name: compiled(c.form) if c.compiled else c.form for name in names if (c := CONTENDERS[name])}
        calls = {name: functools.partial(form, *arguments) for name, form in forms.items()}
    run_race(benchmark, calls, seconds=0.5)


# --- log_responsibilities ---------------------------------------------------------------------------------------


def responsibility_inputs(n: int, d: int, k: int, offset: float = 0.0) -> list[Tensor]:
    """z [N, D], log_weights [K], means, log_vars [K, D], float32."""
    mean, _, *mixture = Problem(n, d, k, "rows", offset).inputs()
    return [mean.detach(), *mixture]


def sklearn_mixture(log_weights: Tensor, means: Tensor, log_vars: Tensor) -> GaussianMixture:
    """A fitted estimator that holds the mixture, in float32."""
    mixture = GaussianMixture(len(means), covariance_type="diag")
    mixture.weights_, mixture.means_ = log_weights.exp().numpy(), means.numpy()
    mixture.covariances_ = log_vars.exp().numpy()
    mixture.precisions_cholesky_ = np.exp(-0.5 * log_vars.numpy())
    return mixture


RESPONSIBILITIES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "native": gf.ops.log_responsibilities,
    "GEMM form": gemm_log_responsibilities,
    "broadcast": reference.log_responsibilities,
}
COMPILED = ", compiled"
SKLEARN = ("scikit-learn predict_proba", "scikit-learn score_samples")


def responsibility_call(name: str, n: int, d: int, k: int, offset: float = 0.0) -> Callable[[], object]:
    """The call of one contender."""
    z, *mixture = responsibility_inputs(n, d, k, offset)
    if name in SKLEARN:
        return functools.partial(getattr(sklearn_mixture(*mixture), name.split()[-1]), z.numpy())
    form = RESPONSIBILITIES[name.removesuffix(COMPILED)]
    return functools.partial(compiled(form) if name.endswith(COMPILED) else form, z, *mixture)


def _responsibilities(name: str, result: object) -> Tensor:
    """Responsibilities [N, K] from what a contender returns; of score_samples exp(log p - max log p) [N]."""
    if name == "scikit-learn predict_proba":
        return torch.from_numpy(np.asarray(result))
    if name == "scikit-learn score_samples":
        return _relative_density(torch.from_numpy(np.asarray(result)))
    assert isinstance(result, tuple)
    return result[0].exp()


def _relative_density(log_prob: Tensor) -> Tensor:
    return torch.exp(log_prob.double() - log_prob.double().max())


def _responsibility_errors(name: str, n: int, d: int, k: int) -> dict[str, float]:
    def exact(offset: int) -> list[Tensor]:
        log_resp, log_prob = reference.log_responsibilities(
            *(t.double() for t in responsibility_inputs(min(n, SAMPLE), d, k, offset))
        )
        return [_relative_density(log_prob) if name.endswith("score_samples") else log_resp.exp()]

    return errors_at_offsets(
        lambda offset: [_responsibilities(name, responsibility_call(name, min(n, SAMPLE), d, k, offset)())], exact
    )


@pytest.mark.parametrize(("n", "d", "k"), RESPONSIBILITY_SHAPES)
def test_log_responsibilities(benchmark, n, d, k):
    benchmark.group = f"log_responsibilities fwd N={n} D={d} K={k}"
    names = ["native", "GEMM form", "GEMM form" + COMPILED, "broadcast", "broadcast" + COMPILED, *SKLEARN]
    calls = {name: responsibility_call(name, n, d, k) for name in names}
    exact = gf.ops.log_responsibilities(*(t.double() for t in responsibility_inputs(n, d, k)))
    errors = {}
    for name, call in calls.items():
        right = _relative_density(exact[1]) if name.endswith("score_samples") else exact[0].exp()
        check(name, largest_error([_responsibilities(name, call())], [right]), TOLERANCE)
        if not name.endswith(COMPILED):
            errors[name] = _responsibility_errors(name, n, d, k)
    for name, row in run_race(benchmark, calls, seconds=SECONDS).items():
        row["error_at_offset"] = errors.get(name)
        if not name.endswith(COMPILED):
            factories = at_both_sizes(responsibility_call, (name, n, d, k), (name, 4, 2, 2))
            row["peak_extra_MiB"] = peak_extra_mib(*factories, torch.get_num_threads())
