"""The page of a comparison: made from its result file, nothing else."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gmvae_fast.report import numbers
from gmvae_fast.report.answer_figures import answer_figures
from gmvae_fast.report.comparison_figures import latent_maps
from gmvae_fast.report.drawing import Image, figure_style
from gmvae_fast.report.environment import page_template
from gmvae_fast.report.page import Table
from gmvae_fast.studies.comparison import maps
from gmvae_fast.studies.comparison.arms import ARMS, REFERENCE
from gmvae_fast.studies.comparison.cases import CASES, StudyCase
from gmvae_fast.studies.comparison.description import NAME as PROTOCOL
from gmvae_fast.studies.comparison.losses import find_losses
from gmvae_fast.studies.comparison.questions import QUESTIONS, Question
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import Spread
from gmvae_fast.studies.comparison.store import FILE_NAME, load_results
from gmvae_fast.studies.comparison.tables import SIGNIFICANT, Compared, Entry, arm_table
from gmvae_fast.studies.comparison.tables import Table as Comparison
from gmvae_fast.studies.comparison.targets import check_targets
from gmvae_fast.studies.comparison.work import COSTS

_MOST_COLUMNS = 10  # of a table that is read across


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell; ``kind`` is "better" or "worse" where it differs clearly from the reference."""

    text: str
    p: str = ""
    kind: str = ""


@dataclass(frozen=True)
class TableView:
    """A table of cells."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class QuestionView:
    """A question, its figures and its tables."""

    title: str
    about: str
    tables: tuple[TableView, ...]
    images: tuple[tuple[Image, str], ...] = ()


@dataclass(frozen=True)
class CaseView:
    """What the page says of one data set."""

    name: str
    title: str
    notes: tuple[str, ...]
    protocol: Table
    images: tuple[tuple[Image, str], ...]
    questions: tuple[QuestionView, ...]


def render_comparison(folder: Path) -> str:
    """The page of the comparison in ``folder``, as text.

    Raises
    ------
    StudyError
        Where there is no result file, or it is damaged.
    """
    results = load_results(folder / FILE_NAME)
    cases = [CASES[name] for name in results.systems if name in CASES]
    measured = [name for name in ARMS if any(name in results.arms(case.name) for case in cases)]
    with figure_style():
        views = [_case_view(results, case) for case in cases]
    return page_template("comparison.html").render(
        lead=_lead(results, cases, measured),
        reference=REFERENCE,
        targets=Table(
            ("target", "value", "bound", "verdict"),
            tuple((t.name, numbers.number(t.value), t.bound, t.verdict) for t in check_targets(results)),
        ),
        losses=_losses(results, clear=True),
        unclear=_losses(results, clear=False),
        cases=views,
        arms=Table(("arm", "what it is"), tuple((name, ARMS[name].title) for name in measured)),
        significant=SIGNIFICANT,
    )


def _lead(results: Results, cases: Sequence[StudyCase], arms: Sequence[str]) -> str:
    seeds = {row.seed for row in results.rows if row.seed >= 0}
    revisions = ", ".join(sorted({row.revision for row in results.rows if row.revision})) or "unknown"
    versions = next((row.versions for row in results.rows if row.versions), "")
    return (
        f"{len(arms)} arms on {len(cases)} data sets, {len(seeds)} seeds each: same networks, same budget of epochs, "
        f"same splits by trajectory, same graphs. Revision {revisions}; {versions.replace('=', ' ')}."
    )


def _losses(results: Results, *, clear: bool) -> Table:
    rows = []
    for loss in find_losses(results):
        if loss.found.is_clear is not clear:
            continue
        p = "" if math.isnan(loss.found.p) else numbers.p_value(loss.found.p)
        rows.append(
            (
                loss.case,
                loss.column.title,
                loss.arm,
                numbers.mean_and_std(loss.found.spread.mean, loss.found.spread.std),
                numbers.mean_and_std(loss.reference.mean, loss.reference.std),
                p,
            )
        )
    return Table(("data", "number", "better arm", "it", REFERENCE, "p"), tuple(rows))


def _case_view(results: Results, case: StudyCase) -> CaseView:
    protocol = [(row.metric, row.detail) for row in results.rows if (row.system, row.question) == (case.name, PROTOCOL)]
    return CaseView(
        case.name,
        case.title,
        case.notes,
        Table(("", ""), tuple(protocol)),
        _images(results, case),
        (*(_question_view(results, case, question) for question in QUESTIONS.values()), _costs(results, case)),
    )


def _question_view(results: Results, case: StudyCase, question: Question) -> QuestionView:
    tables: list[Comparison] = []
    if question.columns is not None:
        columns = list(question.columns(results, case))
        tables += [
            arm_table(results, case.name, question.name, columns[i : i + _MOST_COLUMNS])
            for i in range(0, len(columns), _MOST_COLUMNS)
        ]
    if question.tables is not None:
        tables += question.tables(results, case)
    views = tuple(_table_view(t) for t in tables if t.rows)
    return QuestionView(question.title, question.about, views, tuple(answer_figures(results, case, question.name)))


def _costs(results: Results, case: StudyCase) -> QuestionView:
    rows = []
    for arm in results.arms(case.name, COSTS):
        seconds = list(results.values(case.name, COSTS, "training, wall s", arm).values())
        epochs = list(results.values(case.name, COSTS, "epochs", arm).values())
        mean = float(np.mean(seconds)) if seconds else math.nan
        rows.append((Cell(arm), Cell(numbers.seconds(mean)), Cell(numbers.number(epochs[0]) if epochs else "")))
    table = TableView("", ("arm", "training, mean over seeds", "epochs"), tuple(rows))
    return QuestionView("Cost", "Wall time of training on one core, beside whatever else the machine did.", (table,))


def _table_view(table: Comparison) -> TableView:
    return TableView(
        table.title, table.head, tuple(tuple(_cell(entry) for entry in row) for row in table.rows), table.note
    )


def _cell(entry: Entry) -> Cell:
    if isinstance(entry, str):
        return Cell(entry)
    if isinstance(entry, Compared):
        text = numbers.mean_and_std(entry.spread.mean, entry.spread.std) if entry.spread.n else ""
        p = "" if math.isnan(entry.p) else f"p {numbers.p_value(entry.p)}"
        return Cell(text, p, entry.verdict if entry.is_clear and entry.verdict in ("better", "worse") else "")
    if isinstance(entry, Spread):
        return Cell(numbers.mean_and_std(entry.mean, entry.std) if entry.n else "")
    return Cell("" if math.isnan(entry) else numbers.number(entry))


def _images(results: Results, case: StudyCase) -> tuple[tuple[Image, str], ...]:
    """The maps that were kept, coloured by the main quantity and by the regime; arms without one are left out."""
    points, seed = {}, maps.SEED
    for arm in results.arms(case.name, maps.NAME):
        text = results.text(case.name, maps.NAME, "latents", arm)
        with contextlib.suppress(ValueError):
            points[arm] = maps.decode_points(text)
    main, regime = (maps.decode_values(results.text(case.name, maps.NAME, name)) for name in ("main", "regime"))
    ordered = {arm: points[arm] for arm in ARMS if arm in points and len(points[arm]) == len(main) == len(regime)}
    if not ordered:
        return ()
    classes = [name for name in results.text(case.name, maps.NAME, "classes").split(";") if name]
    return (
        (
            latent_maps(ordered, main, case.main_quantity),
            f"Latent maps of seed {seed}, coloured by {case.main_quantity}; of more than two dimensions the "
            f"first two principal axes are shown, of many snapshots {maps.MOST_POINTS}.",
        ),
        (latent_maps(ordered, regime, case.regime, classes), f"The same, coloured by {case.regime}."),
    )
