"""Dense layers whose products take the faster of torch's two matrix libraries."""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

#: Multiply-adds of a product below which the library matters less than the calls around it.
LEAST_WORK = 1 << 22


class Dense(nn.Linear):
    """`torch.nn.Linear`, with the same parameters and, up to rounding, the same results.

    torch gives float32 products on CPUs to MKL, which keeps its AVX-512 code to Intel's processors; oneDNN, which torch
    carries too, does not. On AMD's, products of some size go there: forward and by the weight, backward. The gradient
    of the weight stays with MKL, which is no slower at it. Elsewhere, in float64, under torch.export and function
    transforms, all is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_features] -> [..., out_features]."""
        if not _suits(x, self.weight):
            return super().forward(x)
        half = torch.is_autocast_enabled("cpu")
        if half and torch.get_autocast_dtype("cpu") != torch.bfloat16:
            return super().forward(x)
        dtype = torch.bfloat16 if half else torch.float32
        out: Tensor = _Product.apply(x, self.weight, self.bias, dtype)  # type: ignore[no-untyped-call]
        return out


class _Product(torch.autograd.Function):
    """x W' + b in the precision given, through oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
        rows, factor = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(rows, factor)
        ctx.dtypes = x.dtype, weight.dtype, None if bias is None else bias.dtype
        return _linear(rows, factor, None if bias is None else bias.to(dtype))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, factor = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.dtypes
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            # oneDNN's product has no derivative: one that is to be differentiated again is torch's.
            product = gradient @ factor if torch.is_grad_enabled() else _linear(gradient, factor.t(), None)
            to_x = product.to(of_x)
        if ctx.needs_input_grad[1]:
            to_weight = (gradient.t() @ rows).to(of_weight)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(0, dtype=of_bias)
        return to_x, to_weight, to_bias, None


def _suits(x: Tensor, weight: Tensor) -> bool:
    """Whether a product is one that oneDNN does faster, and one that `_Product` can do at all."""
    return (
        x.ndim == 2
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.bfloat16)
        and weight.dtype == torch.float32
        and len(x) * weight.numel() >= LEAST_WORK
        and type(x) is Tensor
        and not torch.compiler.is_exporting()
        and not torch._C._are_functorch_transforms_active()
        and _faster_elsewhere()
    )


@functools.cache
def faster_elsewhere() -> bool:
    """Whether float32 products are faster in oneDNN than where torch sends them: on AMD's processors, if it works."""
    try:
        if "AuthenticAMD" not in _processor() or not torch.backends.mkldnn.is_available():
            return False
        x, weight = torch.arange(12.0).reshape(3, 4), torch.arange(20.0).reshape(4, 5)
        with torch.autocast("cpu", enabled=False):
            return bool(torch.equal(_linear(x, weight.t(), torch.ones(5)), x @ weight + 1))
    except (AttributeError, OSError, RuntimeError):  # what torch compiles its own code to, and may change
        return False


#: The same for torch.compile, to which a cache is nothing: it would trace how the answer is found.
_faster_elsewhere: Callable[[], bool] = torch.compiler.assume_constant_result(lambda: faster_elsewhere())


def _processor() -> str:
    """Text that names the vendor of the processor."""
    info = Path("/proc/cpuinfo")
    return info.read_text(errors="replace") if info.exists() else platform.processor()


def _onednn(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


# torch.compile has a lowering of its own for oneDNN's operator, which knows constant weights only: it gets this one,
# which it calls as it stands.
_lib = torch.library.Library("gmvae_fast", "FRAGMENT")
_lib.define("dense_product(Tensor x, Tensor weight, Tensor? bias) -> Tensor")
_lib.impl("dense_product", _onednn, "CPU")


torch.library.register_fake(
    "gmvae_fast::dense_product", lambda x, weight, bias: x.new_empty(x.shape[0], weight.shape[0]), lib=_lib
)


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x W' + b in oneDNN; ``weight`` may be a transposed view."""
    if torch.compiler.is_compiling():
        out: Tensor = torch.ops.gmvae_fast.dense_product(x, weight, bias)
        return out
    return _onednn(x, weight, bias)
