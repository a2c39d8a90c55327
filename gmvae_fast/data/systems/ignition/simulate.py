"""From a design to labelled pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gmvae_fast._checks import check_integer
from gmvae_fast.data.cache import Arrays
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.data.systems._arguments import one_of
from gmvae_fast.data.systems._runs import Progress, join_runs, run_cases

from .designs import DESIGNS, GEOMETRIES, plan
from .outcomes import OUTCOMES, STAGES

#: Changes whenever the numbers a run produces change; part of every cache key.
SOLVER_VERSION = 2
#: Draws of a run until one does not detonate; a seventh of them does at most (design "uniform", size "paper").
MOST_ATTEMPTS = 20
#: Numerical settings by size; all end at time 2.34.
SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"cells": 48, "pixels": 48, "n_frames": 10, "interval": 0.26},
    "demo": {"cells": 96, "pixels": 96, "n_frames": 40, "interval": 0.06},
    "paper": {"cells": 192, "pixels": 96, "n_frames": 40, "interval": 0.06},
}
DEFAULT_RUNS = {"tiny": 6, "demo": 48, "paper": 192}
UNITS = "pressure, density and temperature of the cold gas are 1; lengths in half the height of the window"


def simulate(
    design: str = "uniform",
    n_runs: int | None = None,
    seed: int = 0,
    size: str = "demo",
    *,
    geometry: str = "planar",
    knife: str = "x",
    snapshots_per_run: int | None = None,
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Snapshots:
    """Simulate laser sparks in a premixed jet, seen by Schlieren.

    Parameters
    ----------
    design : "uniform" (energy, mixture, position and tilt of the spark vary), "jets" (the width of the jet too) or
        "centred" (energy and mixture only)
    n_runs : int
        Default 6, 48 and 192 for the three sizes.
    seed : int
        Of the design and of the camera's noise.
    size : "tiny" (seconds, too coarse for physics), "demo" (coarse) or "paper" (twice finer, much slower)
    geometry : "planar", or "axisymmetric": a round jet, and sparks on its axis along the beam (position across the jet
        and tilt of the designs have no effect, energies lie in a range of their own)
    knife : "x" or "y", the direction of the density gradient that is seen
    snapshots_per_run : int
        At most this many frames of a run, default 40 (10 for "tiny"); a shorter run ends earlier, so its outcome
        may differ.
    workers : int
        Runs at a time; default all processors.  The result does not depend on it.
    cache_dir : path
        Finished runs are kept here and found again; default see :func:`gmvae_fast.data.cache_directory`.
    progress : callable(done_runs, total_runs)

    Returns
    -------
    Snapshots
        Field schlieren [n, 1, pixels, pixels], brightness of 8 bits over 255.  A run ends early where the flame
        reaches the border, so trajectories differ in length.  Draws that detonate (an artefact of the model) are
        rejected and drawn again, so that all runs are there; ``attributes["rejected"]`` lists them.

    Raises
    ------
    ValueError
        Unknown names (the message lists the known ones) or counts below 1.
    SimulationError
        A run blew up (the message names its parameters), or detonated however often it was drawn.
    ImportError
        numba is missing.
    """
    one_of("design", design, DESIGNS)
    one_of("size", size, SIZES)
    one_of("geometry", geometry, GEOMETRIES)
    one_of("knife", knife, ("x", "y"))
    n_runs = DEFAULT_RUNS[size] if n_runs is None else check_integer("n_runs", n_runs, 1)
    seed = check_integer("seed", seed, 0)
    settings = dict(SIZES[size])
    if snapshots_per_run is not None:
        settings["n_frames"] = check_integer("snapshots_per_run", snapshots_per_run, 1)
    from .cases import IgnitionCase, IgnitionRun

    noise = [int(np.random.SeedSequence([seed, 1, run]).generate_state(1)[0]) for run in range(n_runs)]
    axisymmetric = geometry == "axisymmetric"
    settings |= {"knife": knife, "axisymmetric": axisymmetric}
    drawn = plan(design, n_runs, seed, MOST_ATTEMPTS, axisymmetric=axisymmetric)
    runs = [
        IgnitionRun(tuple(IgnitionCase(noise_seed=s, **{**settings, **p}) for p in draws))
        for draws, s in zip(drawn, noise, strict=True)
    ]
    results = run_cases("ignition", SOLVER_VERSION, runs, workers, cache_dir, progress)
    rejected = [int(result["rejected"]) for result in results]
    attributes = {
        "system": "ignition",
        "geometry": geometry,
        "design": design,
        "size": size,
        "seed": seed,
        "n_runs": n_runs,
        "units": UNITS,
        "solver_version": SOLVER_VERSION,
        "run_parameters": [run.attempts[n].parameters() for run, n in zip(runs, rejected, strict=True)],
        "rejected": [
            {"run": number, **case.parameters()}
            for number, (run, n) in enumerate(zip(runs, rejected, strict=True))
            for case in run.attempts[:n]
        ],
    }
    if any(rejected):
        draws = n_runs + sum(rejected)
        attributes["notes"] = [
            f"{sum(rejected)} of {draws} draws detonated, an artefact of the model, and were drawn again"
        ]
    return _assemble(results, settings["pixels"], attributes)


def _assemble(results: Sequence[Arrays], pixels: int, attributes: dict[str, Any]) -> Snapshots:
    from .cases import coordinates

    counts = [len(result["time"]) for result in results]
    joined = join_runs(results)
    return Snapshots(
        fields=joined["fields"].astype(np.float32) / np.float32(255.0),
        field_names=("schlieren",),
        quantities=joined["quantities"],
        labels=joined["labels"],
        trajectory=np.repeat(np.arange(len(results)), counts),
        time=np.concatenate([result["time"] for result in results]),
        coordinates=coordinates(pixels),
        attributes={**attributes, "label_names": {"outcome": list(OUTCOMES), "stage": list(STAGES)}},
    )
