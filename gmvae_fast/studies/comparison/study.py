"""The whole comparison in one call: simulate, train and measure every arm, check what must be shown."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gmvae_fast._io import to_jsonable
from gmvae_fast._progress import run_progress
from gmvae_fast.data.systems import get_system
from gmvae_fast.studies import provenance
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.description import describe
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.reporting import unit_progress
from gmvae_fast.studies.comparison.runner import Failure, Setting, run_units
from gmvae_fast.studies.comparison.scope import Scope
from gmvae_fast.studies.comparison.store import ResultStore
from gmvae_fast.studies.comparison.targets import Target, check_targets

Say = Callable[[str], None]


@dataclass(frozen=True)
class StudyOutcome:
    """What `run_study` returns.

    Attributes
    ----------
    folder : Path
    targets : tuple of Target
    failures : tuple of Failure
        Units that ended in an error.
    """

    folder: Path
    targets: tuple[Target, ...]
    failures: tuple[Failure, ...]

    @property
    def passed(self) -> bool:
        """Whether all targets are met and nothing failed."""
        return not self.failures and all(target.passed for target in self.targets)


def run_study(
    system: str,
    out: str | os.PathLike[str],
    *,
    profile: str | Profile = "quick",
    arms: Sequence[str] | None = None,
    workers: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
    say: Say = print,
) -> StudyOutcome:
    """Compare arms on one system or all, and write ``results.csv`` into the folder ``out``.

    Units (one arm on one seed of one case) that stand in ``results.csv`` with the same configuration are not done
    again, so a study that was stopped goes on where it was.

    Parameters
    ----------
    system : {"surface_reaction", "wake", "ignition", "channel", "free_stream", "all"}
    out : path
    profile : {"quick", "full", "tiny"} or Profile
    arms : sequence of str, optional
        Of `ARMS`, default all; the reference arm is always among them.
    workers : int, optional
        Processes at a time.
    cache_dir : path, optional
        Of simulated runs.
    progress : bool
        Show how far it is, and how long it will still take.
    say : callable
        Receives one line a stage.

    Raises
    ------
    ValueError
        For unknown names; the message lists the known ones, and which of them was probably meant.
    StudyError
        For a folder with something else in it, and when a worker process dies.
    """
    scope = Scope.of(system, profile, arms)
    chosen, cases = scope.profile, scope.cases
    folder = Path(out)
    store = ResultStore(folder)
    setting = Setting(
        folder=folder,
        data={name: _simulate(case, chosen, folder, workers, cache_dir, progress, say) for name, case in cases.items()},
        cases=cases,
        profile=chosen,
        revision=provenance.revision(),
        versions=" ".join(f"{name}={version}" for name, version in provenance.versions().items()),
    )
    for case in cases.values():
        describe(case, setting, store)
    units = scope.units()
    done = sum(setting.hash_of(unit) in store for unit in units)
    say(f"{len(units)} units, {done} of them done before")
    with unit_progress(len(units), done, enabled=progress, say=say) as finished:
        failures = run_units(units, setting, store, workers, finished)
    return StudyOutcome(folder, tuple(check_targets(store.results())), tuple(failures))


def data_path(case: StudyCase, profile: Profile, folder: Path) -> Path:
    """Where the snapshots of ``case`` as compared stand."""
    options = {**case.simulate, **case.scales[profile.name].simulate}
    text = json.dumps(to_jsonable([case.system, options, case.preparation_in(profile.name)]), sort_keys=True)
    return folder / "data" / f"{case.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"


def _simulate(
    case: StudyCase,
    profile: Profile,
    folder: Path,
    workers: int | None,
    cache_dir: str | os.PathLike[str] | None,
    progress: bool,
    say: Say,
) -> Path:
    """File of the snapshots as compared, made unless it is there."""
    path = data_path(case, profile, folder)
    if path.is_file():
        return path
    options = {**case.simulate, **case.scales[profile.name].simulate}
    started = time.perf_counter()
    with run_progress(f"simulating {case.name}", enabled=progress) as show:
        snapshots = get_system(case.system).simulate(**options, workers=workers, cache_dir=cache_dir, progress=show)
    case.compared(snapshots, profile.name).save(path)
    say(f"{case.name}: simulated in {time.perf_counter() - started:.1f} s")
    return path
