"""Graph Laplacians, degrees and connected components."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral._arrays import FloatArray, IntArray, check_choice
from gmvae_fast.spectral.graph import check_graph

NormalizationName: TypeAlias = Literal["none", "symmetric"]


class Components(NamedTuple):
    """Connected components of a graph."""

    n_components: int
    labels: IntArray  # [N], 0 .. n_components - 1


def degrees(graph: Any) -> FloatArray:
    """Sum of the weights at every node, float64 [N]."""
    return np.asarray(check_graph(graph).sum(axis=1), np.float64)


def laplacian(graph: Any, normalization: NormalizationName = "none") -> sparse.csr_array:
    """Laplacian of a symmetric graph.

    ``"none"`` gives L = Deg - W, ``"symmetric"`` gives L_sym = I - Deg^(-1/2) W Deg^(-1/2). The row and
    column of an isolated node are zero in both (the convention of `scipy.sparse.csgraph` and of Chung), so
    that in both the multiplicity of the eigenvalue 0 is the number of connected components.

    Parameters
    ----------
    graph : sparse array or array [N, N]
        Symmetric, non-negative weights, zero diagonal.
    normalization : {"none", "symmetric"}

    Returns
    -------
    scipy.sparse.csr_array
        float64 [N, N], symmetric, sorted indices.

    Raises
    ------
    TypeError, ValueError
        If ``graph`` is not such a matrix, or ``normalization`` is unknown.

    References
    ----------
    Chung, "Spectral Graph Theory", AMS (1997), section 1.2.
    """
    check_choice(normalization, "normalization", ("none", "symmetric"))
    adjacency = check_graph(graph)
    degree = np.asarray(adjacency.sum(axis=1), np.float64)
    if normalization == "symmetric":
        root = np.sqrt(degree)
        inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        rows = np.repeat(inverse, np.diff(adjacency.indptr))
        # One product of two factors per entry, whichever triangle it is in: exactly symmetric.
        adjacency.data *= rows * inverse[adjacency.indices]
        degree = (degree > 0).astype(np.float64)
    matrix = sparse.csr_array(sparse.diags_array(degree, format="csr") - adjacency)
    matrix.sort_indices()
    return matrix


def connected_components(graph: Any) -> Components:
    """Number of connected components and the component of every node.

    Parameters
    ----------
    graph : sparse array or array [N, N]
        Symmetric adjacency matrix; an isolated node is a component.

    Returns
    -------
    Components
        ``n_components`` and ``labels`` int64 [N].
    """
    count, labels = csgraph.connected_components(check_graph(graph), directed=False)
    return Components(int(count), labels.astype(np.int64))
