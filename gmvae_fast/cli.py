"""Command line: thin wrappers around the library, one function a command."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(
    help="Gaussian-mixture variational autoencoders for scientific data: simulate, train, embed, score, report.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

StudyArgument = Annotated[Path, typer.Argument(help="Study folder.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Snapshot file; default: the one trained on.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


def main() -> None:
    """Entry point: expected failures become one line on standard error and exit code 1."""
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as err:
        _fail(f"{err}" or type(err).__name__)


def _fail(message: str) -> NoReturn:
    print(f"gmvae-fast: error: {message}", file=sys.stderr)
    raise SystemExit(1)


@app.command()
def info(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """What is compiled, which instruction set and devices are in use, thread counts, versions."""
    import torch

    import gmvae_fast as gf
    from gmvae_fast.studies import provenance

    status = dataclasses.asdict(gf.native_status())
    status["torch_threads"] = torch.get_num_threads()
    status["versions"] = provenance.versions()
    status["machine"] = provenance.machine()
    if as_json:
        print(json.dumps(status, indent=1))
        return
    for key, value in status.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key.replace('_', ' '):22} {', '.join(text) if isinstance(text, tuple) else text}")


@app.command()
def simulate(
    system: Annotated[str, typer.Argument(help="System to simulate: surface_reaction or wake.")],
    out: Annotated[Path, typer.Option(help="Snapshot file to write (.npz).")],
    geometry: Annotated[str | None, typer.Option(help="Of the wake: channel (default) or free_stream.")] = None,
    design: Annotated[str | None, typer.Option(help="Which parameters are drawn; default the system's.")] = None,
    runs: Annotated[int | None, typer.Option(help="Number of simulations; default the system's.")] = None,
    seed: int = 0,
    size: Annotated[str, typer.Option(help="tiny, demo or paper.")] = "demo",
    option: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Another option of the system, like noise=0.02; repeatable."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Simulations at a time; default: all cores.")] = None,
    quiet: QuietOption = False,
) -> None:
    """Simulate a system; finished runs are cached and not simulated again."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import systems

    options = {"seed": seed, "size": size, "workers": workers, **_assignments(option or [], "set")}
    named = {"geometry": geometry, "design": design, "n_runs": runs}
    options |= {name: value for name, value in named.items() if value is not None}
    with run_progress(f"simulating {system}", enabled=not quiet) as show:
        snapshots = systems.simulate(system, **options, progress=show)
    snapshots.save(out)
    print(f"{out}: {snapshots!r}")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Snapshot file.")],
    out: Annotated[Path, typer.Option(help="Study folder; each seed gets a folder in it.")],
    latent_dim: int = 2,
    components: Annotated[int, typer.Option(help="Number of mixture components K.")] = 3,
    network: Annotated[str, typer.Option(help="auto, mlp or conv.")] = "auto",
    widths: Annotated[str | None, typer.Option(help="Hidden widths or channels, like 64,64.")] = None,
    covariance_type: Annotated[str, typer.Option(help="diag, spherical, tied or full.")] = "diag",
    epochs: int = 200,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    warmup_epochs: Annotated[int | None, typer.Option(help="Default two fifths of the epochs.")] = None,
    assignment: Annotated[str, typer.Option(help="exact, sampled or mean.")] = "exact",
    seed: int = 0,
    split: Annotated[str, typer.Option(help="What is kept apart: trajectory, condition or time.")] = "trajectory",
    test_fraction: Annotated[float, typer.Option(help="Share held out.")] = 0.2,
    validation_fraction: Annotated[float, typer.Option(help="Share for a third part, watched while training.")] = 0.0,
    stratify: Annotated[str | None, typer.Option(help="Label that all parts must cover.")] = None,
    quantity: Annotated[str | None, typer.Option(help="Condition of --split condition, like Re.")] = None,
    hold_out: Annotated[
        str | None, typer.Option(help="Of the condition: between (default), above, below, beyond; or 400:800,1500.")
    ] = None,
    gap: Annotated[float | None, typer.Option(help="Of --split time: time left out between the parts.")] = None,
    allow_leakage: Annotated[bool, typer.Option("--allow-leakage", help="Accept parts that share runs.")] = False,
    resume: Annotated[bool, typer.Option(help="Continue from the seed's checkpoint.")] = True,
    quiet: QuietOption = False,
) -> None:
    """Train a GM-VAE; an interrupted run continues from its checkpoint."""
    from gmvae_fast.data import SplitConfig, open_snapshots
    from gmvae_fast.studies import ModelConfig, StudyFolder, train_seed
    from gmvae_fast.train_config import TrainConfig

    train_seed(
        StudyFolder(out),
        open_snapshots(data),
        ModelConfig(latent_dim, components, network, _integers(widths, "widths"), covariance_type),
        TrainConfig(
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            assignment=assignment,
            seed=seed,
        ),
        data_path=str(data),
        split=SplitConfig(
            split, test_fraction, validation_fraction, stratify, quantity, _held_out(hold_out), None, gap, allow_leakage
        ),
        resume=resume,
        progress=not quiet,
    )
    print(f"{out}/seed_{seed}: trained")


@app.command()
def embed(study: StudyArgument, data: DataOption = None) -> None:
    """Write latents, mixture, reconstructions and samples of every trained seed."""
    from gmvae_fast.studies import StudyFolder, embed_seed

    folder = StudyFolder(study)
    snapshots = _study_data(study, data)
    for seed in folder.seeds():
        embed_seed(folder, snapshots, seed)
        print(f"{study}/seed_{seed}: {len(snapshots)} snapshots embedded")


@app.command()
def score(
    study: StudyArgument,
    data: DataOption = None,
    neighbors: Annotated[int, typer.Option(help="Neighbours in the latent graph.")] = 10,
) -> None:
    """Score the latent maps: smoothness with p-values, errors, agreement with known classes."""
    from gmvae_fast.studies import StudyFolder, score_seed, summarise

    folder = StudyFolder(study)
    snapshots = _study_data(study, data)
    for seed in folder.seeds():
        score_seed(folder, snapshots, seed, n_neighbors=neighbors)
    for name, row in summarise(folder)["metrics"].items():
        print(f"{name:28} {row['mean']:10.4f} +- {row['std']:.4f}")


@app.command()
def report(
    study: StudyArgument,
    out: Annotated[Path | None, typer.Option(help="HTML file; default STUDY/report.html.")] = None,
) -> None:
    """Write one self-contained HTML page of a scored study."""
    from gmvae_fast.report import build_report

    print(build_report(study, out))


@app.command()
def demo(
    system: Annotated[str, typer.Option(help="channel, free_stream or surface_reaction.")] = "channel",
    out: Annotated[Path | None, typer.Option(help="Study folder; default demo/SYSTEM.")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, like 0,1,2.")] = "0,1,2",
    runs: Annotated[int | None, typer.Option(help="Simulations; default the preset's.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs; default the preset's.")] = None,
    size: Annotated[str, typer.Option(help="Resolution of the simulation: tiny, demo or paper.")] = "demo",
    workers: int | None = None,
    quiet: QuietOption = False,
) -> None:
    """Simulate, train on several seeds, embed, score and report; exit code 1 where a target is missed."""
    from gmvae_fast.report import build_report
    from gmvae_fast.studies import run_demo

    folder = out or Path("demo") / system
    chosen = _integers(seeds, "seeds") or ()
    targets = run_demo(
        system, folder, seeds=chosen, n_runs=runs, epochs=epochs, size=size, workers=workers, progress=not quiet
    )
    for row in targets:
        print(f"{'pass' if row['passed'] else 'MISS'}  {row['name']}: {row['value']:.4g} ({row['bound']})")
    print(f"report: {build_report(folder)}")
    if not all(row["passed"] for row in targets):
        raise SystemExit(1)


@app.command()
def validate(
    system: Annotated[str, typer.Argument(help="System whose solver is checked: surface_reaction or wake.")],
    quick: Annotated[bool, typer.Option("--quick", help="Small cases with their own, wider bands.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Print the solver's validation table; exit code 1 where a value leaves its band."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import systems

    with run_progress("validating", enabled=not quiet) as show:
        result = systems.get_system(system).validate(quick=quick, progress=show)
    print(result)
    if not result.passed:
        raise SystemExit(1)


FieldsOption = Annotated[str | None, typer.Option(help="Fields or channels, like u,v; default: all varying ones.")]
FormatOption = Annotated[str, typer.Option("--format", help="auto, or a layout of open_snapshots.")]
DimsOption = Annotated[str | None, typer.Option(help="Axes of the arrays, like 'b t x y c'.")]
QuantitiesOption = Annotated[Path | None, typer.Option(help="CSV table of quantities beside the data.")]
NanOption = Annotated[str, typer.Option(help="keep, or mask: cells that are NaN in the first snapshot.")]
PathsArgument = Annotated[list[str], typer.Argument(help="Files, folders, Zarr stores, patterns.")]


@app.command()
def inspect(
    paths: PathsArgument,
    fields: FieldsOption = None,
    layout: FormatOption = "auto",
    dims: DimsOption = None,
    quantities: QuantitiesOption = None,
    nan: NanOption = "keep",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show how snapshot files are read: layout, axes, fields, trajectories; exit code 1 where they are not."""
    from gmvae_fast.data.inspection import as_text, inspect_snapshots

    description = inspect_snapshots(
        paths, fields=_split(fields), format=layout, dims=dims, quantities=quantities, nan=nan
    )
    print(json.dumps(description, indent=1) if as_json else as_text(description))
    if not description["recognised"]:
        raise SystemExit(1)


@app.command()
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
) -> None:
    """Copy snapshots into one file laid out for training: a chunk a snapshot, channels first."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import convert_snapshots, open_snapshots

    source = open_snapshots(paths, _split(fields), layout, dims, quantities=quantities, nan=nan)
    with run_progress(f"writing {out}", enabled=not quiet) as show:
        convert_snapshots(source, out, dtype=dtype, compression=compression, overwrite=overwrite, progress=show)
    print(f"{out}: {source!r}")


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",")]


def _integers(text: str | None, name: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{name} must be integers separated by commas, got {text!r}") from None


def _held_out(text: str | None) -> str | list[float | tuple[float, float]] | None:
    """A rule by name, or values and ranges like 400:800,1500."""
    if text is None or not any(character.isdigit() for character in text):
        return text
    items: list[float | tuple[float, float]] = []
    try:
        for part in text.split(","):
            low, colon, high = part.partition(":")
            items.append((float(low), float(high)) if colon else float(low))
    except ValueError:
        raise ValueError(f"--hold-out must be a rule, or values and ranges like 400:800,1500; got {text!r}") from None
    return items


def _assignments(pairs: list[str], name: str) -> dict[str, object]:
    """NAME=VALUE pairs; values are JSON (numbers, true, false), anything else is text."""
    assigned: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not key.isidentifier() or not equals or key in ("progress", "system"):
            raise ValueError(f"--{name} must be NAME=VALUE with the name of an option, got {pair!r}")
        try:
            assigned[key] = json.loads(text)
        except json.JSONDecodeError:
            assigned[key] = text
    return assigned


def _study_data(study: Path, data: Path | None):  # type: ignore[no-untyped-def]  # imports stay inside commands
    from gmvae_fast.data import open_snapshots
    from gmvae_fast.studies import StudyFolder

    path = data or StudyFolder(study).study().get("data_path")
    if not path:
        raise ValueError("the study does not say which data it was trained on; pass --data FILE")
    return open_snapshots(path)


if __name__ == "__main__":
    main()
