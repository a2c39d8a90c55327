"""Eigenpairs, and scores that need none, of the spectral metric against what scipy offers.

    python -m pytest benchmarks/bench_spectral_modes.py --benchmark-enable            N = 1e5: minutes
    GMVAE_BENCH_N=1000000 python -m pytest benchmarks/bench_spectral_modes.py --benchmark-enable -k "scores or growth"

Every set of eigenpairs must reach the same residual, and every energy must lie within the interval given for it, or the
benchmark fails. LOBPCG with algebraic multigrid needs pyamg (the extra bench-spectral) and takes a minute for a set.
"""

from __future__ import annotations

import functools
import os
import time
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import eigsh, lobpcg

from gmvae_fast import smoothness
from gmvae_fast.spectral import eigenpairs, knn_graph, laplacian
from race import run_race

LIMIT = int(float(os.environ.get("GMVAE_BENCH_N", "100000")))
PAIRS = 20
RESIDUAL = 1e-8  # every contender must reach it; |L_sym| < 2
SIGNALS = 8


def sheet(n: int, rng: np.random.Generator) -> np.ndarray:
    """An annulus: the latents of wakes at many Reynolds numbers and phases."""
    radius, phase = 1 + rng.random(n), 2 * np.pi * rng.random(n)
    return np.stack([radius * np.cos(phase), radius * np.sin(phase)], axis=1)


def curves(n: int, rng: np.random.Generator) -> np.ndarray:
    """Twelve noisy closed curves: the same wakes at few Reynolds numbers."""
    radius, phase = 1 + rng.integers(0, 12, n) / 12, 2 * np.pi * rng.random(n)
    circles = np.stack([radius * np.cos(phase), radius * np.sin(phase)], axis=1)
    return circles + 0.01 * rng.normal(size=(n, 2))


def blobs(n: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(8, 8))[rng.integers(0, 8, n)] + rng.normal(size=(n, 8))


LATENTS = {
    "2-D sheet": sheet,
    "2-D curves": curves,
    "3-D cube": lambda n, rng: rng.random((n, 3)),
    "8-D blobs": blobs,
}
# Nodes beyond which a contender takes many minutes: a factor fills up, or the lowest gaps are too small for Lanczos.
LIMITS = {
    ("shift-invert", "3-D cube"): 10_000,
    ("shift-invert", "8-D blobs"): 10_000,
    ("LA on 2I-L", "2-D sheet"): 5_000,
    ("LA on 2I-L", "2-D curves"): 5_000,
}


@functools.lru_cache(maxsize=1)
def problem(kind: str, n: int) -> sparse.csr_array:
    """Adjacency of the largest component, so that every contender has one null vector."""
    graph = knn_graph(LATENTS[kind](n, np.random.default_rng(0)))
    labels = csgraph.connected_components(graph, directed=False)[1]
    nodes = np.flatnonzero(labels == np.bincount(labels).argmax())
    return sparse.csr_array(graph[nodes][:, nodes])


def native(matrix):
    return eigenpairs(matrix, PAIRS, tol=RESIDUAL / 2.5)[:2]  # of the bound 2 on |L_sym|


def shift_invert(matrix):
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    return eigsh(
        sparse.csc_array(matrix), PAIRS, sigma=-1e-6, which="LM", tol=1e-3, v0=start
    )  # loose: the residual passes


def largest_of_two_minus(matrix):
    start = np.random.default_rng(0).standard_normal(matrix.shape[0])
    mirrored = sparse.csr_array(2 * sparse.eye_array(matrix.shape[0]) - matrix)
    values, vectors = eigsh(mirrored, PAIRS, which="LA", tol=4e-9, v0=start, maxiter=10_000)
    return 2 - values, vectors


def lobpcg_amg(matrix):
    import pyamg

    n = matrix.shape[0]
    ladder = pyamg.smoothed_aggregation_solver(sparse.csr_matrix(matrix + 1e-5 * sparse.eye_array(n)))
    start = np.random.default_rng(0).standard_normal((n, PAIRS + 5))  # a margin, without which it stalls
    values, vectors = lobpcg(matrix, start, M=ladder.aspreconditioner(), tol=RESIDUAL, maxiter=300, largest=False)
    return values[:PAIRS], vectors[:, :PAIRS]


CONTENDERS = {
    "native": native,
    "shift-invert": shift_invert,
    "LA on 2I-L": largest_of_two_minus,
}


@pytest.mark.parametrize("kind", LATENTS)
def test_eigenpairs(benchmark, kind):
    n = min(LIMIT, 100_000)
    benchmark.group = f"{PAIRS} eigenpairs of L_sym, {kind}, N={n}"
    contenders = {name: call for name, call in CONTENDERS.items() if n <= LIMITS.get((name, kind), n)}
    race_eigenpairs(benchmark, laplacian(problem(kind, n), "symmetric"), contenders, rounds=3)


@pytest.mark.parametrize("kind", LATENTS)
def test_multigrid(benchmark, kind):
    pytest.importorskip("pyamg", reason="LOBPCG with algebraic multigrid needs pyamg")
    n = min(LIMIT, 100_000)
    benchmark.group = f"{PAIRS} eigenpairs of L_sym, {kind}, N={n}, against multigrid"
    matrix = laplacian(problem(kind, n), "symmetric")
    race_eigenpairs(benchmark, matrix, {"native": native, "LOBPCG+AMG": lobpcg_amg}, rounds=1)


def race_eigenpairs(benchmark, matrix, contenders, rounds):
    """In turns, each with the loosest tolerance that leaves every residual below the limit."""
    answers = {}

    def contend(name):
        answers[name] = contenders[name](matrix)

    turns = {name: functools.partial(contend, name) for name in contenders}
    rows = run_race(benchmark, turns, seconds=0.0, at_least=rounds, at_most=rounds)
    for name, (values, vectors) in answers.items():  # one answer for every round: starts are seeded
        residual = float(np.linalg.norm(matrix @ vectors - vectors * values, axis=0).max())
        assert residual < RESIDUAL, f"{name} left a residual of {residual:.1e}"
        rows[name]["notes"] = {"residual": residual}


def eight_signals(n: int) -> np.ndarray:
    latents = LATENTS["8-D blobs"](n, np.random.default_rng(0))
    noise = np.random.default_rng(1).normal(size=(n, 2))
    smooth = [latents[:, 0], latents[:, 1] ** 2, np.sin(2 * latents[:, 2]), np.linalg.norm(latents, axis=1)]
    return np.stack([*smooth, latents[:, 3] + noise[:, 0], latents[:, 4] > 1, latents[:, 5] > 3, noise[:, 1]], axis=1)


def score(graph, signals):
    """Scores, p-values, spectral measures and E_20."""
    result = smoothness(None, signals, graph=graph)
    return [(s.score, s.p_value, s.energy_estimate(PAIRS)) for s in result.values()]


@pytest.mark.parametrize("contender", ["native", "scores only", "eigsh"])
def test_scores(benchmark, contender):
    """Without eigenvectors, against the eigenpairs that the energies would need otherwise."""
    graph, n = knn_graph(LATENTS["8-D blobs"](LIMIT, np.random.default_rng(0))), LIMIT
    benchmark.group = f"{SIGNALS} signals, 8-D blobs, N={n}, graph given"
    signals = eight_signals(n)
    if contender == "eigsh":
        matrix = laplacian(graph, "symmetric")
        benchmark.pedantic(largest_of_two_minus, args=(matrix,), rounds=1)
        return
    function = score if contender == "native" else smoothness
    arguments = (graph, signals) if contender == "native" else (None, signals)
    options = {} if contender == "native" else {"graph": graph}
    benchmark.pedantic(function, args=arguments, kwargs=options, rounds=3 if n <= 100_000 else 1)
    small = smoothness(None, eight_signals(3000), graph=knn_graph(LATENTS["8-D blobs"](3000, np.random.default_rng(0))))
    for signal in small.values():
        interval = signal.energy_estimate(PAIRS)
        assert interval.lower - 1e-9 <= signal.low_frequency_energy(PAIRS) <= interval.upper + 1e-9


@pytest.mark.parametrize("contender", ["native"])
def test_growth(benchmark, contender):
    """Slopes on a log-log line of time and extra memory of scores and spectral measures over N."""
    sizes = [n for n in (10_000, 30_000, 100_000, 300_000, 1_000_000) if n <= LIMIT]
    benchmark.group = f"{SIGNALS} signals, growth from N={sizes[0]} to {sizes[-1]}"
    seconds, memory = [], []
    for n in sizes:
        graph, signals = knn_graph(LATENTS["8-D blobs"](n, np.random.default_rng(0))), eight_signals(n)
        score(graph, signals)
        tracemalloc.start()
        begun = time.perf_counter()
        score(graph, signals)
        seconds.append(time.perf_counter() - begun)
        memory.append(tracemalloc.get_traced_memory()[1] / 2**20)
        tracemalloc.stop()
    logs = np.log(sizes)
    benchmark.extra_info |= {
        "sizes": sizes,
        "seconds": seconds,
        "peak_MiB": memory,
        "slope_of_time": float(np.polyfit(logs, np.log(seconds), 1)[0]),
        "slope_of_memory": float(np.polyfit(logs, np.log(memory), 1)[0]),
    }
    benchmark.pedantic(score, args=(graph, signals), rounds=1)
    assert benchmark.extra_info["slope_of_memory"] < 1.1
