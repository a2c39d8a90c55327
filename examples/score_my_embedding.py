"""How physical is my existing embedding? The metric alone, on latents from any other model.

    python examples/score_my_embedding.py                # PCA and a random projection of a reaction's trajectories
    python examples/score_my_embedding.py latents.npy quantities.npz

``latents.npy`` holds [N, D] points, ``quantities.npz`` one array [N] for each physical quantity.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.decomposition import PCA

import gmvae_fast as gf


def score(embeddings: Mapping[str, Any], quantities: Mapping[str, Any]) -> Any:
    """Scores with significance for each embedding; for two or more, which is smoother."""
    for name, latents in embeddings.items():
        result = gf.smoothness(latents, quantities, permutations=199, bootstrap=199)
        print(f"\n{name}: 1 is smooth over the map, 0 is chance\n{result}")
    if len(embeddings) < 2:
        return result
    comparison = gf.spectral.compare(embeddings, quantities)
    print(f"\n{comparison}")
    return comparison


def main(arguments: list[str] | None = None) -> Any:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("latents", nargs="?", help=".npy [N, D]")
    parser.add_argument("quantities", nargs="?", help=".npz of arrays [N]")
    parser.add_argument("--runs", type=int, default=600, help="trajectories of the example's own data")
    options = parser.parse_args(arguments)
    if options.latents and not options.quantities:
        parser.error("quantities: a .npz of arrays [N] must follow the latents")
    if options.latents:
        with np.load(options.quantities, allow_pickle=False) as file:
            quantities = {name: file[name] for name in file.files}
        return score({"mine": np.load(options.latents, allow_pickle=False)}, quantities)

    reaction = gf.data.systems.surface_reaction.simulate("bistable", n_runs=options.runs, seed=0)
    rows = reaction.fields.reshape(len(reaction), -1)
    random = rows @ np.random.default_rng(0).standard_normal((rows.shape[1], 2))
    wanted = {name: reaction.quantities[name] for name in ("alpha", "gamma", "rho_final")}
    return score({"PCA": PCA(2).fit_transform(rows), "random projection": random}, wanted)


if __name__ == "__main__":
    main()
