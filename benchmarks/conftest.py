"""Prints one table of ratios after `make bench` and stores it with the machine's description."""

from __future__ import annotations

import datetime
import platform
import re
from pathlib import Path

import pytest

from gmvae_fast._io import write_json
from gmvae_fast.studies import provenance

RESULTS = Path(__file__).parent / "results"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config):
    session = getattr(config, "_benchmarksession", None)
    if session is None or not session.benchmarks:
        return
    groups: dict[str, dict[str, dict[str, float]]] = {}
    for bench in session.benchmarks:
        stats = bench.stats
        row = {"median_us": stats.median * 1e6, "iqr_us": stats.iqr * 1e6, "rounds": stats.rounds, **bench.extra_info}
        groups.setdefault(str(bench.group), {})[str(bench.params["contender"])] = row
    write = terminalreporter.write_line
    write("")
    write(f"{'group':46} {'contender':18} {'median us':>12} {'IQR us':>10} {'native is faster by':>20}")
    for group, rows in groups.items():
        native = rows.get("native", {}).get("median_us")
        for contender, row in rows.items():
            ratio = row["median_us"] / native if native else float("nan")
            row["ratio_to_native"] = ratio
            write(f"{group:46} {contender:18} {row['median_us']:12.1f} {row['iqr_us']:10.1f} {ratio:19.2f}x")
    name = re.sub(r"[^a-z0-9]+", "-", f"{provenance.machine()['processor']}-{platform.machine()}".lower()).strip("-")
    suites = "-".join(sorted({Path(b.fullname.split("::")[0]).stem.removeprefix("bench_") for b in session.benchmarks}))
    path = RESULTS / f"{suites}-{name}.json"
    write_json(
        path,
        {
            "machine": provenance.machine(),
            "versions": provenance.versions(),
            "date": datetime.date.today().isoformat(),
            "command": provenance.command_line(),
            "groups": groups,
        },
    )
    write(f"written to {path}")
