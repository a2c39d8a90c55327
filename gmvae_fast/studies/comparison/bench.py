"""Where units are worked on, and an arm that is trained there."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots, split_by_trajectory
from gmvae_fast.studies.comparison.arms import ARMS, Budget
from gmvae_fast.studies.comparison.arms.base import Components, Fitted, Latents
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.units import Unit


@dataclass(frozen=True)
class Bench:
    """Where the units of one case are worked on.

    Attributes
    ----------
    case : StudyCase
    profile : Profile
    snapshots : Snapshots
        As compared.
    """

    case: StudyCase
    profile: Profile
    snapshots: Snapshots


@dataclass(frozen=True)
class Trained:
    """A trained arm on all snapshots of its case: what questions are asked of.

    Attributes
    ----------
    bench : Bench
    unit : Unit
    budget : Budget
    fitted : Fitted
    latents, components : [N, D], [N]
        Of all snapshots.
    train, test : int [n]
        Which of them were trained on, and which held out.
    """

    bench: Bench
    unit: Unit
    budget: Budget
    fitted: Fitted
    latents: Latents
    components: Components
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]

    @property
    def n_components(self) -> int:
        """K."""
        return self.budget.model.n_components


def budget_of(bench: Bench, seed: int) -> Budget:
    """What every arm gets on this case and seed."""
    scale = bench.case.scales[bench.profile.name]
    return Budget(bench.case.model, dataclasses.replace(bench.case.training, epochs=scale.epochs, seed=seed))


def train_arm(unit: Unit, bench: Bench, budget: Budget | None = None) -> tuple[Trained, list[Measure]]:
    """Split, train and embed; what that took.

    Raises
    ------
    TrainingDiverged
    """
    budget = budget or budget_of(bench, unit.seed)
    snapshots = bench.snapshots
    train, test = split_by_trajectory(snapshots, bench.profile.test_fraction, unit.seed, bench.case.stratify)
    started = time.perf_counter()
    fitted = ARMS[unit.arm].fit(snapshots[train], budget)
    trained_s = time.perf_counter() - started
    latents, components = fitted.map(snapshots)
    costs = [Measure("training, wall s", trained_s)]
    if fitted.history is not None:
        costs.append(Measure("epochs", float(len(fitted.history.epochs))))
    return Trained(bench, unit, budget, fitted, latents, components, train, test), costs
