"""Adam whose step on the CPU is one native pass over all parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.optim import optimizer

from gmvae_fast import _native
from gmvae_fast.ops._library import plain_eager

# Without its wrappers: hooks must not run twice.
_torch_step: Callable[[torch.optim.Adam], Any] = inspect.unwrap(torch.optim.Adam.step)

# A group, its tensors (which so stay alive while the kernel runs) and what the kernel reads of them.
_Pass = tuple[dict[str, Any], list[tuple[Tensor, ...]], list[int]]

_OTHER_RULES = ("weight_decay", "amsgrad", "maximize", "capturable", "differentiable")


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, fused, with the same state; equal to it within rounding (arXiv 1412.6980).

    torch's fused kernel enters a parallel region for every tensor. Here a step is one region: the threads share its
    values, whatever tensor these belong to, and their number leaves the result bit-identical.

    What has no native kernel takes torch's own step: parameters that are not float32 or float64 on the CPU or that have
    gaps in memory, gradients and moments in another order than their parameter, a tensor as learning rate, gradients
    scaled by `torch.amp.GradScaler`, rules of `torch.optim.Adam` that are set in a group alone, and whatever traces or
    intercepts the operators of torch.

    Parameters
    ----------
    params : iterable of nn.Parameter or of groups
    lr : float
    betas : tuple of float
        Of the running means of the gradient and of its square.
    eps : float
        Added to the square root of the second.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(params, lr=lr, betas=betas, eps=eps, fused=True)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step along the gradients that are there; the value of ``closure``, which is called first if given."""
        watched = (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or optimizer._global_optimizer_pre_hooks
            or optimizer._global_optimizer_post_hooks
            or torch.autograd.profiler._is_profiler_enabled
        )
        return self._watched_step(closure) if watched else self._step(closure)

    # torch wraps the step of every class of optimisers, for hooks and profilers. Other work between two steps drives it
    # out of the caches, and the wrapper then takes longer than this whole method.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        passes = self._native_passes()
        if passes is None:
            self._step_by_torch()
            return loss
        for group, tensors, table in passes:
            like: Tensor = tensors[0][0]
            _native.launch("adam", like, table, float(group["lr"]), *group["betas"], group["eps"])
            increment_version([parameter for parameter, *_ in tensors])
        return loss

    _watched_step = torch.optim.Optimizer.profile_hook_step(_step)

    def _native_passes(self) -> list[_Pass] | None:
        """What the kernel is called for; None where a tensor does not suit it."""
        if getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None:
            return None
        passes: list[_Pass] = []
        for group in self.param_groups:
            if any(group[name] for name in _OTHER_RULES) or not isinstance(group["lr"], float | int):
                return None
            by_dtype: dict[torch.dtype, _Pass] = {}
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                dtype = parameter.dtype
                found = by_dtype.get(dtype)
                if found is None:
                    if dtype not in _native.SUFFIX or not plain_eager(parameter):
                        return None
                    found = by_dtype[dtype] = (group, [], [])
                if not parameter.is_cpu or type(parameter) not in (nn.Parameter, Tensor):
                    return None
                state = self._state_of(parameter)
                step, mean, square = state["step"], state["exp_avg"], state["exp_avg_sq"]
                if step.dtype != torch.float32 or not step.is_cpu or not _suit(parameter, gradient, mean, square):
                    return None
                found[1].append((parameter, gradient, mean, square, step))
                found[2].extend(
                    (
                        parameter.data_ptr(),
                        gradient.data_ptr(),
                        mean.data_ptr(),
                        square.data_ptr(),
                        step.data_ptr(),
                        parameter.numel(),
                    )
                )
            passes += by_dtype.values()
        return passes

    def _state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """The parameter's state on the CPU, begun where there is none: as torch begins it for its fused kernel."""
        state: dict[str, Tensor] = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return state

    def _step_by_torch(self) -> None:
        """torch's step: fused, but where tensors lie in memory in different orders, which that kernel takes for one."""
        fused = [group["fused"] for group in self.param_groups]
        try:
            for group in self.param_groups:
                group["fused"] = group["fused"] and not any(self._irregular(p) for p in group["params"])
            with torch.no_grad():
                _torch_step(self)
        finally:
            for group, before in zip(self.param_groups, fused, strict=True):
                group["fused"] = before

    def _irregular(self, parameter: Tensor) -> bool:
        gradient = parameter.grad
        if gradient is None or not parameter.is_cpu or gradient.layout != torch.strided:
            return False
        state: dict[str, Tensor] = dict(self.state.get(parameter, {}))
        step = state.pop("step", None)
        # torch begins moments in the order of a parameter that has no gaps.
        return (step is not None and step.dtype != torch.float32) or not _suit(parameter, gradient, *state.values())


def _suit(parameter: Tensor, gradient: Tensor, *moments: Tensor) -> bool:
    """Whether all are plain tensors of one dtype and shape whose values lie without gaps, in the same order."""
    if gradient.layout != torch.strided or gradient.is_neg():
        return False
    dtype, shape, contiguous = parameter.dtype, parameter.shape, parameter.is_contiguous()
    for other in (gradient, *moments):
        if type(other) is not Tensor or other.dtype != dtype or not other.is_cpu or other.shape != shape:
            return False
        contiguous = contiguous and other.is_contiguous()
    return contiguous or _same_walk(shape, *(t.stride() for t in (parameter, gradient, *moments)))


@functools.lru_cache(maxsize=1024)
def _same_walk(shape: tuple[int, ...], *strides: tuple[int, ...]) -> bool:
    """Whether every one of ``strides`` visits memory in one order and without gaps; axes of length 1 do not count."""
    if 0 in shape:
        return True
    first, *others = ({axis: s for axis, s in enumerate(stride) if shape[axis] > 1} for stride in strides)
    reached = 1
    for axis in sorted(first, key=first.__getitem__):
        if first[axis] != reached:
            return False
        reached *= shape[axis]
    return all(other == first for other in others)
