"""What a question is: numbers asked of every trained arm, work of its own, and the tables that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots
from gmvae_fast.studies.comparison.arms.base import Budget, Components, Fitted, Latents
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Column, Table
from gmvae_fast.studies.comparison.units import Unit

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Bench:
    """Where the units of one case are worked on.

    Attributes
    ----------
    case : StudyCase
    profile : Profile
    snapshots : Snapshots
        As compared.
    arrays_of : callable
        Configuration hash of a finished unit -> path of its arrays.
    """

    case: StudyCase
    profile: Profile
    snapshots: Snapshots
    arrays_of: Callable[[str], Path]


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


@dataclass(frozen=True)
class Answer:
    """What a unit found: numbers, by question, and arrays for figures."""

    measures: Mapping[str, Sequence[Measure]]
    arrays: Arrays = field(default_factory=dict)


@dataclass(frozen=True)
class Question:
    """One table, or several, of the study.

    Attributes
    ----------
    name, title : str
    about : str
        What is asked and how it is measured, for readers.
    measure : callable, optional
        Numbers of a trained arm.
    columns : callable, optional
        (results, case) -> columns of the table with one line an arm.
    tables : callable, optional
        (results, case) -> tables of other shapes.
    plan : callable, optional
        (case, profile, hashes of the arms' units by (arm, seed)) -> units of the question's own work.
    perform : callable, optional
        Do such a unit.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Trained], Iterable[Measure]] | None = None
    columns: Callable[[Results, StudyCase], Sequence[Column]] | None = None
    tables: Callable[[Results, StudyCase], Sequence[Table]] | None = None
    plan: Callable[[StudyCase, Profile, Mapping[tuple[str, int], str]], Sequence[Unit]] | None = None
    perform: Callable[[Unit, Bench], Answer] | None = None
