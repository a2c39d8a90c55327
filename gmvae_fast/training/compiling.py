"""The descent's forward and backward pass as torch.compile makes it, on a GPU also as CUDA graphs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from gmvae_fast.distributed import Ranks
from gmvae_fast.model import LossTerms
from gmvae_fast.train_config import TrainConfig

Terms = Callable[..., LossTerms]


def graphs_refused(device: torch.device, ranks: Ranks) -> str:
    """Why CUDA graphs cannot be had on ``device``, or "" where they can."""
    if device.type != "cuda":
        return f"the model is on {device.type}"
    if ranks.size > 1:
        return f"gradients are averaged over {ranks.size} processes while they are computed"
    return ""


def compiled(terms: Terms, config: TrainConfig, device: torch.device, ranks: Ranks) -> Terms:
    """``terms`` as ``config.compile`` and ``config.cuda_graphs`` ask; without graphs where they are refused.

    Graphs are those of torch.compile's mode "reduce-overhead": forward and backward pass are recorded once for each
    size of batch and replayed, from memory that they own. Losses and posteriors of a step are there until the next one.
    What torch.compile cannot record runs without a graph. The optimiser's step is one fused kernel beside them.
    """
    if config.cuda_graphs and not graphs_refused(device, ranks):
        return _stepwise(torch.compile(terms, mode="reduce-overhead", dynamic=False))
    return torch.compile(terms) if config.compile else terms


def _stepwise(terms: Terms) -> Terms:
    """Each call begins a step: what the one before left may be overwritten."""

    @functools.wraps(terms)
    def call(*args: Any, **kwargs: Any) -> LossTerms:
        torch.compiler.cudagraph_mark_step_begin()
        return terms(*args, **kwargs)

    return call
