import numpy as np
import pytest
import torch
from known_graphs import path_graph, product_graph, ring_graph
from scipy import sparse

from gmvae_fast.spectral import knn_graph, laplacian
from gmvae_fast.spectral._blocks import BLOCK, row_products, subtract_rows
from gmvae_fast.spectral._factor import Factor


def rows(m, n, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((m, n)), rng.standard_normal((BLOCK, n))


@pytest.mark.parametrize("m", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("n", [1, 5, 511, 512, 1300])
def test_products_and_subtraction(m, n, instruction_set):
    basis, block = rows(m, n)
    products = row_products(basis, block)
    assert products.shape == (m, BLOCK)
    np.testing.assert_allclose(products, basis @ block.T, rtol=1e-12, atol=1e-12)
    coefficients = np.ascontiguousarray(np.random.default_rng(1).standard_normal((m, BLOCK)))
    expected = block - coefficients.T @ basis
    subtract_rows(basis, block, coefficients)
    np.testing.assert_allclose(block, expected, rtol=1e-12, atol=1e-12)


def test_the_same_bits_for_every_number_of_threads():
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            basis, block = rows(9, 5000)
            products = row_products(basis, block)
            subtract_rows(basis, block, products)
            results.append((products, block))
    finally:
        torch.set_num_threads(before)
    for products, block in results[1:]:
        np.testing.assert_array_equal(products, results[0][0])
        np.testing.assert_array_equal(block, results[0][1])


def test_blocks_that_do_not_fit_are_refused():
    basis, block = rows(3, 40)
    with pytest.raises(
        ValueError, match=r"block must be a C-contiguous float64 array of shape \(4, 40\), got float64 \(3"
    ):
        row_products(basis, block[:3])
    with pytest.raises(ValueError, match="basis must be a C-contiguous"):
        row_products(np.asfortranarray(basis), block)
    with pytest.raises(ValueError, match="coefficients must be"):
        subtract_rows(basis, block, np.zeros((2, BLOCK)))


GRAPHS = {
    "path": path_graph(300),
    "torus": product_graph(ring_graph(20), ring_graph(13)),
    "latents": knn_graph(np.random.default_rng(0).normal(size=(700, 3))),
    "hubs": sparse.csr_array(sparse.block_array([[None, np.ones((2, 50))], [np.ones((50, 2)), None]])),
}


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("widths", [(BLOCK,), (1,), (BLOCK, 1, BLOCK + 2), (3, BLOCK)])
def test_factor_solves(name, widths, instruction_set):
    matrix = laplacian(GRAPHS[name]) + 1e-3 * sparse.eye_array(GRAPHS[name].shape[0])
    factor = Factor(sparse.csr_array(matrix))
    for width in widths:
        right = np.random.default_rng(width).standard_normal((matrix.shape[0], width))
        np.testing.assert_allclose(matrix @ factor.solve(right), right, atol=1e-9)


def test_pivoting_of_rows_is_left_to_superlu():
    """A matrix that is not positive definite may be pivoted: then the factors are no transposes of each other."""
    matrix = sparse.csr_array(np.array([[0.0, 2.0, 0.0], [2.0, 0.0, 1.0], [0.0, 1.0, 3.0]]))
    right = np.arange(12.0).reshape(3, 4)
    np.testing.assert_allclose(Factor(matrix).solve(right), np.linalg.solve(matrix.toarray(), right), atol=1e-12)
