"""Embedding and prediction by all processes, each over its own trajectories."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from gmvae_fast.distributed.ranks import joined
from gmvae_fast.distributed.share import Share
from gmvae_fast.model import GMVAE, Embedding


def embed(model: GMVAE, data: Any, *, batch_size: int = 256, workers: int = 0) -> Embedding:
    """`GMVAE.embed`, the snapshots shared out among the processes of a run.

    Every process must call it with the same arguments, and gets the posteriors of all snapshots in their order: arrays
    ``mean`` [N, D] and ``log_var`` [N, D]. Alone it is `GMVAE.embed`.

    Raises
    ------
    ValueError
        For data that do not fit the model, or hold fewer snapshots than there are processes. Trajectories are cut where
        there are fewer of them than processes.
    RankLost
        When another process has ended.
    """
    both = _by_all(model, data, batch_size, workers, lambda mean, log_var: torch.stack([mean, log_var], 1))  # [N, 2, D]
    return Embedding(both[:, 0].copy(), both[:, 1].copy())


def predict_proba(model: GMVAE, data: Any, *, batch_size: int = 256, workers: int = 0) -> Any:
    """`GMVAE.predict_proba` by all processes: responsibilities [N, K] in the order of the snapshots, see `embed`."""
    with torch.no_grad():
        return _by_all(model, data, batch_size, workers, model.prior.responsibilities)


def predict(model: GMVAE, data: Any, *, batch_size: int = 256, workers: int = 0) -> Any:
    """`GMVAE.predict` by all processes: components [N], see `embed`."""
    return predict_proba(model, data, batch_size=batch_size, workers=workers).argmax(1)


def _by_all(
    model: GMVAE, data: Any, batch_size: int, workers: int, function: Callable[[Tensor, Tensor], Tensor]
) -> npt.NDArray[Any]:
    """``function`` of each process's posteriors (means, log variances), in the order of all snapshots [N, ...]."""
    ranks = joined(model.device)
    with ranks.remembering():
        with ranks.agreeing():
            share = Share(data, "data", ranks, workers, split_trajectories=True)
            try:
                own = function(*model.embed_tensors(model._source(share.local), batch_size))
            finally:
                share.close()
        return share.gathered(own).cpu().numpy()
