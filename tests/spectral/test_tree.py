"""The native k-d tree against all pairs in float64."""

import warnings

import numpy as np
import pytest
import torch

from gmvae_fast.spectral import nearest_neighbors
from gmvae_fast.spectral._tree import Tree, search_lists, search_tree


def all_pairs(points, k):
    """Indices and distances of the k nearest others, ties by index; each square summed in the order of the columns."""
    squared = np.zeros((len(points), len(points)))
    for column in points.T:
        squared += np.square(column[:, None] - column)
    np.fill_diagonal(squared, np.inf)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k]
    return order, np.sqrt(np.take_along_axis(squared, order, axis=1))


def uniform(n, d, rng):
    return rng.uniform(size=(n, d))


def clusters(n, d, rng):
    group = rng.integers(0, 5, n)
    return 4 * rng.normal(size=(5, d))[group] + np.exp(rng.normal(size=(5, d)))[group] * rng.normal(size=(n, d))


def curve(n, d, rng):
    """A trajectory: close to one dimension whatever the number of coordinates."""
    time = np.sort(rng.uniform(0, 6, n))
    return np.sin(time[:, None] * rng.uniform(0.5, 2, d) + rng.uniform(0, 6, d)) + 1e-3 * rng.normal(size=(n, d))


def copies(n, d, rng):
    """Every point up to eleven times, which k = 10 allows without a warning."""
    return np.repeat(rng.normal(size=(-(-n // 11), d)), 11, axis=0)[:n]


def far(n, d, rng):
    return 1e3 + rng.normal(size=(n, d))


def tight(n, d, rng):
    """Clusters that float32 takes for single points."""
    return 10 * rng.normal(size=(4, d))[rng.integers(0, 4, n)] + 1e-9 * rng.normal(size=(n, d))


CASES = [uniform, clusters, curve, copies, far, tight]


@pytest.mark.parametrize("d", [1, 2, 3, 5, 8, 16])
@pytest.mark.parametrize("case", CASES)
def test_equals_all_pairs(case, d, instruction_set):
    points = case(900, d, np.random.default_rng(d))
    indices, distances = search_tree(Tree.of(points), np.arange(len(points)), 10)
    right, lengths = all_pairs(points, 10)
    np.testing.assert_allclose(distances, lengths, rtol=1e-13, atol=0)
    differ = indices != right  # only where rounding decides between distances
    assert np.isclose(distances[differ], lengths[differ], rtol=1e-13, atol=0).all()
    assert differ.mean() < (0.01 if case is not copies else 0.2)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (11, 10), (64, 63), (65, 5), (129, 128), (1000, 17), (257, 200)])
def test_any_number_of_points_and_neighbors(n, k):
    points = np.random.default_rng(n).normal(size=(n, 3))
    indices, distances = search_tree(Tree.of(points), np.arange(n), k)
    right, lengths = all_pairs(points, k)
    np.testing.assert_array_equal(indices, right)
    np.testing.assert_allclose(distances, lengths, rtol=1e-14)


@pytest.mark.parametrize("d", [2, 9])
def test_queries_in_any_order(d):
    rng = np.random.default_rng(0)
    points, queries = clusters(3000, d, rng), rng.permutation(3000)[:150]
    indices, distances = search_tree(Tree.of(points), queries, 7)
    right, lengths = all_pairs(points, 7)
    np.testing.assert_array_equal(indices, right[queries])
    np.testing.assert_allclose(distances, lengths[queries], rtol=1e-13)


def test_ties_go_to_the_smaller_index():
    """A square lattice of eleventh powers of two: all arithmetic is exact, every distance occurs several times."""
    axis = np.arange(40) / 2048
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    points = points[np.random.default_rng(0).permutation(len(points))]
    indices, distances = search_tree(Tree.of(points), np.arange(len(points)), 9)
    right, lengths = all_pairs(points, 9)
    np.testing.assert_array_equal(indices, right)
    np.testing.assert_array_equal(distances, lengths)


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_for_every_number_of_threads(case, one_thread):
    points = case(6000, 4, np.random.default_rng(1))
    first = nearest_neighbors(points, index="kdtree")
    for threads in (2, 3):
        torch.set_num_threads(threads)
        again = nearest_neighbors(points, index="kdtree")
        np.testing.assert_array_equal(again.indices, first.indices)
        np.testing.assert_array_equal(again.distances, first.distances)


def test_more_ties_than_candidates():
    """Corners of a cube in 9 dimensions: nine at distance 1, thirty-six at the next; k = 20 cuts through these."""
    points = (np.arange(512)[:, None] >> np.arange(9) & 1).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nearest_neighbors(points, 20, index="kdtree")
    right, lengths = all_pairs(points, 20)
    np.testing.assert_array_equal(found.distances, lengths)
    np.testing.assert_array_equal(found.indices, right)


def recall_of(distances, lengths):
    return (distances <= lengths[:, -1:] * (1 + 1e-12)).mean()


@pytest.mark.parametrize("goal", [0.6, 0.99])
@pytest.mark.parametrize("case", [uniform, clusters, curve, far])
def test_lists_reach_their_recall(case, goal, instruction_set):
    points = case(4000, 12, np.random.default_rng(2))
    found = search_lists(Tree.of(points), np.arange(4000), 10, min_recall=goal)
    _, lengths = all_pairs(points, 10)
    assert 0 < found.lists < 64
    assert found.recall >= goal
    assert recall_of(found.distances, lengths) >= goal - 0.005
    assert all(len({*row, i}) == 11 for i, row in enumerate(found.indices.tolist()))
    difference = points[found.indices] - points[:, None]
    np.testing.assert_allclose(found.distances, np.linalg.norm(difference, axis=2), rtol=1e-12)


def test_lists_of_some_queries():
    points = clusters(4000, 12, np.random.default_rng(3))
    queries = np.random.default_rng(4).permutation(4000)[:700]
    found = search_lists(Tree.of(points), queries, 5, min_recall=0.9)
    assert recall_of(found.distances, all_pairs(points, 5)[1][queries]) >= 0.895
    assert (found.indices != queries[:, None]).all()


def test_lists_that_hold_fewer_than_k_points_are_searched_exactly():
    points = uniform(4000, 3, np.random.default_rng(5))
    found = search_lists(Tree.of(points), np.arange(4000), 150, min_recall=0.1)
    assert np.isfinite(found.distances).all()
    assert (found.indices < 4000).all()


def test_a_list_of_most_points_is_not_made():
    """Half of the points so close together that the leaves there share a mean."""
    rng = np.random.default_rng(6)
    points = np.vstack([1e-30 * rng.normal(size=(2000, 4)), 1 + rng.normal(size=(2000, 4))])
    found = search_lists(Tree.of(points), np.arange(4000), 10, min_recall=0.9)
    assert recall_of(found.distances, all_pairs(points, 10)[1]) >= 0.9


def test_auto_reads_lists_only_where_they_save_work():
    rng = np.random.default_rng(7)
    cloud, line = uniform(31_000, 14, rng), curve(31_000, 14, rng)
    assert nearest_neighbors(cloud, 3, min_recall=0.9).index_name == "lists"
    assert nearest_neighbors(line, 3, min_recall=0.9).index_name == "kdtree"
