"""Draw docs/pictures/ignition.png, ignition_axisymmetric.png and ignition_outcomes.png: sparks frame by frame, and what
became of a study.

With ``--size paper --runs 64`` (the default) the studies take a quarter of an hour on two processors; finished runs are
kept in the cache.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gmvae_fast.data import Snapshots
from gmvae_fast.data.systems import ignition

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
COLOURS = ("#0072B2", "#999999", "#D55E00")
TIMES = (0.06, 0.24, 0.6, 1.2, 1.8, 2.34)


def typical_runs(study: Snapshots) -> list[int]:
    """A run of each outcome: of those with the most frames the one with the median energy."""
    frames = np.bincount(study.trajectory)[study.trajectory]
    chosen = []
    for outcome in range(3):
        mine = study.labels["outcome"] == outcome
        if mine.any():
            mine &= frames == frames[mine].max()
            energy, run = study.quantities["E"][mine], study.trajectory[mine]
            chosen.append(int(run[np.abs(energy - np.quantile(energy, 0.5, method="nearest")).argmin()]))
    return chosen


def draw_frames(study: Snapshots, path: Path) -> None:
    """One row a run, one column a time."""
    runs = typical_runs(study)
    figure, axes = plt.subplots(len(runs), len(TIMES), figsize=(1.6 * len(TIMES), 1.75 * len(runs)), squeeze=False)
    names = study.attributes["label_names"]
    for row, run in zip(axes, runs, strict=True):
        mine = study.subset(study.trajectory == run)
        for ax, time in zip(row, TIMES, strict=True):
            ax.set_axis_off()
            frame = int(np.abs(mine.time - time).argmin())
            if abs(mine.time[frame] - time) > 0.04:
                continue  # the run ended at the border before
            ax.imshow(mine.fields[frame, 0], cmap="gray", vmin=0, vmax=1, origin="lower", extent=(0, 2, -1, 1))
            stage = names["stage"][mine.labels["stage"][frame]]
            ax.set_title(f"t = {mine.time[frame]:.2f}, {stage}", fontsize=7, pad=2)
        outcome = names["outcome"][mine.labels["outcome"][0]]
        e, phi = mine.quantities["E"][0], mine.quantities["phi"][0]
        row[0].text(-0.12, 0, f"{outcome}\nE {e:.2g}, phi {phi:.2f}", fontsize=7, rotation=90, ha="right", va="center")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=100)


def draw_outcomes(study: Snapshots, geometry: str, left: Axes, right: Axes) -> None:
    """Outcomes over energy and mixture with the rejected draws, and the hot area of every run."""
    first = np.unique(study.trajectory, return_index=True)[1]
    outcome, names = study.labels["outcome"][first], study.attributes["label_names"]["outcome"]
    for kind, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        at = first[outcome == kind]
        share = 0.5 + 3.0 * (0.4 - np.abs(study.quantities["spark_y"][at]))
        left.scatter(study.quantities["E"][at], study.quantities["phi"][at], s=25 * share, color=colour, label=name)
    rejected = study.attributes["rejected"]
    left.scatter([r["energy"] for r in rejected], [r["phi"] for r in rejected], marker="x", color="k", label="rejected")
    note = "small: far from the axis of the jet" if geometry == "planar" else "all on the axis"
    left.set(xscale="log", xlabel="E", ylabel="phi", title=f"{geometry} ({note})")
    ticks = [0.06, 0.1, 0.15, 0.22] if geometry == "planar" else [0.003, 0.005, 0.01, 0.016]
    left.set_xticks(ticks, [str(tick) for tick in ticks])
    left.minorticks_off()
    for run, kind in zip(study.trajectory[first], outcome, strict=True):
        mine = study.trajectory == run
        right.plot(study.time[mine], study.quantities["hot_area"][mine], color=COLOURS[kind], lw=0.7)
    right.set(xlabel="t", ylabel="hot area", title="area with T > 3")
    right.set_yscale("symlog", linthresh=0.01)


def main() -> None:
    """Read the options and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="paper", choices=list(ignition.SIZES))
    parser.add_argument("--runs", type=int, default=64)
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    pictures = {"planar": "ignition.png", "axisymmetric": "ignition_axisymmetric.png"}
    studies = {g: ignition.simulate(size=arguments.size, n_runs=arguments.runs, geometry=g) for g in pictures}
    for geometry, study in studies.items():
        draw_frames(study, FOLDER / pictures[geometry])
        first = np.unique(study.trajectory, return_index=True)[1]
        counts = np.bincount(study.labels["outcome"][first], minlength=3)
        names = study.attributes["label_names"]["outcome"]
        print(geometry, dict(zip(names, counts.tolist(), strict=True)), len(study.attributes["rejected"]), "rejected")
    figure, axes = plt.subplots(2, 2, figsize=(8, 6.4), layout="constrained")
    for row, (geometry, study) in zip(axes, studies.items(), strict=True):
        draw_outcomes(study, geometry, *row)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=7, loc="outside upper left", ncols=4)
    figure.savefig(FOLDER / "ignition_outcomes.png", dpi=100)


if __name__ == "__main__":
    main()
