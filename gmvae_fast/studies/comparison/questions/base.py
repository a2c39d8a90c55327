"""What a question is: numbers asked of every trained arm, work of its own, and the tables that answer it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gmvae_fast.studies.comparison.bench import Bench as Bench
from gmvae_fast.studies.comparison.bench import Trained as Trained
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Column, Table
from gmvae_fast.studies.comparison.units import Unit


@dataclass(frozen=True)
class Answer:
    """What a unit found: numbers, by question."""

    measures: Mapping[str, Sequence[Measure]]


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
        (case, profile, names of the arms that are compared) -> units of the question's own work.
    perform : callable, optional
        Do such a unit.
    """

    name: str
    title: str
    about: str
    measure: Callable[[Trained], Iterable[Measure]] | None = None
    columns: Callable[[Results, StudyCase], Sequence[Column]] | None = None
    tables: Callable[[Results, StudyCase], Sequence[Table]] | None = None
    plan: Callable[[StudyCase, Profile, Sequence[str]], Sequence[Unit]] | None = None
    perform: Callable[[Unit, Bench], Answer] | None = None
