import numpy as np
import pytest

from gmvae_fast.metrics import relative_l2

RNG = np.random.default_rng(0)
REFERENCE = RNG.normal(size=(5, 2, 6, 4)).astype(np.float32)


def test_equal_fields_and_the_offset_alone():
    mean = REFERENCE.mean(0, dtype=np.float64)
    assert relative_l2(REFERENCE, REFERENCE) == 0
    assert relative_l2(np.broadcast_to(mean, REFERENCE.shape), REFERENCE, offset=mean) == pytest.approx(1)


def test_against_norms_over_masked_cells():
    fields = REFERENCE + RNG.normal(size=REFERENCE.shape)
    mask = np.ones((6, 4), dtype=bool)
    mask[2:4, 1:3] = False
    fields[..., ~mask] = np.nan
    scale = np.array([2.0, 0.5]).reshape(2, 1, 1)
    expected = np.linalg.norm((fields - REFERENCE)[..., mask] / scale[:, 0]) / np.linalg.norm(
        REFERENCE[..., mask] / scale[:, 0]
    )
    assert relative_l2(fields, REFERENCE, scale=scale, mask=mask) == pytest.approx(expected, rel=1e-6)
    each = relative_l2(fields, REFERENCE, scale=scale, mask=mask, per_snapshot=True)
    for i, value in enumerate(each):
        alone = relative_l2(fields[i : i + 1], REFERENCE[i : i + 1], scale=scale, mask=mask)
        assert value == pytest.approx(alone)


def test_a_reference_without_fluctuation_gives_nan():
    assert np.isnan(relative_l2(np.ones((2, 3)), np.zeros((2, 3))))
    assert np.isnan(relative_l2(np.ones((2, 3)), np.zeros((2, 3)), per_snapshot=True)).all()


def test_errors():
    with pytest.raises(ValueError, match=r"fields and reference.*\(4, 2, 6, 4\)"):
        relative_l2(REFERENCE[1:], REFERENCE)
    with pytest.raises(ValueError, match=r"mask must broadcast.*\(5, 4\)"):
        relative_l2(REFERENCE, REFERENCE, mask=np.ones((5, 4)))
    with pytest.raises(ValueError, match="scale must be above 0, got 0.0"):
        relative_l2(REFERENCE, REFERENCE, scale=0)
