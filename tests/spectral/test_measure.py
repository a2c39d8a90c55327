"""Energies and counts without eigenvectors, against dense eigendecompositions and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_graphs import path_graph, path_values, path_vector, product_graph, ring_graph, ring_values, sums
from scipy import sparse, stats

from gmvae_fast.spectral import degrees, density_of_states, eigenpairs, knn_graph, laplacian, spectral_measure
from gmvae_fast.spectral import measure as measure_module
from gmvae_fast.spectral._lanczos import Jacobi, jacobi_matrices
from gmvae_fast.spectral.measure import NullSpace
from gmvae_fast.spectral.quadrature import distribution_bounds, gauss_rule

RNG = np.random.default_rng(0)
CLUSTERS = RNG.normal(size=(260, 2)) + 100 * (np.arange(260) % 3)[:, None]
GRAPHS = {
    "path": path_graph(150),
    "ring": ring_graph(150),
    "grid": product_graph(path_graph(14), path_graph(11)),
    "complete": sparse.csr_array(1 - np.eye(60)),
    "knn 2-D": knn_graph(RNG.normal(size=(250, 2))),
    "knn 8-D": knn_graph(RNG.normal(size=(250, 8)), weights="gaussian"),
    "three components": knn_graph(CLUSTERS),
    "isolated nodes": sparse.block_diag([ring_graph(40), sparse.csr_array((3, 3))], format="csr"),
}
TOLERANCE = 1e-10


def truth(matrix, signals, points):
    """Cumulative energies [T, S] and counts [T] by a dense solve; an eigenvalue at a point counts as below it."""
    values, vectors = np.linalg.eigh(matrix.toarray())
    below = values <= points[:, None] + 1e-11
    return below @ ((vectors.T @ signals) ** 2 / (signals**2).sum(0)), below.sum(1)


def probing_points(matrix):
    """The eigenvalues, the middles between them, and points outside the spectrum."""
    values = np.round(np.linalg.eigvalsh(matrix.toarray()), 12)
    return np.unique(np.concatenate([values, (values[1:] + values[:-1]) / 2, [-1.0, values[-1] + 1.0]]))


def mixed_signals(matrix, rng):
    n = matrix.shape[0]
    vectors = np.linalg.eigh(matrix.toarray())[1]
    smooth = np.sin(4 * np.arange(n) / n)
    return np.column_stack([rng.normal(size=n), vectors[:, 3] + 0.1 * rng.normal(size=n), vectors[:, 5], smooth])


@pytest.mark.parametrize("steps", [1, 7, 40, 200])
@pytest.mark.parametrize("normalization", ["none", "symmetric"])
@pytest.mark.parametrize("name", GRAPHS)
def test_intervals_hold_the_true_energies(name, normalization, steps):
    """Also at the jumps, and with more steps than nodes, where the recurrence has long lost its orthogonality."""
    graph = GRAPHS[name]
    matrix = laplacian(graph, normalization)
    points = np.random.default_rng(0).choice(probing_points(matrix), 24 if steps < 200 else 8)
    signals = mixed_signals(matrix, np.random.default_rng(1))
    expected, _ = truth(matrix, signals, points)
    degree = degrees(graph) if normalization == "symmetric" else None
    for index, measure in enumerate(spectral_measure(matrix, signals, steps=steps, degree=degree)):
        found = measure.cumulative(points)
        assert (found.lower <= expected[:, index] + TOLERANCE).all()
        assert (found.upper >= expected[:, index] - TOLERANCE).all()
        assert (np.abs(found.value - expected[:, index]) <= found.error + TOLERANCE).all()
        assert measure.weights.sum() == pytest.approx(1.0, abs=1e-12)


def waves_on_a_grid(a, b, indices):
    """Eigenvectors of the product of two paths, unit length, and their eigenvalues."""
    vectors = [np.kron(path_vector(a, i), path_vector(b, j)) for i, j in indices]
    values = [path_values(a)[i] + path_values(b)[j] for i, j in indices]
    return np.stack([v / np.linalg.norm(v) for v in vectors], axis=1), np.array(values)


def waves_on_a_ring(n, indices):
    vectors = np.stack([np.cos(2 * np.pi * i * np.arange(n) / n) for i in indices], axis=1)
    return vectors / np.linalg.norm(vectors, axis=0), 2 - 2 * np.cos(2 * np.pi * np.array(indices) / n)


def steps_on_a_complete_graph(n):
    """The constant vector and one orthogonal to it."""
    vectors = np.stack([np.ones(n), np.where(np.arange(n) < n // 2, 1.0, -1.0)], axis=1)
    return vectors / np.sqrt(n), np.array([0.0, float(n)])


KNOWN = {  # graph, all eigenvalues, some eigenvectors and theirs: closed forms, where no dense solver goes
    "path": lambda: (
        path_graph(20_000),
        path_values(20_000),
        *waves_on_a_grid(20_000, 1, [(0, 0), (40, 0), (3000, 0), (15_000, 0)]),
    ),
    "ring": lambda: (ring_graph(6000), ring_values(6000), *waves_on_a_ring(6000, [0, 30, 900, 2500])),
    "grid": lambda: (
        product_graph(path_graph(160), path_graph(130)),
        sums(path_values(160), path_values(130)),
        *waves_on_a_grid(160, 130, [(0, 0), (2, 1), (30, 40), (150, 20)]),
    ),
    "complete": lambda: (
        sparse.csr_array(1 - np.eye(1200)),
        np.r_[0.0, np.full(1199, 1200.0)],
        *steps_on_a_complete_graph(1200),
    ),
}


@pytest.mark.parametrize("steps", [20, 80])
@pytest.mark.parametrize("name", KNOWN)
def test_errors_are_right_where_the_spectrum_is_known(name, steps):
    graph, values, vectors, own = KNOWN[name]()
    matrix = laplacian(graph)
    energies = np.arange(1, len(own) + 1) / np.arange(1, len(own) + 1).sum()
    signal = vectors @ np.sqrt(energies)
    near = 1e-9 * np.maximum(own, 1)
    some = np.quantile(values, [0.003, 0.1, 0.5, 0.9])
    points = np.concatenate([own - near, own + near, some + 1e-9 * np.maximum(some, 1)])
    found = spectral_measure(matrix, signal, steps=steps).cumulative(points)
    expected = (energies * (own <= points[:, None])).sum(1)
    assert (np.abs(found.value - expected) <= found.error + 1e-9).all()
    assert found.error.max() < 1e-6  # four lines: as many steps resolve them
    count = density_of_states(matrix, steps=steps).count(points)
    below = (values <= points[:, None]).sum(1)
    assert ((count.lower <= below) & (below <= count.upper)).all()


@pytest.mark.parametrize("name", GRAPHS)
def test_counts_are_covered_at_the_stated_confidence(name):
    """100 seeds at three points: misses of a 90% interval follow a binomial with at most that rate."""
    matrix = laplacian(GRAPHS[name], "symmetric")
    values = np.linalg.eigvalsh(matrix.toarray())
    points = np.quantile(values, [0.05, 0.3, 0.8]) + 1e-9
    expected = (values <= points[:, None]).sum(1)
    misses = np.zeros(3)
    for seed in range(100):
        found = density_of_states(matrix, steps=30, n_probes=2, seed=seed, confidence=0.9).count(points)
        misses += (expected < found.lower) | (expected > found.upper)
        assert ((found.lower <= found.value) & (found.value <= found.upper)).all()
    assert misses.max() <= stats.binom.ppf(1 - 1e-4, 100, 0.1)


@pytest.mark.parametrize("name", ["path", "ring", "grid", "complete", "knn 2-D", "knn 8-D", "three components"])
def test_low_frequency_energy_without_eigenvectors_encloses_the_exact_one(name):
    graph = GRAPHS[name]
    matrix = laplacian(graph, "symmetric")
    n = matrix.shape[0]
    signals = mixed_signals(matrix, np.random.default_rng(2))
    vectors = np.linalg.eigh(matrix.toarray())[1]
    energies = np.cumsum((vectors.T @ signals) ** 2 / (signals**2).sum(0), axis=0)
    density = density_of_states(matrix, steps=60, degree=degrees(graph))
    for index, measure in enumerate(spectral_measure(matrix, signals, steps=60, degree=degrees(graph))):
        for m in (density.n_components, 5, 10, 20, n // 2, n):
            found = measure.low_frequency_energy(m, density)
            assert found.lower - TOLERANCE <= energies[m - 1, index] <= found.upper + TOLERANCE


def test_low_frequency_energy_is_narrow_where_the_spectrum_has_gaps():
    """A smooth signal over 8-D latents: forty modes of 2000, to better than a tenth without eigenvectors."""
    latents = np.random.default_rng(0).normal(size=(2000, 8))
    graph = knn_graph(latents)
    degree = degrees(graph)
    signal = np.sqrt(degree) * (latents[:, 0] - degree @ latents[:, 0] / degree.sum())
    matrix = laplacian(graph, "symmetric")
    density = density_of_states(matrix, n_probes=16)
    found = spectral_measure(matrix, signal).low_frequency_energy(40, density)
    exact = ((eigenpairs(matrix, 40).vectors.T @ signal) ** 2).sum() / (signal @ signal)
    assert found.lower <= exact <= found.upper
    assert found.upper - found.lower < 0.1


def test_eigenvector_is_an_atom():
    measure = spectral_measure(laplacian(path_graph(60)), path_vector(60, 4))
    np.testing.assert_allclose(measure.nodes, path_values(60)[4], atol=1e-12)
    np.testing.assert_allclose(measure.weights, 1.0)
    found = measure.cumulative([0.0, 0.04, 0.05, 4.0])
    np.testing.assert_allclose(found.value, [0, 0, 1, 1], atol=1e-12)
    np.testing.assert_allclose(found.error, 0, atol=1e-12)


def test_null_space_is_an_exact_atom():
    graph = GRAPHS["three components"]
    indicator = (CLUSTERS[:, 0] > 50).astype(float)
    measure = spectral_measure(laplacian(graph), indicator)
    assert measure.null_share == 1.0
    np.testing.assert_array_equal(measure.nodes, [0.0])
    found = measure.cumulative([-1e-3, 0.0, 1.0])
    np.testing.assert_array_equal(found.value, [0, 1, 1])
    half = spectral_measure(
        laplacian(graph, "symmetric"), np.sqrt(degrees(graph)) * np.where(indicator, 1, RNG.random(260))
    )
    assert 0 < half.null_share < 1
    assert density_of_states(laplacian(graph)).n_components == 3
    assert float(density_of_states(laplacian(graph)).count(0.0).upper) == 3


def test_mean_of_the_measure_is_the_rayleigh_quotient():
    matrix = laplacian(GRAPHS["knn 8-D"])
    signal = RNG.normal(size=250)
    for steps in (1, 3, 50):
        mean = spectral_measure(matrix, signal, steps=steps).mean
        assert mean == pytest.approx(signal @ (matrix @ signal) / (signal @ signal), rel=1e-12)


def test_unknown_null_space_widens_but_does_not_break():
    """L_sym of a weighted graph without its degrees: nothing is deflated, zero is counted all the same."""
    graph = GRAPHS["knn 8-D"]
    matrix = laplacian(graph, "symmetric")
    assert NullSpace.of(matrix).dimension == 0
    assert NullSpace.of(matrix, degrees(graph)).dimension == 1
    assert NullSpace.of(laplacian(GRAPHS["knn 2-D"], "symmetric")).dimension == 1  # binary: degrees are entries
    found = density_of_states(matrix).count([0.0, 0.3])
    assert (found.lower >= 1).all()


def test_block_equals_single_signals_and_memory_layout_does_not_matter():
    matrix = laplacian(GRAPHS["knn 2-D"])
    signals = np.random.default_rng(3).normal(size=(250, 19))  # more than one block of columns
    many = spectral_measure(matrix, np.asfortranarray(signals), steps=20)
    assert len(many) == 19
    for column in (0, 15, 16, 18):
        single = spectral_measure(matrix, signals[:, column], steps=20)
        np.testing.assert_allclose(many[column].nodes, single.nodes, rtol=1e-9)
        np.testing.assert_allclose(many[column].weights, single.weights, atol=1e-9)


def test_numbering_of_the_nodes_does_not_matter(monkeypatch):
    """Large graphs are renumbered for the caches."""
    matrix = laplacian(GRAPHS["three components"])
    signals = np.random.default_rng(3).normal(size=(260, 3))
    plain, counts = spectral_measure(matrix, signals, steps=20), density_of_states(matrix, steps=20).count(1.0)
    monkeypatch.setattr(measure_module, "REORDERED", 1)
    for before, after in zip(plain, spectral_measure(matrix, signals, steps=20), strict=True):
        np.testing.assert_allclose(after.nodes, before.nodes, rtol=1e-9)
        np.testing.assert_allclose(after.weights, before.weights, atol=1e-9)
    np.testing.assert_allclose(density_of_states(matrix, steps=20).count(1.0), counts, rtol=1e-9)


def test_deterministic_for_a_seed():
    matrix = laplacian(GRAPHS["knn 8-D"])
    first, again, other = (density_of_states(matrix, seed=s).count(2.0) for s in (0, 0, 1))
    assert first == again
    assert first != other


@given(st.integers(2, 30), st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_rule_is_exact_to_its_degree_and_bounds_are_ordered(n, steps, seed):
    rng = np.random.default_rng(seed)
    values, weights = np.sort(rng.random(n)), rng.dirichlet(np.ones(n))
    jacobi = jacobi_matrices(sparse.csr_array(np.diag(values)), np.sqrt(weights)[:, None], steps)[0]
    nodes, quadrature = gauss_rule(jacobi)
    for power in range(2 * len(nodes)):
        assert quadrature @ nodes**power == pytest.approx(weights @ values**power, rel=1e-8, abs=1e-12)
    points = np.linspace(-0.5, 1.5, 41)
    lower, upper = distribution_bounds(jacobi, points)
    assert ((lower >= 0) & (lower <= upper + 1e-9) & (upper <= 1)).all()
    expected = (weights * (values <= points[:, None])).sum(1)
    assert (lower <= expected + 1e-8).all()
    assert (expected <= upper + 1e-8).all()


def test_a_point_on_a_node_gives_the_gauss_rule():
    jacobi = Jacobi(np.full(6, 2.0), np.ones(6))
    nodes, weights = gauss_rule(jacobi)
    lower, upper = distribution_bounds(jacobi, nodes)
    np.testing.assert_allclose(lower, np.cumsum(weights) - weights, atol=1e-7)
    np.testing.assert_allclose(upper, np.cumsum(weights), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"f": np.zeros(5)}, ValueError, r"f must not be zero, it is in column\(s\) \[0\]"),
        ({"f": np.ones(4)}, ValueError, "one row per node, 5, got 4"),
        ({"f": np.full(5, np.nan)}, ValueError, "f holds 5 NaN"),
        ({"steps": 0}, ValueError, "steps must be at least 1"),
    ],
)
def test_bad_input(options, error, message):
    arguments = {"f": np.arange(5.0), **options}
    with pytest.raises(error, match=message):
        spectral_measure(laplacian(path_graph(5)), **arguments)


def test_bad_points_and_numbers_of_modes():
    matrix = laplacian(ring_graph(12))
    measure, density = spectral_measure(matrix, np.arange(12.0)), density_of_states(matrix)
    for found in (measure.cumulative, density.count):
        with pytest.raises(ValueError, match=r"t must not be NaN, 1 of 2 point\(s\) are"):
            found([0.1, np.nan])
    with pytest.raises(ValueError, match="m must be at least 1, got 0"):
        measure.low_frequency_energy(0, density)
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        density_of_states(matrix, seed=-1)


def test_bad_options_of_the_density():
    matrix = laplacian(path_graph(5))
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1"):
        density_of_states(matrix, confidence=1.0)
    with pytest.raises(ValueError, match="n_probes must be at least 1"):
        density_of_states(matrix, n_probes=0)
    with pytest.raises(ValueError, match="m must be at most the number of eigenvalues, 5, got 6"):
        density_of_states(matrix).mode_bracket(6)


def test_a_share_that_no_count_explains_is_given_by_both_neighbours():
    """One mode of 20 has less by a chance of 0.4 % only, none has nothing: Clopper and Pearson accept neither."""
    share = stats.beta.ppf(0.004, 8 / 2, 8 * 19 / 2)
    vectors = np.array([[np.sqrt(share), np.sqrt(1 - share)], [np.sqrt(1 - share), -np.sqrt(share)]])
    matrix = vectors @ np.diag([0.5, 1.0]) @ vectors.T  # seen from the first axis, this share of it lies at 0.5
    probe = Jacobi(np.diag(matrix).copy(), np.array([abs(matrix[0, 1]), 0.0]))
    found = measure_module.DensityOfStates(20, 0, 0.99, 0, (probe,) * 8, np.ones(8)).count(0.75)
    assert (found.lower, found.upper) == (0, 1)
    assert found.lower <= found.value <= found.upper
