"""Training by exchange over NCCL, beside training alone: one process exchanges with itself, or one for each GPU.

    python scripts/nccl_check.py
    torchrun --standalone --nproc-per-node 2 scripts/nccl_check.py

Prints the largest differences of parameters, losses and embeddings, in float64; exit status 1 where one is above 1e-6.
``--device cpu`` takes gloo, for machines without a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist

import gmvae_fast as gf
from gmvae_fast._device import resolve_device
from gmvae_fast.data import Snapshots
from gmvae_fast.distributed import Ranks, joined

TOLERANCE = 1e-6
RUNS: dict[str, dict[str, Any]] = {
    "block, mlp": {"network": "mlp", "widths": (16,)},
    "block, conv, full covariances": {"network": "conv", "widths": (4, 8), "covariance_type": "full"},
    "joint, mlp": {"network": "mlp", "widths": (16,), "scheme": "joint"},
    "means, mlp": {"network": "mlp", "widths": (16,), "scheme": "means"},
}


class Exchanging(Ranks):
    """One process that exchanges all the same."""

    @property
    def alone(self) -> bool:
        return False


def snapshots() -> Snapshots:
    rng = np.random.default_rng(0)
    trajectory = np.repeat(np.arange(8), [9, 3, 17, 1, 8, 12, 5, 20])
    x = np.linspace(0, 2 * np.pi, 24)
    waves = np.sin((1 + 2 * (trajectory % 2))[:, None] * x + rng.uniform(0, 6, len(trajectory))[:, None])
    return Snapshots(waves[:, None].astype(np.float32), ("u",), trajectory=trajectory)


def trained(options: dict[str, Any], device: torch.device, ranks: Callable[..., Ranks]) -> dict[str, np.ndarray]:
    """What training and embedding by ``ranks`` give."""
    of_run = {"scheme": options.get("scheme", "block")}
    model = gf.GMVAE((1, 24), 2, 3, **{k: v for k, v in options.items() if k not in of_run}).double().to(device)
    config = gf.TrainConfig(epochs=3, batch_size=16, n_init=2, refits=0, **of_run)
    with (
        mock.patch("gmvae_fast.training.fitting.joined", ranks),
        mock.patch("gmvae_fast.distributed.embedding.joined", ranks),
    ):
        history = gf.fit(model, snapshots(), config, held_out=snapshots(), progress=False)
        embedding = gf.distributed.embed(model, snapshots())
    state = {k: v.cpu().double().numpy() for k, v in model.state_dict().items() if v.is_floating_point()}
    return {**state, "losses": np.array([e.loss for e in history.epochs]), "embedding": embedding.mean}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    device = resolve_device(parser.parse_args().device)
    alone = {name: trained(options, device, lambda _: Ranks()) for name, options in RUNS.items()}
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        ranks = joined(device)
    else:
        backend, options = ("nccl", {"device_id": device}) if device.type == "cuda" else ("gloo", {})
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, **options)  # type: ignore[arg-type]
        present = Ranks.present(device)
        ranks = Exchanging(present.rank, present.size, present.device)
    worst = 0.0
    for name, options in RUNS.items():
        found = trained(options, device, lambda _: ranks)
        difference = max(float(np.abs(found[k] - v).max(initial=0.0)) for k, v in alone[name].items())
        worst = max(worst, difference)
        if ranks.first:
            print(f"{name}: {ranks.size} process(es) over {dist.get_backend()} differ from one by {difference:.1e}")
    if isinstance(ranks, Exchanging):
        dist.destroy_process_group()
    return int(not worst <= TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
