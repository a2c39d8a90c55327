"""report, study, demo"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import QuietOption, StudyArgument, complete_preset, integers, split

if TYPE_CHECKING:
    from gmvae_fast.studies.comparison import PlannedCase


@command
def report(
    study: StudyArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file; default STUDY/report.html.")] = None,
) -> Result:
    """Write one self-contained HTML page of a scored study, or of a comparison from its results.csv alone."""
    from gmvae_fast.report import build_comparison, build_report

    compared = (study / "results.csv").is_file() and not (study / "study.json").exists()
    path = (build_comparison if compared else build_report)(study, out)
    return Result(str(path), {"report": path})


@command
def study(
    system: Annotated[str, typer.Argument(help="surface_reaction, wake, ignition, or all; or channel, free_stream.")],
    profile: Annotated[str, typer.Option(help="quick (5 seeds), full (10 seeds) or tiny (a check).")] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder of results; default study/SYSTEM-PROFILE.")] = None,
    arms: Annotated[
        str | None, typer.Option(help="Arms to compare with block, like pca,vae,joint; default all.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes at a time; default: all cores.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what is left to do and about how long it takes.")] = False,
    quiet: QuietOption = False,
) -> Result:
    """Compare the GM-VAE with relatives and baselines; a stopped study goes on. Exit code 1 on a missed target."""
    from gmvae_fast.report import build_comparison
    from gmvae_fast.studies.comparison import plan_study, run_study

    folder = out or Path("study") / f"{system}-{profile}"
    if plan:
        return _planned(plan_study(system, folder, profile=profile, arms=split(arms), workers=workers))
    outcome = run_study(
        system,
        folder,
        profile=profile,
        arms=split(arms),
        workers=workers,
        progress=not quiet,
        say=functools.partial(print, file=sys.stderr),
    )
    page = build_comparison(folder)
    lines = [f"{t.verdict}  {t.name}: {t.value:.4g} ({t.bound})" for t in outcome.targets]
    lines += [f"FAILED  {failure.unit}: {failure.message}" for failure in outcome.failures]
    data = {
        "report": page,
        "targets": [dataclasses.asdict(target) for target in outcome.targets],
        "failures": [{"unit": str(failure.unit), "message": failure.message} for failure in outcome.failures],
        "passed": outcome.passed,
    }
    return Result("\n".join([*lines, str(page)]), data, outcome.passed)


def _planned(cases: Sequence[PlannedCase]) -> Result:
    """One line a case, and all together."""
    from gmvae_fast.studies.comparison.reporting import duration

    parts = [(c.name, c.units, c.done, c.seconds) for c in cases]
    parts.append(("together", *(sum(column) for column in list(zip(*parts, strict=True))[1:])))
    lines = [f"{name:18}{units:5} units, {done} done, about {duration(seconds)} left"
             for name, units, done, seconds in parts]  # fmt: skip
    return Result("\n".join(lines), {"cases": [dataclasses.asdict(case) for case in cases]})


@command
def demo(
    system: Annotated[
        str, typer.Option(help="channel, free_stream or surface_reaction.", autocompletion=complete_preset)
    ] = "channel",
    out: Annotated[Path | None, typer.Option(help="Study folder; default demo/SYSTEM.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, like 0,1,2.")] = "0,1,2",
    runs: Annotated[int | None, typer.Option(help="Simulations; default the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; default the preset's.")] = None,
    size: Annotated[str, typer.Option(help="Resolution of the simulation: tiny, demo or paper.")] = "demo",
    workers: int | None = None,
    quiet: QuietOption = False,
) -> Result:
    """Simulate, train on several seeds, embed, score and report; exit code 1 where a target is missed."""
    from gmvae_fast.report import build_report
    from gmvae_fast.studies import run_demo

    folder = out or Path("demo") / system
    targets = run_demo(
        system,
        folder,
        seeds=integers(seeds, "seeds") or (),
        n_runs=runs,
        epochs=epochs,
        size=size,
        workers=workers,
        progress=not quiet,
        say=functools.partial(print, file=sys.stderr),
    )
    page = build_report(folder)
    lines = [f"{'pass' if r['passed'] else 'MISS'}  {r['name']}: {r['value']:.4g} ({r['bound']})" for r in targets]
    passed = all(row["passed"] for row in targets)
    data = {"report": page, "targets": targets, "passed": passed}
    return Result("\n".join([*lines, f"report: {page}"]), data, passed=passed)
