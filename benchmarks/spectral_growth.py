"""How time and memory of the spectral metric grow with the number of snapshots: rows and a picture on a log-log line.

    python benchmarks/spectral_growth.py                 N = 1e4 to 1e6, D = 8, 8 signals: about two minutes
    python benchmarks/spectral_growth.py --largest 1e5

Each N is `spectral_million.run` in a process of its own. Written are results/spectral-growth-<D>.json, with the
slopes of the straight lines through the upper half of the points, and docs/pictures/spectral_growth.png.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import io
import multiprocessing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from gmvae_fast._io import atomic_writer, write_json
from gmvae_fast.studies import provenance
from spectral_million import RESULTS, peak_memory_mib, run

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "spectral_growth.png"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
MEMORY = "peak_MiB_beyond_imports"


def row(n: int, dim: int, steps: int, seed: int) -> dict[str, Any]:
    """Wall seconds of every stage, of all, and memory beyond the imported libraries, for one N."""
    before = peak_memory_mib()
    with contextlib.redirect_stdout(io.StringIO()):
        found = run(n, dim, steps, 0, seed)
    stages = {name: stage["wall_s"] for name, stage in found["stages"].items()}
    processor = sum(stage["processor_s"] for stage in found["stages"].values())
    return {
        "n": n,
        "recall": found["recall"],
        "seconds": stages | {"all": found["total_s"]},
        "processor_s": processor,
        MEMORY: found["peak_MiB"] - before,
    }


def slope(n: Sequence[float], values: Sequence[float]) -> float:
    """Of the least-squares line through log values over log n, upper half: below it fixed costs flatten the line."""
    half = slice(len(n) // 2, None)
    return float(np.polyfit(np.log(n[half]), np.log(values[half]), 1)[0])


def slopes(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    n = [r["n"] for r in rows]
    found = {name: slope(n, [r["seconds"][name] for r in rows]) for name in rows[0]["seconds"]}
    return found | {"memory": slope(n, [r[MEMORY] for r in rows])}


def draw(rows: Sequence[dict[str, Any]], exponents: dict[str, float], path: Path) -> None:
    n = [r["n"] for r in rows]
    figure = Figure(figsize=(9, 4), layout="constrained")
    time, memory = figure.subplots(1, 2)
    for name in rows[0]["seconds"]:
        style = {"color": "black", "linewidth": 2} if name == "all" else {}
        time.loglog(n, [r["seconds"][name] for r in rows], "o-", label=f"{name}, N^{exponents[name]:.2f}", **style)
    memory.loglog(n, [r[MEMORY] for r in rows], "o-", color="black", label=f"peak, N^{exponents['memory']:.2f}")
    time.set_ylabel("seconds")
    memory.set_ylabel("MiB beyond the imported libraries")
    for axes in (time, memory):
        axes.set_xlabel("N")
        axes.grid(alpha=0.3)
    memory.legend(fontsize=8)
    figure.legend(*time.get_legend_handles_labels(), fontsize=8, loc="outside lower center", ncols=3)
    with atomic_writer(path) as stream:
        figure.savefig(stream, format="png", dpi=90, pil_kwargs={"optimize": True})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=float, default=max(SIZES))
    parser.add_argument("--dim", type=int, default=8)
    parser.add_argument("--steps", type=int, default=80, help="of the quadrature")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sizes = [n for n in SIZES if n <= options.largest]
    if len(sizes) < 3:
        parser.error(f"--largest must be at least {SIZES[2]}, got {options.largest:g}")
    rows = []
    for n in sizes:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(row, (n, options.dim, options.steps, options.seed)))
        last = rows[-1]
        took = f"{last['seconds']['all']:8.2f} s, of it search {last['seconds']['neighbours']:7.2f} s"
        cost = f"{last['processor_s']:7.2f} s processor, {last[MEMORY]:7.0f} MiB"
        print(f"N={n:>9,} {took}, {cost}, recall {last['recall']:.4f}", flush=True)
    exponents = slopes(rows)
    print("slopes: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    about = {"machine": provenance.machine(), "versions": provenance.versions(), "command": provenance.command_line()}
    path = RESULTS / f"spectral-growth-{options.dim}.json"
    write_json(path, {**about, "date": datetime.date.today().isoformat(), "rows": rows, "slopes": exponents})
    draw(rows, exponents, PICTURE)
    print(f"written to {path} and {PICTURE}")


if __name__ == "__main__":
    main()
