"""Training curves for TensorBoard, on request."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

from gmvae_fast.history import EpochRecord


@contextlib.contextmanager
def epoch_writer(folder: str | os.PathLike[str] | None) -> Iterator[Callable[[EpochRecord], None] | None]:
    """Yield a function for ``fit(on_epoch=...)`` that writes every number of a record as a scalar; None without folder.

    A run that continues from a checkpoint hides what an interrupted one wrote after it.

    Raises
    ------
    ImportError
        Naming the extra to install.
    """
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard logging needs tensorboard: pip install 'gmvae_fast[tensorboard]'") from error
    writer: Any = None

    def write(record: EpochRecord) -> None:
        nonlocal writer
        if writer is None:
            writer = SummaryWriter(os.fspath(folder), purge_step=record.epoch)
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record.epoch)

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()


def scalars(record: EpochRecord) -> dict[str, float]:
    """Numbers of a record under TensorBoard's grouped names, tuples one by one: ``occupancy/0``, ``loss``, ..."""
    found: dict[str, float] = {}
    for name, value in dataclasses.asdict(record).items():
        if isinstance(value, tuple | list):
            found |= {f"{name}/{i}": float(v) for i, v in enumerate(value)}
        elif isinstance(value, int | float) and name != "epoch":
            found[name] = float(value)
    return found
