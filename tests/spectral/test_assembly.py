import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from known_graphs import random_graph
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral import _assembly
from gmvae_fast.spectral._assembly import assemble_laplacian, asymmetry, self_tuned_weights, symmetric_adjacency


def random_lists(n, k, seed, kind="uniform"):
    """k different other nodes per row; "hubs": a few nodes are in almost every list."""
    rng = np.random.default_rng(seed)
    scores = rng.random((n, n))
    if kind == "hubs":
        scores[:, :3] -= 1
    np.fill_diagonal(scores, np.inf)
    return np.argsort(scores, axis=1)[:, :k].astype(np.int64)


def scipy_adjacency(neighbors, weights, *, mutual):
    """The same with scipy's operations."""
    n, k = neighbors.shape
    data = np.ones(n * k) if weights is None else weights.ravel()
    directed = sparse.coo_array((data, (np.repeat(np.arange(n), k), neighbors.ravel())), shape=(n, n)).tocsr()
    both = sparse.csr_array(directed.minimum(directed.T) if mutual else directed.maximum(directed.T))
    both.sort_indices()
    return both


def scipy_laplacian(adjacency, *, symmetric):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        matrix = sparse.csr_array(csgraph.laplacian(adjacency, normed=symmetric))
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def check_same(found, expected, tolerance=0.0):
    """Equal patterns, entries equal up to the tolerance, and everything that the flags of scipy promise is true."""
    assert found.has_canonical_format
    fresh = sparse.csr_array((found.data, found.indices, found.indptr), shape=found.shape)
    assert fresh.has_canonical_format
    assert found.data.all()
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.data, expected.data, rtol=tolerance, atol=0)


@pytest.fixture(params=["int32", "int64"])
def index_bits(request, monkeypatch):
    if request.param == "int64":
        monkeypatch.setattr(_assembly, "NARROW_LIMIT", 0)
    return np.dtype(request.param)


@pytest.mark.parametrize("kind", ["uniform", "hubs"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (300, 70), *[(90, k) for k in (8, 9, 12, 13, 16, 17, 32, 33)]])
def test_equals_scipy(n, k, mutual, weighted, kind, index_bits):
    neighbors = random_lists(n, k, n + k, kind)
    weights = np.random.default_rng(n).random((n, k)) + 0.1 if weighted else None  # the two directions differ
    found = symmetric_adjacency(neighbors, weights, mutual=mutual)
    assert found.indices.dtype == found.indptr.dtype == index_bits
    check_same(found, scipy_adjacency(neighbors, weights, mutual=mutual))
    assert asymmetry(found) == 0
    for symmetric in (False, True):
        matrix = assemble_laplacian(found, symmetric=symmetric)
        assert matrix.indices.dtype == index_bits
        check_same(matrix, scipy_laplacian(found, symmetric=symmetric), tolerance=1e-14)
        assert asymmetry(matrix) == 0


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_scipy_on_any_lists(data):
    n = data.draw(st.integers(2, 25))
    k = data.draw(st.integers(1, n - 1))
    seed, mutual = data.draw(st.integers(0, 1000)), data.draw(st.booleans())
    weights = np.random.default_rng(seed).random((n, k)) + 0.1 if data.draw(st.booleans()) else None
    neighbors = random_lists(n, k, seed)
    check_same(
        symmetric_adjacency(neighbors, weights, mutual=mutual), scipy_adjacency(neighbors, weights, mutual=mutual)
    )


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_bits_for_every_number_of_threads(weighted, mutual):
    n, k = 6000, 10
    rng = np.random.default_rng(0)
    neighbors = (np.arange(n)[:, None] + np.sort(rng.integers(1, n // k, (n, k)), axis=1) + n // k * np.arange(k)) % n
    weights = rng.random((n, k)) + 0.1 if weighted else None
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            graph = symmetric_adjacency(neighbors, weights, mutual=mutual)
            results.append((graph, assemble_laplacian(graph, symmetric=True), asymmetry(graph)))
    finally:
        torch.set_num_threads(before)
    check_same(results[0][0], scipy_adjacency(neighbors, weights, mutual=mutual))
    for graph, matrix, gap in results[1:]:
        check_same(graph, results[0][0])
        check_same(matrix, results[0][1])
        assert gap == 0


def test_graphs_without_edges_or_nodes():
    empty = symmetric_adjacency(np.empty((0, 3), np.int64), mutual=False)
    assert empty.shape == (0, 0)
    assert assemble_laplacian(empty, symmetric=True).shape == (0, 0)
    ring = symmetric_adjacency(np.array([[1], [2], [3], [0]]), mutual=True)  # nobody names the one that names it
    assert ring.nnz == 0
    assert assemble_laplacian(ring, symmetric=False).nnz == 0
    assert asymmetry(ring) == 0.0


def test_underflow_leaves_no_explicit_zeros():
    graph = sparse.csr_array(np.array([[0, 5e-324, 1e30], [5e-324, 0, 1e30], [1e30, 1e30, 0]]))
    matrix = assemble_laplacian(graph, symmetric=True)
    assert matrix.nnz == 7
    assert matrix.data.all()


def test_lists_may_be_strided_and_narrow():
    neighbors = random_lists(50, 6, 0)
    expected = symmetric_adjacency(neighbors, mutual=False)
    check_same(symmetric_adjacency(np.asfortranarray(neighbors), mutual=False), expected)
    check_same(symmetric_adjacency(neighbors.astype(np.int32), mutual=False), expected)


@pytest.mark.parametrize("hub", [False, True])
def test_asymmetry_is_the_largest_difference(hub):
    dense = random_graph(150, 0, density=1.0 if hub else 0.1)
    dense[3, 7], dense[7, 3] = 0.9, 0.65
    assert asymmetry(sparse.csr_array(dense)) == 0.9 - 0.65
    dense[100, 20], dense[20, 100] = 0.0, 0.5
    assert asymmetry(sparse.csr_array(dense)) == 0.5


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("weights", [None, np.ones((3, 2))])
@pytest.mark.parametrize("row", [[1, 1], [0, 1], [2, 2]])
def test_lists_with_repetitions_or_the_node_itself_are_refused(row, weights, mutual):
    with pytest.raises(ValueError, match="neighbors must name different nodes in each row, and never the row's own"):
        symmetric_adjacency(np.array([row, [0, 2], [0, 1]]), weights, mutual=mutual)


@pytest.mark.parametrize(
    ("neighbors", "weights", "message"),
    [
        ([[1], [3], [0]], None, r"neighbors must lie in 0 .. 2, got 0 .. 3"),
        ([[1], [-1], [0]], None, r"neighbors must lie in 0 .. 2, got -1 .. 1"),
        ([[1], [2], [0]], np.ones((3, 2)), r"weights must have the shape of neighbors, \(3, 1\), got \(3, 2\)"),
        ([[1], [2], [0]], np.array([[1.0], [0.0], [1.0]]), "weights must be positive and finite"),
        ([[1], [2], [0]], np.array([[1.0], [np.inf], [1.0]]), "weights must be positive and finite"),
        ([[1], [2], [0]], np.array([[1.0], [np.nan], [1.0]]), "weights must be positive and finite"),
    ],
)
def test_bad_lists(neighbors, weights, message):
    with pytest.raises(ValueError, match=message):
        symmetric_adjacency(np.array(neighbors), weights, mutual=False)


def reference_self_tuned(nodes, lengths, here, scales):
    """exp(-d² / (s t)), a scale of zero replaced by that of the other end."""
    s, t = np.broadcast_to(here[:, None], nodes.shape), scales[nodes]
    product = np.where(s > 0, s, t) * np.where(t > 0, t, s)
    exponent = np.divide(lengths**2, product, out=np.zeros_like(lengths), where=product > 0)
    return np.maximum(np.exp(-exponent), np.finfo(np.float64).tiny)


@pytest.mark.parametrize("n", [1, 2, 7, 103, 7000])
@pytest.mark.parametrize("k", [1, 3, 8, 600])
def test_self_tuned_weights_follow_their_definition(n, k):
    rng = np.random.default_rng(n + k)
    k = k if n < 7000 else min(k, 10)
    nodes, lengths, scales = rng.integers(0, 50, (n, k)), 3 * rng.random((n, k)), rng.random(50)
    scales[:5] = 0
    here = rng.random(n)
    here[::4] = 0
    lengths[(here[:, None] == 0) & (scales[nodes] == 0)] = 0  # such points are copies
    before, answers = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            answers.append(self_tuned_weights(nodes, lengths, here, scales))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_allclose(answers[0], reference_self_tuned(nodes, lengths, here, scales), rtol=1e-12)


def test_self_tuned_weights_are_symmetric_and_free_of_the_unit():
    rng = np.random.default_rng(0)
    scales, ends, lengths = rng.random(40), rng.integers(0, 40, (2, 500, 1)), rng.random((500, 1))
    there = self_tuned_weights(ends[1], lengths, scales[ends[0, :, 0]], scales)
    back = self_tuned_weights(ends[0], lengths, scales[ends[1, :, 0]], scales)
    np.testing.assert_array_equal(there, back)
    for unit in (2.0**-900, 2.0**900):
        scaled = self_tuned_weights(ends[1], unit * lengths, unit * scales[ends[0, :, 0]], unit * scales)
        np.testing.assert_array_equal(there, scaled)


def test_self_tuned_weights_never_vanish():
    far = self_tuned_weights(np.array([[1], [0]]), np.full((2, 1), 1e200), np.full(2, 1e-200), np.full(2, 1e-200))
    np.testing.assert_array_equal(far, np.finfo(np.float64).tiny)


@pytest.mark.parametrize("node", [-1, 2])
def test_self_tuned_weights_refuse_nodes_out_of_range(node):
    with pytest.raises(ValueError, match=rf"neighbors must lie in 0 .. 1, got {min(node, 0)} .. {max(node, 0)}"):
        self_tuned_weights(np.array([[0], [node]]), np.ones((2, 1)), np.ones(2), np.ones(2))
