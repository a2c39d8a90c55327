import numpy as np
import pytest

from gmvae_fast.metrics import energy_spectrum


@pytest.mark.parametrize("grid", [(16,), (15,), (12, 10), (9, 16), (6, 5, 8), (1, 7)])
def test_energies_sum_to_the_mean_square(grid):
    fields = np.random.default_rng(1).normal(2, 1, size=(3, 2, *grid)).astype(np.float32)
    spectrum = energy_spectrum(fields, 0.3)

    assert spectrum.energy.shape == (3, 2, len(spectrum.wavenumber))
    axes = tuple(range(2, fields.ndim))
    np.testing.assert_allclose(spectrum.energy.sum(-1), np.square(fields, dtype=np.float64).mean(axes), rtol=1e-12)
    np.testing.assert_allclose(spectrum.energy[..., 0], fields.mean(axes, dtype=np.float64) ** 2, rtol=1e-12)


@pytest.mark.parametrize(("mode", "shell"), [((3, 0), 3), ((0, 8), 8), ((3, 4), 5), ((-2, 2), 3)])
def test_one_mode_lands_in_its_shell(mode, shell):
    n, length = 16, 2.0
    y, x = np.meshgrid(*[np.arange(n) / n] * 2, indexing="ij")
    field = np.cos(2 * np.pi * (mode[0] * y + mode[1] * x))
    spectrum = energy_spectrum(field, length / n, n_axes=2)

    assert spectrum.energy[shell] == pytest.approx((field**2).mean())
    assert spectrum.energy.sum() == pytest.approx(spectrum.energy[shell])
    assert spectrum.wavenumber[shell] == pytest.approx(shell * 2 * np.pi / length)
    assert spectrum.width == pytest.approx(2 * np.pi / length)


def test_sides_of_different_lengths():
    y = np.arange(8) * 0.5  # length 4, the longest
    field = np.broadcast_to(np.sin(2 * np.pi * y / 4)[:, None], (8, 6))
    spectrum = energy_spectrum(field, (0.5, 0.1), n_axes=2)
    assert spectrum.width == pytest.approx(2 * np.pi / 4)
    assert spectrum.energy[1] == pytest.approx(0.5)
    x = np.arange(6) * 0.1
    field = np.broadcast_to(np.sin(2 * np.pi * x / 0.6), (8, 6))
    spectrum = energy_spectrum(field, (0.5, 0.1), n_axes=2)
    assert spectrum.energy[round(4 / 0.6)] == pytest.approx(0.5)


def test_errors():
    with pytest.raises(ValueError, match=r"1 to 3 grid axes.*\(4, 5\)"):
        energy_spectrum(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="fields must be finite"):
        energy_spectrum(np.full((1, 1, 4), np.nan))
    with pytest.raises(ValueError, match="one for each of 2 axes, got 3"):
        energy_spectrum(np.zeros((1, 1, 4, 4)), (1, 1, 1))
    with pytest.raises(ValueError, match="spacing must be a finite number > 0"):
        energy_spectrum(np.zeros((1, 1, 4)), 0)
    with pytest.raises(ValueError, match="cells along every grid axis"):
        energy_spectrum(np.zeros((1, 1, 0)))
