"""The whole path in one call: simulate, train on several seeds, embed, score, report."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gmvae_fast._checks import nearest
from gmvae_fast._progress import run_progress
from gmvae_fast.data import SplitConfig
from gmvae_fast.data.systems import get_system
from gmvae_fast.studies.folder import StudyFolder
from gmvae_fast.studies.presets import PRESETS
from gmvae_fast.studies.stages import embed_seed, score_seed, summarise, train_seed

Say = Callable[[str], None]


def run_demo(
    system: str,
    out: str | os.PathLike[str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    n_runs: int | None = None,
    epochs: int | None = None,
    size: str = "demo",
    workers: int | None = None,
    progress: bool = True,
    say: Say = print,
) -> list[dict[str, Any]]:
    """Run the demo ``system`` and fill the study folder ``out``, the report aside.

    Parameters
    ----------
    system : {"channel", "free_stream", "surface_reaction"}
    out : path
        Seeds already trained there with the same settings are not trained again.
    seeds : sequence of int
    n_runs, epochs, size
        Smaller than the preset for a quick look; targets then need not hold.
    workers : int, optional
        Simulations at a time.
    progress : bool
    say : callable
        Receives one line a stage.

    Returns
    -------
    list of dict
        The target table: name, value, bound, passed.
    """
    if system not in PRESETS:
        raise ValueError(f"system must be one of {', '.join(PRESETS)}, got {system!r}{nearest(system, PRESETS)}")
    if not seeds:
        raise ValueError("seeds must name at least one seed, got none")
    preset, folder = PRESETS[system], StudyFolder(out)
    with folder.lock():
        module = get_system(preset.system)
        timings: dict[str, float] = {}
        clock = _Clock(timings, say)

        simulation = preset.simulate | {"size": size} | ({} if n_runs is None else {"n_runs": n_runs})
        with clock.stage("simulate"), run_progress("simulating", enabled=progress) as show:
            snapshots = module.simulate(**simulation, workers=workers, progress=show)
        data_path = folder.path / "data.npz"
        snapshots.save(data_path)
        with clock.stage("validate the solver (quick)"):
            folder.write_json("validation.json", _validation(module.validate(quick=True)))
        training = preset.training if epochs is None else dataclasses.replace(preset.training, epochs=epochs)
        for seed in seeds:
            with clock.stage(f"train seed {seed}"):
                train_seed(
                    folder,
                    snapshots,
                    preset.model,
                    dataclasses.replace(training, seed=seed),
                    data_path=str(data_path),
                    split=SplitConfig(stratify=preset.stratify),
                    title=preset.title,
                    progress=progress,
                )
            with clock.stage(f"embed and score seed {seed}"):
                embed_seed(folder, snapshots, seed)
                score_seed(folder, snapshots, seed)
        summary = summarise(folder, seeds)
        targets = [bound.check(summary) for bound in preset.bounds]
        folder.update_study(seeds=sorted(seeds), targets=targets, notes=list(preset.notes), timings_s=timings)
        return targets


def _validation(report: Any) -> dict[str, Any]:
    rows = [dataclasses.asdict(row) | {"passed": row.passed} for row in report.rows]
    return {"rows": rows, "passed": report.passed, "quick": report.quick}


class _Clock:
    """Times each stage and says so."""

    def __init__(self, timings: dict[str, float], say: Say) -> None:
        self.timings, self.say = timings, say
        self.name, self.started = "", 0.0

    def stage(self, name: str) -> _Clock:
        self.name = name
        return self

    def __enter__(self) -> None:
        self.started = time.perf_counter()

    def __exit__(self, kind: object, *_: object) -> None:
        seconds = time.perf_counter() - self.started
        self.timings[self.name] = round(seconds, 2)
        if kind is None:
            self.say(f"{self.name}: {seconds:.1f} s")
