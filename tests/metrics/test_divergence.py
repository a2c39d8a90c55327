import numpy as np
import pytest

from gmvae_fast.metrics import divergence

N = 32
STEP = 2 * np.pi / N
Y, X = np.meshgrid(*[np.arange(N) * STEP] * 2, indexing="ij")


def _rolled_curl(stream):
    """u = d psi / dy, v = -d psi / dx by the same differences, whose discrete divergence is rounding."""
    u = (np.roll(stream, -1, -2) - np.roll(stream, 1, -2)) / (2 * STEP)
    v = -(np.roll(stream, -1, -1) - np.roll(stream, 1, -1)) / (2 * STEP)
    return u, v


def test_a_stream_function_gives_none():
    stream = np.random.default_rng(0).normal(size=(4, N, N))
    found = divergence(*_rolled_curl(stream), spacing=STEP, periodic=True)
    assert found.relative.shape == (4,)
    assert found.relative.max() < 1e-14
    assert np.isfinite(found.values).all()

    smooth = divergence(np.sin(X) * np.cos(Y), -np.cos(X) * np.sin(Y), spacing=STEP)
    assert smooth.relative < 1e-12  # the differences of u and v err alike
    assert smooth.valid.sum() == (N - 2) ** 2
    assert np.isnan(smooth.values[0]).all()


def test_linear_fields_are_exact():
    found = divergence(3 * X + Y, 2 * Y, spacing=STEP)
    np.testing.assert_allclose(found.values[1:-1, 1:-1], 5, rtol=1e-12)
    assert found.relative == pytest.approx(5 / np.sqrt(9 + 1 + 4))
    # components along the other axes, other spacings
    swapped = divergence(2 * Y, 3 * X + Y, spacing=(STEP, 2 * STEP), axes=(-2, -1))
    np.testing.assert_allclose(swapped.values[1:-1, 1:-1], 2 + 1.5, rtol=1e-12)


def test_three_components():
    z, y, x = np.meshgrid(*[np.arange(6) * 0.5] * 3, indexing="ij")
    found = divergence(x, 2 * y, -3 * z, spacing=0.5)
    assert found.relative == pytest.approx(0, abs=1e-14)
    assert divergence(x, y, z, spacing=0.5).relative == pytest.approx(np.sqrt(3))


def test_masked_cells_are_not_touched():
    mask = np.hypot(X - np.pi, Y - np.pi) > 1
    u, v = np.sin(X) * np.cos(Y), -np.cos(X) * np.sin(Y)
    u[~mask] = np.nan
    v[~mask] = 1e30
    found = divergence(u, v, spacing=STEP, mask=mask)
    assert found.relative < 1e-12
    assert not found.valid[~mask].any()
    assert not found.valid[mask].all()
    assert np.isnan(divergence(u, v, mask=np.zeros_like(mask)).relative)


def test_a_uniform_flow_has_none():
    assert divergence(np.ones((N, N)), np.zeros((N, N))).relative == 0


def test_errors():
    with pytest.raises(ValueError, match="2 or 3 components"):
        divergence(X)
    with pytest.raises(ValueError, match="of one shape"):
        divergence(X, Y[1:])
    with pytest.raises(ValueError, match=r"mask must have the grid's shape \(32, 32\), got \(3,\)"):
        divergence(X, Y, mask=[True] * 3)
    with pytest.raises(ValueError, match="axes must name the last 2 axes"):
        divergence(X, Y, axes=(0, 1))
    with pytest.raises(ValueError, match="one for each of 2 axes"):
        divergence(X, Y, spacing=(1, 1, 1))
