"""Contenders measured in turn: A B C, C A B, ... so that a slow minute of the machine slows all of them alike.

pytest-benchmark measures one function after the other; on a shared machine the seconds between two of them change their
ratio by more than the differences of interest. Here one pytest-benchmark round is one turn of every contender in a new
order, and a ratio is taken inside each round. Reported are medians and quartiles over the rounds.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

Call = Callable[[], Any]
BASELINE = "native"
TURN = 2e-3  # seconds a turn of a fast contender should last
MOST_CALLS = 100  # in one turn
SLOW = 50e-3  # seconds beyond which a call needs no untimed one before it to find its caches and threads awake


class Race:
    """Timings of ``contenders``, collected by calling `round` repeatedly.

    In its turn a contender makes one untimed call and then as many timed ones as fill two milliseconds, of which the
    median counts; a slow one makes a single timed call.

    Parameters
    ----------
    contenders : mapping of name to a call without arguments
    seed : int
        Of the order within each round.
    clock : callable returning seconds
    """

    def __init__(
        self, contenders: Mapping[str, Call], *, seed: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        if not contenders:
            raise ValueError("contenders must hold at least one call, got none")
        self._contenders, self._clock, self._random = dict(contenders), clock, random.Random(seed)
        self._estimates = {name: self._estimate(call) for name, call in self._contenders.items()}
        self.turns: dict[str, list[float]] = {name: [] for name in contenders}

    def _timed(self, call: Call) -> float:
        start = self._clock()
        call()
        return self._clock() - start

    def _estimate(self, call: Call) -> float:
        first = self._timed(call)
        return first if first > SLOW else min(self._timed(call) for _ in range(3))

    def _turn(self, name: str) -> float:
        call, estimate = self._contenders[name], self._estimates[name]
        if estimate >= SLOW:
            return self._timed(call)
        call()
        calls = max(1, min(MOST_CALLS, int(TURN / max(estimate, 1e-9))))
        return statistics.median(self._timed(call) for _ in range(calls))

    def round(self) -> None:
        """One turn of every contender, in a random order."""
        order = list(self._contenders)
        self._random.shuffle(order)
        for name in order:
            self.turns[name].append(self._turn(name))

    def rounds_within(self, seconds: float, at_least: int, at_most: int) -> int:
        """Number of rounds that take about ``seconds``."""
        one_round = sum(max(TURN, t) + (t if t < SLOW else 0.0) for t in self._estimates.values())
        return max(at_least, min(at_most, int(seconds / one_round)))

    def summary(self) -> dict[str, dict[str, float]]:
        """Median and quartile spread of the times, and of the ratios to ``native`` of the same round."""
        base = self.turns.get(BASELINE)
        return {name: _row(times, base) for name, times in self.turns.items()}


def _row(times: list[float], base: list[float] | None) -> dict[str, float]:
    low, median, high = quartiles(times)
    row = {"median_us": median * 1e6, "iqr_us": (high - low) * 1e6, "rounds": len(times)}
    if base is not None:
        ratios = [mine / native for mine, native in zip(times, base, strict=True)]
        row["ratio_q1"], row["ratio"], row["ratio_q3"] = quartiles(ratios)
    return row


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """First quartile, median, third quartile; of one value three times the same."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, statistics.median(values), high


def run_race(
    benchmark: Any, contenders: Mapping[str, Call], *, seconds: float, at_least: int = 7, at_most: int = 200
) -> dict[str, dict[str, Any]]:
    """Measure under pytest-benchmark and return the table's rows, which are also its ``extra_info``."""
    race = Race(contenders)
    benchmark.pedantic(race.round, rounds=race.rounds_within(seconds, at_least, at_most), iterations=1)
    rows: dict[str, dict[str, Any]] = race.summary()
    benchmark.extra_info["contenders"] = rows
    return rows
