"""Contenders measured in turn: counts, order, ratios within a round."""

from __future__ import annotations

import pytest

from race import Race, quartiles


class FakeClock:
    """Advances by what the running call costs; the machine's speed can be changed half way."""

    def __init__(self):
        self.now, self.slowness = 0.0, 1.0

    def __call__(self):
        return self.now

    def call(self, seconds, log=None, name=""):
        def run():
            self.now += seconds * self.slowness
            if log is not None:
                log.append(name)

        return run


def test_ratios_are_those_of_each_round_when_the_machine_slows_down():
    clock = FakeClock()
    race = Race({"native": clock.call(1e-3), "other": clock.call(3e-3)}, clock=clock)
    for slowness in (1.0, 5.0, 2.0, 40.0):
        clock.slowness = slowness
        race.round()
    rows = race.summary()
    assert rows["other"]["ratio"] == pytest.approx(3)
    assert rows["other"]["ratio_q1"] == pytest.approx(3)
    assert rows["other"]["ratio_q3"] == pytest.approx(3)
    assert rows["native"]["ratio"] == 1
    assert rows["native"]["median_us"] == pytest.approx(3500)
    assert rows["native"]["rounds"] == 4


def test_every_contender_has_one_turn_a_round_in_changing_order():
    clock, log = FakeClock(), []
    race = Race({name: clock.call(0.1, log, name) for name in "abcd"}, clock=clock)
    log.clear()
    orders = set()
    for _ in range(12):
        race.round()
        assert sorted(log) == list("abcd")  # slow ones make a single call
        orders.add(tuple(log))
        log.clear()
    assert len(orders) > 3
    assert all(len(turns) == 12 for turns in race.turns.values())


@pytest.mark.parametrize(("seconds", "calls"), [(1e-6, 100), (4e-4, 5), (1e-2, 1)])
def test_a_turn_of_a_fast_contender_fills_two_milliseconds(seconds, calls):
    clock, log = FakeClock(), []
    race = Race({"native": clock.call(seconds, log)}, clock=clock)
    log.clear()
    race.round()
    assert len(log) - 1 == pytest.approx(calls, abs=1)  # the first is not timed


def test_rounds_fit_the_seconds_within_bounds():
    clock = FakeClock()
    race = Race({"native": clock.call(1.0)}, clock=clock)
    assert race.rounds_within(20.0, 5, 100) == 20
    assert race.rounds_within(0.1, 5, 100) == 5
    assert race.rounds_within(1e4, 5, 100) == 100


def test_no_baseline_no_ratio():
    race = Race({"other": lambda: None})
    race.round()
    assert "ratio" not in race.summary()["other"]


def test_empty_race_is_refused():
    with pytest.raises(ValueError, match="contenders"):
        Race({})


def test_quartiles():
    assert quartiles([2.0]) == (2.0, 2.0, 2.0)
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 3.0, 4.0)
