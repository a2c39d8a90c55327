import json
from dataclasses import asdict

import numpy as np
import pytest
from run_sources import make_runs

from gmvae_fast.data import LeakageError, SplitConfig, split_by_condition, split_by_time, split_by_trajectory


def test_each_way_is_the_function_of_its_name():
    data = make_runs([6] * 8, groups=[0, 1] * 4)
    for config, expected in (
        (SplitConfig(stratify="group"), split_by_trajectory(data, seed=4, stratify="group")),
        (
            SplitConfig("condition", 0.3, 0.1, quantity="Re"),
            split_by_condition(data, "Re", test_fraction=0.3, seed=4, validation_fraction=0.1),
        ),
        (SplitConfig("condition", quantity="Re", held_out=[(300, 400)]), split_by_condition(data, "Re", [(300, 400)])),
        (SplitConfig("time", gap=1.0), split_by_time(data, gap=1.0)),
    ):
        split = config.apply(data, seed=4)
        assert split.by == expected.by
        for mine, theirs in zip(split.parts, expected.parts, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        json.dumps(asdict(config))
        json.dumps(dict(split.details))
    with pytest.raises(LeakageError):
        SplitConfig("frame").apply(data)
    assert SplitConfig("frame", allow_leakage=True).apply(data).describe() == "single frames"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": "colour"}, "trajectory, condition, time, frame, got 'colour'"),
        ({"quantity": "Re"}, "a split by trajectory has no quantity, got 'Re'"),
        ({"by": "time", "gap": 1.0, "stratify": "g"}, "a split by time has no stratify"),
        ({"by": "time"}, "a split by time needs gap"),
        ({"by": "condition"}, "a split by condition needs quantity"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        SplitConfig(**arguments)
