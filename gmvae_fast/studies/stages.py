"""The stages of a study, each reading and writing files of a `StudyFolder`: train, embed, score, summarise."""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gmvae_fast import distributed, spectral
from gmvae_fast._io import to_jsonable
from gmvae_fast.data import SnapshotSource, Split, SplitConfig, balanced_weights
from gmvae_fast.history import EpochRecord, History
from gmvae_fast.metrics import cluster_agreement
from gmvae_fast.model import GMVAE, load
from gmvae_fast.spectral.graph import SymmetrizeName, WeightsName
from gmvae_fast.studies import provenance
from gmvae_fast.studies.folder import StudyFolder
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training import fit, fluctuation_error

N_RECONSTRUCTIONS = 6
LOW_FREQUENCY_MODES = 20
SWEEP = (5, 10, 20, 40)  # numbers of neighbours scored beside the chosen one
LONGEST_ATTRIBUTE = 400  # characters; longer ones stay in the snapshot file
RESAMPLED = {"p_permutation": "p permuted", "score_lower": "score from", "score_upper": "score to"}
SCORE_NUMBERS = ("score", "dirichlet", "z_score", "p_value", "log10_p", "z_normal", "p_normal")


@dataclass(frozen=True)
class ModelConfig:
    """Arguments of `GMVAE` that a study chooses."""

    latent_dim: int = 2
    n_components: int = 3
    network: str = "auto"
    widths: tuple[int, ...] | None = None
    covariance_type: str = "diag"
    learn_noise: bool = False


def train_seed(
    folder: StudyFolder,
    snapshots: SnapshotSource,
    model_config: ModelConfig,
    train_config: TrainConfig,
    *,
    data_path: str = "",
    split: SplitConfig | None = None,
    balance: Sequence[str] = (),
    title: str = "GM-VAE study",
    resume: bool = True,
    device: str | torch.device = "cpu",
    progress: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    workers: int = 0,
    cache: str | os.PathLike[str] | None = None,
) -> History:
    """Split, train, and write the seed's configuration, split, history, checkpoint and model.

    ``split`` is by trajectory unless said otherwise. Where it has a validation part, training is watched on that, and
    the test part stays unseen until it is scored. ``balance`` names the levels of `gmvae_fast.data.balanced_weights` by
    which training snapshots are weighted; none: all alike.

    Raises
    ------
    LeakageError
        A ValueError: the parts would know each other.
    InUseError
        A RuntimeError: another process trains, embeds or scores this seed.
    """
    seed = train_config.seed
    name = folder.seed(seed).name
    split = split or SplitConfig()
    parts = split.apply(snapshots, seed)
    trained_on = snapshots.subset(parts.train)
    watched = parts.test if parts.validation is None else parts.validation
    model = GMVAE(snapshots.shape, seed=seed, **dataclasses.asdict(model_config)).to(device)
    validation = {} if parts.validation is None else {"validation": parts.validation}
    with folder.lock_seed(seed, new=True):
        history = fit(
            model,
            trained_on,
            train_config,
            sample_weight=balanced_weights(trained_on, balance) if balance else None,
            held_out=snapshots.subset(watched),
            checkpoint=folder.seed(seed) / "checkpoint.safetensors",
            checkpoint_every=max(1, train_config.epochs // 10),
            resume=resume,
            progress=progress,
            on_epoch=on_epoch,
            workers=workers,
            cache=cache,
            numbers={"data": parts.train, "held_out": watched},
        )
        folder.write_npz(f"{name}/split.npz", {"train": parts.train, "test": parts.test, **validation})
        if folder.writes:
            model.save(folder.seed(seed) / "model.safetensors")
        folder.write_json(f"{name}/history.json", history.to_dict())
        config = {
            "model": model.config,
            "training": dataclasses.asdict(train_config),
            "split": {**dataclasses.asdict(split), "seed": seed, "details": dict(parts.details)},
            "balance": list(balance),
        }
        folder.write_json(f"{name}/config.json", config)
        _describe(folder, snapshots, parts, seed, data_path, title)
    return history


def _describe(
    folder: StudyFolder,
    snapshots: SnapshotSource,
    split: Split,
    seed: int,
    data_path: str,
    title: str,
) -> None:
    """Enter the seed into study.json and write the grid."""
    attributes = dict(snapshots.attributes)
    folder.update_study(
        title=title,
        system=str(attributes.get("system", "")),
        geometry=str(attributes.get("geometry", "")),
        design=str(attributes.get("design", "")),
        command=provenance.command_line(),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        add_seed=seed,
        versions=provenance.versions(),
        machine=provenance.machine(),
        **folder.data_places(data_path),
        data={
            "n_snapshots": len(snapshots),
            "n_train": len(split.train),
            "n_test": len(split.test),
            "shape": list(snapshots.shape),
            "field_names": list(snapshots.field_names),
            "attributes": {"held out": split.describe()}
            | {
                k: v
                for k, v in attributes.items()
                if k not in ("system", "geometry", "design") and len(str(v)) < LONGEST_ATTRIBUTE
            },
        },
    )
    grid: dict[str, Any] = dict(snapshots.coordinates)
    if snapshots.mask is not None:
        grid["solid"] = ~snapshots.mask
    folder.write_npz("coordinates.npz", grid)


def _check_same(folder: StudyFolder, snapshots: SnapshotSource) -> None:
    """The split and the channels of a study mean nothing on other data than those that it was trained on.

    Raises
    ------
    ValueError
    """
    known = folder.study().get("data", {})
    for what, key, found in (
        ("snapshots", "n_snapshots", len(snapshots)),
        ("fields", "field_names", list(snapshots.field_names)),
        ("snapshots of shape", "shape", list(snapshots.shape)),
    ):
        if known.get(key, found) != found:
            raise ValueError(f"data must be what the study was trained on: {what} {known[key]}, got {found}")


def embed_seed(
    folder: StudyFolder, snapshots: SnapshotSource, seed: int, *, device: str | torch.device = "cpu"
) -> None:
    """Write posteriors, mixture, held-out reconstructions and one generated snapshot per component."""
    with folder.lock_seed(seed):
        _check_same(folder, snapshots)
        name = folder.seed(seed).name
        model = load(folder.seed(seed) / "model.safetensors", device=device)
        split = folder.read_npz(f"{name}/split.npz")
        test = split["test"]
        embedding = distributed.embed(model, snapshots)
        posterior = (torch.from_numpy(part).to(model.prior.means) for part in (embedding.mean, embedding.log_var))
        with torch.no_grad():
            gamma = model.prior.responsibilities(*posterior).cpu().numpy()
        is_train, is_test = (np.isin(np.arange(len(snapshots)), split[part]) for part in ("train", "test"))
        folder.write_npz(
            f"{name}/embedding.npz",
            {
                "mean": embedding.mean,
                "log_var": embedding.log_var,
                "responsibilities": gamma,
                "component": gamma.argmax(1),
                "is_test": is_test,
                "is_train": is_train,
                **{f"quantity_{k}": v for k, v in known_quantities(snapshots).items()},
                **{f"label_{k}": v for k, v in snapshots.labels.items()},
            },
        )
        prior = model.prior.get()
        mixture = {"weights": prior.log_weights.exp(), "means": prior.means}
        mixture |= {"covariances": prior.covariances()} if prior.log_vars is None else {"log_vars": prior.log_vars}
        folder.write_npz(f"{name}/mixture.npz", {k: v.cpu().numpy() for k, v in mixture.items()})
        shown = _spread_over_quantity(snapshots, test)
        folder.write_npz(
            f"{name}/reconstructions.npz",
            {
                "index": shown,
                "original": snapshots.read(shown),
                "reconstruction": model.reconstruct(snapshots.read(shown)),
                "title": np.array([_caption(snapshots, i) for i in shown]),
            },
        )
        components = np.arange(model.n_components)
        fields = np.concatenate([model.sample(1, int(c), seed=seed)[0] for c in components])
        folder.write_npz(f"{name}/samples.npz", {"component": components, "fields": fields})


def _main_quantity(snapshots: SnapshotSource) -> str | None:
    """The quantity by which snapshots are ordered and named: a Reynolds number where there is one."""
    names = list(snapshots.quantities)
    return next((n for n in ("Re", "E", "alpha") if n in names), names[0] if names else None)


def _spread_over_quantity(snapshots: SnapshotSource, test: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A few held-out snapshots, evenly spaced in the main quantity."""
    main = _main_quantity(snapshots)
    order = test if main is None else test[np.argsort(snapshots.quantities[main][test], kind="stable")]
    places = np.linspace(0, len(order) - 1, min(N_RECONSTRUCTIONS, len(order))).round().astype(int)
    return np.asarray(order[places])


def _caption(snapshots: SnapshotSource, index: int) -> str:
    main = _main_quantity(snapshots)
    value = "" if main is None else f", {main} = {snapshots.quantities[main][index]:.4g}"
    return f"run {snapshots.trajectory[index]}, t = {snapshots.time[index]:.4g}{value}"


@dataclass(frozen=True)
class ScoreConfig:
    """How latent maps are scored, see `gmvae_fast.smoothness`.

    Attributes
    ----------
    n_neighbors, weights, symmetrize, connect
        The graph.
    permutations, bootstrap
        Random permutations and samples of whole trajectories; 0 for none.
    """

    n_neighbors: int = 10
    weights: WeightsName = "binary"
    symmetrize: SymmetrizeName = "union"
    connect: bool = False
    permutations: int = 0
    bootstrap: int = 0


def score_seed(
    folder: StudyFolder,
    snapshots: SnapshotSource,
    seed: int,
    *,
    n_neighbors: int = 10,
    config: ScoreConfig | None = None,
) -> dict[str, str]:
    """Write smoothness of every quantity on the latent graph, reconstruction errors and cluster agreement.

    Snapshots whose latents are not finite are left out: those that ``on_nan="drop"`` left out of training. ``config``
    says more than ``n_neighbors``, which is then without effect. Returns the quantities that were not scored, and why.
    """
    config = config or ScoreConfig(n_neighbors)
    n_neighbors = config.n_neighbors
    with folder.lock_seed(seed):
        _check_same(folder, snapshots)
        name = folder.seed(seed).name
        latents = folder.read_npz(f"{name}/embedding.npz")
        finite = np.isfinite(latents["mean"]).all(1)
        if not finite.all():  # snapshots with gaps, which training left out
            snapshots, latents = snapshots.subset(finite), {k: v[finite] for k, v in latents.items()}
        signals, skipped = usable_signals(known_quantities(snapshots))
        counts = sorted({n_neighbors, *(k for k in SWEEP if k < len(snapshots))})
        # The graph is described where there is nothing to score, too: by the numbers of its nodes, which are left out.
        asked = signals or {"": np.arange(len(snapshots), dtype=np.float64)}
        sweep = spectral.neighbor_sweep(
            latents["mean"],
            asked,
            counts,
            weights=config.weights,
            symmetrize=config.symmetrize,
            connect=config.connect,
        )
        chosen = result = sweep[n_neighbors]
        if config.permutations or config.bootstrap:
            several = len(np.unique(snapshots.trajectory)) > 1
            result = spectral.smoothness(
                None,
                asked,
                graph=chosen.graph,
                groups=snapshots.trajectory if several else None,
                permutations=config.permutations,
                bootstrap=config.bootstrap,
            )
        modes = min(LOW_FREQUENCY_MODES, len(snapshots))
        rows = [
            {
                "signal": signal,
                **{k: getattr(s, k) for k in SCORE_NUMBERS},
                **{k: getattr(s, k) for k in ("p_permutation",) if config.permutations},
                **{k: getattr(s, k) for k in ("score_lower", "score_upper") if config.bootstrap},
                "low_frequency_energy": s.low_frequency_energy(modes),
            }
            for signal, s in result.items()
            if signal in signals
        ]
        folder.write_json(
            f"{name}/scores.json",
            {
                "n_neighbors": n_neighbors,
                "n_components": result.n_components,
                "n_nodes": len(snapshots),
                "weights": config.weights,
                "symmetrize": config.symmetrize,
                "n_added_edges": chosen.n_added_edges,
                "low_frequency_modes": modes,
                "rows": rows,
                "skipped": skipped,
                "left_out": int((~finite).sum()),
                "neighbor_sweep": [
                    {"n_neighbors": k, "n_components": r.n_components, "scores": {n: r[n].score for n in signals}}
                    for k, r in zip(counts, sweep, strict=True)
                ],
            },
        )
        folder.write_json(f"{name}/metrics.json", _metrics(folder, snapshots, seed, latents))
    return skipped


def known_quantities(snapshots: SnapshotSource) -> dict[str, np.ndarray[Any, Any]]:
    """Those of the snapshots, and the time where it differs: files have it for all, and it is often all they have."""
    found = dict(snapshots.quantities)
    if "time" not in {*found, *snapshots.labels} and len(snapshots) and np.ptp(snapshots.time) > 0:
        found["time"] = np.asarray(snapshots.time)
    return found


def usable_signals(
    quantities: Mapping[str, np.ndarray[Any, Any]],
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, str]]:
    """Quantities that can be scored, and why the others cannot."""
    signals, skipped = {}, {}
    for name, values in quantities.items():
        if not np.isfinite(values).all():
            skipped[name] = f"not defined for {int((~np.isfinite(values)).sum())} snapshots"
        elif np.ptp(values) <= 1e-12 * np.abs(values).max():
            skipped[name] = "constant"
        else:
            signals[name] = values
    return signals, skipped


def _metrics(folder: StudyFolder, snapshots: SnapshotSource, seed: int, latents: dict[str, Any]) -> dict[str, Any]:
    model = load(folder.seed(seed) / "model.safetensors")
    test = latents["is_test"]
    held_out = snapshots.subset(test)
    component, k = latents["component"], model.n_components
    metrics: dict[str, Any] = {
        "held_out_error": fluctuation_error(model, held_out),
        "train_error": fluctuation_error(model, snapshots.subset(latents.get("is_train", ~test))),
        "held_out_error_by_field": _error_by_field(model, held_out),
        "occupancy": np.bincount(component, minlength=k) / len(component),
        "ari": {},
        "nmi": {},
        "ari_held_out": {},
        "contingency": {},
    }
    for label, values in snapshots.labels.items():
        if np.ptp(values) == 0:
            continue  # one class: agreement means nothing
        agreement = cluster_agreement(values, component, k)
        names = snapshots.attributes.get("label_names", {}).get(label)
        classes = np.unique(values)
        metrics["ari"][label] = agreement.ari
        metrics["nmi"][label] = agreement.nmi
        metrics["ari_held_out"][label] = cluster_agreement(values[test], component[test], k).ari
        rows = [str(names[c]) if names and 0 <= c < len(names) else str(c) for c in classes]
        metrics["contingency"][label] = {"rows": rows, "table": agreement.contingency}
    return metrics


def _error_by_field(model: GMVAE, snapshots: SnapshotSource) -> dict[str, float]:
    """Relative L2 error of each field's fluctuation about the training mean, in its own units."""
    offset = model.offset.numpy()
    valid = True if snapshots.mask is None else snapshots.mask
    error = total = np.zeros(snapshots.shape[0])
    axes = (0, *range(2, len(snapshots.shape) + 1))
    for start in range(0, len(snapshots), 64):
        fields = snapshots.read(np.arange(start, min(start + 64, len(snapshots))))
        known = valid & np.isfinite(fields) if model.gaps is not None else valid
        difference = np.where(known, model.reconstruct(fields) - fields, 0).astype(np.float64)
        error = error + (difference**2).sum(axes)
        total = total + (np.where(known, fields - offset, 0).astype(np.float64) ** 2).sum(axes)
    relative = np.sqrt(error / np.maximum(total, 1e-300))
    return dict(zip(snapshots.field_names, relative.tolist(), strict=True))


def summarise(folder: StudyFolder, seeds: Sequence[int] | None = None) -> dict[str, Any]:
    """Mean, standard deviation and values over seeds of every number in metrics.json and scores.json.

    What is not defined, such as the relative error of a constant field, is NaN here and null in the file.
    """
    values: dict[str, list[float]] = {}
    for seed in seeds or folder.seeds():
        name = folder.seed(seed).name
        metrics, scores = folder.read_json(f"{name}/metrics.json"), folder.read_json(f"{name}/scores.json")
        numbers = {k: metrics[k] for k in ("held_out_error", "train_error")}
        numbers |= {f"{kind} {label}": v for kind in ("ari", "nmi") for label, v in metrics[kind].items()}
        numbers |= {f"score {row['signal']}": row["score"] for row in scores["rows"]}
        numbers |= {
            f"{title} {row['signal']}": row[key]
            for key, title in RESAMPLED.items()
            for row in scores["rows"]
            if key in row
        }
        numbers |= {"smallest occupancy": min(metrics["occupancy"]), "graph components": scores["n_components"]}
        for key, number in numbers.items():
            values.setdefault(key, []).append(math.nan if number is None else float(number))
    summary = {
        "metrics": {
            k: {"mean": np.mean(v), "std": np.std(v, ddof=1) if len(v) > 1 else 0.0, "values": v}
            for k, v in values.items()
        }
    }
    folder.write_json("summary.json", summary)
    plain: dict[str, Any] = to_jsonable(summary)
    return plain
