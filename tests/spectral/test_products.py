import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from gmvae_fast.spectral._ordering import local_order, permuted
from gmvae_fast.spectral._products import aligned, multiply, recurrence, subtract_scaled


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


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
@pytest.mark.parametrize("width", [0, 1, 2, 3, 5, 8, 13, 16, 17, 31])
@pytest.mark.parametrize("n", [1, 70, 2500])
def test_recurrence_is_its_definition(n, width, index_dtype):
    """2500 rows are three chunks of sums, of which the last is not full."""
    matrix = random_matrix(n, n, width, index_dtype, density=min(1.0, 5 / n))
    rng = np.random.default_rng(1)
    x, y, (a, b, c) = rng.normal(size=(n, width)), rng.normal(size=(n, width)), rng.normal(size=(3, width))
    expected = a * (matrix @ x) + b * x + c * y
    sums = recurrence(matrix, x, y, np.stack([a, b, c]))
    np.testing.assert_allclose(y, expected, atol=1e-12)
    np.testing.assert_allclose(sums, (x * expected).sum(axis=0), atol=1e-10)


@pytest.mark.parametrize("width", [0, 1, 2, 3, 5, 8, 13, 16, 17, 31])
@pytest.mark.parametrize("n", [1, 70, 2500])
def test_subtract_scaled_is_its_definition(n, width):
    rng = np.random.default_rng(1)
    x, y, c = rng.normal(size=(n, width)), rng.normal(size=(n, width)), rng.normal(size=width)
    expected = y - c * x
    squares = subtract_scaled(x, y, c)
    np.testing.assert_allclose(y, expected, atol=1e-14)
    np.testing.assert_allclose(squares, (expected**2).sum(axis=0), rtol=1e-12)


def test_sums_are_the_same_bits_for_every_number_of_threads():
    n, width = 20_000, 3
    matrix = random_matrix(50, 50, 0)
    matrix = sparse.csr_array(sparse.block_diag([matrix] * (n // 50), format="csr"))
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, width)), rng.normal(size=(n, width))
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            result = y.copy()
            sums = recurrence(matrix, x, result, np.ones((3, width)))
            results.append((sums, result.copy(), subtract_scaled(x, result, sums / n), result))
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        for one, other in zip(result, results[0], strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("width", [0, 1, 3, 8])
def test_aligned_blocks_start_with_a_cache_line(width):
    block = aligned(11, width)
    assert block.shape == (11, width)
    assert block.dtype == np.float64
    assert block.flags.c_contiguous
    assert not block.size or block.ctypes.data % 64 == 0  # an empty one has no memory of its own


@pytest.mark.parametrize(
    ("x", "y", "coefficients", "message"),
    [
        (np.ones((29, 2)), np.ones((30, 2)), np.ones((3, 2)), r"x must be a C-contiguous float64 .* \(30, 2\)"),
        (np.ones((30, 2)), np.ones((30, 2), order="F"), np.ones((3, 2)), "y must be a C-contiguous"),
        (np.ones((30, 2)), np.ones((30, 2)), np.ones((2, 2)), r"coefficients must be .* of shape \(3, 2\)"),
    ],
)
def test_bad_shapes_of_a_recurrence(x, y, coefficients, message):
    with pytest.raises(ValueError, match=message):
        recurrence(random_matrix(30, 30, 0), x, y, coefficients)
    with pytest.raises(ValueError, match="must be a C-contiguous float64"):
        subtract_scaled(np.ones((30, 2)), y[:29], np.ones(2))
    with pytest.raises(ValueError, match="matrix must be square"):
        recurrence(random_matrix(30, 20, 0), np.ones((30, 2)), np.ones((30, 2)), np.ones((3, 2)))


@pytest.mark.parametrize("index_dtype", [np.int32, np.int64])
def test_permuted_is_indexing_twice(index_dtype):
    matrix = random_matrix(80, 80, 3, index_dtype)
    order = np.random.default_rng(0).permutation(80)
    found, expected = permuted(matrix, order), sparse.csr_array(matrix[order][:, order])
    expected.sort_indices()
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.data, expected.data)
    assert found.indices.dtype == index_dtype


def test_permuted_takes_the_nodes_of_one_component():
    blocks = [random_matrix(30, 30, 1), random_matrix(20, 20, 2)]
    both = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
    nodes = np.arange(49, 29, -1)
    np.testing.assert_array_equal(permuted(both, nodes).toarray(), both.toarray()[nodes][:, nodes])
    assert permuted(both, nodes[:0]).shape == (0, 0)


def test_local_order_brings_neighbours_together():
    """A ring in a random order: beside each other again, up to the two arms of the search."""
    n = 400
    shuffled = np.random.default_rng(0).permutation(n)
    ring = sparse.coo_array((np.ones(n), (shuffled, np.roll(shuffled, 1))), shape=(n, n))
    ring = sparse.csr_array(ring + ring.T)
    order = local_order(ring)
    np.testing.assert_array_equal(np.sort(order), np.arange(n))
    entries = permuted(ring, order).tocoo()
    assert abs(entries.row - entries.col).max() <= 2
