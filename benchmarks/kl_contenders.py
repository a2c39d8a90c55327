"""The contenders of the mixture_kl groups: how each is called, whether it can run, and what makes its answer right."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import gmvae_fast as gf
import others
from accuracy import SAMPLE, check, largest_error
from forms import compiled, draw, gemm_form, monte_carlo_kl
from gmvae_fast.ops import reference

EXPANDED_TOLERANCE = 1e-3
TOLERANCE = 1e-4  # of the largest value, float32 against float64 at latent offset 0
LIMIT = 20_000_000  # values of the largest intermediate array; beyond, a broadcast form only fills memory
ROW_GRADIENTS, ALL_GRADIENTS = 2, 5  # how many of mean, log_var, log_weights, means, log_vars want a gradient
Form = Callable[..., Tensor]
Step = Callable[[], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Problem:
    """Inputs of one mixture_kl call: sizes, gradient ("rows" or "all"), where the latents lie."""

    n: int
    d: int
    k: int
    gradient: str
    offset: float = 0.0

    def inputs(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """mean, log_var [N, D], log_weights [K], means, log_vars [K, D]; the same float32 values in every dtype."""
        gen = torch.Generator().manual_seed(0)
        (n, d, k), normal = (self.n, self.d, self.k), functools.partial(torch.randn, generator=gen)
        rows = [normal(n, d) + self.offset, normal(n, d) - 1]
        mixture = [torch.log_softmax(normal(k), 0), normal(k, d) + self.offset, 0.3 * normal(k, d)]
        tensors = [t.to(dtype) for t in rows + mixture]
        for tensor in tensors[: self.wanted]:
            tensor.requires_grad_()
        return tensors

    @property
    def wanted(self) -> int:
        return ROW_GRADIENTS if self.gradient == "rows" else ALL_GRADIENTS


def gradient_step(form: Form, problem: Problem, dtype: torch.dtype = torch.float32) -> Step:
    """Forward and backward of ``form`` on the problem's inputs."""
    arguments = problem.inputs(dtype)
    wanted = arguments[: problem.wanted]
    return lambda: torch.autograd.grad(form(*arguments).sum(), wanted)


def sampled(function: Form) -> Form:
    """mixture_kl with the responsibilities of a fresh sample, VaDE's assignment; drawing it is part of the work."""

    def form(mean: Tensor, log_var: Tensor, *mixture: Tensor) -> Tensor:
        return function(mean, log_var, *mixture, assignment="sampled", z=draw(mean, log_var))

    return form


def scvi_step(problem: Problem) -> Step:
    mean, log_var, *mixture = problem.inputs()
    prior = others.scvi_prior(*(t.detach() for t in mixture))
    own = [prior.prior_logits, prior.prior_means, prior.prior_log_scales]
    wanted = [mean, log_var, *(own if problem.gradient == "all" else ())]
    for parameter in own:
        parameter.requires_grad_(problem.gradient == "all")
    return lambda: torch.autograd.grad(others.scvi_kl(prior, mean, log_var).sum(), wanted)


def clustpy_step(problem: Problem) -> Step:
    mean, log_var, *mixture = problem.inputs()
    module = others.clustpy_module(*mixture)
    own = [module.pi, module.p_mean, module.p_log_var]
    wanted = [mean, log_var, *(own if problem.gradient == "all" else ())]
    for parameter in own:
        parameter.requires_grad_(problem.gradient == "all")
    return lambda: torch.autograd.grad(others.clustpy_loss(module, mean, log_var), wanted)


# --- answers ----------------------------------------------------------------------------------------------------


@functools.cache
def exact_gradients(problem: Problem) -> tuple[Tensor, ...]:
    """float64 gradients of the reference; [N, K, D] must fit."""
    return gradient_step(reference.mixture_kl, problem, torch.float64)()


def check_exact(name: str, problem: Problem, step: Step) -> None:
    """At full size against native float64, itself tested against the reference, whose [N, K, D] may not fit."""
    # Where the expanded squares cancel, the right form may be off by more than ours is allowed to.
    bound = EXPANDED_TOLERANCE if name.startswith("GEMM") else TOLERANCE
    check(name, largest_error(step(), gradient_step(gf.ops.mixture_kl, problem, torch.float64)()), bound)


def check_sampled(name: str, problem: Problem, step: Step) -> None:
    """The reference's gradients for the same noise, in float64."""
    small = _first_rows(problem)
    torch.manual_seed(1)
    mine = gradient_step(sampled(gf.ops.mixture_kl), small)()
    torch.manual_seed(1)
    mean, log_var, *mixture = small.inputs(torch.float64)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape)  # the float32 noise
    exact = reference.mixture_kl(mean, log_var, *mixture, assignment="sampled", z=z)
    check(name, largest_error(mine, torch.autograd.grad(exact.sum(), [mean, log_var, *mixture][: small.wanted])), 1e-3)


def check_monte_carlo(name: str, problem: Problem, step: Step) -> None:
    """Two true statements of an estimate of KL(q(z) || p(z)), each up to five standard errors.

    Its mean over rows agrees with independent draws in float64, and it does not exceed the exact-assignment
    `mixture_kl`, which is the divergence of q(z) q(c) from p(z, c).
    """
    small = _first_rows(problem, 256)
    with torch.no_grad():
        mean, log_var, *mixture = small.inputs()
        torch.manual_seed(1)
        if name.startswith("scvi"):
            mine = others.scvi_kl(others.scvi_prior(*mixture), mean, log_var).double()
        else:
            mine = monte_carlo_kl(mean, log_var, *mixture).double()
        double = small.inputs(torch.float64)
        again = monte_carlo_kl(*double, samples=32)
        _check_at_most(f"{name}, its distance from float64 draws", (mine - again).mean().abs(), mine - again)
        excess = mine - reference.mixture_kl(*double)
        _check_at_most(f"{name}, its excess over mixture_kl", excess.mean(), excess)


def _check_at_most(what: str, value: Tensor, samples: Tensor) -> None:
    standard_error = float(samples.std()) / math.sqrt(len(samples))
    if not float(value) <= 5 * standard_error:
        raise AssertionError(f"{what}, is {float(value) / standard_error:.1f} standard errors")


def check_clustpy(name: str, problem: Problem, step: Step) -> None:
    """Loss and gradient of the rows equal the float64 evaluation of what ClustPy computes, for the same noise."""
    small = _first_rows(problem)
    mean, log_var, *mixture = Problem(small.n, small.d, small.k, "rows").inputs()
    torch.manual_seed(1)
    loss = others.clustpy_loss(others.clustpy_module(*mixture), mean, log_var)
    mine = (loss, *torch.autograd.grad(loss, [mean, log_var]))
    torch.manual_seed(1)
    mean, log_var, *mixture = Problem(small.n, small.d, small.k, "rows").inputs(torch.float64)
    z = mean + torch.exp(0.5 * log_var) * torch.randn(mean.shape)
    loss = others.clustpy_formula(z, mean, log_var, *mixture)
    check(name, largest_error(mine, (loss.detach(), *torch.autograd.grad(loss, [mean, log_var]))), 1e-3)


def _first_rows(problem: Problem, rows: int = SAMPLE) -> Problem:
    return Problem(min(problem.n, rows), problem.d, problem.k, problem.gradient, problem.offset)


# --- registry ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contender:
    """How to prepare a step, check its answer, and how many values per row, component and coordinate it holds."""

    prepare: Callable[[Problem], Step]
    check: Callable[[str, Problem, Step], None]
    breadth: int = 0
    package: str | None = None
    form: Form | None = None  # for a deterministic function of the inputs
    compiled: bool = False

    def reason_to_skip(self, problem: Problem) -> str | None:
        """Why it is not measured on this problem, or None."""
        if self.package is not None and (reason := others.missing(self.package)):
            return reason
        if self.breadth * problem.n * problem.d * problem.k > LIMIT:
            return f"its [{'N' if self.breadth == 1 else f'{self.breadth}, N'}, K, D] arrays would fill memory"
        return None


def _form(form: Form, breadth: int = 0) -> Contender:
    return Contender(functools.partial(gradient_step, form), check_exact, breadth, form=form)


def _compiled(form: Form, breadth: int = 0) -> Contender:
    def prepare(problem: Problem) -> Step:
        return gradient_step(compiled(form), problem)

    return Contender(prepare, check_exact, breadth, form=form, compiled=True)


CONTENDERS: dict[str, Contender] = {
    "native": _form(gf.ops.mixture_kl),
    "native, sampled": Contender(functools.partial(gradient_step, sampled(gf.ops.mixture_kl)), check_sampled),
    "GEMM form": _form(gemm_form),
    "GEMM form, compiled": _compiled(gemm_form),
    "broadcast": _form(reference.mixture_kl, 1),
    "broadcast, compiled": _compiled(reference.mixture_kl, 1),
    "Monte Carlo, 1 sample": Contender(functools.partial(gradient_step, monte_carlo_kl), check_monte_carlo, 1),
    "scvi-tools, 30 samples": Contender(scvi_step, check_monte_carlo, others.SCVI_SAMPLES, "scvi"),
    "ClustPy VaDE": Contender(clustpy_step, check_clustpy, 1, "clustpy"),
}


def prepared(name: str, problem: Problem) -> Step:
    """For the process that measures peak memory: contenders travel by name."""
    return CONTENDERS[name].prepare(problem)
