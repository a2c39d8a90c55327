"""How often bootstrap intervals of the score hold its mean over fresh draws, for runs of equal and unequal length.

    python benchmarks/coverage_of_intervals.py              300 draws of each design: two minutes

Runs drift through the plane; a signal is a coordinate with an offset of each run and noise. The graph is made anew for
every draw. Printed and written to results/coverage-of-intervals.json: the share of 90% intervals that hold the mean
score, and the mean width over that of a normal interval with the true spread.
"""

from __future__ import annotations

import argparse
import datetime

import numpy as np

import gmvae_fast as gf
from gmvae_fast._io import write_json
from gmvae_fast.studies import provenance
from spectral_million import RESULTS

CONFIDENCE, DEVIATIONS = 0.9, 1.645
RUNS = 30
DESIGNS = ("30 runs of 10", "30 runs of 5 to 40", "one of 150, 29 of 8", "100 runs of 5 to 40")


def lengths_of(rng: np.random.Generator, design: str) -> np.ndarray:
    if design == "30 runs of 10":
        return np.full(RUNS, 10)
    if design == "one of 150, 29 of 8":
        return np.r_[150, np.full(RUNS - 1, 8)]
    runs = int(design.split()[0])
    return np.exp(rng.uniform(np.log(5), np.log(40), runs)).astype(int)


def draw(rng: np.random.Generator, design: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, signal, run of every frame."""
    counts = lengths_of(rng, design)
    latents, signal = [], []
    for n in counts:
        start, velocity = rng.normal(size=(2, 2))
        latents.append(start + 0.5 * velocity * np.linspace(0, 1, n)[:, None] + 0.15 * rng.normal(size=(n, 2)))
        signal.append(latents[-1][:, 0] + 0.5 * rng.normal() + 0.15 * rng.normal(size=n))
    return np.concatenate(latents), np.concatenate(signal), np.repeat(np.arange(len(counts)), counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=300)
    options = parser.parse_args()
    rows = []
    for design in DESIGNS:
        scores, intervals = [], []
        rng = np.random.default_rng(0)
        for seed in range(options.draws):
            latents, signal, groups = draw(rng, design)
            found = gf.smoothness(
                latents, signal, n_neighbors=6, groups=groups, bootstrap=150, confidence=CONFIDENCE, seed=seed
            )["signal"]
            scores.append(found.score)
            intervals.append((found.score_lower, found.score_upper))
        low, high = np.transpose(intervals)
        covered = float(((low <= np.mean(scores)) & (np.mean(scores) <= high)).mean())
        width = float(np.mean(high - low) / (2 * DEVIATIONS * np.std(scores)))
        rows.append({"design": design, "coverage": covered, "width_over_true": width})
        print(f"{design:22} coverage {covered:.3f}, width over true {width:.2f}", flush=True)
    about = {"machine": provenance.machine(), "versions": provenance.versions(), "command": provenance.command_line()}
    date = datetime.date.today().isoformat()
    write_json(RESULTS / "coverage-of-intervals.json", {**about, "date": date, "draws": options.draws, "rows": rows})


if __name__ == "__main__":
    main()
