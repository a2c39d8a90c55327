"""The result file of a study: appended unit by unit, read as whole units only."""

from __future__ import annotations

import csv
import gzip
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from gmvae_fast._io import atomic_writer
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import COLUMNS, Row, from_cells, header, to_csv
from gmvae_fast.studies.folder import StudyError

FILE_NAME = "results.csv"
#: The last row of a unit: question and metric. Its value is the number of rows before it.
END = ("unit", "rows")


class ResultStore:
    """Rows of all finished units in ``folder/results.csv``.

    A unit is appended by one write that ends in a row with the number of the others, and synced: of a study that was
    killed in the middle of it, the unit is cut off when the store is next opened.

    Parameters
    ----------
    folder : path
        Made when the first unit is appended.

    Raises
    ------
    StudyError
        Where the file is no result file.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.path = self.folder / FILE_NAME
        units, whole = _read_units(self.path)
        if not whole:
            with atomic_writer(self.path) as stream:
                stream.write((header() + "".join(to_csv(unit) for unit in units)).encode())
        self._done = {unit[-1].config_hash for unit in units}

    def __contains__(self, config_hash: str) -> bool:
        """Whether the unit with this configuration is stored."""
        return config_hash in self._done

    def append(self, rows: Sequence[Row]) -> None:
        """Add the rows of one finished unit, all of which share their unit's columns.

        Raises
        ------
        ValueError
            For no rows, or rows of different units.
        """
        if len({_unit_of(row) for row in rows}) != 1:
            raise ValueError(f"rows must be at least one and of one unit, got {len(rows)} of "
                             f"{len({_unit_of(row) for row in rows})} units")  # fmt: skip
        last = rows[-1]
        end = Row(
            last.system, last.arm, last.setting, last.seed, *END, "", float(len(rows)),
            last.config_hash, last.revision, last.versions, last.wall_s,
        )  # fmt: skip
        self.folder.mkdir(parents=True, exist_ok=True)
        text = to_csv([*rows, end])
        with open(self.path, "ab", buffering=0) as stream:
            if stream.tell() == 0:
                text = header() + text
            remaining = memoryview(text.encode())
            while remaining:
                remaining = remaining[stream.write(remaining) :]
            os.fsync(stream.fileno())
        self._done.add(last.config_hash)

    def results(self) -> Results:
        """All rows of whole units; of units that were measured again under another configuration the newest."""
        return load_results(self.path)


def load_results(path: str | os.PathLike[str]) -> Results:
    """Rows of the whole units of a result file, see `ResultStore.results`; a name in ``.gz`` is decompressed.

    Raises
    ------
    StudyError
        Where there is no such file, or it is no result file.
    """
    if not Path(path).is_file():
        raise StudyError(f"{os.fspath(path)}: no such file; `gmvae-fast study` writes it")
    newest: dict[tuple[str, str, str, int], list[Row]] = {}
    for unit in _read_units(Path(path))[0]:
        row = unit[-1]
        newest[row.system, row.arm, row.setting, row.seed] = unit
    return Results([row for unit in newest.values() for row in unit[:-1]])


def _unit_of(row: Row) -> tuple[object, ...]:
    return row.system, row.arm, row.setting, row.seed, row.config_hash


def _read_units(path: Path) -> tuple[list[list[Row]], bool]:
    """Whole units, each with its last row, and whether there is nothing else in the file."""
    try:
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", newline="", encoding="utf-8", errors="replace") as file:
            lines = csv.reader(file)
            first = next(lines, None)
            if first is not None and tuple(first) != COLUMNS:
                raise StudyError(f"{path}: not a result file of a study (its first line is {','.join(first)[:80]!r})")
            return _whole_units(lines)
    except FileNotFoundError:
        return [], True
    except (csv.Error, EOFError, gzip.BadGzipFile) as err:
        raise StudyError(f"{path}: not readable as a result file ({err})") from err


def _whole_units(lines: Iterable[Sequence[str]]) -> tuple[list[list[Row]], bool]:
    units: list[list[Row]] = []
    open_rows: list[Row] = []
    whole = True
    for cells in lines:
        try:
            row = from_cells(cells)
        except ValueError:
            row = None
        if row is None or (open_rows and row.config_hash != open_rows[-1].config_hash):
            whole, open_rows = False, []  # a unit that was cut off, and maybe another one written behind it
            if row is None:
                continue
        open_rows.append(row)
        if (row.question, row.metric) == END:
            if not math.isnan(row.value) and int(row.value) == len(open_rows) - 1:
                units.append(open_rows)
            else:
                whole = False
            open_rows = []
    return units, whole and not open_rows
