"""What esda and PyGSP say of a few graphs and signals, written beside this file as answers.json.

    python -m venv /tmp/others && /tmp/others/bin/pip install esda==2.9.0 libpysal==4.14.1 pygsp==0.6.1
    /tmp/others/bin/python tests/spectral/answers/generate.py

Both are too heavy to be installed with the tests, which read the file (tests/spectral/test_against_others.py). Needs
neither gmvae_fast nor anything of its graphs: they are made here, by definition.
"""

from __future__ import annotations

import importlib.metadata
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

FILE = Path(__file__).with_name("answers.json")
MODES = (3, 6, 11, 21, 41)
CASES = {  # nodes, dimensions, neighbours, weights, which edges are kept
    "binary union": (60, 2, 4, "binary", "union"),
    "binary mutual": (80, 3, 9, "binary", "mutual"),
    "gaussian union": (90, 2, 7, "gaussian", "union"),
    "distance mutual": (70, 4, 9, "distance", "mutual"),
    "larger": (400, 8, 10, "binary", "union"),
}


def example(name: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Latents [N, D], dense adjacency [N, N] and signals [N], from numbers that are the same everywhere."""
    n, dim, k, weights, symmetrize = CASES[name]
    draw = random.Random(name).random  # the one generator whose numbers are promised not to change
    latents = np.array([[draw() + draw() + draw() for _ in range(dim)] for _ in range(n)])
    noise = np.array([draw() for _ in range(n)])
    signals = {
        "skewed": (latents[:, 0] - 1.5) ** 3 + 0.2 * noise,
        "noise": noise,
        "rare": (latents[:, 0] > np.sort(latents[:, 0])[-6]).astype(float),
    }
    return latents, adjacency(latents, k, weights, symmetrize), signals


def adjacency(latents: np.ndarray, k: int, weights: str, symmetrize: str) -> np.ndarray:
    """The graphs of docs/smoothness.md, dense and step by step."""
    n = len(latents)
    distances = np.sqrt(((latents[:, None] - latents) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :k]
    named = np.zeros((n, n), bool)
    named[np.arange(n)[:, None], nearest] = True
    lengths = np.take_along_axis(distances, nearest, axis=1)
    np.fill_diagonal(distances, 0)
    similarity = np.ones((n, n))
    if weights == "gaussian":
        scale = lengths[:, 6]
        similarity = np.exp(-(distances**2) / np.outer(scale, scale))
    if weights == "distance":
        similarity = 1 / (1 + distances / np.median(lengths))
    return similarity * (named & named.T if symmetrize == "mutual" else named | named.T)


def esda_answers(graph: np.ndarray, signal: np.ndarray) -> dict[str, float]:
    """Its z are positive where the signal is rougher than chance; transformation "O" leaves weights as they are."""
    import esda
    from libpysal.weights import WSP

    weights = WSP(sparse.csr_matrix(graph)).to_W(silence_warnings=True)
    found = esda.Geary(signal, weights, transformation="O", permutations=0)
    return {name: float(getattr(found, name)) for name in ("C", "z_rand", "p_rand", "z_norm", "p_norm")}


def pygsp_energies(graph: np.ndarray, signal: np.ndarray) -> list[float]:
    """Shares of Deg^(1/2) (f - f_bar) in the lowest modes of the normalised Laplacian."""
    from pygsp.graphs import Graph

    degree = graph.sum(1)
    x = np.sqrt(degree) * (signal - degree @ signal / degree.sum())
    theirs = Graph(graph)
    theirs.compute_laplacian("normalized")
    theirs.compute_fourier_basis()
    shares = np.cumsum(theirs.gft(x) ** 2) / (x @ x)
    return [float(shares[m - 1]) for m in MODES]


def answers() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("esda", "libpysal", "pygsp", "numpy", "scipy")}
    found: dict[str, Any] = {"versions": versions, "modes": list(MODES), "cases": {}}
    for name in CASES:
        _, graph, signals = example(name)
        found["cases"][name] = {
            signal: {"esda": esda_answers(graph, values), "pygsp": pygsp_energies(graph, values)}
            for signal, values in signals.items()
        }
    return found


if __name__ == "__main__":
    FILE.write_text(json.dumps(answers(), indent=1) + "\n")
