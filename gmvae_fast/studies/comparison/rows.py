"""One measured number of a study, and how it stands in the result file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Measure:
    """One number that a question asks for.

    Attributes
    ----------
    metric : str
    value : float
        NaN where it is not defined.
    detail : str
        What the metric is about, where that is not the whole data set: a quantity, a label, a component.
    """

    metric: str
    value: float
    detail: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the result file.

    Attributes
    ----------
    system, arm, setting, seed : str, str, str, int
        The unit of work that measured it; ``setting`` is empty for the common settings.
    question, metric, detail : str
    value : float
        An empty cell (NaN) where it is not defined.
    config_hash : str
        Of everything the unit was asked to do.
    revision : str
        Of the source tree, empty where there is none.
    versions : str
        Packages that numbers depend on, as ``name=version``.
    wall_s : float
        Of the whole unit.
    """

    system: str
    arm: str
    setting: str
    seed: int
    question: str
    metric: str
    detail: str
    value: float
    config_hash: str
    revision: str
    versions: str
    wall_s: float


COLUMNS = tuple(field.name for field in fields(Row))


def to_csv(rows: Iterable[Row]) -> str:
    """Lines of ``rows``, without the header."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in astuple(row)])
    return text.getvalue()


def header() -> str:
    """The first line of a result file."""
    return ",".join(COLUMNS) + "\n"


def from_cells(cells: Sequence[str]) -> Row:
    """Inverse of one line of `to_csv`.

    Raises
    ------
    ValueError
        Where the number of cells or a number is wrong.
    """
    named = dict(zip(COLUMNS, cells, strict=True))
    numbers = {name: float(named[name]) if named[name] else math.nan for name in ("value", "wall_s")}
    return Row(**{**named, "seed": int(named["seed"]), **numbers})  # type: ignore[arg-type]


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return repr(value) if math.isfinite(value) else ""
