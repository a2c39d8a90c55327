"""A training run as a file, and back."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import torch
from torch import Tensor

from gmvae_fast._checks import check_integer
from gmvae_fast.history import History
from gmvae_fast.model import load_state
from gmvae_fast.tensor_files import ModelFileError, read_tensors, write_tensors
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.run import Run

FORMAT = "gmvae_fast.checkpoint"
#: 1: the block scheme alone. 2: also "scheme.NAME", the scheme's own tensors. 3: also "model.gaps".
VERSION = 3


def save(run: Run, path: str | os.PathLike[str]) -> None:
    """Write model, optimiser, random numbers, scheme and history as one file, atomically."""
    tensors = {f"model.{k}": v for k, v in run.model.state_dict().items()}
    tensors |= {f"scheme.{k}": v for k, v in run.scheme.state().items()}
    tensors |= run.descent.state()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "epoch": run.epoch,
        "model": run.model.config,
        "training": dataclasses.asdict(run.config),
        "n_snapshots": len(run.source),
        "weights": run.source.weight_digest,
        "history": run.history.to_dict(),
    }
    write_tensors(path, tensors, header)


def restore(run: Run, path: str | os.PathLike[str]) -> None:
    """Bring a fresh ``run`` to the state in the file.

    Raises
    ------
    ValueError
        For a checkpoint of another configuration or other data.
    ModelFileError
        For a file that is damaged, incomplete, or of another kind.
    """
    where = os.fspath(path)
    tensors, header = read_tensors(path, FORMAT, VERSION)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "generator": {}, "scheme": {}}
    for key, value in tensors.items():
        kind, _, rest = key.partition(".")
        parts.setdefault(kind, {})[rest] = value
    _check_same_run(run, header, parts["model"], where)
    try:
        history = History.from_dict(header["history"])
        epoch = check_integer("epoch", header["epoch"], 0)
        if epoch != len(history.epochs) or epoch > run.config.epochs:
            raise ValueError(f"epoch {epoch} with {len(history.epochs)} records")
        run.descent.load(parts["optimizer"], parts["generator"])
        run.scheme.load(parts["scheme"])
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as err:
        raise ModelFileError(f"{where}: the checkpoint is incomplete ({err!r})") from err
    load_state(run.model, parts["model"], where)
    run.epoch, run.records, run.events = epoch, list(history.epochs), list(history.events)
    run.keep()


def _check_same_run(run: Run, header: dict[str, Any], model: dict[str, Tensor], where: str) -> None:
    """Another configuration or other data would give neither run's result."""
    advice = "give another checkpoint path or resume=False (gmvae-fast train --no-resume)"
    for name, mine in (("model", run.model.config), ("training", run.config.resolved())):
        stored = header.get(name)
        if not isinstance(stored, dict):
            raise ModelFileError(f"{where}: the checkpoint is incomplete (no {name} configuration)")
        if name == "training":
            stored = _resolved(stored)
        changed = sorted(k for k in mine.keys() | stored.keys() if mine.get(k) != stored.get(k))
        if changed:
            detail = ", ".join(f"{k}: {stored.get(k)!r} there, {mine.get(k)!r} here" for k in changed)
            raise ValueError(f"checkpoint {where} belongs to another {name} configuration ({detail}); {advice}")
    if header.get("n_snapshots") != len(run.source):
        detail = f"{header.get('n_snapshots')} snapshots there, {len(run.source)} here"
        raise ValueError(f"checkpoint {where} belongs to other data ({detail}); {advice}")
    if header.get("weights") != run.source.weight_digest:
        raise ValueError(f"checkpoint {where} belongs to other data (their sample_weight differs); {advice}")
    masks = [m.cpu() for m in (run.model.mask, model.get("mask")) if m is not None]
    if len(masks) == 1 or (masks and not torch.equal(*masks)):
        raise ValueError(f"checkpoint {where} belongs to other data (their mask differs); {advice}")
    # The normalisation of the data given now stands in the model; rounding varies with the number of threads.
    tolerance = 1e-4 * float(run.model.scale.max())
    for name, buffer in (("mean", "offset"), ("standard deviation", "scale")):
        here, there = getattr(run.model, buffer).cpu(), model.get(buffer)
        if there is not None and not torch.allclose(here, there, rtol=1e-4, atol=tolerance):
            raise ValueError(f"checkpoint {where} belongs to other data (their {name} differs); {advice}")


def _resolved(stored: dict[str, Any]) -> dict[str, Any]:
    """A stored configuration as `TrainConfig.resolved` gives it; fields it is too old for stand at their defaults."""
    try:
        return TrainConfig.from_dict(stored).resolved()
    except (TypeError, ValueError):  # of a newer release, or not one at all: its fields are compared as they are
        return stored
