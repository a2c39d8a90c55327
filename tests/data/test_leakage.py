import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_sources import make_runs

from gmvae_fast.data import LeakageError, check_leakage, split_by_frame


def test_parts_without_a_common_run_are_accepted():
    data = make_runs([3, 3, 3])
    check_leakage(data, [0, 1, 2], [6, 7, 8], validation=[3, 4, 5])
    check_leakage(data.trajectory, np.arange(9) < 3, np.arange(9) > 5)
    check_leakage(data, [], [0])


def test_common_runs_are_refused_with_the_reason_and_the_way_out():
    data = make_runs([3, 3])
    with pytest.raises(LeakageError, match=r"train and test share 1 trajectories \(3\)") as error:
        check_leakage(data, [0, 1, 2, 3], [4, 5])
    assert "memorised" in str(error.value)
    assert "allow_leakage=True" in str(error.value)
    assert isinstance(error.value, ValueError)
    check_leakage(data, [0, 1, 2, 3], [4, 5], allow_leakage=True)
    with pytest.raises(LeakageError, match="train and validation share"):
        check_leakage(data, [0], [4, 5], validation=[1])
    with pytest.raises(LeakageError, match="test and validation share"):
        check_leakage(data, [0], [4], validation=[5])


def test_a_common_snapshot_is_always_refused():
    with pytest.raises(LeakageError, match=r"1 snapshots in common \(2\)"):
        check_leakage(make_runs([3, 3]), [0, 2], [2, 3], allow_leakage=True)


def test_a_gap_is_measured_in_time():
    data = make_runs([10, 10], interval=0.1)
    early, late = [0, 1, 2, 10, 11], [5, 6, 13]
    check_leakage(data, early, late, gap=0.2)  # 11 and 13 are 0.2 apart, rounding or not
    with pytest.raises(LeakageError, match=r"frames 0.2 apart in trajectory 3, closer than gap=0.25"):
        check_leakage(data, early, late, gap=0.25)
    check_leakage(data, early, late, gap=0.25, allow_leakage=True)
    with pytest.raises(ValueError, match="gap needs the times"):
        check_leakage(data.trajectory, early, late, gap=0.1)
    with pytest.raises(ValueError, match="gap must be a finite number > 0"):
        check_leakage(data, early, late, gap=0.0)


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    gap=st.floats(0.1, 3.0),
    seed=st.integers(0, 1000),
)
def test_the_closest_frames_are_found(lengths, gap, seed):
    """Against all pairs, for random parts of runs in random order."""
    data = make_runs(lengths)
    data = data.subset(np.random.default_rng(seed).permutation(len(data)))
    part = np.random.default_rng(seed + 1).integers(0, 3, len(data))
    a, b = np.flatnonzero(part == 0), np.flatnonzero(part == 1)
    same = data.trajectory[a][:, None] == data.trajectory[b]
    distance = np.abs(data.time[a][:, None] - data.time[b])[same]
    if distance.size and distance.min() < gap * (1 - 1e-9):
        with pytest.raises(LeakageError, match="closer than gap"):
            check_leakage(data, a, b, gap=gap)
    else:
        check_leakage(data, a, b, gap=gap)


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        ([0.5], ValueError, "train must be integers"),
        ([[0]], ValueError, "train must be integers"),
        ([True, False], ValueError, r"bool \[4\]"),
        ([4], IndexError, r"train must lie in \[0, 4\), got 4 .. 4"),
        ([-1], IndexError, "train must lie in"),
    ],
)
def test_bad_indices(train, error, message):
    with pytest.raises(error, match=message):
        check_leakage(make_runs([2, 2]), train, [3])


def test_frames_are_not_split_unless_they_are_runs_or_it_is_asked_for():
    data = make_runs([5, 5])
    with pytest.raises(LeakageError, match="allow_leakage=True"):
        split_by_frame(data)
    train, test = split_by_frame(data, 0.3, seed=2, allow_leakage=True)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(10))
    assert len(test) == 3
    assert len(split_by_frame(make_runs([1] * 10), validation_fraction=0.2)) == 3
