"""mixture_kl, forward and backward, against the forms that a torch user would write.

    make bench                                                     everything, one table
    python -m pytest benchmarks/bench_ops.py --benchmark-only      this file

The baseline that counts is the expanded GEMM form: (s2 + m^2) iv' - 2 m (mu iv)' + mu^2 iv, three matrix products and
no [N, K, D] array. Answers are compared with the float64 reference before anything is timed. "rows" asks for the
gradient of the posterior (mixture frozen, as in block training), "all" also for that of the mixture.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import gmvae_fast as gf


def gemm_form(mean: Tensor, log_var: Tensor, log_weights: Tensor, means: Tensor, log_vars: Tensor) -> Tensor:
    precision = torch.exp(-log_vars)
    energy = (log_var.exp() + mean.square()) @ precision.T - 2 * mean @ (means * precision).T
    energy = energy + (means.square() * precision + log_vars).sum(1)
    kl = 0.5 * (energy - log_var.sum(1, keepdim=True) - mean.shape[1])
    return -torch.logsumexp(log_weights - kl, 1)


CONTENDERS = {
    "native": gf.ops.mixture_kl,
    "gemm form": gemm_form,
    "broadcast": gf.ops.reference.mixture_kl,
}
#: N, D, K
SHAPES = [(65536, 2, 3), (2048, 8, 10), (65536, 8, 16), (2048, 8, 16), (16384, 32, 32), (16384, 64, 64), (256, 8, 10)]
BROADCAST_LIMIT = 20_000_000  # elements of [N, K, D]; beyond, the broadcast form only fills memory


def inputs(n: int, d: int, k: int, dtype: torch.dtype) -> list[Tensor]:
    gen = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=gen)

    tensors = [draw(n, d), draw(n, d) - 1, torch.log_softmax(draw(k), 0), draw(k, d), 0.3 * draw(k, d)]
    return [t.to(dtype) for t in tensors]


def step(function, arguments: list[Tensor], wanted: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(function(*arguments).sum(), wanted)


@pytest.mark.parametrize("gradient", ["rows", "all"])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("contender", CONTENDERS)
def test_mixture_kl_forward_backward(benchmark, contender, n, d, k, gradient):
    benchmark.group = f"mixture_kl fwd+bwd N={n} D={d} K={k} {gradient}"
    if contender == "broadcast" and n * d * k > BROADCAST_LIMIT:
        pytest.skip("the broadcast form would need gigabytes")
    function = CONTENDERS[contender]
    arguments, exact = inputs(n, d, k, torch.float32), inputs(n, d, k, torch.float64)
    count = 2 if gradient == "rows" else 5
    wanted = [t.requires_grad_() for t in arguments[:count]]
    reference = [t.requires_grad_() for t in exact[:count]]
    # Compared with native float64, itself tested against the reference: the broadcast form does not fit at all sizes.
    for mine, right in zip(step(function, arguments, wanted), step(gf.ops.mixture_kl, exact, reference), strict=True):
        error = (mine.double() - right).abs().max() / right.abs().max()
        assert error < 1e-4, f"{contender} is wrong by {error:.1e}"
        benchmark.extra_info["gradient_error"] = max(float(error), benchmark.extra_info.get("gradient_error", 0.0))
    benchmark.pedantic(
        step,
        args=(function, arguments, wanted),
        warmup_rounds=5,
        rounds=max(15, min(300, int(4e7 / (n * d * k)))),
    )
