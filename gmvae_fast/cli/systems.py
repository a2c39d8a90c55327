"""simulate, validate"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import (
    QuietOption,
    assignments,
    complete_design,
    complete_geometry,
    complete_size,
    complete_system,
    described,
)


@command
def simulate(
    system: Annotated[
        str,
        typer.Argument(help="System to simulate: ignition, surface_reaction or wake.", autocompletion=complete_system),
    ],
    out: Annotated[Path, typer.Option(help="Snapshot file to write: .npz, .h5 or .zarr.")],
    geometry: Annotated[
        str | None,
        typer.Option(
            help="Wake: channel (default) or free_stream; ignition: planar (default) or axisymmetric.",
            autocompletion=complete_geometry,
        ),
    ] = None,
    design: Annotated[
        str | None,
        typer.Option(help="Which parameters are drawn; default the system's.", autocompletion=complete_design),
    ] = None,
    runs: Annotated[int | None, typer.Option(help="Number of simulations; default the system's.")] = None,
    seed: int = 0,
    size: Annotated[str, typer.Option(help="tiny, demo or paper.", autocompletion=complete_size)] = "demo",
    option: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another option of the system, like noise=0.02; repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Simulations at a time; default: all cores.")] = None,
    quiet: QuietOption = False,
) -> Result:
    """Simulate a system; finished runs are cached and not simulated again."""
    from gmvae_fast._io import check_writable
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import convert_snapshots, systems
    from gmvae_fast.data.converting import SUFFIXES

    if out.suffix.lower() not in (".npz", *SUFFIXES):
        raise ValueError(f"--out must end in {', '.join(('.npz', *SUFFIXES))}, got {out.name!r}")
    check_writable(out)
    options = {"seed": seed, "size": size, "workers": workers, **assignments(option or [], "set")}
    named = {"geometry": geometry, "design": design, "n_runs": runs}
    options |= {name: value for name, value in named.items() if value is not None}
    with run_progress(f"simulating {system}", enabled=not quiet) as show:
        snapshots = systems.simulate(system, **options, progress=show)
    if out.suffix.lower() == ".npz":
        snapshots.save(out)
    else:
        convert_snapshots(snapshots, out, overwrite=True)
    notes = snapshots.attributes.get("notes", [])
    text = "\n".join([f"{out}: {snapshots!r}", *notes])
    return Result(text, {"path": out, "system": system, **described(snapshots), "notes": notes})


@command
def validate(
    system: Annotated[
        str,
        typer.Argument(
            help="System whose solver is checked: ignition, surface_reaction or wake.", autocompletion=complete_system
        ),
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Small cases with their own, wider bands.")] = False,
    quiet: QuietOption = False,
) -> Result:
    """Print the solver's validation table; exit code 1 where a value leaves its band."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import systems

    with run_progress("validating", enabled=not quiet) as show:
        result = systems.get_system(system).validate(quick=quick, progress=show)
    rows = [dataclasses.asdict(row) | {"passed": row.passed} for row in result.rows]
    data = {"system": system, "quick": quick, "passed": result.passed, "rows": rows}
    return Result(str(result), data, passed=result.passed)
