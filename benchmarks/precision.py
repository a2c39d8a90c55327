"""Does training in bfloat16 cost quality? Evidence and clusters of both precisions, seed by seed, paired.

    python benchmarks/precision.py                # surface reaction, bistable: 5 seeds, minutes
    python benchmarks/precision.py --seeds 10

Trains the default networks on the same data, split and draws in both precisions; prints the evidence lower bound of
held-out trajectories (nats a snapshot, normalised data), the adjusted Rand index against the branch, and the mean and
standard deviation of the paired differences. Exits with 1 where bfloat16 is worse by more than two standard errors and
more than 0.1 % of the evidence or 0.01 of the index.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import adjusted_rand_score

import gmvae_fast as gf


def scores(snapshots: Any, precision: str, seed: int, epochs: int) -> tuple[float, float]:
    """Held-out evidence bound and Rand index."""
    split = gf.data.split_by_trajectory(snapshots, test_fraction=0.2, seed=seed)
    torch.manual_seed(seed)
    model = gf.GMVAE(snapshots.shape, latent_dim=2, n_components=2)
    config = gf.TrainConfig(epochs=epochs, seed=seed, precision=precision)
    gf.fit(model, snapshots.subset(split.train), config, progress=False)
    held_out = snapshots.subset(split.test)
    label = held_out.labels["branch"]
    return float(np.mean(model.elbo(held_out))), float(adjusted_rand_score(label, model.predict(held_out)))


def worse(difference: npt.NDArray[np.float64], allowed: float) -> bool:
    """Whether bfloat16 - float32 is below 0 by more than chance and more than is ``allowed``."""
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return bool(difference.mean() < -allowed and difference.mean() < -2 * error)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--runs", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds must be at least 2, got {arguments.seeds}")
    snapshots = gf.data.systems.surface_reaction.simulate("bistable", n_runs=arguments.runs, seed=0)
    table = np.empty((arguments.seeds, 2, 2))
    for seed in range(arguments.seeds):
        for column, precision in enumerate(("float32", "bfloat16")):
            table[seed, column] = scores(snapshots, precision, seed, arguments.epochs)
        full, half = table[seed]
        print(f"seed {seed}: bound {full[0]:.3f} {half[0]:.3f}, ARI {full[1]:.4f} {half[1]:.4f}", flush=True)
    difference = table[:, 1] - table[:, 0]
    mean, spread = difference.mean(0), difference.std(0, ddof=1)
    print(f"bfloat16 - float32: bound {mean[0]:+.3f} (std {spread[0]:.3f}), ARI {mean[1]:+.4f} (std {spread[1]:.4f})")
    bound = abs(float(table[:, 0, 0].mean()))
    return int(worse(difference[:, 0], 1e-3 * bound) or worse(difference[:, 1], 0.01))


if __name__ == "__main__":
    sys.exit(main())
