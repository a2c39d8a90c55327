import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gmvae_fast.data import Snapshots, split_by_trajectory


@settings(deadline=None)
@given(
    runs=st.lists(st.integers(1, 5), min_size=2, max_size=30),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 10),
)
def test_parts_are_complete_disjoint_and_keep_trajectories_whole(runs, fraction, seed):
    ids = np.repeat(np.arange(len(runs)) * 7, runs)
    train, test = split_by_trajectory(ids, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(len(ids)))
    assert not set(ids[train]) & set(ids[test])
    assert len(train) > 0
    assert len(test) > 0
    again = split_by_trajectory(ids, fraction, seed)
    np.testing.assert_array_equal(train, again[0])


def test_the_share_and_the_seed_matter():
    train, test = split_by_trajectory(np.arange(100), 0.3, seed=1)
    assert (len(train), len(test)) == (70, 30)
    assert not np.array_equal(test, split_by_trajectory(np.arange(100), 0.3, seed=2)[1])


def test_stratified_groups_are_in_both_parts():
    groups = np.array([0] * 90 + [1] * 2 + [2] * 8)
    for stratify in (groups, "group"):
        data = Snapshots(np.zeros((100, 1, 2)), ("u",), labels={"group": groups})
        train, test = split_by_trajectory(data, 0.1, stratify=stratify)
        assert set(groups[train]) == set(groups[test]) == {0, 1, 2}


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_bad_fractions(fraction):
    with pytest.raises(ValueError, match="test_fraction"):
        split_by_trajectory(np.arange(5), fraction)


@pytest.mark.parametrize("ids", [[], [3], [3, 3, 3]])
def test_too_few_trajectories(ids):
    with pytest.raises(ValueError, match="at least 2"):
        split_by_trajectory(np.array(ids, dtype=int))


def test_impossible_strata_and_bad_names():
    with pytest.raises(ValueError, match="group"):
        split_by_trajectory(np.arange(3), stratify=[0, 0, 1])
    with pytest.raises(ValueError, match="shape"):
        split_by_trajectory(np.arange(3), stratify=[0, 1])
    with pytest.raises(ValueError, match="Snapshots"):
        split_by_trajectory(np.arange(3), stratify="group")
    data = Snapshots(np.zeros((3, 1, 2)), ("u",), labels={"group": np.arange(3)})
    with pytest.raises(ValueError, match=r"\['group'\]"):
        split_by_trajectory(data, stratify="grup")
    with pytest.raises(ValueError, match="integers"):
        split_by_trajectory(np.zeros(4))


def test_three_parts_have_whole_trajectories_and_the_same_test_part():
    ids = np.repeat(np.arange(20), 3)
    train, validation, test = split_by_trajectory(ids, 0.2, seed=5, validation_fraction=0.1)
    assert [len(p) for p in (train, validation, test)] == [42, 6, 12]
    np.testing.assert_array_equal(np.sort(np.concatenate([train, validation, test])), np.arange(60))
    assert not set(ids[validation]) & (set(ids[train]) | set(ids[test]))
    np.testing.assert_array_equal(test, split_by_trajectory(ids, 0.2, seed=5).test)
    groups = np.repeat([0] * 16 + [1] * 4, 3)
    three = split_by_trajectory(ids, 0.2, seed=5, stratify=groups, validation_fraction=0.1)
    assert all(set(groups[part]) == {0, 1} for part in three)
    assert "train 42, validation 6, test 12; held out: whole trajectories" in repr(
        split_by_trajectory(ids, 0.2, seed=5, validation_fraction=0.1)
    )


def test_three_parts_need_three_trajectories_and_room():
    with pytest.raises(ValueError, match="at least 3 are needed"):
        split_by_trajectory(np.arange(2), validation_fraction=0.2)
    assert [len(p) for p in split_by_trajectory(np.arange(3), 0.5, validation_fraction=0.4)] == [1, 1, 1]
    with pytest.raises(ValueError, match="below 1"):
        split_by_trajectory(np.arange(9), 0.5, validation_fraction=0.5)
    with pytest.raises(ValueError, match="validation_fraction"):
        split_by_trajectory(np.arange(9), 0.5, validation_fraction=-0.1)
