"""Every instruction set that this processor runs gives float64's answers: the widest is what the other tests see."""

import pytest
import torch
from mixtures import DTYPES, doubles, make_mixture, make_rows, tolerance, with_grad

import gmvae_fast as gf

SHAPES = [(33, 3, 2), (130, 5, 8), (1030, 9, 5), (70, 4, 33)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize(("n", "k", "d"), SHAPES)
def test_operators(n, k, d, dense, dtype, instruction_set):
    log_weights, means, log_vars = make_mixture(k, d, dtype)
    factor = torch.diag_embed(torch.exp(0.5 * log_vars)) + torch.full((d, d), 0.1, dtype=dtype).tril(-1)
    mixture = [log_weights, means, None, factor] if dense else [log_weights, means, log_vars]
    args = with_grad([*make_rows(n, d, dtype), *(t for t in mixture if t is not None)])
    exact = doubles(args)

    def results(ops, tensors):
        mean, log_var, z, weights, centres, scale = tensors
        parameters = (weights, centres, None, scale) if dense else (weights, centres, scale)
        value = ops.mixture_kl(mean, log_var, *parameters, assignment="sampled", z=z)
        log_resp, log_prob = ops.log_responsibilities(z, *parameters)
        with torch.no_grad():
            statistics = ops.mixture_statistics(mean, log_var, *parameters)
        if not isinstance(statistics, tuple):
            statistics = (statistics.weight, statistics.first, statistics.second, statistics.log_evidence)
        total = value.sum() + (log_resp.exp() * torch.arange(k)).sum() + log_prob.sum()
        return (
            value.detach(),
            log_resp.detach().exp(),
            log_prob.detach(),
            *statistics,
            *torch.autograd.grad(total, tensors),
        )

    for found, right in zip(results(gf.ops, args), results(gf.ops.reference, exact), strict=True):
        scale = max(1.0, float(right.abs().max()))
        torch.testing.assert_close(found.double() / scale, right / scale, **tolerance(dtype, 2 * d))
