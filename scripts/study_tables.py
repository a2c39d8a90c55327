"""Write the tables of a study's result file between the markers of a page.

    python scripts/study_tables.py study/all-quick/results.csv --write docs/study.md

Targets and verdicts, the arms beside each other on every data set (means and standard deviations over seeds), and what
it took. A star marks a clear difference (p < 0.05, adjusted by Holm) from the first line of a generation table, the
`block` arm at its own settings, or the last criterion. Everything comes from the result file; nothing is run.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from gmvae_fast.studies.comparison import CASES, check_targets, load_results
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions import (
    QUESTIONS,
    components,
    conditions,
    regimes,
    sensitivity,
    smoothness,
    stability,
)
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import spread
from gmvae_fast.studies.comparison.tables import Compared, Entry

OWN_WORK = (sensitivity.NAME, components.NAME, conditions.NAME)
START, END = "<!-- study: written by scripts/study_tables.py -->", "<!-- end of study -->"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--write", type=Path, help="page whose tables are replaced")
    options = parser.parse_args()
    text = tables(load_results(options.results))
    print(text)
    if options.write is not None:
        replace_between(options.write, START, END, text)


def replace_between(path: Path, start: str, end: str, text: str) -> None:
    """Put ``text`` between two lines of ``path``."""
    before, found, rest = path.read_text().partition(start)
    if not found or end not in rest:
        raise SystemExit(f"{path}: no lines {start} and {end}")
    path.write_text(f"{before}{start}\n{text}\n{end}{rest.partition(end)[2]}")


def tables(results: Results) -> str:
    """All of them, as Markdown."""
    cases = [CASES[name] for name in results.systems if name in CASES]
    parts = [_origin(results, cases), _targets(results), *(_arms(results, case) for case in cases)]
    parts += [
        _answers(results, case, smoothness.NAME, "Agreement of the variants on the order of the arms", 1)
        for case in cases
    ]
    parts += [_answers(results, case, name, QUESTIONS[name].title) for name in OWN_WORK for case in cases]
    parts = [part for part in parts if part]
    return "\n\n".join(parts)


def _origin(results: Results, cases: list[StudyCase]) -> str:
    rows = [row for row in results.rows if row.seed >= 0]
    seconds = [row.value for row in rows if (row.question, row.metric) == ("costs", "unit, processor s")]
    revisions = ", ".join(sorted({row.revision for row in rows}))
    told = {name: results.text(cases[0].name, "protocol", name) for name in ("profile", "machine")}
    return (
        f"Profile {told['profile']}, revision {revisions}: {len(seconds)} units, {sum(seconds):.0f} processor seconds "
        f"beside the simulations. {told['machine']}."
    )


def _targets(results: Results) -> str:
    rows = [(t.name, f"{t.value:.4g}", t.bound, t.verdict) for t in check_targets(results)]
    return markdown(("must hold", "value", "bound", "verdict"), rows)


def _arms(results: Results, case: StudyCase) -> str:
    """Main numbers of every arm on one data set."""
    label = case.regime + regimes.BY_RUN if case.by_run else case.regime
    columns = [
        (f"score of {case.main_quantity}", smoothness.NAME, "score", case.main_quantity),
        (f"ARI with {label}", regimes.NAME, "ARI", label),
        (f"NMI with {label}", regimes.NAME, "NMI", label),
        ("dead components, sum", stability.NAME, "dead components", ""),
        ("error held out", "reconstruction", "error", "held out"),
        ("unit, processor s", "costs", "unit, processor s", ""),
    ]
    if "phase_bin" in results.details(case.name, regimes.NAME, "NMI"):
        columns.insert(3, ("NMI with phase_bin", regimes.NAME, "NMI", "phase_bin"))
    rows = []
    for arm in results.arms(case.name, regimes.NAME):
        values = [list(results.values(case.name, q, m, arm, detail=d).values()) for _, q, m, d in columns]
        rows.append((arm, *(_cell(v, total=c[0].endswith("sum")) for v, c in zip(values, columns, strict=True))))
    return f"{case.title} (`{case.name}`):\n\n" + markdown(("arm", *(c[0] for c in columns)), rows)


def _answers(results: Results, case: StudyCase, question: str, title: str, which: int = 0) -> str:
    """One of the tables of a question; empty where it was not asked. A star marks a clear difference."""
    make = QUESTIONS[question].tables
    found = list(make(results, case) if make is not None else ())[which : which + 1]
    if not found or not found[0].rows:
        return ""
    rows = [tuple(_entry(entry) for entry in row) for row in found[0].rows]
    return f"{title} (`{case.name}`):\n\n" + markdown(found[0].head, rows)


def _entry(entry: Entry) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, float | int):
        return f"{entry:.4g}"
    values = entry.spread if isinstance(entry, Compared) else entry
    star = " *" if isinstance(entry, Compared) and entry.is_clear else ""
    return (
        ("" if values.n == 0 else f"{values.mean:.3f}")
        + ("" if math.isnan(values.std) else f" ± {values.std:.3f}")
        + star
    )


def _cell(values: list[float], *, total: bool) -> str:
    if total:
        return f"{sum(values):.0f}"
    found = spread(values)
    if found.n == 0:
        return ""
    digits = 3 if abs(found.mean) < 10 else 1
    return f"{found.mean:.{digits}f}" + ("" if math.isnan(found.std) else f" ± {found.std:.{digits}f}")


def markdown(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main()
