"""train, embed, score"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gmvae_fast.cli._app import Result, command
from gmvae_fast.cli._options import DataOption, DeviceOption, QuietOption, StudyArgument, integers, ranges
from gmvae_fast.cli._options import split as names

if TYPE_CHECKING:
    from gmvae_fast.data import SnapshotSource
    from gmvae_fast.distributed import Ranks


@command
def train(
    data: Annotated[
        Path,
        typer.Argument(help="Snapshot file, folder, store or pattern, opened without options; else convert first."),
    ],
    out: Annotated[Path, typer.Option(help="Study folder; each seed gets a folder in it.")],
    latent_dim: int = 2,
    components: Annotated[int, typer.Option(help="Number of mixture components K.")] = 3,
    network: Annotated[str, typer.Option(help="auto, mlp or conv.")] = "auto",
    widths: Annotated[str | None, typer.Option(help="Hidden widths or channels, like 64,64.")] = None,
    covariance_type: Annotated[str, typer.Option(help="diag, spherical, tied or full.")] = "diag",
    epochs: int = 200,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    warmup_epochs: Annotated[int | None, typer.Option(help="Default two fifths of the epochs; none for means.")] = None,
    scheme: Annotated[str, typer.Option(help="How the mixture is trained: block, means or joint.")] = "block",
    assignment: Annotated[
        str | None, typer.Option(help="exact, sampled or mean; default: the scheme's own, exact for block.")
    ] = None,
    on_nan: Annotated[
        str, typer.Option(help="NaN and infinite values: error; drop such snapshots; or mask such values.")
    ] = "error",
    precision: Annotated[str, typer.Option(help="float32, or bfloat16 for the networks' products.")] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="Fuse the training step by torch.compile.")] = False,
    cuda_graphs: Annotated[
        bool, typer.Option("--cuda-graphs", help="On a GPU: the step compiled and replayed as CUDA graphs.")
    ] = False,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many held-out evaluations without a lower loss.")
    ] = None,
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
    balance: Annotated[
        str | None,
        typer.Option(help="Weigh training data so that these count alike, as re_group,trajectory."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue from the seed's checkpoint.")] = True,
    device: DeviceOption = "auto",
    tensorboard: Annotated[
        Path | None, typer.Option(help="Folder for TensorBoard's event files (pip install 'gmvae_fast[tensorboard]').")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that read and decode the files; 0: a thread.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(help="Folder for decoded copies of slow files, made once and read instead.")
    ] = None,
    quiet: QuietOption = False,
) -> Result:
    """Train a GM-VAE; an interrupted run continues from its checkpoint. Started by torchrun, all processes train it."""
    from gmvae_fast._device import resolve_device
    from gmvae_fast._tensorboard import epoch_writer
    from gmvae_fast.data import SplitConfig
    from gmvae_fast.distributed import joined
    from gmvae_fast.studies import ModelConfig, StudyFolder, train_seed
    from gmvae_fast.train_config import TrainConfig

    target = resolve_device(device)
    ranks = joined(target)
    folder = StudyFolder(out, writes=ranks.first)
    with epoch_writer(None if tensorboard is None or not ranks.first else tensorboard / f"seed_{seed}") as write:
        history = train_seed(
            folder,
            _opened(data, ranks, None if ranks.size > 1 else cache, quiet),
            ModelConfig(latent_dim, components, network, integers(widths, "widths"), covariance_type),
            TrainConfig(
                scheme=scheme,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                warmup_epochs=warmup_epochs,
                assignment=assignment,
                on_nan=on_nan,
                precision=precision,
                compile=compiled,
                patience=patience,
                cuda_graphs=cuda_graphs,
                seed=seed,
            ),
            data_path=str(data),
            split=SplitConfig(
                split,
                test_fraction,
                validation_fraction,
                stratify,
                quantity,
                ranges(hold_out),
                None,
                gap,
                allow_leakage,
            ),
            balance=names(balance) or (),
            resume=resume,
            device=target,
            progress=not quiet,
            on_epoch=write,
            workers=workers,
            cache=None if ranks.size == 1 else cache,
        )
    if not ranks.first:
        return Result("")
    last = history.to_dict()["epochs"][-1]
    notes = [e.message for e in history.events if e.kind in ("constant", "cuda_graphs", "drop", "mask")]
    told = {"folder": folder.seed(seed), "seed": seed, "last_epoch": last, "notes": notes}
    return Result("\n".join([f"{folder.seed(seed)}: trained", *notes]), told)


def _opened(path: str | Path, ranks: Ranks, folder: Path | None, quiet: bool) -> SnapshotSource:
    """The source, read from a decoded copy in ``folder`` if one is wanted; as needed where others read their share."""
    from gmvae_fast._progress import run_progress
    from gmvae_fast.data import LazySnapshots, copied, open_snapshots

    source = open_snapshots(path, lazy=True if ranks.size > 1 else None)
    if folder is None or not isinstance(source, LazySnapshots):
        return source
    with run_progress(f"decoding into {folder}", enabled=not quiet) as show:
        return copied(source, folder, show)


@command
def embed(study: StudyArgument, data: DataOption = None, device: DeviceOption = "auto") -> Result:
    """Write latents, mixture, reconstructions and samples of every trained seed. Started by torchrun, all embed."""
    from gmvae_fast._device import resolve_device
    from gmvae_fast.distributed import joined
    from gmvae_fast.studies import StudyFolder, embed_seed

    target = resolve_device(device)
    ranks = joined(target)
    folder = StudyFolder(study, writes=ranks.first)
    snapshots = _opened(_data_path(study, data), ranks, None, True)
    rows = []
    for seed in folder.seeds():
        embed_seed(folder, snapshots, seed, device=target)
        rows.append({"folder": folder.seed(seed), "seed": seed, "snapshots": len(snapshots)})
    if not ranks.first:
        return Result("")
    return Result("\n".join(f"{r['folder']}: {r['snapshots']} snapshots embedded" for r in rows), {"seeds": rows})


@command
def score(
    study: StudyArgument,
    data: DataOption = None,
    neighbors: Annotated[int, typer.Option(help="Neighbours in the latent graph.")] = 10,
    weights: Annotated[str, typer.Option(help="Of its edges: binary, gaussian or distance.")] = "binary",
    symmetrize: Annotated[str, typer.Option(help="union or mutual neighbours.")] = "union",
    connect: Annotated[bool, typer.Option("--connect", help="Join its components by the shortest edges.")] = False,
    permutations: Annotated[int, typer.Option(help="Of whole trajectories, for p-values, as 999; 0: none.")] = 0,
    bootstrap: Annotated[int, typer.Option(help="Samples of trajectories, for 95% intervals, as 200; 0: none.")] = 0,
) -> Result:
    """Score the latent maps: smoothness with p-values, errors, agreement with known classes."""
    from gmvae_fast.data import open_snapshots
    from gmvae_fast.studies import ScoreConfig, StudyFolder, score_seed, summarise

    folder = StudyFolder(study)
    snapshots = open_snapshots(_data_path(study, data))
    config = ScoreConfig(neighbors, weights, symmetrize, connect, permutations, bootstrap)  # type: ignore[arg-type]
    skipped: dict[str, str] = {}
    for seed in folder.seeds():
        skipped |= score_seed(folder, snapshots, seed, config=config)
    summary = summarise(folder)
    lines = [
        f"{name:28} {_shown(row['mean'], '10.4f')} +- {_shown(row['std'], '.4f')}"
        for name, row in summary["metrics"].items()
    ]
    lines += [f"not scored: {name}, {reason}" for name, reason in skipped.items()]
    return Result("\n".join(lines), summary)


def _data_path(study: Path, data: Path | None) -> str:
    from gmvae_fast.data.opening import expand_paths
    from gmvae_fast.studies import StudyFolder

    if data is not None:
        return str(data)
    paths = StudyFolder(study).data_paths()
    if not paths:
        raise ValueError("the study does not say which data it was trained on; pass --data FILE")
    missing = []
    for path in paths:
        try:
            expand_paths(path)
        except FileNotFoundError as error:
            missing.append(str(error))
        else:
            return path
    raise FileNotFoundError(f"{missing[0]} (where the study was trained on it); pass --data FILE")


def _shown(number: float | None, layout: str) -> str:
    """A number of a summary; what is not defined is null there."""
    return format(math.nan if number is None else number, layout)
