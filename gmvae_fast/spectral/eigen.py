"""Lowest eigenpairs of a graph Laplacian, component by component."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse import csgraph

from gmvae_fast.spectral._arpack import eigsh_pairs
from gmvae_fast.spectral._arrays import FloatArray, IntArray, as_finite, check_choice, check_positive_integer
from gmvae_fast.spectral._assembly import asymmetry
from gmvae_fast.spectral._block_lanczos import block_pairs, smallest_size
from gmvae_fast.spectral._chebyshev import filtered
from gmvae_fast.spectral._ordering import local_order, permuted
from gmvae_fast.spectral._products import multiply
from gmvae_fast.spectral._transforms import EigenConvergenceError, Transformed, inverted, mirrored

MethodName: TypeAlias = Literal["auto", "dense", "lanczos", "shift-invert", "chebyshev"]
IterationName: TypeAlias = Literal["block", "eigsh"]

# Seconds for 20 pairs, dense / shift-invert: 0.02 / 0.01 at n = 500, 0.09 / 0.02 at 1000, 0.47 / 0.03 at
# 2000. Up to 500 the dense solver costs next to nothing and cannot fail.
DENSE_LIMIT = 500
DENSE_MAXIMUM = 30_000  # 7 GB of float64: beyond it a dense solve is a mistake, not a wish
TIE_TOLERANCE = 1e-6
TOGETHER = 4  # vectors whose residuals are taken in one product
# Largest breadth-first level over sqrt(n): 4.4 for latents in the plane, at n = 5e3, 2e4 and 2e5; 8 to 12 in
# three dimensions, where both methods take the same time; 17 to 23 in eight, where the factor does not fit.
THIN_WIDTH = 6.0


class EigenPairs(NamedTuple):
    """Lowest eigenpairs of a Laplacian, in ascending order."""

    values: FloatArray  # [m], never negative
    vectors: FloatArray  # [N, m], orthonormal columns
    residuals: FloatArray  # [m], |L u - lambda u|


def eigenpairs(
    laplacian: Any,
    m: int,
    *,
    method: MethodName = "auto",
    iteration: IterationName = "block",
    seed: int = 0,
    tol: float = 1e-10,
) -> EigenPairs:
    """The ``m`` lowest eigenpairs of a graph Laplacian, L or L_sym.

    Every connected component is solved apart and the results are merged. So the eigenvalue 0 comes exactly as
    often as there are components, with vectors that each live on one component, and no iteration has to
    resolve that degenerate space. With more than ``m`` components, the null vectors of the ``m`` largest are
    returned.

    Parameters
    ----------
    laplacian : sparse array or array [N, N]
        From `laplacian`, in either normalisation.
    m : int
        Number of pairs, 1 to N.
    method : {"auto", "dense", "lanczos", "shift-invert", "chebyshev"}
        Solver for a component. ``"chebyshev"`` lifts the low end of the spectrum by a polynomial of L: no
        factorisation, the fastest for latents of three dimensions and more. ``"lanczos"`` is the same with
        c I - L, c >= lambda_max, in the polynomial's place. ``"shift-invert"`` factorises L + epsilon I: for
        graphs of curves and sheets; its fill grows out of bounds in higher dimensions. ``"dense"`` for small
        N. ``"auto"``: dense up to 500 nodes, shift-invert for graphs that are thin like curves and sheets,
        else Chebyshev, and shift-invert again where that has not converged. Components of fewer
        than 3 ``m`` + 16 nodes are always solved densely.
    iteration : {"block", "eigsh"}
        What the operator of the method is fed to. ``"block"``: block Lanczos with thick restarts, four vectors at a
        time. ``"eigsh"``: scipy's interface to ARPACK, one vector at a time.
    seed : int
        Seed of the start vectors.
    tol : float
        Residuals of ``"block"`` reach this times 2 max L_ii, a bound on the largest eigenvalue; ``"eigsh"`` takes it
        as the relative tolerance of the operator's eigenvalues.

    Returns
    -------
    EigenPairs
        ``values`` [m], ``vectors`` [N, m], ``residuals`` [m]. Sign: in each vector the first of the entries
        of largest magnitude is positive. A basis of a degenerate eigenspace is deterministic but arbitrary.

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square, symmetric and finite, or ``m``, ``method``, ``tol`` are out of range.
    EigenConvergenceError
        If the iteration does not converge; the message says what to try.

    References
    ----------
    von Luxburg, "A tutorial on spectral clustering" (2007), propositions 2 and 4, for the null spaces.
    Golub & Underwood, "The block Lanczos method for computing eigenvalues", Mathematical Software III (1977).
    """
    check_choice(method, "method", get_args(MethodName))
    check_choice(iteration, "iteration", get_args(IterationName))
    matrix = check_laplacian(laplacian)
    n = matrix.shape[0]
    if check_positive_integer(m, "m") > n:
        raise ValueError(f"m must be at most the number of nodes, {n}, got {m}")
    if not tol > 0:
        raise ValueError(f"tol must be positive, got {tol}")
    blocks, n_components = _blocks(matrix, m)
    # Every component gives one null vector, so at most this many pairs can come from any of them.
    share = max(1, m - n_components + 1)
    values, vectors = [], []
    for nodes in blocks:
        theta, basis = _solve_block(
            permuted(matrix, nodes), nodes, min(share, len(nodes)), method, iteration, seed, tol
        )
        theta[0] = 0.0  # known: the null vector of the component
        values.append(np.maximum(theta, 0.0))
        vectors.append(basis)
    return _merge(matrix, blocks, values, vectors, m)


def check_laplacian(laplacian: Any) -> sparse.csr_array:
    """``laplacian`` as float64 CSR; raises unless it is square, symmetric and finite."""
    if not sparse.issparse(laplacian):
        laplacian = as_finite(laplacian, "laplacian", ndim=2)
    matrix = sparse.csr_array(laplacian, dtype=np.float64)
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"laplacian must be square, got shape {matrix.shape}")
    if not np.isfinite(matrix.data).all():
        raise ValueError("laplacian must be finite; check the weights of the graph")
    matrix.sum_duplicates()
    if matrix.nnz and asymmetry(matrix) > 1e-12 * abs(matrix.data).max():
        raise ValueError("laplacian must be symmetric; random-walk Laplacians are not supported, use 'symmetric'")
    return matrix


def _blocks(matrix: sparse.csr_array, m: int) -> tuple[list[IntArray], int]:
    """Nodes of the components to solve, largest first (at most ``m``), and the number of all components.

    Within a component they come in an order in which neighbours lie close in memory.
    """
    count, labels = csgraph.connected_components(matrix, directed=False)
    sizes = np.bincount(labels, minlength=count)
    order = local_order(matrix)
    by_component = np.split(order[np.argsort(labels[order], kind="stable")], np.cumsum(sizes)[:-1])
    largest_first = np.argsort(-sizes, kind="stable")[:m]
    return [by_component[i].astype(np.int64) for i in largest_first], int(count)


def _solve_block(
    block: sparse.csr_array,
    nodes: IntArray,
    k: int,
    method: MethodName,
    iteration: IterationName,
    seed: int,
    tol: float,
) -> tuple[FloatArray, FloatArray]:
    """The ``k`` lowest pairs of one connected component, whose ``nodes`` are numbered as in the whole graph."""
    n = block.shape[0]
    if method == "dense" or n < smallest_size(k) or (method == "auto" and n <= DENSE_LIMIT):
        return _dense_pairs(block, k)
    iterate = {"block": block_pairs, "eigsh": eigsh_pairs}[iteration]
    if method == "auto" and _is_thin(block, int(np.argmin(nodes))):
        method = "shift-invert"
    if method != "auto":
        return iterate(block, _operator(block, k, method, seed), k, seed, tol)
    try:
        return iterate(block, _operator(block, k, "chebyshev", seed), k, seed, tol)
    except EigenConvergenceError:
        return iterate(block, _operator(block, k, "shift-invert", seed), k, seed, tol)


def _operator(block: sparse.csr_array, k: int, method: MethodName, seed: int) -> Transformed:
    if method == "lanczos":
        return mirrored(block)
    return inverted(block) if method == "shift-invert" else filtered(block, k, seed)


def _is_thin(block: sparse.csr_array, start: int) -> bool:
    """Whether a connected graph looks like a curve or a sheet: no breadth-first level is much above sqrt(n).

    Levels separate the graph, and the size of separators decides the fill of a sparse factor. In such graphs
    the lowest eigenvalues lie close together as well, which is what Lanczos iterations suffer from.
    """
    pattern = sparse.csr_array((np.ones(block.nnz), block.indices, block.indptr), shape=block.shape)
    steps = csgraph.dijkstra(pattern, unweighted=True, indices=start)
    return bool(np.bincount(steps.astype(np.int64)).max() <= THIN_WIDTH * np.sqrt(block.shape[0]))


def _dense_pairs(block: sparse.csr_array, k: int) -> tuple[FloatArray, FloatArray]:
    n = block.shape[0]
    if n > DENSE_MAXIMUM:
        raise ValueError(f"a dense solve of a component of {n} nodes would not fit; use fewer pairs and another method")
    values, vectors = eigh(block.toarray(), subset_by_index=(0, k - 1))
    return np.asarray(values), np.asarray(vectors)


def _merge(
    matrix: sparse.csr_array,
    blocks: list[IntArray],
    values: list[FloatArray],
    vectors: list[FloatArray],
    m: int,
) -> EigenPairs:
    """The ``m`` lowest of all pairs, extended by zeros to the whole graph, with signs and residuals."""
    owner = np.repeat(np.arange(len(blocks)), [len(v) for v in values])
    column = np.concatenate([np.arange(len(v)) for v in values])
    chosen = np.argsort(np.concatenate(values), kind="stable")[:m]
    result = np.zeros((matrix.shape[0], m), order="F")
    for position, pair in enumerate(chosen):
        nodes, vector = blocks[owner[pair]], vectors[owner[pair]][:, column[pair]]
        result[nodes, position] = -vector if _is_flipped(vector, nodes) else vector
    eigenvalues = np.concatenate(values)[chosen]
    return EigenPairs(eigenvalues, result, _residual_norms(matrix, result, eigenvalues))


def _is_flipped(vector: FloatArray, nodes: IntArray) -> bool:
    """Whether the first entry of (nearly) largest magnitude, first in the order of ``nodes``, is negative.

    Nearly: symmetric graphs have entries equal but for rounding, and the choice must not hang on it.
    """
    magnitude = np.abs(vector)
    largest = np.flatnonzero(magnitude >= (1.0 - TIE_TOLERANCE) * magnitude.max())
    return bool(vector[largest[np.argmin(nodes[largest])]] < 0)


def _residual_norms(matrix: sparse.csr_array, vectors: FloatArray, values: FloatArray) -> FloatArray:
    """|L u - lambda u| of every column [m], a few at a time: less memory is touched than by all at once."""
    norms = np.empty(len(values))
    for first in range(0, len(values), TOGETHER):
        some = slice(first, first + TOGETHER)
        block = np.ascontiguousarray(vectors[:, some])
        norms[some] = np.linalg.norm(multiply(matrix, block) - values[some] * block, axis=0)
    return norms
