import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from known_graphs import brute_distances
from scipy import sparse
from scipy.spatial.transform import Rotation

from gmvae_fast.spectral import _search, _tree, connected_components, knn_graph, nearest_neighbors, neighbors
from gmvae_fast.spectral.graph import build_graph
from gmvae_fast.spectral.neighbors import choose_index

INDEXES = ["exact", "kdtree"]


def gaussian_latents(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def same(a, b):
    return a.shape == b.shape and a.nnz == b.nnz and (a != b).nnz == 0


def check_against_brute_force(points, k, index, rtol=1e-12):
    """Neighbours are k different other points, at the distances of an exhaustive search."""
    found = nearest_neighbors(points, k, index=index)
    rows = np.arange(len(points))[:, None]
    assert (found.indices != rows).all()
    assert all(len(set(row)) == k for row in found.indices.tolist())
    distances = brute_distances(points)
    scale = np.abs(points).max() + 1e-300
    np.testing.assert_allclose(found.distances, np.sort(distances, axis=1)[:, :k], rtol=rtol, atol=1e-15 * scale)
    np.testing.assert_allclose(found.distances, distances[rows, found.indices], rtol=rtol, atol=1e-15 * scale)


coordinates = st.one_of(st.integers(-2, 2).map(float), st.floats(-10, 10, width=32))


@pytest.mark.parametrize("index", INDEXES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_neighbors_equal_brute_force(index, data):
    shape = data.draw(st.tuples(st.integers(2, 30), st.integers(1, 4)))
    points = data.draw(hnp.arrays(np.float64, shape, elements=coordinates))
    k = data.draw(st.integers(1, shape[0] - 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # copies are drawn on purpose
        check_against_brute_force(points, k, index)


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize(("n", "d"), [(2, 1), (400, 2), (300, 9), (200, 33)])
def test_neighbors_equal_brute_force_on_gaussian_latents(index, n, d):
    check_against_brute_force(gaussian_latents(n, d), min(10, n - 1), index)


@pytest.mark.parametrize("d", [2, 16])
@pytest.mark.parametrize("index", INDEXES)
def test_tight_distant_clusters_are_resolved(index, d):
    """Width 1e-4 at distance 10: |x|² + |y|² - 2xy in float32 sees every distance inside a cluster as noise."""
    rng = np.random.default_rng(1)
    centres = 10 * rng.normal(size=(4, d))
    points = centres[np.arange(400) % 4] + 1e-4 * rng.normal(size=(400, d))
    check_against_brute_force(points, 10, index, rtol=1e-9)


def test_where_float32_alone_would_be_wrong(monkeypatch):
    """Where FAISS expands the square (large scans) its candidates are noise here, but the answer is right."""
    monkeypatch.setattr(pytest.importorskip("faiss").cvar, "distance_compute_blas_threshold", 1)
    rng = np.random.default_rng(1)
    points = 10 * rng.normal(size=(4, 40))[np.arange(2000) % 4] + 1e-4 * rng.normal(size=(2000, 40))
    queries = rng.permutation(2000)[:60]
    squared = ((points[queries, None] - points) ** 2).sum(-1)
    squared[np.arange(60), queries] = np.inf
    true = np.argsort(squared, axis=1)[:, :10]
    _, candidates = _search.faiss_flat(points.astype(np.float32), queries, 15)
    assert not any(np.isin(t, c).all() for t, c in zip(true, candidates, strict=True))
    np.testing.assert_array_equal(nearest_neighbors(points, 10, index="exact").indices[queries], true)


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_distances_neither_overflow_nor_underflow(index, factor):
    points = gaussian_latents(50, 3)
    np.testing.assert_allclose(
        nearest_neighbors(points * factor, 5, index=index).distances / factor,
        nearest_neighbors(points, 5, index=index).distances,
        rtol=1e-9,
    )


@pytest.mark.parametrize("weights", ["binary", "gaussian"])
@pytest.mark.parametrize("symmetrize", ["union", "mutual"])
@pytest.mark.parametrize("index", INDEXES)
def test_graph_is_symmetric_without_diagonal(index, symmetrize, weights):
    graph = knn_graph(gaussian_latents(300, 3), 7, index=index, symmetrize=symmetrize, weights=weights)
    assert isinstance(graph, sparse.csr_array)
    assert graph.dtype == np.float64
    assert graph.shape == (300, 300)
    assert graph.has_sorted_indices
    assert (graph != graph.T).nnz == 0
    assert not graph.diagonal().any()
    assert ((graph.data > 0) & (graph.data <= 1)).all()
    degree = np.diff(graph.indptr)
    assert degree.min() >= 7 if symmetrize == "union" else degree.max() <= 7


@pytest.mark.parametrize("index", INDEXES)
def test_union_and_mutual_follow_their_definitions(index):
    points = gaussian_latents(120, 2)
    directed = np.zeros((120, 120), bool)
    np.put_along_axis(directed, np.argsort(brute_distances(points), axis=1)[:, :6], True, axis=1)
    union = knn_graph(points, 6, index=index).toarray() > 0
    mutual = knn_graph(points, 6, index=index, symmetrize="mutual").toarray() > 0
    np.testing.assert_array_equal(union, directed | directed.T)
    np.testing.assert_array_equal(mutual, directed & directed.T)
    assert (mutual <= union).all()
    assert mutual.sum() < union.sum()


def test_gaussian_weights_follow_their_definition():
    points = gaussian_latents(150, 3)
    distances = brute_distances(points)
    scale = np.sort(distances, axis=1)[:, 6]
    expected = np.exp(-(distances**2) / np.multiply.outer(scale, scale))
    graph = knn_graph(points, 10, weights="gaussian")
    pattern = knn_graph(points, 10).toarray()
    np.testing.assert_allclose(graph.toarray(), np.where(pattern > 0, expected, 0), rtol=1e-12)


def test_gaussian_weights_take_the_last_neighbour_when_there_are_fewer_than_seven():
    points = gaussian_latents(60, 2)
    distances = brute_distances(points)
    scale = np.sort(distances, axis=1)[:, 2]
    expected = np.exp(-(distances**2) / np.multiply.outer(scale, scale))
    graph = knn_graph(points, 3, weights="gaussian").tocoo()
    np.testing.assert_allclose(graph.data, expected[graph.row, graph.col], rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-200, 1e-3, 1e5, 1e200])
def test_gaussian_weights_do_not_depend_on_the_unit(factor):
    points = gaussian_latents(80, 2)
    a, b = (knn_graph(points * s, 8, weights="gaussian") for s in (1.0, factor))
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_allclose(a.data, b.data, rtol=1e-9)


def test_gaussian_weights_with_copies_are_finite_and_keep_every_edge():
    points = np.vstack([np.zeros((9, 2)), [[1.0, 0.0]], 1e6 + gaussian_latents(10, 2)])
    graph = knn_graph(points, 8, weights="gaussian")
    assert np.isfinite(graph.data).all()
    assert (graph.data > 0).all()
    assert graph.nnz == knn_graph(points, 8).nnz
    assert graph[0, 1] == 1.0  # copies are at distance 0
    assert connected_components(graph).n_components == connected_components(knn_graph(points, 8)).n_components


@pytest.mark.parametrize("index", [*INDEXES, "auto"])
@pytest.mark.parametrize("weights", ["binary", "gaussian"])
def test_more_copies_than_neighbors(index, weights):
    """Thirty copies, k = 5: everyone keeps 5 neighbours, self is never one, and the copies stay together."""
    points = np.vstack([np.ones((30, 2)), 50 + gaussian_latents(40, 2)])
    with pytest.warns(UserWarning, match=r"30 of 70 latents lie in 1 group\(s\) of more than 6 identical"):
        graph = knn_graph(points, 5, index=index, weights=weights)
    assert not graph.diagonal().any()
    assert (np.diff(graph.indptr) >= 5).all()
    labels = connected_components(graph).labels
    assert len(set(labels[:30])) == 1
    assert labels[0] not in labels[30:]


@pytest.mark.parametrize("index", INDEXES)
def test_up_to_k_plus_one_copies_are_joined_without_a_warning(index):
    points = np.vstack([np.ones((6, 2)), 50 + gaussian_latents(40, 2)])
    graph = knn_graph(points, 5, index=index)
    np.testing.assert_array_equal(graph[:6, :6].toarray(), 1 - np.eye(6))


@pytest.mark.parametrize("index", INDEXES)
def test_constant_latents_give_a_random_regular_graph(index):
    """A collapsed latent space says nothing: a signal ordered like the rows must not look smooth on it."""
    with pytest.warns(UserWarning, match="500 of 500 latents"):
        graph = knn_graph(np.full((500, 3), 7.0), 4, index=index)
    assert (np.diff(graph.indptr) == 4).all()
    assert connected_components(graph).n_components == 1
    rows, columns = graph.nonzero()
    gap = np.abs(rows - columns)
    assert abs(np.minimum(gap, 500 - gap).mean() - 125) < 5  # random: 125 +- 72 / sqrt(1000) = 2.3


@pytest.mark.parametrize("k", [1, 4, 5])
def test_crowds_of_copies_stay_joined_among_mutual_neighbours(k):
    """They are at distance 0 from each other: to take them apart would leave each alone."""
    points = np.repeat(np.random.default_rng(0).normal(size=(20, 2)), 30, axis=0)
    with pytest.warns(UserWarning, match="600 of 600 latents"):
        graph = knn_graph(points, k, symmetrize="mutual")
    assert (np.diff(graph.indptr) == k - k % 2).all()
    if k > 1:
        assert connected_components(graph).n_components == 20


def test_hash_collisions_do_not_merge_groups():
    """Two crowded groups and their mirror images: grouped by the rows themselves."""
    points = np.repeat([[1.0, 2.0], [2.0, 1.0], [-1.0, -2.0], [0.0, 0.0]], 12, axis=0)
    points[-6:] = -0.0  # the same point as 0.0
    with pytest.warns(UserWarning, match=r"48 of 48 latents lie in 4 group\(s\)"):
        graph = knn_graph(points, 3)
    assert connected_components(graph).n_components == 4


@pytest.mark.parametrize("index", INDEXES)
def test_deterministic(index):
    points = np.round(gaussian_latents(500, 2), 1)  # many ties and copies
    assert same(knn_graph(points, 6, index=index), knn_graph(points, 6, index=index))


@pytest.mark.parametrize("index", INDEXES)
def test_input_is_not_changed(index):
    points = gaussian_latents(50, 2)
    copy = points.copy()
    knn_graph(points, 3, index=index, weights="gaussian")
    np.testing.assert_array_equal(points, copy)


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.astype(np.float32),
        lambda x: torch.from_numpy(x),
        lambda x: torch.from_numpy(x).requires_grad_(),
        lambda x: np.asfortranarray(x),
        lambda x: np.repeat(x, 2, axis=0)[::2],
        lambda x: x.tolist(),
    ],
)
def test_kinds_of_input_agree(convert):
    points = gaussian_latents(200, 3).astype(np.float32).astype(np.float64)
    assert same(knn_graph(convert(points), 5), knn_graph(points, 5))


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint8])
def test_narrow_dtypes_mean_their_float64_values(dtype):
    points = (gaussian_latents(100, 3) * 10 + 50).astype(dtype)
    assert same(knn_graph(points, 5), knn_graph(points.astype(np.float64), 5))


def test_bfloat16_tensors():
    points = torch.from_numpy(gaussian_latents(100, 3)).to(torch.bfloat16)
    assert same(knn_graph(points, 5), knn_graph(points.double().numpy(), 5))


@pytest.mark.parametrize("index", INDEXES)
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_rotation_and_translation_of_latents(index, offset):
    points = gaussian_latents(400, 3)
    moved = Rotation.from_rotvec([0.3, -1.1, 0.7]).apply(points) + offset
    assert same(knn_graph(moved, 8, index=index), knn_graph(points, 8, index=index))


@pytest.mark.parametrize("index", INDEXES)
def test_permutation_of_nodes(index):
    points = gaussian_latents(300, 3)
    order = np.random.default_rng(3).permutation(300)
    graph = knn_graph(points, 8, index=index, weights="gaussian")
    permuted = knn_graph(points[order], 8, index=index, weights="gaussian")
    np.testing.assert_allclose(permuted.toarray(), graph[order][:, order].toarray(), rtol=1e-12)


def test_smallest_graph_is_complete():
    np.testing.assert_array_equal(knn_graph(gaussian_latents(5, 2), 4).toarray(), 1 - np.eye(5))


def test_faiss_thread_count_is_put_back():
    import faiss

    before = faiss.omp_get_max_threads()
    knn_graph(gaussian_latents(50, 2), 3, index="exact")
    assert faiss.omp_get_max_threads() == before


GOOD = gaussian_latents(20, 2)
WITH_NAN = np.where(np.arange(20)[:, None] == 13, np.nan, GOOD)


@pytest.mark.parametrize(
    ("latents", "options", "error", "message"),
    [
        (WITH_NAN, {}, ValueError, r"latents holds 2 NaN or infinite value\(s\), the first in row 13"),
        (np.where(GOOD.max() - 1e-9 < GOOD, np.inf, GOOD), {}, ValueError, "latents holds 1 NaN or infinite"),
        (GOOD[:, 0], {}, ValueError, r"latents must have shape \[N, D\], got \(20,\)"),
        (GOOD[None], {}, ValueError, r"latents must have shape \[N, D\]"),
        (GOOD[:, :0], {}, ValueError, "at least one column"),
        (GOOD[:10], {}, ValueError, "n_neighbors=10 needs at least 11 latents, got 10; lower n_neighbors"),
        (GOOD[:0], {}, ValueError, "needs at least 11 latents, got 0"),
        (GOOD, {"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1, got 0"),
        (GOOD, {"n_neighbors": -3}, ValueError, "n_neighbors must be at least 1"),
        (GOOD, {"n_neighbors": 2.5}, TypeError, "n_neighbors must be an integer"),
        (GOOD, {"n_neighbors": True}, TypeError, "n_neighbors must be an integer"),
        (
            GOOD,
            {"index": "lsh"},
            ValueError,
            "index must be one of 'auto', 'exact', 'kdtree', 'lists', 'ivf', 'hnsw', got 'lsh'",
        ),
        (GOOD, {"min_recall": 0.0}, ValueError, r"min_recall must lie in \(0, 1\], got 0.0"),
        (GOOD, {"min_recall": 1.1}, ValueError, r"min_recall must lie in \(0, 1\], got 1.1"),
        (GOOD, {"weights": "heat"}, ValueError, "weights must be one of"),
        (GOOD, {"symmetrize": "both"}, ValueError, "symmetrize must be one of"),
        (GOOD.astype(complex), {}, TypeError, "latents must hold real numbers, got dtype complex128"),
        (GOOD.astype(str), {}, TypeError, "latents must hold real numbers"),
    ],
)
def test_bad_input(latents, options, error, message):
    with pytest.raises(error, match=message):
        knn_graph(latents, **options)


def true_recall(points, found):
    """Share of the k nearest by exhaustive search that were found; ties count."""
    k = found.indices.shape[1]
    distances = brute_distances(points)
    farthest = np.sort(distances, axis=1)[:, k - 1 : k]
    return (np.take_along_axis(distances, found.indices, axis=1) <= farthest * (1 + 1e-12)).mean()


def clustered_latents(n, d, seed=0):
    """Eight Gaussians of different widths, as the latents of a mixture model."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 8, n)
    return 4 * rng.normal(size=(8, d))[group] + np.exp(0.5 * rng.normal(size=(8, d)))[group] * rng.normal(size=(n, d))


@pytest.mark.parametrize("index", ["lists", "ivf", "hnsw"])
@pytest.mark.parametrize("latents", [gaussian_latents, clustered_latents])
@pytest.mark.parametrize("min_recall", [0.9, 0.99])
def test_approximate_indexes_reach_and_report_their_recall(index, latents, min_recall):
    points = latents(3000, 8)
    found = nearest_neighbors(points, 10, index=index, min_recall=min_recall)
    assert found.index_name == index
    assert found.effort >= 1
    assert found.recall >= min_recall
    recall = true_recall(points, found)
    assert recall >= min_recall
    assert found.recall == pytest.approx(recall, abs=0.01)  # a third of the points was the sample
    rows = np.arange(3000)[:, None]
    assert (found.indices != rows).all()
    assert all(len(set(row)) == 10 for row in found.indices.tolist())
    np.testing.assert_allclose(found.distances, brute_distances(points)[rows, found.indices], rtol=1e-12)
    assert (np.diff(found.distances, axis=1) >= 0).all()


@pytest.mark.parametrize("index", ["lists", "ivf"])
def test_a_higher_recall_takes_more_effort(index):
    points = gaussian_latents(4000, 12)
    efforts = [nearest_neighbors(points, index=index, min_recall=recall).effort for recall in (0.5, 0.9, 0.999)]
    assert efforts == sorted(set(efforts))


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_where_float32_sees_nothing_the_exact_search_answers(index):
    """Width 1e-9 at distance 10: float32 cannot tell the members of a cluster apart."""
    rng = np.random.default_rng(1)
    points = 10 * rng.normal(size=(4, 5))[np.arange(1200) % 4] + 1e-9 * rng.normal(size=(1200, 5))
    found = nearest_neighbors(points, 10, index=index)
    assert found.index_name == "exact"
    assert found.recall == 1.0
    assert true_recall(points, found) == 1.0


@pytest.mark.parametrize("index", ["lists", "ivf", "hnsw"])
@pytest.mark.parametrize(("n", "k"), [(2, 1), (5, 4), (30, 10), (200, 150)])
def test_approximate_indexes_on_few_points(index, n, k):
    points = gaussian_latents(n, 3)
    found = nearest_neighbors(points, k, index=index)
    assert found.indices.shape == (n, k)
    assert np.isfinite(found.distances).all()
    assert all(len({*row, i}) == k + 1 for i, row in enumerate(found.indices.tolist()))
    assert true_recall(points, found) >= 0.98


@pytest.mark.parametrize("index", ["lists", "ivf", "hnsw"])
def test_approximate_indexes_with_crowds_of_copies(index):
    points = np.vstack([np.ones((300, 4)), 3 + gaussian_latents(900, 4)])
    with pytest.warns(UserWarning, match="300 of 1200 latents"):
        found = nearest_neighbors(points, 5, index=index)
    assert found.index_name in (index, "kdtree")
    assert (found.indices != np.arange(1200)[:, None]).all()
    assert (found.indices[:300] < 300).all()
    assert not found.distances[:300].any()
    assert true_recall(points[300:], nearest_neighbors(points[300:], 5, index=index)) >= 0.98


@pytest.mark.parametrize("index", ["lists", "ivf"])
def test_inverted_lists_are_deterministic_for_any_number_of_threads(index, one_thread):
    points = clustered_latents(5000, 8)
    first = nearest_neighbors(points, index=index)
    torch.set_num_threads(2)
    for again in (nearest_neighbors(points, index=index), nearest_neighbors(points, index=index)):
        np.testing.assert_array_equal(again.indices, first.indices)
        np.testing.assert_array_equal(again.distances, first.distances)
        assert again.recall == first.recall


@pytest.mark.parametrize(
    ("n", "dim", "exact", "expected"),
    [
        (100, 2, False, "kdtree"),
        (10**6, 6, False, "kdtree"),
        (20_000, 8, False, "kdtree"),
        (20_000, 16, False, "kdtree"),
        (20_000, 100, False, "exact"),
        (200_000, 9, False, "lists"),
        (200_000, 65, False, "ivf"),
        (200_000, 16, True, "kdtree"),
        (200_000, 65, True, "exact"),
    ],
)
def test_choice_of_the_index(n, dim, exact, expected):
    assert choose_index(n, dim, exact=exact) == expected


def test_auto_answers_by_its_choice(monkeypatch):
    points = gaussian_latents(2000, 12)
    assert nearest_neighbors(points).index_name == "kdtree"
    assert nearest_neighbors(gaussian_latents(50, 70)).index_name == "exact"
    monkeypatch.setattr(neighbors, "EXACT_MAX_POINTS", 1000)
    found = nearest_neighbors(points, min_recall=0.95)
    assert found.index_name == "lists"
    assert 0.95 <= found.recall <= 1
    monkeypatch.setattr(_tree, "WORTH", 100.0)  # lists would have to save far more than they do
    found = nearest_neighbors(points, min_recall=0.95)
    assert found.index_name == "kdtree"
    assert found.recall == 1
    assert nearest_neighbors(points, min_recall=1).recall == 1


@pytest.mark.parametrize("mode", ["connectivity", "distance"])
@pytest.mark.parametrize("index", INDEXES)
def test_neighbors_equal_scikit_learns(index, mode):
    sklearn_neighbors = pytest.importorskip("sklearn.neighbors")
    points = clustered_latents(500, 3)
    expected = sklearn_neighbors.kneighbors_graph(points, 8, mode=mode)
    expected.sort_indices()
    found = nearest_neighbors(points, 8, index=index)
    order = np.argsort(found.indices, axis=1)
    np.testing.assert_array_equal(np.take_along_axis(found.indices, order, 1).ravel(), expected.indices)
    if mode == "distance":
        np.testing.assert_allclose(np.take_along_axis(found.distances, order, 1).ravel(), expected.data, rtol=1e-9)
    else:
        assert same(knn_graph(points, 8, index=index), sparse.csr_array(expected.maximum(expected.T)))
        assert same(
            knn_graph(points, 8, index=index, symmetrize="mutual"), sparse.csr_array(expected.minimum(expected.T))
        )


@pytest.mark.parametrize("factor", [1e-200, 1.0, 1e200])
def test_distance_weights_follow_their_definition(factor):
    points = gaussian_latents(150, 3)
    points[:3] = points[0]  # copies weigh 1
    distances = brute_distances(points)
    nearest = np.sort(distances, axis=1)[:, :10]
    expected = 1 / (1 + distances / np.median(nearest[nearest > 0]))
    graph = knn_graph(points * factor, 10, weights="distance")
    pattern = knn_graph(points, 10).toarray()
    np.testing.assert_allclose(graph.toarray(), np.where(pattern > 0, expected, 0), rtol=1e-9)
    assert graph[0, 1] == graph[1, 2] == 1.0


def test_distance_weights_of_constant_latents_are_one():
    with pytest.warns(UserWarning, match="identical"):
        graph = knn_graph(np.ones((50, 2)), 4, weights="distance")
    np.testing.assert_array_equal(graph.data, 1.0)


@pytest.mark.parametrize("weights", ["binary", "gaussian", "distance"])
@pytest.mark.parametrize("symmetrize", ["union", "mutual"])
def test_neighbors_found_before_are_used(weights, symmetrize):
    points = gaussian_latents(200, 3)
    found = nearest_neighbors(points, 20)
    graph = build_graph(points, 8, weights=weights, symmetrize=symmetrize, neighbors=found)
    assert same(graph.adjacency, knn_graph(points, 8, weights=weights, symmetrize=symmetrize))
    assert graph.index == "kdtree"
    with pytest.raises(ValueError, match=r"neighbors must have 200 rows and at least 21 columns, got \(200, 20\)"):
        build_graph(points, 21, neighbors=found)
