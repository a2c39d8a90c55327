import numpy as np
import pytest
from known_graphs import path_graph, random_graph, ring_graph
from scipy import sparse
from scipy.sparse import csgraph

from gmvae_fast.spectral import connected_components, degrees, knn_graph, laplacian


@pytest.mark.parametrize("normalization", ["none", "symmetric"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scipy_csgraph(normalization, seed):
    graph = random_graph(40, seed, density=0.1)
    graph[5] = graph[:, 5] = 0  # an isolated node
    expected = csgraph.laplacian(graph, normed=normalization == "symmetric")
    np.testing.assert_allclose(laplacian(graph, normalization).toarray(), expected, atol=1e-15)


def test_equals_scikit_learns_spectral_embedding_laplacian():
    neighbors = pytest.importorskip("sklearn.neighbors")
    points = np.random.default_rng(0).normal(size=(200, 3))
    directed = neighbors.kneighbors_graph(points, 10)
    expected = csgraph.laplacian(directed.maximum(directed.T), normed=True)
    np.testing.assert_allclose(laplacian(knn_graph(points), "symmetric").toarray(), expected.toarray(), atol=1e-15)


@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_exactly_symmetric_and_sorted(normalization):
    matrix = laplacian(random_graph(60, 1), normalization)
    assert isinstance(matrix, sparse.csr_array)
    assert matrix.has_sorted_indices
    assert (matrix != matrix.T).nnz == 0


def test_null_vectors():
    graph = random_graph(50, 2)
    root = np.sqrt(degrees(graph))
    np.testing.assert_allclose(laplacian(graph) @ np.ones(50), 0, atol=1e-13)
    np.testing.assert_allclose(laplacian(graph, "symmetric") @ root, 0, atol=1e-13)


@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_isolated_node_has_a_zero_row(normalization):
    graph = sparse.block_diag([path_graph(4), sparse.csr_array((1, 1))], format="csr")
    matrix = laplacian(graph, normalization).toarray()
    assert not matrix[4].any()
    assert not matrix[:, 4].any()
    assert np.isfinite(matrix).all()


def test_degrees_of_a_path():
    np.testing.assert_array_equal(degrees(path_graph(4)), [1, 2, 2, 1])


def test_components():
    graph = sparse.block_diag([ring_graph(4), sparse.csr_array((1, 1)), path_graph(3)])
    found = connected_components(graph)
    assert found.n_components == 3
    np.testing.assert_array_equal(found.labels, [0, 0, 0, 0, 1, 2, 2, 2])


def test_explicit_zeros_are_no_edges():
    graph = path_graph(4)
    graph.data[(graph.tocoo().row + graph.tocoo().col) == 3] = 0.0  # the edge between 1 and 2
    assert connected_components(graph).n_components == 2


@pytest.mark.parametrize("function", [laplacian, degrees, connected_components])
def test_input_is_not_changed(function):
    graph = ring_graph(5)
    data, indices = graph.data.copy(), graph.indices.copy()
    function(graph)
    np.testing.assert_array_equal(graph.data, data)
    np.testing.assert_array_equal(graph.indices, indices)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (np.ones((2, 3)), "graph must be square"),
        (np.array([[0.0, 1.0], [0.0, 0.0]]), "graph must be symmetric"),
        (np.array([[1.0, 1.0], [1.0, 0.0]]), "zero diagonal"),
        (np.array([[0.0, -1.0], [-1.0, 0.0]]), "non-negative"),
        (sparse.csr_array(np.array([[0.0, np.nan], [np.nan, 0.0]])), "finite"),
        (np.ones(3), "shape"),
    ],
)
def test_bad_graph(graph, message):
    with pytest.raises(ValueError, match=message):
        laplacian(graph)


def test_bad_normalization():
    with pytest.raises(ValueError, match="normalization must be one of 'none', 'symmetric', got 'random-walk'"):
        laplacian(path_graph(3), "random-walk")
