"""Argument checks of the public operators: an error names the argument, what was expected and what came."""

from __future__ import annotations

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_mixture_call(rows: dict[str, Tensor], log_weights: Tensor, means: Tensor, log_vars: Tensor) -> None:
    """Check [N, D] row arguments against a mixture of [K], [K, D], [K, D]; one dtype and device throughout."""
    name, first = next(iter(rows.items()))
    if _fits(rows, log_weights, means, log_vars):
        return
    for key, value in (*rows.items(), ("log_weights", log_weights), ("means", means), ("log_vars", log_vars)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{key} must be a torch.Tensor, got {type(value).__name__}")
        if value.dtype != first.dtype or value.device != first.device:
            raise TypeError(
                f"{key} must have the dtype and device of {name} ({first.dtype} on {first.device}), "
                f"got {value.dtype} on {value.device}"
            )
    if first.dtype not in FLOATING:
        expected = ", ".join(str(d).removeprefix("torch.") for d in FLOATING)
        raise TypeError(f"{name} must be one of {expected}, got {first.dtype}")
    if first.ndim != 2 or first.shape[1] == 0:
        raise ValueError(f"{name} must have shape [N, D] with D >= 1, got {tuple(first.shape)}")
    for key, value in rows.items():
        if value.shape != first.shape:
            raise ValueError(f"{key} must have the shape of {name} {tuple(first.shape)}, got {tuple(value.shape)}")
    if means.ndim != 2 or means.shape[0] == 0 or means.shape[1] != first.shape[1]:
        raise ValueError(
            f"means must have shape [K, {first.shape[1]}] with K >= 1 ({name} has D = {first.shape[1]}), "
            f"got {tuple(means.shape)}"
        )
    if log_vars.shape != means.shape:
        raise ValueError(f"log_vars must have the shape of means {tuple(means.shape)}, got {tuple(log_vars.shape)}")
    if log_weights.shape != means.shape[:1]:
        raise ValueError(f"log_weights must have shape [{means.shape[0]}], got {tuple(log_weights.shape)}")


def _fits(rows: dict[str, Tensor], log_weights: Tensor, means: Tensor, log_vars: Tensor) -> bool:
    """The whole check without a message: small calls spend more time in checks than in the kernel."""
    try:
        tensors = (*rows.values(), log_weights, means, log_vars)
        dtype, device, (n, d), k = tensors[0].dtype, tensors[0].device, tensors[0].shape, means.shape[0]
    except (AttributeError, IndexError, ValueError):
        return False
    shapes = (*((n, d) for _ in rows), (k,), (k, d), (k, d))
    return (
        dtype in FLOATING
        and d > 0
        and k > 0
        and all(
            isinstance(t, Tensor) and t.dtype == dtype and t.device == device and t.shape == shape
            for t, shape in zip(tensors, shapes, strict=True)
        )
    )


def check_assignment(assignment: str, z: Tensor | None) -> None:
    """``z`` belongs to the sampled assignment, and only to it."""
    if assignment not in ("exact", "sampled", "mean"):
        raise ValueError(f"assignment must be 'exact', 'sampled' or 'mean', got {assignment!r}")
    if (z is None) == (assignment == "sampled"):
        raise ValueError(
            "z must be given for assignment='sampled' and only there, got "
            f"assignment={assignment!r} with z {'missing' if z is None else 'given'}"
        )
