"""From a design to labelled snapshots."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from gmvae_fast._checks import check_integer
from gmvae_fast.data.cache import Arrays
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.data.systems._arguments import one_of
from gmvae_fast.data.systems._runs import Case, Progress, join_runs, run_cases

from .designs import DESIGNS, Design
from .runs import SOLVER_VERSION

#: Numerical settings by geometry and size; the rest of each case keeps its defaults ("demo").
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "channel": {
        "tiny": {"cells_per_diameter": 10, "lattice_velocity": 0.1},
        "demo": {},
        "paper": {"cells_per_diameter": 40, "lattice_velocity": 0.05},
    },
    "free_stream": {
        "tiny": {
            "cells_per_diameter": 10,
            "length": 18.0,
            "height": 10.0,
            "upstream": 5.0,
            "start_time": 40.0,
            "before": 15.0,
            "n_snapshots": 20,
        },
        "demo": {},
        "paper": {
            "cells_per_diameter": 40,
            "lattice_velocity": 0.05,
            "length": 36.0,
            "height": 32.0,
            "upstream": 12.0,
        },
    },
}
DEFAULT_RUNS = {"channel": 180, "free_stream": 12}
UNITS = {
    "channel": "lengths of the DFG benchmark (D = 0.1), velocities over the peak mean inlet velocity, density 1",
    "free_stream": "lengths in D, velocities in U, pressure in rho U^2, times in D / U",
}


def simulate(
    geometry: str = "channel",
    design: str = "clustered",
    n_runs: int | None = None,
    seed: int = 0,
    size: str = "demo",
    *,
    snapshots_per_run: int | None = None,
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Snapshots:
    """Simulate the wake of a cylinder at many Reynolds numbers.

    Parameters
    ----------
    geometry : "channel" (published set-up, one snapshot a run) or "free_stream" (many snapshots a run)
    design : "clustered" or "uniform"; for the free stream also "onset"
    n_runs : int
        Default 180 in the channel, 12 in the free stream.
    seed : int
        Of the Reynolds numbers; the flow itself has no chance in it.
    size : "tiny" (seconds, coarse), "demo" or "paper" (finer, much slower)
    snapshots_per_run : int
        Free stream only; default 60 (20 for "tiny").
    workers : int
        Runs at a time; default all processors.  The result does not depend on it.
    cache_dir : path
        Finished runs are kept here and found again; default see :func:`gmvae_fast.data.cache_directory`.
    progress : callable(done_runs, total_runs)

    Returns
    -------
    Snapshots
        Fields u, v, p.  In the channel [n_runs, 3, 41, 220], in the free stream [n, 3, 64, 128].  Solid pixels
        are 0 and False in the mask.

    Raises
    ------
    ValueError
        Unknown names (the message lists the known ones) or counts below 1.
    SimulationError
        A run blew up; the message names its parameters.
    ImportError
        numba is missing.
    """
    one_of("geometry", geometry, DESIGNS)
    one_of(f"design of {geometry}", design, DESIGNS[geometry])
    one_of("size", size, SIZES[geometry])
    n_runs = DEFAULT_RUNS[geometry] if n_runs is None else check_integer("n_runs", n_runs, 1)
    seed = check_integer("seed", seed, 0)
    plan = DESIGNS[geometry][design](n_runs, seed)
    cases = _cases(geometry, plan, size, snapshots_per_run)
    results = run_cases("wake", SOLVER_VERSION, cases, workers, cache_dir, progress)
    attributes = {
        "system": "wake",
        "geometry": geometry,
        "design": design,
        "size": size,
        "seed": seed,
        "n_runs": n_runs,
        "units": UNITS[geometry],
        "solver_version": SOLVER_VERSION,
        "run_parameters": [case.parameters() for case in cases],
    }
    return _assemble(geometry, plan, results, attributes)


def _cases(geometry: str, plan: Design, size: str, snapshots_per_run: int | None) -> list[Case]:
    settings = dict(SIZES[geometry][size])
    if geometry == "channel":
        if snapshots_per_run not in (None, 1):
            raise ValueError(f"the channel gives one snapshot a run; got snapshots_per_run={snapshots_per_run}")
        from .channel import ChannelCase

        return [ChannelCase(float(re), **settings) for re in plan.reynolds]
    if snapshots_per_run is not None:
        settings["n_snapshots"] = check_integer("snapshots_per_run", snapshots_per_run, 1)
    from .free_stream import StreamCase

    return [StreamCase(float(re), **settings) for re in plan.reynolds]


def _assemble(geometry: str, plan: Design, results: Sequence[Arrays], attributes: dict[str, Any]) -> Snapshots:
    if geometry == "channel":
        from .channel import FIELD_NAMES, coordinates
    else:
        from .free_stream import FIELD_NAMES, coordinates
    counts = [len(result["time"]) for result in results]
    joined = join_runs(results)
    label_names = {"re_group": list(plan.group_names)}
    if geometry == "free_stream":
        label_names["shedding"] = ["steady", "shedding"]
    return Snapshots(
        fields=joined["fields"],
        field_names=FIELD_NAMES,
        quantities=joined["quantities"],
        labels={"re_group": np.repeat(plan.group, counts), **joined["labels"]},
        trajectory=np.repeat(np.arange(len(results)), counts),
        time=np.concatenate([result["time"] for result in results]),
        coordinates=coordinates(),
        mask=results[0]["mask"],
        attributes={**attributes, "label_names": label_names},
    )
