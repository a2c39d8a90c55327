import numpy as np
import pytest

from gmvae_fast.data import Snapshots
from gmvae_fast.generation import NeighbourInterpolation, PodRegression

RNG = np.random.default_rng(0)
MODES = RNG.normal(size=(3, 1, 6, 5))


def linear(table):
    """Fields linear in the conditions [N, P]: [N, 1, 6, 5]."""
    table = np.asarray(table)
    return (MODES[0] + np.tensordot(table, MODES[1 : 1 + table.shape[1]], 1)).astype(np.float32)


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("make", [NeighbourInterpolation, PodRegression])
def test_fields_linear_in_the_conditions_are_exact(make, p):
    train = RNG.uniform(-1, 1, size=(60, p)) * np.array([1.0, 100.0])[:p]
    fitted = make().fit(None, linear(train), train)
    inside = 0.3 * train[:20]
    np.testing.assert_allclose(fitted.predict(inside), linear(inside), atol=1e-4 * np.abs(linear(train)).max())
    np.testing.assert_allclose(fitted.predict(train[:5]), linear(train[:5]), atol=1e-4 * np.abs(linear(train)).max())
    assert not fitted.extrapolates(inside).any()
    assert fitted.extrapolates(10 * train[np.abs(train[:, 0]).argmax()][None]).all()


@pytest.mark.parametrize("p", [1, 2])
def test_the_nearest_field_outside(p):
    train = RNG.uniform(-1, 1, size=(30, p))
    fitted = NeighbourInterpolation().fit(None, linear(train), train)
    beyond = np.full((1, p), 5.0)
    nearest = (((train - beyond) / train.std(0)) ** 2).sum(1).argmin()
    np.testing.assert_allclose(fitted.predict(beyond)[0], linear(train)[nearest], rtol=1e-5)


@pytest.mark.parametrize("make", [NeighbourInterpolation, PodRegression])
def test_equal_conditions_are_averaged_and_constant_ones_left_out(make):
    place = np.repeat(np.linspace(0, 1, 8), 2)
    fields = linear(place[:, None])
    fields[::2] += 1
    fields[1::2] -= 1
    fitted = make().fit(None, fields, {"place": place, "nu": np.full(16, 3.0)})
    expected = linear(np.array([[0.21]]))
    np.testing.assert_allclose(fitted.predict({"place": 0.21, "nu": 3.0}), expected, atol=2e-4)
    assert fitted.extrapolates({"place": 0.21, "nu": 4.0}).all()


@pytest.mark.parametrize("make", [NeighbourInterpolation, PodRegression])
def test_masked_cells_do_not_count(make):
    mask = np.ones((6, 5), dtype=bool)
    mask[2:4] = False
    train = RNG.uniform(-1, 1, size=(20, 1))
    fields = linear(train)
    fields[..., ~mask] = np.nan
    data = Snapshots(fields, ("T",), quantities={"place": train[:, 0]}, mask=mask)
    fitted = make().fit(None, data, data.quantities)
    predicted = fitted.predict({"place": train[:3, 0]})
    assert (predicted[..., ~mask] == 0).all()
    np.testing.assert_allclose(predicted[..., mask], linear(train[:3])[..., mask], atol=1e-3)


def test_pod_keeps_what_its_modes_hold():
    place = np.linspace(0, 1, 30)[:, None]
    fields = linear(place) + np.sin(20 * place)[:, :, None, None] * MODES[2].astype(np.float32)
    assert PodRegression(1).fit(None, fields, place).explained < 0.999
    assert PodRegression(5).fit(None, fields, place).explained == pytest.approx(1)


@pytest.mark.parametrize("make", [NeighbourInterpolation, PodRegression])
def test_conditions_that_follow_from_others(make):
    place = np.linspace(0, 1, 12)
    with pytest.raises(ValueError, match="must span their 2 dimensions"):
        make().fit(None, linear(place[:, None]), {"a": place, "b": 2 * place})


def test_errors():
    with pytest.raises(ValueError, match="at most 6 may vary here, got 7"):
        NeighbourInterpolation().fit(None, linear(RNG.normal(size=(30, 1))), RNG.normal(size=(30, 7)))
    with pytest.raises(ValueError, match="n_modes must be an integer >= 1"):
        PodRegression(0)
    fields = linear(RNG.normal(size=(8, 1)))
    fields[2, 0, 1, 1] = np.nan
    for make in (NeighbourInterpolation, PodRegression):
        with pytest.raises(ValueError, match="snapshot 2"):
            make().fit(None, fields, np.arange(8.0))
