from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from run_sources import make_runs

from gmvae_fast.data import LeakageError, split_by_time


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5),
    fraction=st.floats(0.05, 0.6),
    validation=st.sampled_from([0.0, 0.2]),
    gap=st.floats(0.1, 4.0),
    seed=st.integers(0, 5),
)
def test_early_before_late_with_a_gap_in_every_run(lengths, fraction, validation, gap, seed):
    data = make_runs(lengths)
    data = data.subset(np.random.default_rng(seed).permutation(len(data)))
    try:
        split = split_by_time(data, fraction, gap=gap, validation_fraction=validation)
    except ValueError as error:
        if "no trajectory is long enough" in str(error):
            reject()
        raise
    used = np.concatenate(split.parts)
    assert len(np.unique(used)) == len(used) == len(data) - split.details["frames_in_gaps"]
    for run in np.unique(data.trajectory):
        times = [data.time[part][data.trajectory[part] == run] for part in split.parts]
        if run in split.details["only_trained_on"]:
            assert not any(len(t) for t in times[1:])
            assert len(times[0]) == (data.trajectory == run).sum()
            continue
        for before, after in pairwise(times):
            assert after.min() - before.max() >= gap * (1 - 1e-9)


def test_a_run_is_cut_once():
    data = make_runs([10, 4, 1], interval=0.1)
    split = split_by_time(data, 0.3, gap=0.2)
    np.testing.assert_array_equal(split.test, [7, 8, 9, 13])
    np.testing.assert_array_equal(split.train, [0, 1, 2, 3, 4, 5, 10, 11, 14])  # 5 is 0.2 before 7, rounding or not
    assert split.details == {"gap": 0.2, "frames_in_gaps": 2, "only_trained_on": [6]}
    assert "0.2 in time after" in repr(split)
    train, validation, test = split_by_time(data, 0.2, gap=0.2, validation_fraction=0.2)
    np.testing.assert_array_equal(test, [8, 9])
    np.testing.assert_array_equal(validation, [5, 6])
    np.testing.assert_array_equal(train, [0, 1, 2, 3, 10, 11, 12, 13, 14])


def test_no_gap_is_refused_with_the_reason():
    data = make_runs([10])
    with pytest.raises(LeakageError, match=r"nearly equal.*allow_leakage=True"):
        split_by_time(data, gap=0)
    split = split_by_time(data, gap=0, allow_leakage=True)
    assert (len(split.train), len(split.test)) == (8, 2)


def test_runs_that_are_too_short():
    with pytest.raises(ValueError, match=r"both sides of gap=9; the longest covers 4.5 in time"):
        split_by_time(make_runs([10, 3]), gap=9)
    with pytest.raises(ValueError, match="no trajectory is long enough"):
        split_by_time(make_runs([1, 1, 1]), gap=1)
    with pytest.raises(TypeError, match="SnapshotSource"):
        split_by_time(np.arange(3), gap=1)
    with pytest.raises(ValueError, match="gap must be a finite number"):
        split_by_time(make_runs([4]), gap=-1)
