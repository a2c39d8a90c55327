"""inspect, convert"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import QuietOption, complete_layout, described, integers, split

PathsArgument = Annotated[list[str], typer.Argument(help="Files, folders, Zarr stores, patterns.")]
FieldsOption = Annotated[str | None, typer.Option(help="Fields or channels, like u,v; default: all varying ones.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="auto, or a layout of open_snapshots.", autocompletion=complete_layout)
]
DimsOption = Annotated[
    str | None, typer.Option(help="Axes of the arrays, like 'b t x y c', or array by array: 'u=t y x; k=t y x c'.")
]
QuantitiesOption = Annotated[Path | None, typer.Option(help="CSV or Parquet table of quantities beside the data.")]
CropOption = Annotated[str | None, typer.Option(help="Cells kept, like x=10:50,y=:32; y from 0 at the lowest row.")]
StrideOption = Annotated[str | None, typer.Option(help="Every so many cells, like 2 or x=2,y=1.")]
PatchOption = Annotated[str | None, typer.Option(help="Cut snapshots into patches of z,y,x cells, like 32,32,32.")]
PatchStepOption = Annotated[str | None, typer.Option(help="Distance between patches, like 16,16,16; default: PATCH.")]
ShapeOption = Annotated[str | None, typer.Option(help="Resample to this grid, like 64,128 (y,x).")]
ResamplingOption = Annotated[str, typer.Option(help="auto, area (means) or linear.")]
NanOption = Annotated[str, typer.Option(help="keep, or mask: cells that are NaN in the first snapshot.")]

MaskOption = Annotated[str | None, typer.Option(help="Array of the first file that is true where fields are defined.")]
JoinedOption = Annotated[bool, typer.Option("--joined", help="The files are parts of the same trajectories.")]
RoiOption = Annotated[str | None, typer.Option(help="Of frames: top,bottom,left,right in pixels.")]
BackgroundOption = Annotated[int | None, typer.Option(help="Subtract from frames the mean of so many first ones.")]
DownsampleOption = Annotated[int, typer.Option(help="Means over squares of so many pixels of frames.")]


@command
def inspect(
    paths: PathsArgument,
    fields: FieldsOption = None,
    layout: FormatOption = "auto",
    dims: DimsOption = None,
    quantities: QuantitiesOption = None,
    nan: NanOption = "keep",
    mask: MaskOption = None,
    joined: JoinedOption = False,
    roi: RoiOption = None,
    background: BackgroundOption = None,
    downsample: DownsampleOption = 1,
    crop: CropOption = None,
    stride: StrideOption = None,
    patch: PatchOption = None,
    patch_step: PatchStepOption = None,
    shape: ShapeOption = None,
    resampling: ResamplingOption = "auto",
) -> Result:
    """Show how snapshot files are read: layout, axes, fields, trajectories; exit code 1 where they are not."""
    from gmvae_fast.data.inspection import as_text, inspect_snapshots

    window = _window(crop, stride, patch, patch_step, shape, resampling)
    description = inspect_snapshots(
        paths,
        fields=split(fields),
        format=layout,
        dims=_dims(dims),
        quantities=quantities,
        nan=nan,
        mask=mask,
        joined=joined,
        roi=_roi(roi),
        background=background,
        downsample=downsample,
        window=window,
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
    mask: MaskOption = None,
    joined: JoinedOption = False,
    roi: RoiOption = None,
    background: BackgroundOption = None,
    downsample: DownsampleOption = 1,
    crop: CropOption = None,
    stride: StrideOption = None,
    patch: PatchOption = None,
    patch_step: PatchStepOption = None,
    shape: ShapeOption = None,
    resampling: ResamplingOption = "auto",
    dtype: Annotated[str, typer.Option(help="float32; float16 or bfloat16 for half the size.")] = "float32",
    compression: Annotated[str, typer.Option(help="none (fastest), or gzip (.h5) or zstd (.zarr).")] = "none",
    overwrite: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    quiet: QuietOption = False,
) -> Result:
    """Copy snapshots into one file laid out for training: a chunk a snapshot, channels first."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import convert_snapshots, open_snapshots

    window = _window(crop, stride, patch, patch_step, shape, resampling)
    source = open_snapshots(
        paths,
        split(fields),
        layout,
        _dims(dims),
        quantities=quantities,
        nan=nan,
        mask=mask,
        joined=joined,
        roi=_roi(roi),
        background=background,
        downsample=downsample,
        window=window,
    )
    with run_progress(f"writing {out}", enabled=not quiet) as show:
        convert_snapshots(source, out, dtype=dtype, compression=compression, overwrite=overwrite, progress=show)
    return Result(f"{out}: {source!r}", {"path": out, **described(source)})


def _dims(text: str | None) -> str | dict[str, str] | None:
    """Axes of all arrays, or NAME=AXES separated by semicolons."""
    if text is None or "=" not in text:
        return text
    pairs = [part.rpartition("=") for part in text.split(";") if part.strip()]
    if not all(equals and name.strip() for name, equals, _ in pairs):
        raise ValueError(f"--dims must be like 'b t x y c' or 'u=t y x; k=t y x c', got {text!r}")
    return {name.strip(): axes.strip() for name, _, axes in pairs}


def _roi(text: str | None) -> tuple[int, int, int, int] | None:
    """Four numbers of pixels."""
    edges = integers(text, "roi")
    if edges is None:
        return None
    if len(edges) != 4:
        raise ValueError(f"--roi must be top,bottom,left,right, got {text!r}")
    return edges[0], edges[1], edges[2], edges[3]


def _window(
    crop: str | None, stride: str | None, patch: str | None, patch_step: str | None, shape: str | None, resampling: str
) -> dict[str, Any] | None:
    """Options of `gmvae_fast.data.window`; None where there are none."""
    given: dict[str, Any] = {
        "crop": _by_axis(crop, "crop", _edges),
        "stride": _stride(stride),
        "patch": integers(patch, "patch"),
        "patch_step": integers(patch_step, "patch-step"),
        "shape": integers(shape, "shape"),
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if not chosen and resampling != "auto":
        raise ValueError(f"--resampling needs --shape, got --resampling {resampling} alone")
    return {**chosen, "resampling": resampling} if chosen else None


def _stride(text: str | None) -> int | dict[str, Any] | None:
    if text is None or not text.strip().isdigit():
        return _by_axis(text, "stride", int)
    return int(text)


def _by_axis(text: str | None, name: str, convert: Callable[[str], Any]) -> dict[str, Any] | None:
    """AXIS=VALUE pairs separated by commas."""
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        axis, equals, value = part.partition("=")
        try:
            if not equals:
                raise ValueError
            found[axis.strip()] = convert(value)
        except ValueError:
            example = "x=10:50,y=:32" if name == "crop" else "2 or x=2,y=1"
            raise ValueError(f"--{name} must be like {example}, got {text!r}") from None
    return found


def _edges(text: str) -> tuple[int | None, int | None]:
    first, colon, last = text.partition(":")
    if not colon:
        raise ValueError
    return (int(first) if first.strip() else None, int(last) if last.strip() else None)
