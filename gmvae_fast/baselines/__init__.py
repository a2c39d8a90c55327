"""Other ways to a latent map with clusters, behind one protocol: what a GM-VAE is compared with.

    fitted = gf.baselines.BASELINES["pca"].fit(train, seed=0, budget=gf.baselines.Budget(n_components=3))
    latents = fitted.embed(data)  # [N, D]
    clusters = fitted.assign(latents)  # [N]

A new baseline is one file with a function ``build(source, seed, budget) -> Embedder``, and one line below.
"""

from __future__ import annotations

from . import autoencoder, isomap, pca, tsne, umap, vae
from ._protocol import Baseline, Budget, Embedder, FittedBaseline

BASELINES: dict[str, Baseline] = {
    "pca": Baseline("pca", "PCA", "map", pca.build),
    "ae": Baseline("ae", "autoencoder", "map", autoencoder.build),
    "vae": Baseline("vae", "VAE", "map", vae.build),
    "isomap": Baseline("isomap", "Isomap", "placed", isomap.build),
    "umap": Baseline("umap", "UMAP", "placed", umap.build),
    "tsne": Baseline("tsne", "t-SNE", "transductive", tsne.build),
}

__all__ = ["BASELINES", "Baseline", "Budget", "Embedder", "FittedBaseline"]
