"""inspect, convert"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import QuietOption, complete_layout, described, split

PathsArgument = Annotated[list[str], typer.Argument(help="Files, folders, Zarr stores, patterns.")]
FieldsOption = Annotated[str | None, typer.Option(help="Fields or channels, like u,v; default: all varying ones.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="auto, or a layout of open_snapshots.", autocompletion=complete_layout)
]
DimsOption = Annotated[str | None, typer.Option(help="Axes of the arrays, like 'b t x y c'.")]
QuantitiesOption = Annotated[Path | None, typer.Option(help="CSV table of quantities beside the data.")]
NanOption = Annotated[str, typer.Option(help="keep, or mask: cells that are NaN in the first snapshot.")]


@command
def inspect(
    paths: PathsArgument,
    fields: FieldsOption = None,
    layout: FormatOption = "auto",
    dims: DimsOption = None,
    quantities: QuantitiesOption = None,
    nan: NanOption = "keep",
) -> Result:
    """Show how snapshot files are read: layout, axes, fields, trajectories; exit code 1 where they are not."""
    from gmvae_fast.data.inspection import as_text, inspect_snapshots

    description = inspect_snapshots(
        paths, fields=split(fields), format=layout, dims=dims, quantities=quantities, nan=nan
    )
    return Result(as_text(description), description, passed=description["recognised"])


@command
def convert(
    paths: PathsArgument,
    out: Annotated[Path, typer.Option(help="File to write: .h5 or .zarr.")],
    fields: FieldsOption = None,
    layout: FormatOption = "auto",
    dims: DimsOption = None,
    quantities: QuantitiesOption = None,
    nan: NanOption = "keep",
    dtype: Annotated[str, typer.Option(help="float32; float16 or bfloat16 for half the size.")] = "float32",
    compression: Annotated[str, typer.Option(help="none (fastest), or gzip (.h5) or zstd (.zarr).")] = "none",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    quiet: QuietOption = False,
) -> Result:
    """Copy snapshots into one file laid out for training: a chunk a snapshot, channels first."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import convert_snapshots, open_snapshots

    source = open_snapshots(paths, split(fields), layout, dims, quantities=quantities, nan=nan)
    with run_progress(f"writing {out}", enabled=not quiet) as show:
        convert_snapshots(source, out, dtype=dtype, compression=compression, overwrite=overwrite, progress=show)
    return Result(f"{out}: {source!r}", {"path": out, **described(source)})
