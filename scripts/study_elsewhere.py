"""Settings of a study's case on runs and seeds that the study does not score.

    python scripts/study_elsewhere.py ignition --betas 1,3 --write docs/study.md

Other simulated runs (another seed of the design), other seeds of training and split. `block` beside the VAE for each
beta, and `block` with one component: is what parts it from the VAE the mixture, or the way of training?
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from study_tables import markdown, replace_between

from gmvae_fast._threads import threads_for
from gmvae_fast.data.systems import get_system
from gmvae_fast.studies.comparison import CASES, PROFILES
from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.bench import Bench, budget_of, train_arm
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions import regimes, smoothness
from gmvae_fast.studies.comparison.tables import Compared, compare
from gmvae_fast.studies.comparison.units import Unit

SIMULATION_SEED = 1000
SEEDS = tuple(range(1000, 1005))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--betas", default="1")
    parser.add_argument("--profile", choices=list(PROFILES), default="quick")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    options = parser.parse_args()
    betas = [float(part) for part in options.betas.split(",")]
    with threads_for(0):
        text = table(CASES[options.case], options.profile, betas)
    print(text)
    if options.write is not None:
        name = f"{options.case} elsewhere"
        replace_between(options.write, f"<!-- {name} -->", f"<!-- end of {name} -->", text)


def table(case: StudyCase, profile_name: str, betas: Sequence[float]) -> str:
    """One line a beta and a contender, tested against `block` at the same beta."""
    profile = dataclasses.replace(PROFILES[profile_name], seeds=SEEDS)
    options = {**case.simulate, **case.scales[profile_name].simulate, "seed": SIMULATION_SEED}
    snapshots = case.compared(get_system(case.system).simulate(**options), profile_name)
    contenders = ((REFERENCE, REFERENCE, None), (f"{REFERENCE}, K = 1", REFERENCE, 1), ("vae", "vae", None))
    label = case.regime + regimes.BY_RUN if case.by_run else case.regime
    rows = []
    for beta in betas:
        own = dataclasses.replace(case, training=dataclasses.replace(case.training, beta=beta))
        bench = Bench(own, profile, snapshots)
        found = {title: [_numbers(bench, arm, k, seed, label) for seed in SEEDS] for title, arm, k in contenders}
        columns = [
            compare(
                [{s: runs[i][j] for i, s in enumerate(SEEDS)} for runs in found.values()],
                {s: found[REFERENCE][i][j] for i, s in enumerate(SEEDS)},
                is_reference=[title == REFERENCE for title in found],
            )
            for j in range(3)
        ]
        rows += [(f"{beta:g}", title, *map(_cell, cells)) for title, *cells in zip(found, *columns, strict=True)]
    return markdown(("beta", "arm", f"score of {case.main_quantity}", f"ARI with {label}", "pieces of the graph"), rows)


def _numbers(bench: Bench, arm: str, k: int | None, seed: int, label: str) -> tuple[float, float, float]:
    """Score of the main quantity, ARI, connected components of the latent graph."""
    budget = budget_of(bench, seed)
    if k is not None:
        budget = dataclasses.replace(budget, model=dataclasses.replace(budget.model, n_components=k))
    trained, _ = train_arm(Unit(bench.case.name, arm, seed), bench, budget)
    smooth = {(m.metric, m.detail): m.value for m in smoothness.measure(trained)}
    found = {(m.metric, m.detail): m.value for m in regimes.measure(trained)}
    return smooth["score", bench.case.main_quantity], found["ARI", label], smooth["graph components", ""]


def _cell(cell: Compared) -> str:
    p = "" if cell.p != cell.p else f", p {cell.p:.2g}"
    return f"{cell.spread.mean:.4f} ± {cell.spread.std:.4f}{p}"


if __name__ == "__main__":
    main()
