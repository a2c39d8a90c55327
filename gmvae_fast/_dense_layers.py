"""Rows of dense layers that run as one operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules import module as _modules

from gmvae_fast._dense import Dense
from gmvae_fast._threads import thread_count
from gmvae_fast.ops import _dense_chain

#: Rows of each thread below which the layers' own threads are of more use.
LEAST_ROWS = 32
#: Multiply-adds of a forward pass below which the operator's own preparation outweighs what it saves.
LEAST_WORK = 1 << 23

_ACTIVATIONS = {nn.SiLU: "silu", nn.ReLU: "relu", nn.LeakyReLU: "leaky_relu"}


class _Layer(NamedTuple):
    linear: nn.Linear
    activation: nn.Module | None

    @property
    def code(self) -> int:
        return _dense_chain.ACTIVATIONS["none" if self.activation is None else _ACTIVATIONS[type(self.activation)]]

    @property
    def slope(self) -> float:
        return float(getattr(self.activation, "negative_slope", 0.0))

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        weight, bias = self.linear.weight, self.linear.bias
        return (weight,) if bias is None else (weight, bias)


class DenseLayers(nn.Sequential):
    """`torch.nn.Sequential`, with the same modules, names and, up to rounding, results.

    Dense layers that follow each other, bare or with `SiLU`, `ReLU` or `LeakyReLU` after them, run as one operator
    (`gmvae_fast.ops._dense_chain`): with float32 parameters on a CPU, in float32 or under autocast to bfloat16, where
    there is enough work and every thread gets some rows. Modules with hooks, function transforms, torch.export and all
    else take torch's own way.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, ...] -> what the last module gives."""
        if not _unwatched():
            out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return out
        for part in _parts(self):
            x = part(x) if isinstance(part, nn.Module) else _run(part, x)
        return x


def fuse_dense_layers(network: nn.Module) -> nn.Module:
    """Have the dense layers of an encoder or decoder of your own run as those of the built-in networks do.

    Every `torch.nn.Sequential` in ``network`` becomes a subclass of it, in place, that runs dense layers which follow
    each other, bare or with `SiLU`, `ReLU` or `LeakyReLU` after them, as one operator on a CPU. Modules, parameters,
    names, hooks and, up to rounding, results stay; a subclass of `Sequential` is left alone. What torch.save writes of
    such a network as a whole, rather than of its state_dict, needs this package to load.

    Parameters
    ----------
    network : nn.Module

    Returns
    -------
    nn.Module
        ``network``.

    Raises
    ------
    TypeError
        When it is no module.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module, got {type(network).__name__}")
    for module in network.modules():
        if type(module) is nn.Sequential:
            module.__class__ = DenseLayers
    return network


def _parts(modules: nn.Sequential) -> Iterator[nn.Module | list[_Layer]]:
    """The modules in their order, dense layers that follow each other together."""
    layers: list[_Layer] = []
    for module in modules:
        if isinstance(module, nn.Linear) and type(module) in (Dense, nn.Linear) and not _hooked(module):
            layers.append(_Layer(module, None))
        elif layers and layers[-1].activation is None and type(module) in _ACTIVATIONS and not _hooked(module):
            layers[-1] = _Layer(layers[-1].linear, module)
        else:
            if layers:
                yield layers
                layers = []
            yield module
    if layers:
        yield layers


def _run(layers: list[_Layer], x: Tensor) -> Tensor:
    half = torch.is_autocast_enabled("cpu")
    if _suits(layers, x, half):
        linear = [layer.linear for layer in layers]
        codes, slopes = [layer.code for layer in layers], [layer.slope for layer in layers]
        return _dense_chain.dense_chain(x, [m.weight for m in linear], [m.bias for m in linear], codes, slopes, half)
    for layer in layers:
        x = layer.linear(x)
        x = x if layer.activation is None else layer.activation(x)
    return x


def _suits(layers: list[_Layer], x: Tensor, half: bool) -> bool:
    """Whether the operator can do it, and does it faster."""
    sizes = [(layer.linear.in_features, layer.linear.out_features) for layer in layers]
    return (
        x.ndim == 2
        and type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype in ((torch.float32, torch.bfloat16) if half else (torch.float32,))
        and (not half or torch.get_autocast_dtype("cpu") == torch.bfloat16)
        and x.shape[0] >= LEAST_ROWS * _threads()
        and x.shape[0] * sum(map(math.prod, sizes)) >= LEAST_WORK
        and all(
            type(p) is nn.Parameter and p.dtype == torch.float32 and p.device.type == "cpu"
            for layer in layers
            for p in layer.parameters
        )
        # torch says best what does not fit
        and x.shape[1] == sizes[0][0]
        and all(a[1] == b[0] for a, b in pairwise(sizes))
    )


def _hooked(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _unwatched() -> bool:
    """Whether the operator is there and nothing looks at modules or operators one by one."""
    return (
        _available()
        and not torch.compiler.is_exporting()
        and (torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() == 0)
        and not torch._C._are_functorch_transforms_active()
        and not (_modules._global_forward_hooks or _modules._global_forward_pre_hooks)
        and not (_modules._global_backward_hooks or _modules._global_backward_pre_hooks)
    )


# For torch.compile, which would trace how the answers are found, or stop there.
_available: Callable[[], bool] = torch.compiler.assume_constant_result(lambda: _dense_chain.available())
_threads: Callable[[], int] = torch.compiler.assume_constant_result(thread_count)
