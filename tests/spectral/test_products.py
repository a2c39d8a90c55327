import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from gmvae_fast.spectral._products import multiply


def random_matrix(rows, columns, seed, index_dtype=np.int32, density=0.1):
    """Random entries, some rows empty, the columns of a row in any order."""
    rng = np.random.default_rng(seed)
    matrix = sparse.csr_array(rng.normal(size=(rows, columns)) * (rng.random((rows, columns)) < density))
    for row in range(rows):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = rng.permutation(part.stop - part.start)
        matrix.indices[part], matrix.data[part] = matrix.indices[part][order], matrix.data[part][order]
    indices, starts = matrix.indices.astype(index_dtype), matrix.indptr.astype(index_dtype)
    return sparse.csr_array((matrix.data, indices, starts), shape=matrix.shape)


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 24])
def test_equals_dense_product(width, index_dtype):
    matrix = random_matrix(150, 90, width, index_dtype)
    block = np.random.default_rng(1).normal(size=(90, width))
    np.testing.assert_allclose(multiply(matrix, block), matrix.toarray() @ block, atol=1e-13)


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(0, 40), columns=st.integers(1, 40), width=st.integers(0, 11), seed=st.integers(0, 1000))
def test_equals_scipy(rows, columns, width, seed):
    matrix = random_matrix(rows, columns, seed)
    block = np.random.default_rng(seed).normal(size=(columns, width))
    np.testing.assert_allclose(multiply(matrix, block), matrix @ block, atol=1e-13)


def test_vectors_and_layouts():
    matrix = random_matrix(60, 60, 0)
    block = np.random.default_rng(0).normal(size=(60, 5))
    expected = matrix @ block
    np.testing.assert_allclose(multiply(matrix, np.asfortranarray(block)), expected, atol=1e-13)
    np.testing.assert_allclose(multiply(matrix, np.repeat(block, 2, axis=1)[:, ::2]), expected, atol=1e-13)
    np.testing.assert_allclose(multiply(matrix, block[:, 0]), expected[:, 0], atol=1e-13)
    assert multiply(matrix, block[:, 0]).shape == (60,)


@pytest.mark.parametrize("width", [1, 8, 300])
def test_same_bits_for_every_number_of_threads(width):
    """Large enough for threads, with a hub; a block of 300 columns is large enough to be prefetched."""
    n = 8000
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(0, n, 40_000), rng.integers(0, n, 40_000)
    rows[:10_000] = 3
    matrix = sparse.csr_array((rng.normal(size=40_000), (rows, columns)), shape=(n, n))
    block = rng.normal(size=(n, width))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(multiply(matrix, block))
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(results[0], matrix @ block, atol=1e-11)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_writes_into_out():
    matrix, block = random_matrix(30, 30, 2), np.ones((30, 4))
    out = np.full((30, 4), np.nan)
    assert multiply(matrix, block, out) is out
    np.testing.assert_allclose(out, matrix @ block, atol=1e-13)


@pytest.mark.parametrize(
    ("block", "out", "message"),
    [
        (np.ones(29), None, r"block must have shape \[30\] or \[30, S\], got \(29,\)"),
        (np.ones((30, 2, 2)), None, "block must have shape"),
        (np.ones(30), np.ones((30, 1)), r"out must be .* of shape \(30,\)"),
        (np.ones((30, 2)), np.ones((30, 2), order="F"), "out must be a C-contiguous"),
        (np.ones(30), np.ones(30, np.float32), "out must be a C-contiguous float64"),
    ],
)
def test_bad_shapes(block, out, message):
    with pytest.raises(ValueError, match=message):
        multiply(random_matrix(30, 30, 0), block, out)


def test_bad_dtype():
    with pytest.raises(TypeError, match="matrix must be float64, got float32"):
        multiply(random_matrix(3, 3, 0).astype(np.float32), np.ones(3))
