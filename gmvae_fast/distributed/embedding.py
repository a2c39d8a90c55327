"""Embedding and prediction by all processes, each over its own trajectories."""

from __future__ import annotations

from typing import Any

import torch

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
        For data that do not fit the model, or hold fewer trajectories than there are processes.
    RankLost
        When another process has ended.
    """
    share = Share(data, "data", joined(model.device), workers)
    try:
        own = torch.stack(model.embed_tensors(model._source(share.local), batch_size), 1)  # [n, 2, D]
    finally:
        share.close()
    mean, log_var = share.gathered(own).cpu().numpy().swapaxes(0, 1)
    return Embedding(mean.copy(), log_var.copy())


def predict_proba(model: GMVAE, data: Any, *, batch_size: int = 256, workers: int = 0) -> Any:
    """`GMVAE.predict_proba` by all processes: responsibilities [N, K] in the order of the snapshots, see `embed`."""
    share = Share(data, "data", joined(model.device), workers)
    try:
        with torch.no_grad():
            own = model.prior.responsibilities(*model.embed_tensors(model._source(share.local), batch_size))
    finally:
        share.close()
    return share.gathered(own).cpu().numpy()


def predict(model: GMVAE, data: Any, *, batch_size: int = 256, workers: int = 0) -> Any:
    """`GMVAE.predict` by all processes: components [N], see `embed`."""
    return predict_proba(model, data, batch_size=batch_size, workers=workers).argmax(1)
