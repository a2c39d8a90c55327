"""Training with and without CUDA graphs on a GPU: the same losses, seconds of an epoch.

    python benchmarks/gpu/graphs.py [--device cuda] [--epochs 12]

Networks 128-64-64-2 in batches of 64, whose kernels are short beside their launches, and convolutions of (3, 64, 128).
Exits with 1 where losses differ by more than 1e-3 of themselves, or where graphs were refused.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import numpy as np
import torch

import gmvae_fast as gf

TOLERANCE = 1e-3  # of a loss: kernels of torch.compile and of torch round differently, and twelve epochs follow
CONTENDERS = {"eager": {}, "compiled": {"compile": True}, "CUDA graphs": {"cuda_graphs": True}}


def history(shape: tuple[int, ...], n: int, epochs: int, device: str, **options: bool) -> gf.History:
    """Of a training of n patterns with noise; the last batch is a smaller one."""
    rng = np.random.default_rng(0)
    patterns = rng.standard_normal((3, *shape))
    x = torch.from_numpy((patterns[np.arange(n) % 3] + 0.5 * rng.standard_normal((n, *shape))).astype(np.float32))
    model = gf.GMVAE(shape, latent_dim=2, n_components=3, widths=(64, 64) if len(shape) == 1 else None).to(device)
    config = gf.TrainConfig(epochs=epochs, warmup_epochs=epochs // 3, learning_rate=1e-4, n_init=2, refits=0, **options)
    return gf.fit(model, x.to(device), config, progress=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--epochs", type=int, default=12, help="at least 6")
    arguments = parser.parse_args()
    if arguments.epochs < 6:
        parser.error(f"--epochs must be at least 6, got {arguments.epochs}")
    wrong = 0
    for shape, n in (((128,), 8200), ((3, 64, 128), 500)):
        losses: dict[str, list[float]] = {}
        for name, options in CONTENDERS.items():
            found = history(shape, n, arguments.epochs, arguments.device, **options)
            losses[name] = [record.loss for record in found.epochs]
            # The phases compile anew in their first epochs.
            seconds = statistics.median(record.seconds for record in found.epochs[-arguments.epochs // 3 :])
            error = max(abs(a / b - 1) for a, b in zip(losses[name], losses["eager"], strict=True))
            refused = [event.message for event in found.events if event.kind == "cuda_graphs"]
            wrong += error > TOLERANCE or bool(refused)
            print(f"{shape} {name:12s} {seconds:.4f} s an epoch, losses differ by {error:.1e}", *refused, flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
