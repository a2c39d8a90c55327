"""Prints one table of ratios after `make bench` and merges it into the machine's file of results."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

import records
from gmvae_fast.studies import provenance

RESULTS = Path(__file__).parent / "results"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    suites: dict[str, dict[str, Any]] = {}
    # The other packages' environment has results of its own: its ratios and ours are of different runs.
    suffix = "_others" if all(importlib.util.find_spec(name) for name in ("scvi", "clustpy")) else ""
    suffix = "_well" if importlib.util.find_spec("the_well") else suffix
    for bench in session.benchmarks:
        if "contenders" in bench.extra_info:
            suite = Path(bench.fullname.split("::")[0]).stem.removeprefix("bench_") + suffix
            suites.setdefault(suite, {})[str(bench.group)] = dict(bench.extra_info)
    separate = [b for b in session.benchmarks if "contenders" not in b.extra_info and "contender" in (b.params or {})]
    suites |= records.of_separate_tests(separate)
    for groups in suites.values():
        records.print_table(groups, terminalreporter.write_line)
    path = records.results_path(RESULTS)
    records.merge(path, suites, records.describe_run(), provenance.machine())
    terminalreporter.write_line(f"written to {path}")
