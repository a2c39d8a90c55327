"""From a design to labelled trajectories."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from gmvae_fast._checks import check_integer, check_real
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.data.systems._arguments import one_of
from gmvae_fast.data.systems._runs import Progress, join_runs, run_cases

from .blocks import SOLVER_VERSION, SUBSTEPS, TIMES, Block
from .designs import BLOCK, BRANCHES, REGIMES
from .oscillator import NAMES

DESIGNS = ("published", "bistable", "oscillating")
#: Trajectories by size.
SIZES = {"tiny": 64, "demo": 2000, "paper": 20_000}


def simulate(
    design: str = "bistable",
    n_runs: int | None = None,
    seed: int = 0,
    size: str = "demo",
    *,
    noise: float = 0.0,
    kappa: float | None = None,
    monostable: bool = False,
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Snapshots:
    """Trajectories of a surface reaction, each of them one snapshot on the time grid.

    Parameters
    ----------
    design : "bistable", "published" (one variable each) or "oscillating" (three variables)
    n_runs : int
        Number of trajectories; default by ``size``.
    seed : int
        Of parameters, starting points and noise.
    size : "tiny" (64 trajectories), "demo" (2,000) or "paper" (20,000)
    noise : float
        Standard deviation of independent Gaussian noise on every sample of the fields, not on the quantities.
    kappa : float
        For the design "published": the rate of reaction; default uniform on 10..11.
    monostable : bool
        For the design "bistable": a third of the trajectories, as a third class, have one steady state only.
    workers : int
        Blocks of 1,000 trajectories at a time; default all processors.  The result does not depend on it.
    cache_dir : path
        Finished blocks are kept here and found again; default see :func:`gmvae_fast.data.cache_directory`.
    progress : callable(done_blocks, total_blocks)

    Returns
    -------
    Snapshots
        Field rho [n_runs, 1, T], or u, v, w [n_runs, 3, T]; the coordinate "x" is time.  Label "branch" (side of
        the unstable state: low, high; or monostable), or "regime" (steady, oscillating).

    Raises
    ------
    ValueError
        Unknown names (the message lists the known ones), numbers out of range, options of another design.
    """
    one_of("design", design, DESIGNS)
    one_of("size", size, SIZES)
    n_runs = SIZES[size] if n_runs is None else check_integer("n_runs", n_runs, 1)
    seed = check_integer("seed", seed, 0)
    noise = check_real("noise", noise, at_least=0)
    kappa = _kappa(design, kappa)
    if not isinstance(monostable, bool) or (monostable and design != "bistable"):
        raise ValueError(f"monostable must be False, or True with design 'bistable'; got {monostable!r}, {design!r}")
    counts = [min(BLOCK, n_runs - start) for start in range(0, n_runs, BLOCK)]
    blocks = [Block(design, seed, i, count, kappa, monostable) for i, count in enumerate(counts)]
    results = run_cases("surface_reaction", SOLVER_VERSION, blocks, workers, cache_dir, progress)
    joined = join_runs(results)
    oscillating = design == "oscillating"
    labels = (
        {"regime": REGIMES} if oscillating else {"branch": BRANCHES[: 3 if monostable or design == "published" else 2]}
    )
    return Snapshots(
        fields=_with_noise(joined["fields"], noise, seed),
        field_names=NAMES if oscillating else ("rho",),
        quantities=joined["quantities"],
        labels=joined["labels"],
        coordinates={"x": TIMES[design]},
        attributes={
            "system": "surface_reaction",
            "design": design,
            "size": size,
            "seed": seed,
            "n_runs": n_runs,
            "noise": noise,
            "kappa": kappa,
            "monostable": monostable,
            "substeps": SUBSTEPS[design],
            "units": "coverages between 0 and 1; time in units of the model; the coordinate x is time",
            "solver_version": SOLVER_VERSION,
            "label_names": {name: list(names) for name, names in labels.items()},
        },
    )


def _kappa(design: str, kappa: float | None) -> float | None:
    if kappa is None:
        return None
    if design != "published":
        raise ValueError(f"kappa is an option of the design 'published' only; got kappa={kappa!r} for {design!r}")
    return check_real("kappa", kappa, above=0)


def _with_noise(fields: np.ndarray[Any, np.dtype[np.float32]], noise: float, seed: int) -> Any:
    """Block by block, whole blocks drawn in the order of trajectories, so that longer studies contain shorter ones."""
    if noise == 0.0:
        return fields
    noisy = fields.astype(np.float64)
    for block, start in enumerate(range(0, len(fields), BLOCK)):
        part = noisy[start : start + BLOCK]
        part += noise * np.random.default_rng([seed, 1, block]).standard_normal(part.shape)
    return noisy
