import numpy as np
import pytest
from known_graphs import path_graph, path_values, path_vector, product_graph, ring_graph, ring_values, sums
from scipy import sparse

from gmvae_fast.spectral import (
    EigenConvergenceError,
    _arpack,
    _block_lanczos,
    degrees,
    eigen,
    eigenpairs,
    knn_graph,
    laplacian,
)
from gmvae_fast.spectral._chebyshev import filtered

METHODS = ["dense", "lanczos", "shift-invert", "chebyshev"]
GRAPHS = {
    "path": (path_graph(120), path_values(120)),
    "ring": (ring_graph(150), ring_values(150)),
    "grid": (product_graph(path_graph(14), path_graph(11)), sums(path_values(14), path_values(11))),
    "torus": (product_graph(ring_graph(15), ring_graph(15)), sums(ring_values(15), ring_values(15))),
}


def check_pairs(matrix, pairs, tolerance=1e-8):
    """Orthonormal, ascending, and the residuals are those of the pairs."""
    values, vectors, residuals = pairs
    m = len(values)
    assert vectors.shape == (matrix.shape[0], m)
    assert (np.diff(values) >= 0).all()
    assert (values >= 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(m), atol=1e-12)
    np.testing.assert_allclose(
        residuals, np.linalg.norm(matrix @ vectors - vectors * values, axis=0), rtol=1e-6, atol=1e-15
    )
    assert residuals.max() < tolerance


@pytest.mark.parametrize("method", [*METHODS, "auto"])
@pytest.mark.parametrize("name", GRAPHS)
def test_known_spectra(name, method):
    """Rings, grids and tori have multiple eigenvalues, of which a Krylov method must not lose a copy."""
    graph, expected = GRAPHS[name]
    matrix = laplacian(graph)
    pairs = eigenpairs(matrix, 22, method=method)
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, expected[:22], atol=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "chebyshev"])
@pytest.mark.parametrize("name", ["grid", "torus"])
def test_operators_fed_to_eigsh(name, method):
    graph, expected = GRAPHS[name]
    matrix = laplacian(graph)
    pairs = eigenpairs(matrix, 15, method=method, iteration="eigsh")
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, expected[:15], atol=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "chebyshev"])
@pytest.mark.parametrize("seed", range(6))
def test_no_copy_of_a_fourfold_eigenvalue_is_lost(method, seed):
    graph = product_graph(ring_graph(24), ring_graph(24))
    pairs = eigenpairs(laplacian(graph), 21, method=method, seed=seed)
    np.testing.assert_allclose(pairs.values, sums(ring_values(24), ring_values(24))[:21], atol=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "chebyshev"])
def test_multiplicities_beyond_the_block(method):
    """Eigenvalue 2 of the hypercube of 2^8 nodes comes 8 times, 4 comes 28 times; the block has four vectors."""
    graph = sparse.csr_array((1, 1))
    for _ in range(8):
        graph = product_graph(graph, path_graph(2))
    matrix = laplacian(graph)
    pairs = eigenpairs(matrix, 30, method=method)
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, [0] + 8 * [2] + 21 * [4], atol=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "chebyshev"])
def test_complete_graph_exhausts_the_krylov_space(method):
    """It has two eigenvalues, 0 once and N, so that the Krylov space of a block ends after two steps."""
    matrix = laplacian(sparse.csr_array(np.ones((200, 200)) - np.eye(200)))
    pairs = eigenpairs(matrix, 12, method=method)
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, [0] + 11 * [200], atol=1e-10)


@pytest.mark.parametrize("method", ["lanczos", "chebyshev", "shift-invert"])
@pytest.mark.parametrize("tol", [1e-4, 1e-10])
def test_residuals_keep_the_tolerance(method, tol):
    matrix = laplacian(knn_graph(np.random.default_rng(3).normal(size=(900, 3))), "symmetric")
    assert eigenpairs(matrix, 10, method=method, tol=tol).residuals.max() <= 2 * tol


@pytest.mark.parametrize("method", METHODS)
def test_normalized_ring(method):
    """Every degree is 2, so L_sym = L / 2."""
    pairs = eigenpairs(laplacian(ring_graph(100), "symmetric"), 9, method=method)
    np.testing.assert_allclose(pairs.values, ring_values(100)[:9] / 2, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_eigenvectors_of_a_path(method):
    pairs = eigenpairs(laplacian(path_graph(80)), 6, method=method)
    for index in range(6):
        expected = path_vector(80, index) / np.linalg.norm(path_vector(80, index))
        overlap = expected @ pairs.vectors[:, index]
        np.testing.assert_allclose(pairs.vectors[:, index], np.sign(overlap) * expected, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_first_of_the_largest_entries_is_positive(method):
    """In a path the modes have entries of equal magnitude at both ends: rounding must not decide between them."""
    vectors = eigenpairs(laplacian(path_graph(81)), 8, method=method).vectors
    for vector in vectors.T:
        largest = np.flatnonzero(np.isclose(np.abs(vector), np.abs(vector).max(), rtol=1e-7))
        assert vector[largest[0]] > 0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_methods_agree_on_a_knn_graph(method, normalization):
    matrix = laplacian(knn_graph(np.random.default_rng(0).normal(size=(220, 3))), normalization)
    reference, pairs = eigenpairs(matrix, 12, method="dense"), eigenpairs(matrix, 12, method=method)
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, reference.values, atol=1e-12)
    np.testing.assert_allclose(pairs.vectors, reference.vectors, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("normalization", ["none", "symmetric"])
def test_multiplicity_of_zero_is_the_number_of_components(method, normalization):
    blocks = [path_graph(60), ring_graph(70), path_graph(2), sparse.csr_array((1, 1))]
    matrix = laplacian(sparse.block_diag(blocks, format="csr"), normalization)
    pairs = eigenpairs(matrix, 10, method=method)
    check_pairs(matrix, pairs)
    np.testing.assert_array_equal(pairs.values[:4], 0)
    assert pairs.values[4] > 1e-6
    np.testing.assert_allclose(pairs.values, np.linalg.eigvalsh(matrix.toarray())[:10], atol=1e-12)


def test_components_are_merged_in_order_of_eigenvalue():
    matrix = laplacian(sparse.block_diag([path_graph(40), path_graph(30)], format="csr"))
    expected = np.sort(np.concatenate([path_values(40), path_values(30)]))
    np.testing.assert_allclose(eigenpairs(matrix, 25).values, expected[:25], atol=1e-12)


def test_null_vectors_live_on_one_component_the_largest_first():
    graph = sparse.block_diag([path_graph(3), ring_graph(10), path_graph(5)], format="csr")
    pairs = eigenpairs(laplacian(graph, "symmetric"), 2)
    np.testing.assert_array_equal(pairs.values, 0)
    expected = np.zeros((18, 2))
    expected[3:13, 0] = np.sqrt(1 / 10)
    expected[13:, 1] = np.sqrt(degrees(path_graph(5)) / 8)
    np.testing.assert_allclose(pairs.vectors, expected, atol=1e-12)


def test_all_pairs_of_a_graph():
    graph, expected = GRAPHS["grid"]
    matrix = laplacian(graph)
    pairs = eigenpairs(matrix, matrix.shape[0])
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, expected, atol=1e-12)


@pytest.mark.parametrize("method", ["lanczos", "shift-invert", "chebyshev"])
def test_deterministic_and_independent_of_the_seed(method):
    matrix = laplacian(knn_graph(np.random.default_rng(1).normal(size=(220, 2))), "symmetric")
    first, again, other = (eigenpairs(matrix, 8, method=method, seed=s) for s in (0, 0, 5))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    np.testing.assert_allclose(first.vectors, other.vectors, atol=1e-6)


def test_dense_arrays_and_single_node():
    np.testing.assert_allclose(eigenpairs(laplacian(path_graph(5)).toarray(), 5).values, path_values(5), atol=1e-14)
    alone = eigenpairs(np.zeros((1, 1)), 1)
    assert alone.values[0] == 0
    assert alone.vectors[0, 0] == 1


@pytest.mark.parametrize(("iteration", "module"), [("block", _block_lanczos), ("eigsh", _arpack)])
def test_failure_to_converge_says_what_to_try(monkeypatch, iteration, module):
    """A long path has gaps of 1e-7, out of reach of a few restarts of Lanczos."""
    monkeypatch.setattr(module, "RESTARTS", 5)
    matrix = laplacian(path_graph(3000))
    with pytest.raises(EigenConvergenceError, match=r"did not converge .* try method='shift-invert'"):
        eigenpairs(matrix, 5, method="lanczos", iteration=iteration)
    pairs = eigenpairs(matrix, 5, iteration=iteration)
    check_pairs(matrix, pairs)
    np.testing.assert_allclose(pairs.values, path_values(3000)[:5], rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize(("dim", "first"), [(2, "inverted"), (8, "filtered")])
def test_auto_chooses_by_the_shape_of_the_graph(monkeypatch, dim, first):
    calls = []
    for name in ("inverted", "filtered"):
        operator = getattr(eigen, name)
        monkeypatch.setattr(eigen, name, lambda *a, name=name, make=operator: (calls.append(name), make(*a))[1])
    matrix = laplacian(knn_graph(np.random.default_rng(0).normal(size=(1500, dim))), "symmetric")
    check_pairs(matrix, eigenpairs(matrix, 6))
    assert set(calls) == {first}


def test_residuals_of_the_polynomial_bound_those_of_the_laplacian():
    """(L - lambda) u is at most the gain times (p(L) - p(lambda)) u: also where u leaks into the far end."""
    matrix = laplacian(knn_graph(np.random.default_rng(2).normal(size=(600, 4))), "symmetric")
    spectrum = eigenpairs(matrix, 600, method="dense").values
    operator = filtered(matrix, 6, seed=0)
    images = operator.image(spectrum)
    gain = operator.gain(images[:6])
    for lowest in range(6):
        beyond = np.arange(600) != lowest
        ratio = np.abs(spectrum[beyond] - spectrum[lowest]) / np.abs(images[beyond] - images[lowest])
        assert ratio.max() <= gain[lowest]
        assert gain[lowest] <= 4 * ratio.max()


def test_auto_falls_back_to_shift_invert(monkeypatch):
    monkeypatch.setattr(eigen, "THIN_WIDTH", 0.0)
    matrix = laplacian(product_graph(path_graph(30), path_graph(20)))
    monkeypatch.setattr(eigen, "filtered", _raise_no_convergence)
    np.testing.assert_allclose(eigenpairs(matrix, 6).values, sums(path_values(30), path_values(20))[:6], atol=1e-12)


def _raise_no_convergence(*_):
    raise EigenConvergenceError("as if")


@pytest.mark.parametrize(
    ("matrix", "options", "error", "message"),
    [
        (np.zeros((3, 2)), {}, ValueError, "laplacian must be square"),
        (np.triu(np.ones((3, 3))), {}, ValueError, "laplacian must be symmetric"),
        (sparse.csr_array(np.full((2, 2), np.inf)), {}, ValueError, "laplacian must be finite"),
        (np.eye(3), {"m": 0}, ValueError, "m must be at least 1"),
        (np.eye(3), {"m": 4}, ValueError, "m must be at most the number of nodes, 3, got 4"),
        (np.eye(3), {"m": 1.0}, TypeError, "m must be an integer"),
        (np.eye(3), {"method": "arpack"}, ValueError, "method must be one of"),
        (np.eye(3), {"tol": 0.0}, ValueError, "tol must be positive"),
    ],
)
def test_bad_input(matrix, options, error, message):
    with pytest.raises(error, match=message):
        eigenpairs(matrix, **{"m": 1, **options})


def test_dense_solve_refuses_what_cannot_fit():
    with pytest.raises(ValueError, match="a dense solve of a component of 40000 nodes would not fit"):
        eigenpairs(laplacian(path_graph(40_000)), 2, method="dense")
