"""Inputs shared by the operator tests."""

from __future__ import annotations

import torch

import gmvae_fast as gf

DEVICES = ["cpu"] + (["cuda"] if gf.native_status().cuda_devices and torch.cuda.is_available() else [])
DTYPES = [torch.float32, torch.float64]
#: (N, K, D): empty, one, both sides of vector, tile and chunk borders, large D and K, K = 1, D = 1.
SHAPES = [
    (0, 3, 2),
    (1, 1, 1),
    (2, 2, 2),
    (7, 3, 5),
    (31, 4, 2),
    (32, 5, 3),
    (33, 10, 8),
    (223, 3, 2),
    (225, 3, 2),
    (255, 3, 2),
    (256, 3, 2),
    (257, 16, 4),
    (1023, 2, 1),
    (1025, 3, 2),
    (2500, 1, 7),
    (600, 64, 64),
    (40, 2, 300),
]


def make_mixture(k, d, dtype=torch.float64, device="cpu", offset=0.0, seed=0):
    """log_weights [K], means [K, D], log_vars [K, D]."""
    gen = torch.Generator().manual_seed(seed)
    log_weights = torch.log_softmax(torch.randn(k, generator=gen, dtype=torch.float64), 0)
    means = torch.randn(k, d, generator=gen, dtype=torch.float64) + offset
    log_vars = 0.5 * torch.randn(k, d, generator=gen, dtype=torch.float64)
    return [t.to(device, dtype) for t in (log_weights, means, log_vars)]


def make_rows(n, d, dtype=torch.float64, device="cpu", offset=0.0, seed=1):
    """mean, log_var, z, each [N, D]."""
    gen = torch.Generator().manual_seed(seed)
    mean = torch.randn(n, d, generator=gen, dtype=torch.float64) + offset
    log_var = torch.randn(n, d, generator=gen, dtype=torch.float64) - 1
    z = mean + torch.exp(0.5 * log_var) * torch.randn(n, d, generator=gen, dtype=torch.float64)
    return [t.to(device, dtype) for t in (mean, log_var, z)]


def tolerance(dtype, d):
    """Bound on gradients: a responsibility's relative error is the absolute error of its energy, which grows with D."""
    bound = (2e-5 if dtype == torch.float32 else 1e-11) * max(1.0, d / 64)
    return {"rtol": bound, "atol": bound}


def with_grad(tensors):
    return [t.detach().clone().requires_grad_() for t in tensors]


def doubles(tensors):
    return [t.detach().double().requires_grad_(t.requires_grad) for t in tensors]
