"""Results of several suites and runs in one file."""

from __future__ import annotations

import json

import pytest

import records

MACHINE = {"processor": "p", "cores": "2"}


def run(date):
    return {"date": date, "command": "make bench"}


def group(median):
    return {"contenders": {"native": {"median_us": median}}}


def test_merge_replaces_its_own_groups_and_keeps_the_others(tmp_path):
    path = tmp_path / "machine.json"
    records.merge(path, {"ops": {"a": group(1.0), "b": group(2.0)}, "em": {"c": group(3.0)}}, run("day 1"), MACHINE)
    records.merge(path, {"ops": {"b": group(9.0)}}, run("day 2"), MACHINE)
    content = json.loads(path.read_text())
    assert content["suites"]["ops"]["a"] == {"run": "day 1", **group(1.0)}
    assert content["suites"]["ops"]["b"] == {"run": "day 2", **group(9.0)}
    assert content["suites"]["em"]["c"] == {"run": "day 1", **group(3.0)}
    assert list(content["runs"]) == ["day 1", "day 2"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_without_groups_left_is_forgotten(tmp_path):
    path = tmp_path / "machine.json"
    records.merge(path, {"ops": {"a": group(1.0)}}, run("day 1"), MACHINE)
    records.merge(path, {"ops": {"a": group(2.0)}}, run("day 2"), MACHINE)
    assert list(json.loads(path.read_text())["runs"]) == ["day 2"]


@pytest.mark.parametrize("text", ["{", "[]", '{"groups": {}}'])
def test_a_foreign_file_is_left_alone(tmp_path, text):
    path = tmp_path / "machine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="machine.json must hold"):
        records.merge(path, {"ops": {"a": group(1.0)}}, run("day 1"), MACHINE)
    assert path.read_text() == text


def test_table_shows_ratio_errors_memory_and_reasons():
    lines = []
    row = {
        "median_us": 12.5,
        "iqr_us": 0.5,
        "ratio": 4.25,
        "ratio_q1": 4.0,
        "ratio_q3": 4.5,
        "error_at_offset": {"0": 1e-7, "10": 2e-6, "100": 3e-4, "1000": float("inf")},
        "peak_extra_MiB": 0.25,
    }
    bare = {"median_us": 1.0, "iqr_us": 0.0}
    groups = {"shape": {"contenders": {"GEMM form": row, "bare": bare}, "skipped": {"other": "not installed"}}}
    records.print_table(groups, lines.append)
    text = "\n".join(lines)
    assert "4.25 [  4.00,   4.50]" in text
    assert "1.0e-07   2.0e-06   3.0e-04     fails" in text
    assert "0.25" in text
    assert "other" in text and "not measured: not installed" in text  # noqa: PT018
