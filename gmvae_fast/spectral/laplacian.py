"""Graph Laplacians, degrees and connected components."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral._arrays import FloatArray, IntArray, check_choice
from gmvae_fast.spectral._assembly import assemble_laplacian
from gmvae_fast.spectral.graph import as_graph

NormalizationName: TypeAlias = Literal["none", "symmetric"]


class Components(NamedTuple):
    """Connected components of a graph."""

    n_components: int
    labels: IntArray  # [N], 0 .. n_components - 1


def degrees(graph: Any) -> FloatArray:
    """Sum of the weights at every node, float64 [N]."""
    return np.asarray(as_graph(graph).sum(axis=1), np.float64)


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
        float64 [N, N], exactly symmetric if the graph is, sorted indices, no explicit zeros; int32 indices where
        they suffice. The same bits for every number of threads.

    Raises
    ------
    TypeError, ValueError
        If ``graph`` is not such a matrix, or ``normalization`` is unknown.

    References
    ----------
    Chung, "Spectral Graph Theory", AMS (1997), section 1.2.
    """
    check_choice(normalization, "normalization", ("none", "symmetric"))
    return assemble_laplacian(as_graph(graph), symmetric=normalization == "symmetric")


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
    count, labels = csgraph.connected_components(as_graph(graph), directed=False)
    return Components(int(count), labels.astype(np.int64))
