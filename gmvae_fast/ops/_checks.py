"""Argument checks of the public operators: an error names the argument, what was expected and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from gmvae_fast._checks import nearest

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def check_mixture_call(
    rows: dict[str, Tensor], log_weights: Tensor, means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None
) -> None:
    """Check [N, D] row arguments against a mixture of [K], [K, D] and covariances; one dtype and device throughout."""
    if _fits(rows, log_weights, means, log_vars, cholesky):
        return
    name, first = next(iter(rows.items()))
    if (log_vars is None) == (cholesky is None):
        given = "neither" if log_vars is None else "both"
        raise ValueError(
            f"exactly one of log_vars (diagonal) and cholesky (dense covariances) must be given, got {given}"
        )
    named = {**rows, "log_weights": log_weights, "means": means, "log_vars": log_vars, "cholesky": cholesky}
    for key, value in named.items():
        if value is None and key in ("log_vars", "cholesky"):
            continue
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
    k, d = means.shape
    if log_vars is not None and log_vars.shape not in ((k, d), (k,)):
        raise ValueError(
            f"log_vars must have the shape of means {(k, d)}, or [K] = {(k,)} for spherical covariances, "
            f"got {tuple(log_vars.shape)}"
        )
    if cholesky is not None and cholesky.shape not in ((k, d, d), (d, d)):
        raise ValueError(
            f"cholesky must have shape [K, D, D] = {(k, d, d)}, or [D, D] = {(d, d)} for a covariance shared by all "
            f"components, got {tuple(cholesky.shape)}"
        )
    if log_weights.shape != means.shape[:1]:
        raise ValueError(f"log_weights must have shape [{k}], got {tuple(log_weights.shape)}")


def _fits(
    rows: dict[str, Tensor], log_weights: Tensor, means: Tensor, log_vars: Tensor | None, cholesky: Tensor | None
) -> bool:
    """The whole check without a message: small calls spend more time in checks than in the kernel."""
    covariance = log_vars if cholesky is None else cholesky
    try:
        first = next(iter(rows.values()))
        dtype, device, shape, (k, d) = first.dtype, first.device, first.shape, means.shape
        for tensor in (*rows.values(), log_weights, means, covariance):
            if not isinstance(tensor, Tensor) or tensor.dtype != dtype or tensor.device != device:
                return False
        for tensor in rows.values():
            if tensor.shape != shape:
                return False
        fitting = ((k, d), (k,)) if cholesky is None else ((k, d, d), (d, d))
        return (
            covariance.shape in fitting  # type: ignore[union-attr, operator]
            and (log_vars is None) != (cholesky is None)
            and dtype in FLOATING
            and len(shape) == 2
            and shape[1] == d
            and d > 0
            and k > 0
            and log_weights.shape == (k,)
        )
    except (AttributeError, IndexError, ValueError):
        return False


def check_assignment(assignment: str, z: Tensor | None) -> None:
    """``z`` belongs to the sampled assignment, and only to it."""
    known = ("exact", "sampled", "mean")
    if assignment not in known:
        hint = nearest(assignment, known)
        raise ValueError(f"assignment must be 'exact', 'sampled' or 'mean', got {assignment!r}{hint}")
    if (z is None) == (assignment == "sampled"):
        raise ValueError(
            "z must be given for assignment='sampled' and only there, got "
            f"assignment={assignment!r} with z {'missing' if z is None else 'given'}"
        )
