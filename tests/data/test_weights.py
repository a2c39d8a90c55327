import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_sources import make_runs

from gmvae_fast.data import Snapshots, balanced_weights, weights


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    groups=st.lists(st.integers(0, 2), min_size=8, max_size=8),
)
def test_every_group_counts_the_same(lengths, groups):
    groups = np.array(groups[: len(lengths)])
    data = make_runs(lengths, groups=groups)
    by_run = balanced_weights(data)
    assert by_run.mean() == pytest.approx(1)
    total = np.bincount(np.unique(data.trajectory, return_inverse=True)[1], by_run)
    np.testing.assert_allclose(total, len(data) / len(lengths))
    np.testing.assert_allclose(balanced_weights(data, data.trajectory), by_run)
    np.testing.assert_allclose(balanced_weights(data, "Re"), by_run)  # one value a run
    nested = balanced_weights(data, ["group", "trajectory"])
    assert nested.mean() == pytest.approx(1)
    present = np.unique(groups)
    for group in present:
        mine = data.labels["group"] == group
        assert nested[mine].sum() == pytest.approx(len(data) / len(present))
        runs = [nested[data.trajectory == run].sum() for run in np.unique(data.trajectory[mine])]
        np.testing.assert_allclose(runs, runs[0])


def test_equal_runs_have_weight_one_and_own_groups_may_be_text():
    np.testing.assert_allclose(balanced_weights(make_runs([3, 3])), 1)
    data = make_runs([1] * 4)
    np.testing.assert_allclose(balanced_weights(data, np.array(["a", "a", "a", "b"])), [2 / 3, 2 / 3, 2 / 3, 2])
    assert doctest.testmod(weights, extraglobs={"np": np, "Snapshots": Snapshots}).failed == 0


@pytest.mark.parametrize(
    ("by", "message"),
    [
        ("colour", r"by must be one of \['Re', 'group', 'trajectory', 'wobble'\].*got 'colour'"),
        (["group", "colour"], "got 'colour'"),
        ([0, 1], r"groups must be numbers or text \[6\]"),
        ([0, 1, 2, 3, 4, np.nan], "groups must not be NaN, got one in snapshot 5"),
        ([], r"groups must be numbers or text \[6\]"),
    ],
)
def test_bad_groups(by, message):
    with pytest.raises(ValueError, match=message):
        balanced_weights(make_runs([2, 4], groups=[0, 1]), by)
    with pytest.raises(TypeError, match="SnapshotSource"):
        balanced_weights(np.zeros(6), by)
