"""A chain of dense layers as one operator: forward in one parallel region, backward in two.

torch's own layers make a region for every product, sum, activation and gradient: threads that sleep between regions
wake up some seventy times a step. The definition is `reference.dense_chain`, the kernel csrc/cpu/dense_chain.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gmvae_fast import _native
from gmvae_fast.ops import reference
from gmvae_fast.ops._library import contiguous, pointer
from gmvae_fast.ops._torch_products import torch_products
from gmvae_fast.ops.reference import ACTIVATIONS as ACTIVATIONS

_lib = torch.library.Library("gmvae_fast", "FRAGMENT")
_lib.define(
    "dense_chain(Tensor x, Tensor[] weights, Tensor?[] biases, int[] activations, float[] slopes, bool half, bool keep)"
    " -> (Tensor, Tensor[])"
)
_lib.define(
    "dense_chain_backward(Tensor grad, Tensor x, Tensor[] kept, Tensor[] weights, bool[] with_bias, int[] activations, "
    "bool half, bool of_x, bool of_weights) -> (Tensor, Tensor[])"
)


def available() -> bool:
    """Whether the native kernel can run here."""
    return torch_products() is not None


def _forward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: list[int],
    slopes: list[float],
    half: bool,
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Result, and what the backward pass needs: outputs but the last, derivatives; in bfloat16 x and weights."""
    x, weights, biases = x.contiguous(), [w.contiguous() for w in weights], contiguous(*biases)
    factors, halves, threads = weights, [], torch.get_num_threads()
    if half:
        arrays = weights if x.dtype == torch.bfloat16 else [*weights, x]
        halves = [torch.empty_like(a, dtype=torch.bfloat16) for a in arrays]
        _native.cpu.round_arrays(_pointers(arrays), [a.numel() for a in arrays], _pointers(halves), threads)
        factors, x = halves[: len(weights)], (*halves, x)[len(weights)]
    n, last = x.shape[0], len(weights) - 1
    outputs = [x.new_empty(n, w.shape[0]) if keep or i == last else None for i, w in enumerate(weights)]
    derivatives = [
        x.new_empty(n, w.shape[0]) if keep and code else None for w, code in zip(weights, activations, strict=True)
    ]
    function = _native.cpu.dense_chain_bf16 if half else _native.cpu.dense_chain_f32
    function(
        x.data_ptr(),
        n,
        [x.shape[1], *(w.shape[0] for w in weights)],
        _pointers(factors),
        _pointers(biases),
        activations,
        slopes,
        _pointers(outputs),
        _pointers(derivatives),
        torch_products(),
        threads,
    )
    result = outputs[last]
    assert result is not None
    return result, [t for t in (*outputs[:last], *derivatives) if t is not None] + (halves if keep else [])


def _forward_fake(
    x: Tensor,
    weights: list[Tensor],
    biases: list[Tensor | None],
    activations: list[int],
    slopes: list[float],
    half: bool,
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    n, dtype = x.shape[0], torch.bfloat16 if half else torch.float32
    outputs = [x.new_empty(n, w.shape[0], dtype=dtype) for w in weights]
    if not keep:
        return outputs[-1], []
    derivatives = [torch.empty_like(t) for t, code in zip(outputs, activations, strict=True) if code]
    halves = [torch.empty_like(w, dtype=dtype) for w in weights] if half else []
    if half and x.dtype != dtype:
        halves.append(torch.empty_like(x, dtype=dtype))
    return outputs[-1], [*outputs[:-1], *derivatives, *halves]


def _backward(
    grad: Tensor,
    x: Tensor,
    kept: list[Tensor],
    weights: list[Tensor],
    with_bias: list[bool],
    activations: list[int],
    half: bool,
    of_x: bool,
    of_weights: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Gradient of x, empty unless ``of_x``, then those of weights and biases, none unless ``of_weights``."""
    grad, factors = grad.contiguous(), [w.contiguous() for w in weights]
    n, layers = grad.shape[0], len(weights)
    outputs, rest = kept[: layers - 1], iter(kept[layers - 1 :])
    derivatives = [next(rest) if code else None for code in activations]
    x = x.contiguous()
    if half:
        factors = [next(rest) for _ in weights]
        x = next(rest, x)
    before = [grad.new_empty(n, w.shape[0]) for w in weights[:-1]]
    last = grad.new_empty(grad.shape) if activations[-1] else None
    grad_x = grad.new_empty((n if of_x else 0, x.shape[1]))
    to_weights = [torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights] if of_weights else []
    to_biases = [w.new_empty(w.shape[0]) if b else None for w, b in zip(weights, with_bias, strict=True) if of_weights]
    function = _native.cpu.dense_chain_backward_bf16 if half else _native.cpu.dense_chain_backward_f32
    function(
        grad.data_ptr(),
        x.data_ptr(),
        n,
        [x.shape[1], *(w.shape[0] for w in weights)],
        _pointers(factors),
        _pointers([*outputs, None]),
        _pointers(derivatives),
        _pointers([*before, last]),
        grad_x.data_ptr() if of_x else 0,
        _pointers(to_weights),
        _pointers(to_biases),
        torch_products(),
        torch.get_num_threads(),
    )
    return grad_x, [*to_weights, *(b for b in to_biases if b is not None)]


def _backward_fake(
    grad: Tensor,
    x: Tensor,
    kept: list[Tensor],
    weights: list[Tensor],
    with_bias: list[bool],
    activations: list[int],
    half: bool,
    of_x: bool,
    of_weights: bool,
) -> tuple[Tensor, list[Tensor]]:
    grad_x = grad.new_empty((grad.shape[0] if of_x else 0, x.shape[1]))
    if not of_weights:
        return grad_x, []
    to_weights = [torch.empty_like(w, memory_format=torch.contiguous_format) for w in weights]
    return grad_x, to_weights + [w.new_empty(w.shape[0]) for w, b in zip(weights, with_bias, strict=True) if b]


_lib.impl("dense_chain", _forward, "CPU")
_lib.impl("dense_chain_backward", _backward, "CPU")
torch.library.register_fake("gmvae_fast::dense_chain", _forward_fake, lib=_lib)
torch.library.register_fake("gmvae_fast::dense_chain_backward", _backward_fake, lib=_lib)


def _run(*arguments: Any) -> tuple[Tensor, list[Tensor]]:
    """`_forward`, as an operator where something traces."""
    function = torch.ops.gmvae_fast.dense_chain if torch.compiler.is_compiling() else _forward
    found: tuple[Tensor, list[Tensor]] = function(*arguments)
    return found


class _Chain(torch.autograd.Function):
    """Differentiable in x, weights and biases; twice by torch's own layers."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        layers: int,
        activations: list[int],
        slopes: list[float],
        half: bool,
        *parameters: Tensor | None,
    ) -> Tensor:
        """``parameters``: all weights, then all biases."""
        weights, biases = list(parameters[:layers]), list(parameters[layers:])
        result, kept = _run(x, weights, biases, activations, slopes, half, True)
        ctx.save_for_backward(x, *parameters, *kept)
        ctx.layers, ctx.activations, ctx.slopes, ctx.half = layers, activations, slopes, half
        return result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers = ctx.layers
        x, *rest = ctx.saved_tensors
        weights, biases, kept = rest[:layers], rest[layers : 2 * layers], rest[2 * layers :]
        of_x, of_parameters = ctx.needs_input_grad[0], ctx.needs_input_grad[5:]
        if torch.is_grad_enabled():
            again = reference.dense_chain(x, weights, biases, ctx.activations, ctx.slopes, ctx.half)
            first, *others = _gradients(again, [x, *weights, *biases], grad, [of_x, *of_parameters])
            return first, None, None, None, None, *others
        with_bias = [b is not None for b in biases]
        function = torch.ops.gmvae_fast.dense_chain_backward if torch.compiler.is_compiling() else _backward
        of_weights = any(of_parameters)
        to_x, found = function(grad, x, kept, weights, with_bias, ctx.activations, ctx.half, of_x, of_weights)
        gradients: list[Tensor | None] = [None] * (2 * layers)
        if of_weights:
            of_biases = iter(found[layers:])
            gradients = [*found[:layers], *(next(of_biases) if b else None for b in with_bias)]
        return to_x.to(x.dtype) if of_x else None, None, None, None, None, *gradients


def _gradients(
    result: Tensor, inputs: Sequence[Tensor | None], grad: Tensor, wanted: Sequence[bool]
) -> list[Tensor | None]:
    """Those of the ``inputs`` that are ``wanted``, to be differentiated again."""
    needed = [t for t, w in zip(inputs, wanted, strict=True) if w and t is not None]
    found = iter(torch.autograd.grad(result, needed, grad, create_graph=True))
    return [next(found) if w else None for w in wanted]


def dense_chain(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    activations: Sequence[int],
    slopes: Sequence[float],
    half: bool,
) -> Tensor:
    """`reference.dense_chain` by the native kernel: float32 on a CPU; with ``half``, x may be bfloat16."""
    activations, slopes = list(activations), list(slopes)
    if torch.is_grad_enabled() and (
        x.requires_grad or any(w.requires_grad for w in (*weights, *biases) if w is not None)
    ):
        out: Tensor = _Chain.apply(x, len(weights), activations, slopes, half, *weights, *biases)  # type: ignore[no-untyped-call]
        return out
    return _run(x, list(weights), list(biases), activations, slopes, half, False)[0]


def _pointers(tensors: Sequence[Tensor | None]) -> list[int]:
    return [pointer(t) for t in tensors]
