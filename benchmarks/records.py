"""The table printed after a run, and the machine's file of results."""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import platform
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from gmvae_fast._io import write_json
from gmvae_fast.studies import provenance

Groups = dict[str, dict[str, Any]]


def results_path(folder: Path) -> Path:
    """One file per machine: processor, architecture, cores."""
    machine = provenance.machine()
    name = f"{machine['processor']} {platform.machine()} {machine['cores']} cores"
    return folder / f"{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}.json"


def describe_run() -> dict[str, Any]:
    """What a reader needs to judge and repeat the run."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": provenance.command_line().replace("__main__.py", "python -m pytest"),
        "threads": provenance.machine()["threads"],
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", ""),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,  # above the threads: a busy machine
        "versions": provenance.versions() | _versions_of_others(),
    }


def _versions_of_others() -> dict[str, str]:
    found = {}
    for name in ("scvi-tools", "clustpy", "the_well", "h5py", "zarr", "xarray", "tifffile"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def merge(path: Path, suites: Mapping[str, Groups], run: Mapping[str, Any], machine: Mapping[str, Any]) -> None:
    """Replace the groups in ``suites`` and keep all others; written under a temporary name and renamed.

    Every group names the run it comes from; descriptions of runs that no group refers to any more are dropped.

    Raises
    ------
    ValueError
        If ``path`` exists and does not hold such results: it is left as it is.
    """
    content = _read(path)
    for suite, groups in suites.items():
        kept = content["suites"].setdefault(suite, {})
        for name, group in groups.items():
            kept[name] = {"run": run["date"], **group}
    content["runs"][run["date"]] = {key: value for key, value in run.items() if key != "date"}
    used = {group["run"] for groups in content["suites"].values() for group in groups.values()}
    content["runs"] = {date: text for date, text in sorted(content["runs"].items()) if date in used}
    write_json(path, {"machine": machine, "runs": content["runs"], "suites": content["suites"]})


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"runs": {}, "suites": {}}
    try:
        content = json.loads(path.read_text())
    except ValueError as err:
        raise ValueError(f"{path} must hold the JSON of earlier benchmark results, it does not parse: {err}") from None
    if not isinstance(content, dict) or not {"runs", "suites"} <= content.keys():
        raise ValueError(f"{path} must hold 'runs' and 'suites' of earlier benchmark results; move it away")
    return content


def of_separate_tests(benchmarks: Iterable[Any]) -> dict[str, Groups]:
    """Suites of benchmarks with one test a contender (minutes each, so not run in turn): ratios of medians."""
    suites: dict[str, Groups] = {}
    for bench in benchmarks:
        suite = Path(bench.fullname.split("::")[0]).stem.removeprefix("bench_")
        group = suites.setdefault(suite, {}).setdefault(str(bench.group), {"contenders": {}})
        row = {"median_us": bench.stats.median * 1e6, "iqr_us": bench.stats.iqr * 1e6, "rounds": bench.stats.rounds}
        group["contenders"][str(bench.params["contender"])] = {**row, "notes": dict(bench.extra_info)}
    for group in (group for groups in suites.values() for group in groups.values()):
        native = group["contenders"].get("native")
        for row in group["contenders"].values() if native else ():
            row["ratio"] = row["median_us"] / native["median_us"]
    return suites


def print_table(groups: Mapping[str, Mapping[str, Any]], write: Callable[[str], None]) -> None:
    """Times, ratios with quartiles, errors by latent offset, and peak extra memory, group by group."""
    title = f"{'':27}{'median us':>11} {'IQR':>9} {'native is faster by':>25}"
    write("")
    write(f"{title}   {'error at offset 0, 10, 100, 1000':40} {'peak extra MiB':>14}")
    for name, group in groups.items():
        write(name)
        for contender, row in group["contenders"].items():
            write(_line(contender, row))
        for contender, reason in group.get("skipped", {}).items():
            write(f"  {contender:25}not measured: {reason}")


def _line(contender: str, row: Mapping[str, Any]) -> str:
    ratio = ""
    if "ratio" in row:
        spread = f" [{row['ratio_q1']:6.2f}, {row['ratio_q3']:6.2f}]" if "ratio_q1" in row else ""
        ratio = f"{row['ratio']:8.2f}{spread}"
    errors = row.get("error_at_offset") or {}
    error = " ".join(f"{value:9.1e}" if value < math.inf else "    fails" for value in errors.values()) or "-"
    if "MB_per_s" in row:
        error = f"{row['snapshots_per_s']:9.0f} snapshots/s {row['MB_per_s']:7.0f} MB/s"
    elif "epoch_s" in row:
        error = f"epoch {row['epoch_s']:.3f} s" + (f", {row['epoch_ratio']:.2f}x" if "epoch_ratio" in row else "")
    peak = f"{row['peak_extra_MiB']:14.2f}" if "peak_extra_MiB" in row else f"{'-':>14}"
    line = f"  {contender:25}{row['median_us']:11.1f} {row['iqr_us']:9.1f} {ratio:>25}   "
    if "shares" in row:
        error += "; " + ", ".join(f"{part} {share:.1%}" for part, share in row["shares"].items())
    if "notes" in row:
        return line + ", ".join(f"{key} {_brief(value)}" for key, value in row["notes"].items())
    return f"{line}{error:40} {peak}"


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_brief, value)) + "]"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
