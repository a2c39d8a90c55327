import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_graphs import brute_distances
from scipy.sparse import csgraph

from gmvae_fast.spectral import _connect, connected_components, knn_graph
from gmvae_fast.spectral._connect import spanning_edges
from gmvae_fast.spectral.graph import build_graph


def islands(sizes, dim, seed=0):
    rng = np.random.default_rng(seed)
    centres = 30 * rng.normal(size=(len(sizes), dim))
    return np.vstack([c + rng.normal(size=(s, dim)) for c, s in zip(centres, sizes, strict=True)])


def shortest_total(points, labels):
    """Length of a minimum spanning tree of the components, from all distances."""
    distances = brute_distances(points)
    count = labels.max() + 1
    between = np.array(
        [[distances[np.ix_(labels == a, labels == b)].min() for b in range(count)] for a in range(count)]
    )
    np.fill_diagonal(between, 0)
    return csgraph.minimum_spanning_tree(between).sum()


def connected_by(edges, labels):
    joined = np.zeros((labels.max() + 1,) * 2)
    joined[labels[edges.first], labels[edges.second]] = 1
    return csgraph.connected_components(joined, directed=False)[0] == 1


def check_spanning(points, labels):
    edges = spanning_edges(points, labels)
    count = len(set(labels))
    assert len(edges.first) == count - 1
    np.testing.assert_allclose(edges.lengths, np.linalg.norm(points[edges.first] - points[edges.second], axis=1))
    assert connected_by(edges, labels)
    assert edges.lengths.sum() == pytest.approx(shortest_total(points, labels), rel=1e-12)


@pytest.mark.parametrize("limit", [1, 32, 1000])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_edges_are_those_of_a_minimum_spanning_tree(dim, limit, monkeypatch):
    """Whichever way components are searched: as small ones, as large ones, or both."""
    monkeypatch.setattr(_connect, "SMALL_COMPONENT", limit)
    sizes = [1, 2, 3, 40, 41, 70, 5, 33]
    check_spanning(islands(sizes, dim), np.repeat(np.arange(len(sizes)), sizes))


@pytest.mark.parametrize("limit", [1, 32, 1000])
@pytest.mark.parametrize("dim", [7, 16])
def test_edges_between_clusters_in_many_dimensions(dim, limit, monkeypatch):
    """Scans in place of trees: exact for small components, at least nearly so for large ones."""
    monkeypatch.setattr(_connect, "SMALL_COMPONENT", limit)
    sizes = [1, 2, 300, 41, 70, 5]
    points, labels = islands(sizes, dim), np.repeat(np.arange(len(sizes)), sizes)
    edges = spanning_edges(points, labels)
    assert len(edges.first) == len(sizes) - 1
    assert connected_by(edges, labels)
    np.testing.assert_allclose(edges.lengths, np.linalg.norm(points[edges.first] - points[edges.second], axis=1))
    shortest = shortest_total(points, labels)
    assert shortest * (1 - 1e-12) <= edges.lengths.sum() <= shortest * (1.02 if limit < 1000 else 1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 60), count=st.integers(1, 12), dim=st.integers(1, 3), seed=st.integers(0, 10_000))
def test_components_that_interleave(n, count, dim, seed):
    """Labels that have nothing to do with the positions."""
    rng = np.random.default_rng(seed)
    labels = np.unique(rng.integers(0, count, n), return_inverse=True)[1]
    check_spanning(rng.normal(size=(n, dim)), labels)


def test_ties_and_copies_close_no_cycle():
    """The corners of a cube, each taken twice as a component of its own: all distances are 0, 1, sqrt 2 or sqrt 3."""
    corners = np.array([[i, j, k] for i in (0.0, 1.0) for j in (0.0, 1.0) for k in (0.0, 1.0)] * 2)
    edges = spanning_edges(corners, np.arange(16))
    assert sorted(edges.lengths) == [0.0] * 8 + [1.0] * 7


@pytest.mark.parametrize("weights", ["binary", "gaussian", "distance"])
@pytest.mark.parametrize("symmetrize", ["union", "mutual"])
@pytest.mark.parametrize("factor", [1.0, 1e-200, 1e200])
def test_connected_graph(weights, symmetrize, factor):
    points = islands([50, 80, 30, 20], 3)
    plain = knn_graph(points, 4, weights=weights, symmetrize=symmetrize)
    count = connected_components(plain).n_components
    assert count >= 4
    built = build_graph(points * factor, 4, weights=weights, symmetrize=symmetrize, connect=True)
    graph = built.adjacency
    assert built.n_added_edges == count - 1
    assert connected_components(graph).n_components == 1
    assert graph.nnz == plain.nnz + 2 * (count - 1)
    assert graph.has_sorted_indices
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()
    assert ((graph.data > 0) & (graph.data <= 1)).all()
    kept = (plain > 0).multiply(graph)
    np.testing.assert_allclose(kept.toarray(), plain.toarray(), rtol=1e-9)


def test_connected_graphs_get_no_edge():
    points = np.random.default_rng(0).normal(size=(300, 2))
    built = build_graph(points, 10, connect=True)
    assert built.n_added_edges == 0
    assert (built.adjacency != knn_graph(points, 10)).nnz == 0
    assert build_graph(islands([30, 30], 2), 5).n_added_edges == 0  # nobody asked


def test_many_pieces():
    """A mutual graph of 5000 points in 6 dimensions has many small pieces beside a large one."""
    points = np.random.default_rng(0).normal(size=(5000, 6))
    built = build_graph(points, 3, symmetrize="mutual", connect=True)
    assert built.n_added_edges > 500
    assert connected_components(built.adjacency).n_components == 1


def test_deterministic():
    points = np.round(islands([100, 100, 60, 10], 2), 1)
    first, again = (knn_graph(points, 3, symmetrize="mutual", connect=True) for _ in range(2))
    assert (first != again).nnz == 0
