"""Quantities and classes of snapshots from a table beside the data."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._memory import free_memory
from gmvae_fast._reading import parse_json

from .basics import FloatArray, IntArray, SnapshotFileError
from .formats import require
from .handles import file_errors

#: Columns that say which snapshots a row is about; without them row i is about snapshot i.
KEYS = ("file", "trajectory", "time_index")


def read_table(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Columns of a CSV file, or of a Parquet file through pandas, as text; empty where there is no value.

    Raises
    ------
    FileNotFoundError, SnapshotFileError
    ImportError
        For Parquet, naming what to install.
    """
    if Path(path).suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    with file_errors(os.fspath(path)), open(path, newline="", encoding="utf-8-sig") as file:
        rows = [row for row in csv.reader(file) if row]
    if len(rows) < 2:
        raise SnapshotFileError(f"{path}: a table needs a line of names and at least one row, got {len(rows)} lines")
    if len(rows[0]) == 1 and any(mark in rows[0][0] for mark in ";\t"):
        raise SnapshotFileError(f"{path}: columns must be separated by commas, got {rows[0][0]!r}")
    names = [name.strip() for name in rows[0]]
    if len(set(names)) != len(names) or not all(names):
        raise SnapshotFileError(f"{path}: column names must be distinct and not empty, got {names}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(names):
            raise SnapshotFileError(f"{path}: row {number} has {len(row)} values, expected {len(names)}")
    return {name: [row[i].strip() for row in rows[1:]] for i, name in enumerate(names)}


#: Runs where pandas does, in a process of its own: its engines crash on some damaged files, and take what memory they
#: claim.
_PARQUET = """
import json, sys
limit = int(sys.argv[2])
if limit:
    import resource
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
import pandas
frame = pandas.read_parquet(sys.argv[1])
columns = {str(n): ["" if pandas.isna(v) else str(v) for v in frame[n]] for n in frame}
print(json.dumps({"shape": frame.shape, "columns": columns}))
"""


def _read_parquet(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    require("pandas", f"{path} (Parquet)", "parquet")
    if not any(importlib.util.find_spec(engine) for engine in ("pyarrow", "fastparquet")):
        raise ImportError(f"{path} (Parquet) needs pyarrow or fastparquet: pip install 'gmvae_fast[parquet]'")
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: no such file")
    # The process maps libraries beside what it holds.
    limit = 0 if sys.platform == "win32" else free_memory() + 2**31
    command = [sys.executable, "-c", _PARQUET, os.path.abspath(path), str(limit)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.decode(errors="replace").strip().splitlines() or [f"ended with {done.returncode}"])[-1]
        raise SnapshotFileError(f"{path}: cannot be read ({last})")
    answer = parse_json(done.stdout)
    columns: dict[str, list[str]] = answer["columns"]
    if not answer["shape"][0] or not columns:
        shape = tuple(answer["shape"])
        raise SnapshotFileError(f"{path}: a table needs at least one column and one row, got {shape}")
    return columns


def join_table(
    path: str | os.PathLike[str], keys: Mapping[str, npt.NDArray[Any]], n: int, files: Sequence[str] = ()
) -> tuple[dict[str, FloatArray], dict[str, IntArray], dict[str, list[str]]]:
    """Values of a table for each of ``n`` snapshots.

    Parameters
    ----------
    path : path
    keys : mapping of "file" (its number), "trajectory", "trajectory in file" and "time_index" to [N]
        Rows are joined on those of ``KEYS`` that are columns; beside a column "file" trajectories are those within
        the file. A snapshot without a row, or whose entry is empty, gets NaN, or the class -1.
    files : sequence of path
        By their numbers.

    Returns
    -------
    quantities, labels, label_names
        Columns of numbers; columns of text as integers; the text of each integer.

    Raises
    ------
    FileNotFoundError, SnapshotFileError
    """
    columns = read_table(path)
    count = len(next(iter(columns.values())))
    row = _rows(path, {k: columns.pop(k) for k in KEYS if k in columns}, keys, count, n, files)
    quantities, labels, names = {}, {}, {}
    for name, texts in columns.items():
        try:
            numbers = np.array([float(text) if text else np.nan for text in texts])
            quantities[name] = np.where(row >= 0, numbers[row], np.nan)
        except ValueError:
            names[name] = sorted(set(texts) - {""})
            index = {text: i for i, text in enumerate(names[name])}
            codes = np.array([index.get(text, -1) for text in texts], dtype=np.int64)
            labels[name] = np.where(row >= 0, codes[row], -1)
    return quantities, labels, names


def _rows(
    path: str | os.PathLike[str],
    columns: Mapping[str, list[str]],
    keys: Mapping[str, npt.NDArray[Any]],
    count: int,
    n: int,
    files: Sequence[str],
) -> IntArray:
    """Row of each snapshot [n], -1 where there is none."""
    if not columns:
        if count != n:
            raise SnapshotFileError(
                f"{path}: {count} rows for {n} snapshots; add a column {', '.join(KEYS)} that says what a row is about"
            )
        return np.arange(n)
    columns = {k: v if k == "file" else [_whole(text) for text in v] for k, v in columns.items()}
    if "file" in columns:
        columns["file"] = _file_numbers(path, columns["file"], files)
        keys = {**keys, "trajectory": keys["trajectory in file"]}
    found: dict[tuple[str, ...], int] = {}
    for i, key in enumerate(zip(*columns.values(), strict=True)):
        if found.setdefault(key, i) != i:
            raise SnapshotFileError(f"{path}: two rows for {dict(zip(columns, key, strict=True))}")
    wanted = zip(*(map(str, keys[k].tolist()) for k in columns), strict=True)
    row = np.array([found.get(key, -1) for key in wanted], dtype=np.int64)
    if n and (row < 0).all():
        raise SnapshotFileError(f"{path}: no row is about any of the snapshots by {', '.join(columns)}")
    return row


def _file_numbers(table: str | os.PathLike[str], texts: list[str], files: Sequence[str]) -> list[str]:
    """Numbers of the files whose paths end in ``texts``, as text; of no number where there is none."""
    parts = [Path(os.path.normpath(file)).parts for file in files]
    found = {}
    for text in dict.fromkeys(texts):
        wanted = Path(os.path.normpath(text)).parts
        fitting = [i for i, own in enumerate(parts) if own[-len(wanted) :] == wanted]
        if len(fitting) > 1:
            both = " and ".join(files[i] for i in fitting[:2])
            raise SnapshotFileError(f"{table}: {text!r} fits {len(fitting)} files, {both}; write more of the path")
        found[text] = str(fitting[0]) if fitting else f"none called {text}"
    return [found[text] for text in texts]


def _whole(text: str) -> str:
    """2.0, as a column of integers with gaps is stored, as 2."""
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text
