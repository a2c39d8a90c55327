"""Processes that read and decode: each gets the reader once, and answers with tensors in shared memory."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import torch
from torch import Tensor

_SHARED_MEMORY = "/dev/shm"
_PARENT_CHECK = 5.0  # seconds

#: The reader of this process, and whether its tensors go through shared memory.
_reader: tuple[Any, bool] | None = None


def start_workers(reader: Any, workers: int, in_flight: int) -> ProcessPoolExecutor:
    """Processes for `call`, started as ``multiprocessing.get_start_method()`` says.

    ``reader`` reaches each of them once, by fork or pickled. Containers often have 64 MiB of shared memory: where
    twice the ``in_flight`` bytes of results find no room, arrays go through pipes, which is slower but needs none.
    """
    shared = not os.path.isdir(_SHARED_MEMORY) or _free_shared_memory() > 2 * in_flight
    return ProcessPoolExecutor(
        workers, multiprocessing.get_context(), initializer=_begin, initargs=(reader, shared, os.getpid())
    )


def call(method: str, indices: Tensor) -> Any:
    """Result of the reader's method, in a worker."""
    assert _reader is not None
    reader, shared = _reader
    result = getattr(reader, method)(indices)
    return result.numpy() if isinstance(result, Tensor) and not shared else result


def _begin(reader: Any, shared: bool, parent: int) -> None:
    global _reader
    _reader = (reader, shared)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """A parent that was killed could not end its workers."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK)
    os._exit(1)


def _free_shared_memory() -> int:
    return shutil.disk_usage(_SHARED_MEMORY).free
