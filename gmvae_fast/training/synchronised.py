"""Gradients that are the same in every process of a distributed run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gmvae_fast.distributed import Ranks
from gmvae_fast.model import GMVAE, LossTerms

# torch 2.13 warns of the older name, which is the only one before.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


class _Terms(nn.Module):
    """`GMVAE.loss_terms` as the forward pass of a module, which is where DistributedDataParallel hooks in."""

    def __init__(self, model: GMVAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, generator: None, **options: Any) -> LossTerms:
        return self.model.loss_terms(x, generator, **options)


def synchronised(model: GMVAE, ranks: Ranks) -> Callable[..., LossTerms]:
    """``model.loss_terms``, whose gradients in the networks are averaged over the processes while they are computed.

    All processes start from the first one's weights. Buffers are left alone: the run sets them equal itself.
    """
    if ranks.alone:
        return model.loss_terms
    for value in model.state_dict().values():
        value.copy_(ranks.share(value))
    with ranks.guarded():
        options: dict[str, Any] = {"gradient_as_bucket_view": True, _SYNC_BUFFERS: False}
        wrapped: Callable[..., LossTerms] = DistributedDataParallel(_Terms(model), **options)
    return wrapped


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Average over the processes the gradients of what DistributedDataParallel does not know: a scheme's mixture."""
    if ranks.alone:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.copy_(ranks.sum(parameter.grad) / ranks.size)
