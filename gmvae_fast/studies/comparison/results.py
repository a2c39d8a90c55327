"""Questions to the rows of a study: values by seed, arms, details."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gmvae_fast.studies.comparison.rows import Row


class Key(NamedTuple):
    """What a value is of."""

    system: str
    question: str
    metric: str
    detail: str
    arm: str
    setting: str


class Results:
    """Rows of a study, found by what they are about.

    Parameters
    ----------
    rows : sequence of Row
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)
        self._values: dict[Key, dict[int, float]] = {}
        for row in self.rows:
            key = Key(row.system, row.question, row.metric, row.detail, row.arm, row.setting)
            self._values.setdefault(key, {})[row.seed] = row.value

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def systems(self) -> tuple[str, ...]:
        """In the order in which they were measured."""
        return _distinct(key.system for key in self._values)

    def arms(self, system: str, question: str = "", setting: str = "") -> tuple[str, ...]:
        """Arms with rows on ``system`` (and ``question``), in the order in which they were measured."""
        return _distinct(
            key.arm
            for key in self._values
            if key.system == system and key.setting == setting and key.arm and question in ("", key.question)
        )

    def details(self, system: str, question: str, metric: str) -> tuple[str, ...]:
        """What ``metric`` was measured of."""
        return _distinct(
            key.detail for key in self._values if key[:3] == (system, question, metric)
        )  # fmt: skip

    def settings(self, system: str, question: str, arm: str) -> tuple[str, ...]:
        """Settings under which ``arm`` was measured for ``question``."""
        return _distinct(
            key.setting for key in self._values if (key.system, key.question, key.arm) == (system, question, arm)
        )

    def values(
        self, system: str, question: str, metric: str, arm: str, *, detail: str = "", setting: str = ""
    ) -> dict[int, float]:
        """Value by seed, those that are defined."""
        found = self._values.get(Key(system, question, metric, detail, arm, setting), {})
        return {seed: value for seed, value in sorted(found.items()) if not math.isnan(value)}

    def text(self, system: str, question: str, metric: str, arm: str = "") -> str:
        """The ``detail`` of a row that holds text."""
        wanted = (system, question, metric, arm)
        return next((row.detail for row in self.rows if (row.system, row.question, row.metric, row.arm) == wanted), "")


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
