"""Training curves for TensorBoard, on request."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

from gmvae_fast._io import check_writable
from gmvae_fast.history import EpochRecord


@contextlib.contextmanager
def epoch_writer(folder: str | os.PathLike[str] | None) -> Iterator[Callable[[EpochRecord], None] | None]:
    """Yield a function for ``fit(on_epoch=...)`` that writes every number of a record as a scalar; None without folder.

    A run that continues from a checkpoint hides what an interrupted one wrote after it.

    Raises
    ------
    ImportError
        Naming the extra to install.
    OSError
        Naming the folder: before any work where it cannot be written to, later where the disk is full.
    """
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoard logging needs tensorboard: pip install 'gmvae_fast[tensorboard]'") from error
    place = os.fspath(folder)
    writer: Any = None
    check_writable(os.path.join(place, "events"))

    def write(record: EpochRecord) -> None:
        nonlocal writer
        with _named(place):
            if writer is None:
                writer = SummaryWriter(place, purge_step=record.epoch)
            for name, value in scalars(record).items():
                writer.add_scalar(name, value, record.epoch)

    with _quiet_thread():
        try:
            yield write
        finally:
            if writer is not None:
                with _named(place):
                    writer.close()


@contextlib.contextmanager
def _named(place: str) -> Iterator[None]:
    """An OSError of the thread that writes knows its number only."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or place
        raise


@contextlib.contextmanager
def _quiet_thread() -> Iterator[None]:
    """What ends TensorBoard's writing thread is raised by its next call; its traceback would come before that."""
    usual = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs, /) -> None:
        if not type(arguments.thread).__module__.startswith("tensorboard."):
            usual(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual


def scalars(record: EpochRecord) -> dict[str, float]:
    """Numbers of a record under TensorBoard's grouped names, tuples one by one: ``occupancy/0``, ``loss``, ..."""
    found: dict[str, float] = {}
    for name, value in dataclasses.asdict(record).items():
        if isinstance(value, tuple | list):
            found |= {f"{name}/{i}": float(v) for i, v in enumerate(value)}
        elif isinstance(value, int | float) and name != "epoch":
            found[name] = float(value)
    return found
