import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from run_sources import make_runs

from gmvae_fast.data import LeakageError, Snapshots, split_by_condition

RULES = ["between", "above", "below", "beyond"]


def reynolds(data, part):
    return np.unique(data.quantities["Re"][part])


@settings(deadline=None, max_examples=100)
@given(
    values=st.lists(st.integers(1, 12), min_size=3, max_size=25).filter(lambda v: len(set(v)) >= 4),
    rule=st.sampled_from(RULES),
    fraction=st.floats(0.01, 0.6),
    validation=st.sampled_from([0.0, 0.1]),
    seed=st.integers(0, 5),
)
def test_conditions_stay_whole_and_lie_where_the_rule_says(values, rule, fraction, validation, seed):
    data = make_runs([2] * len(values), reynolds=values)
    try:
        split = split_by_condition(data, "Re", rule, fraction, seed, validation_fraction=validation)
    except ValueError as error:
        if validation and "needs at least" in str(error):
            reject()  # too few conditions for three parts
        raise
    np.testing.assert_array_equal(np.sort(np.concatenate(split.parts)), np.arange(len(data)))
    for one in range(len(split)):
        for two in range(one):
            assert not set(reynolds(data, split[one])) & set(reynolds(data, split[two]))
    train, test = reynolds(data, split.train), reynolds(data, split.test)
    assert len(train)
    assert len(test)
    inside = (test > train.min()) & (test < train.max())
    if rule == "between":
        assert inside.all()
        assert not ((train > test.min()) & (train < test.max())).any()  # one range
    elif rule == "above":
        assert (test > train.max()).all()
    elif rule == "below":
        assert (test < train.min()).all()
    else:
        assert not inside.any()
        assert (test < train.min()).any()
        assert (test > train.max()).any()
    again = split_by_condition(data, "Re", rule, fraction, seed, validation_fraction=validation)
    np.testing.assert_array_equal(again.test, split.test)


def test_the_share_is_met_as_near_as_whole_conditions_allow():
    data = make_runs([4] * 20)
    for rule in RULES:
        assert len(split_by_condition(data, "Re", rule, 0.2).test) == 16
    split = split_by_condition(data, "Re", "above", 0.2, validation_fraction=0.1)
    assert list(reynolds(data, split.test)) == [1700, 1800, 1900, 2000]
    assert list(reynolds(data, split.validation)) == [1500, 1600]
    ends = split_by_condition(data, "Re", "beyond", 0.2)
    assert list(reynolds(data, ends.test)) == [100, 200, 1900, 2000]


def test_the_seed_moves_the_range_between():
    data = make_runs([1] * 30)
    ranges = {tuple(reynolds(data, split_by_condition(data, "Re", seed=s).test)) for s in range(10)}
    assert len(ranges) > 5
    assert all(len(r) == 6 and 100 not in r and 3000 not in r for r in ranges)


def test_values_and_ranges_by_name():
    data = make_runs([3] * 6)
    split = split_by_condition(data, "Re", [(150, 320), 500])
    assert list(reynolds(data, split.test)) == [200, 300, 500]
    assert split.details["test_inside_train_range"] == 3
    assert split.details["train_range"] == [100, 600]
    assert split.describe() == "Re 200 to 500, of which 3 inside and 0 outside the range trained on, 100 to 600"
    three = split_by_condition(data, "Re", [600.0], validation_held_out=[(100, 200)])
    assert list(reynolds(data, three.validation)) == [100, 200]
    assert three.details["test_outside_train_range"] == 1
    drawn = split_by_condition(data, "Re", [600.0], validation_fraction=0.2)
    assert len(drawn.validation) == 3
    stored = Snapshots(data.fields, ("u",), {"Re": np.float32(data.quantities["Re"] / 3)}, trajectory=data.trajectory)
    assert len(split_by_condition(stored, "Re", [500 / 3]).test) == 3  # float32 in the file


def test_groups_each_give_a_range():
    data = make_runs([1] * 30, groups=np.repeat([0, 1, 2], 10))
    split = split_by_condition(data, "Re", stratify="group", seed=3)
    assert np.bincount(data.labels["group"][split.test]).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="stratify needs held_out='between'"):
        split_by_condition(data, "Re", "above", stratify="group")
    with pytest.raises(ValueError, match="at least 3 different values of the quantity in group 1"):
        split_by_condition(make_runs([1] * 12, groups=[0] * 10 + [1] * 2), "Re", stratify="group")


def test_a_condition_in_two_groups_stays_whole():
    data = make_runs([1] * 12, reynolds=[1, 2, 3, 4, 5, 6] * 2, groups=[0] * 6 + [1] * 6)
    for seed in range(6):
        split = split_by_condition(data, "Re", stratify="group", seed=seed)
        assert not set(reynolds(data, split.train)) & set(reynolds(data, split.test))


def test_what_varies_along_a_run_is_no_condition():
    data = make_runs([5, 5])
    with pytest.raises(LeakageError, match=r"'wobble' varies along trajectory 0 \(0 to 4\)"):
        split_by_condition(data, "wobble")
    split = split_by_condition(data, "wobble", "above", allow_leakage=True)
    assert split.test.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantity": "Ra"}, r"quantity must be one of \['Re', 'wobble'\], got 'Ra'"),
        ({"held_out": "middle"}, "held_out must be one of between, above, below, beyond"),
        ({"held_out": [450.0]}, "no trajectory has a value of 450.0 .* the nearest are 300, 400, 500, 600"),
        ({"held_out": [(700, 650)]}, "low <= high"),
        ({"held_out": []}, "at least one value"),
        ({"held_out": [(0, 1000)]}, "leaves no trajectory for training"),
        ({"test_fraction": 1.0}, "test_fraction"),
        ({"validation_fraction": 0.9}, r"test_fraction \+ validation_fraction"),
        ({"validation_held_out": "above"}, "needs a validation_fraction"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_by_condition(make_runs([2] * 6), **{"quantity": "Re", **arguments})


def test_too_few_conditions_nan_and_bare_ids():
    with pytest.raises(ValueError, match="at least 3 different values of the quantity, got 2"):
        split_by_condition(make_runs([2] * 4, reynolds=[1, 1, 2, 2]), "Re")
    with pytest.raises(ValueError, match="must be finite to split by it, got nan in snapshot 2"):
        split_by_condition(make_runs([2, 2], reynolds=[1, np.nan]), "Re")
    with pytest.raises(TypeError, match="SnapshotSource"):
        split_by_condition(np.arange(3), "Re")
