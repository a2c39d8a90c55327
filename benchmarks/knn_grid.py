"""`nearest_neighbors(index="auto")` against the best of scipy's k-d tree and FAISS's Flat, IVF and HNSW, cell by cell.

    python benchmarks/knn_grid.py                          one Gaussian, all of (N, D): ten minutes
    python benchmarks/knn_grid.py --n 1e6 --d 8 --kind clusters

What auto does is timed whole, with all that it does to choose and tune itself. A contender builds its index for all
points, but above N = 2e4 only 20,000 random rows ask it (2000 a k-d tree beyond D = 8), and their time is scaled to N;
how far it has to look for a recall of 0.99 is found beforehand, and costs it nothing. Rows are merged into
results/knn-grid.json. Left out, as it cannot win: HNSW at N = 1e6, whose construction alone takes longer than auto in
every cell at 2e5.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import faiss
import numpy as np
from scipy.spatial import cKDTree

from bench_spectral import LATENTS, RECALL, K, hnsw, inverted_lists, latents, least_effort, recall, set_effort, single
from bench_spectral import truth as true_neighbors
from gmvae_fast._io import write_json
from gmvae_fast._threads import thread_count
from gmvae_fast.spectral import _tree, nearest_neighbors
from gmvae_fast.studies import provenance
from spectral_million import RESULTS

PATH = RESULTS / "knn-grid.json"
SIZES, DIMENSIONS = (20_000, 200_000, 1_000_000), (2, 4, 8, 16)
QUERIES = 20_000
SLOW_QUERIES = 2_000  # of a k-d tree in more than 8 dimensions, where each takes tens of milliseconds
HNSW_MOST = 200_000


class Clock:
    """Seconds inside functions that are wrapped."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def of(self, function: Callable[..., Any], counts: Callable[..., bool]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            begun = time.perf_counter()
            answer = function(*arguments, **options)
            self.seconds += (time.perf_counter() - begun) if counts(*arguments) else 0.0
            return answer

        return timed


@contextmanager
def tuning_clock() -> Iterator[Clock]:
    """What auto spends on its sample: the sample's exact search, and the ranks of its lists."""
    clock = Clock()
    most = _tree.SAMPLE_LEAVES * _tree.SAMPLE_PER_LEAF
    search = clock.of(_tree._search, lambda filled, queries, k: len(queries) <= most)
    ranks = clock.of(_tree._Filled.ranks, lambda *_: True)
    with mock.patch.object(_tree, "_search", search), mock.patch.object(_tree._Filled, "ranks", ranks):
        yield clock


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = function()
    return time.perf_counter() - begun, answer


def auto(kind: str, n: int, d: int) -> dict[str, Any]:
    points, rows = latents(kind, n, d), true_neighbors(kind, n, d)[0]
    with tuning_clock() as clock:
        seconds, found = timed(lambda: nearest_neighbors(points, K))
    share = recall(kind, n, d, found.indices[rows])
    assert share >= RECALL, f"auto found only {share:.4f} of the neighbours"
    return {"seconds": seconds, "tuning_s": clock.seconds, "index": found.index_name, "recall": share}


def contender(name: str, kind: str, n: int, d: int) -> dict[str, Any]:
    points, sample = latents(kind, n, d), true_neighbors(kind, n, d)[0]
    queries = SLOW_QUERIES if name == "k-d tree" and d > 8 else QUERIES
    rows = np.random.default_rng(2).permutation(n)[: n if n <= QUERIES else queries]
    narrow = single(points)
    found: dict[str, Any] = {"queries": len(rows)}
    if name == "k-d tree":
        build, tree = timed(lambda: cKDTree(points))
        ask = lambda chosen: tree.query(points[chosen], K + 1, workers=thread_count())[1]  # noqa: E731
    else:
        make = {"Flat": lambda p: faiss.IndexFlatL2(d), "IVF": inverted_lists, "HNSW": hnsw}[name]
        build, index = timed(lambda: make(points))
        if name == "Flat":
            index.add(narrow)
        else:
            found["effort"] = least_effort(index, kind, n, d)
            set_effort(index, found["effort"])
        ask = lambda chosen: index.search(narrow[chosen], K + 1)[1]  # noqa: E731
    share = recall(kind, n, d, ask(sample))
    assert share >= RECALL, f"{name} found only {share:.4f} of the neighbours"
    search, _ = timed(lambda: ask(rows))
    return found | {"seconds": build + search * n / len(rows), "build_s": build, "recall": share}


def cell(kind: str, n: int, d: int) -> dict[str, Any]:
    faiss.omp_set_num_threads(thread_count())
    names = ["k-d tree", "Flat", "IVF"] + (["HNSW"] if n <= HNSW_MOST else [])
    first = auto(kind, n, d)
    others = {name: contender(name, kind, n, d) for name in names}
    again = auto(kind, n, d) if first["seconds"] < 20 else first  # before and after the others
    mine = min(first, again, key=lambda found: found["seconds"])
    best = min(others, key=lambda name: others[name]["seconds"])
    ratio = others[best]["seconds"] / mine["seconds"]
    listed = ", ".join(f"{name} {found['seconds']:.2f}" for name, found in others.items())
    how = f"{mine['index']}, tuning {mine['tuning_s']:.2f}"
    print(f"{kind} N={n} D={d}: auto {mine['seconds']:.2f} s ({how}), {listed}")
    print(f"    best of the others: {best}, {ratio:.2f} times auto's time", flush=True)
    return {"auto": mine, "others": others, "best": best, "ratio": ratio, "threads": thread_count()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=float, nargs="+", default=SIZES)
    parser.add_argument("--d", type=int, nargs="+", default=DIMENSIONS)
    parser.add_argument("--kind", choices=LATENTS, nargs="+", default=LATENTS[:1])
    options = parser.parse_args()
    about = {"machine": provenance.machine(), "versions": provenance.versions()}
    for kind in options.kind:
        for n in map(int, options.n):
            for d in options.d:
                found = cell(kind, n, d)
                cells = json.loads(PATH.read_text())["cells"] if PATH.exists() else {}
                cells[f"{kind} N={n} D={d}"] = found | {"date": datetime.date.today().isoformat()}
                write_json(PATH, about | {"cells": cells})


if __name__ == "__main__":
    main()
