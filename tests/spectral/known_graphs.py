"""Graphs whose Laplacian spectra are known in closed form, and plain definitions to compare with."""

import numpy as np
from scipy import sparse


def path_graph(n):
    return sparse.csr_array(sparse.diags_array([np.ones(n - 1)] * 2, offsets=[1, -1], shape=(n, n)))


def ring_graph(n):
    dense = path_graph(n).todok()
    dense[0, n - 1] = dense[n - 1, 0] = 1.0
    return sparse.csr_array(dense)


def product_graph(a, b):
    """Cartesian product: its Laplacian eigenvalues are all sums of those of the factors."""
    left = sparse.kron(a, sparse.eye_array(b.shape[0]))
    return sparse.csr_array(left + sparse.kron(sparse.eye_array(a.shape[0]), b))


def path_values(n):
    return 2 - 2 * np.cos(np.pi * np.arange(n) / n)


def path_vector(n, index):
    return np.cos(np.pi * index * (np.arange(n) + 0.5) / n)


def ring_values(n):
    return np.sort(2 - 2 * np.cos(2 * np.pi * np.arange(n) / n))


def sums(a, b):
    return np.sort(np.add.outer(a, b).ravel())


def random_graph(n, seed, density=0.5):
    """Symmetric weights in (0, 1), zero diagonal, as a dense array."""
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((n, n)) * (rng.random((n, n)) < density), 1)
    return upper + upper.T


def geary_c(weights, signal):
    """Geary's contiguity ratio from its definition: a plain double sum."""
    n = len(signal)
    numerator = sum(weights[i, j] * (signal[i] - signal[j]) ** 2 for i in range(n) for j in range(n) if weights[i, j])
    return (n - 1) * numerator / (2 * weights.sum() * ((signal - signal.mean()) ** 2).sum())


def brute_distances(points):
    """All Euclidean distances in float64, the diagonal infinite."""
    distances = np.sqrt(((points[:, None] - points[None]) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    return distances
