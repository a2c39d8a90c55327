"""Whether p-values from permuted trajectories are honest: how often one is small where there is nothing to find.

    python benchmarks/null_of_trajectories.py              400 draws: about six minutes
    python benchmarks/null_of_trajectories.py --draws 50

Thirty runs lie anywhere in the plane, each a slow random walk; their signals know nothing of the latents. Printed and
written to results/null-of-trajectories.json is the share of draws with p at most 0.05 and 0.2, which should be 0.05 and
0.2 or less.
"""

from __future__ import annotations

import argparse
import datetime
import warnings
from typing import Any

import numpy as np

import gmvae_fast as gf
from gmvae_fast._io import write_json
from gmvae_fast.studies import provenance
from spectral_million import RESULTS

RUNS = 30
LEVELS = (0.05, 0.2)


def lengths_of(rng: np.random.Generator, kind: str) -> np.ndarray:
    if kind == "all 20":
        return np.full(RUNS, 20)
    if kind == "18 to 22":
        return rng.integers(18, 23, RUNS)
    if kind == "5 to 100":
        return np.exp(rng.uniform(np.log(5), np.log(100), RUNS)).astype(int)
    return np.r_[300, np.full(RUNS - 1, 10)]


def signal_of(rng: np.random.Generator, kind: str, n: int) -> np.ndarray:
    if kind == "constant":
        return np.full(n, rng.normal())
    if kind == "walk":
        return rng.normal() + 0.1 * rng.normal(size=n).cumsum()
    if kind == "trend":
        return rng.normal() + 0.05 * np.arange(n)
    return rng.normal(size=n)


def p_value(lengths: str, signal: str, seed: int) -> float:
    rng = np.random.default_rng([seed, 1])  # not the stream from which permutations are drawn
    counts = lengths_of(rng, lengths)
    latents = np.concatenate([rng.normal(size=2) + 0.02 * rng.normal(size=(n, 2)).cumsum(0) for n in counts])
    values = np.concatenate([signal_of(rng, signal, n) for n in counts])
    groups = np.repeat(np.arange(RUNS), counts)
    return gf.smoothness(latents, values, groups=groups, permutations=99, seed=seed)["signal"].p_permutation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=400)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    rows: list[dict[str, Any]] = []
    for lengths in ("all 20", "18 to 22", "5 to 100", "one of 300, others 10"):
        for signal in ("constant", "walk", "trend", "white"):
            p = np.array([p_value(lengths, signal, seed) for seed in range(options.draws)])
            shares = {f"p <= {level}": float((p <= level).mean()) for level in LEVELS}
            rows.append({"lengths": lengths, "signal": signal, "mean_p": float(p.mean()), **shares})
            print(f"{lengths:22} {signal:9} " + ", ".join(f"{k}: {v:.3f}" for k, v in shares.items()), flush=True)
    about = {"machine": provenance.machine(), "versions": provenance.versions(), "command": provenance.command_line()}
    date = datetime.date.today().isoformat()
    write_json(RESULTS / "null-of-trajectories.json", {**about, "date": date, "draws": options.draws, "rows": rows})


if __name__ == "__main__":
    main()
