"""The processes of a distributed run, and what they say to each other."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")
_CPU = torch.device("cpu")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
#: How long a process waits for the others: reading and decoding of their shares may take them longer by that much.
TIMEOUT = timedelta(minutes=30)
_LOST = ("gloo", "nccl", "connection", "timed out", "timeout", "socket", "peer")

_failed = False  # whether this process stopped in the middle of work that it shares


class RankLost(RuntimeError):
    """Another process of a distributed run ended or does not answer; what was last written is whole."""


@dataclass(frozen=True)
class Ranks:
    """One process among ``size``; alone, every method returns what it was given.

    All processes must call the methods in the same order. Sums are those of all processes, in their order, so every
    process gets the same bits.

    Attributes
    ----------
    rank, size : int
    device : torch.device
        Where `tell` lays its messages: the CPU, unless the backend only knows GPUs.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = _CPU

    @staticmethod
    def present(device: str | torch.device = "cpu") -> Ranks:
        """Those of the default process group, which exchange tensors of ``device``; alone where there is none.

        Raises
        ------
        ValueError
            Where the group's backend does not know the device.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return Ranks()
        on, served = _placed(device), _served()
        if on.type not in served:
            raise ValueError(
                f"model must be on a device that the process group ({dist.get_backend_config()}) serves, got {on}; "
                "move it, or use init_process_group('cpu:gloo,cuda:nccl')"
            )
        return Ranks(dist.get_rank(), dist.get_world_size(), _CPU if "cpu" in served else on)

    @property
    def on_this_machine(self) -> int:
        """How many of the processes share this machine, as far as their launcher tells (torchrun does); at least 1."""
        told = os.environ.get("LOCAL_WORLD_SIZE", "")
        return min(self.size, max(1, int(told))) if told.isdecimal() else 1

    @property
    def alone(self) -> bool:
        """Whether there is nobody to exchange anything with."""
        return self.size == 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes of tensors of one shape."""
        if self.alone:
            return value
        total = value.detach().clone(memory_format=torch.contiguous_format)  # all in one layout
        with self.guarded():
            dist.all_reduce(total)
        return total

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Tensors [n_r, ...] of all processes, in their order; only n_r may differ."""
        if self.alone:
            return [rows]
        with self.guarded():
            sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
            dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
            counts = [int(s) for s in sizes]
            if not any(counts):
                return [rows for _ in counts]
            padded = rows.new_zeros(max(counts), *rows.shape[1:])
            padded[: len(rows)] = rows
            parts = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(parts, padded)
        return [part[:count] for part, count in zip(parts, counts, strict=True)]

    def share(self, value: Tensor) -> Tensor:
        """The first process's values in all; shape and dtype must agree."""
        if self.alone:
            return value
        common = value.detach().clone(memory_format=torch.contiguous_format)  # all in one layout
        with self.guarded():
            dist.broadcast(common, 0)
        return common

    def tell(self, value: T) -> list[T]:
        """Small values of all processes, in their order: what JSON can hold."""
        if self.alone:
            return [value]
        text = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=self.device)
        return [json.loads(bytes(part.tolist())) for part in self.gather(text)]

    def agree(self, error: Exception | None) -> None:
        """Raise in every process where one has an ``error``: the first of them, in the others with its rank."""
        told = self.tell(None if error is None else f"{type(error).__name__}: {error}")
        if error is not None:
            raise error
        for rank, message in enumerate(told):
            if message is not None:
                raise ValueError(f"process {rank} of {self.size}: {message}")

    @contextlib.contextmanager
    def agreeing(self) -> Iterator[None]:
        """Where the block fails in one process it ends in all, see `agree`; no other exchange may stand within it."""
        error: Exception | None = None
        try:
            yield
        except Exception as err:
            error = err
        self.agree(error)

    def same(self, **values: Any) -> None:
        """Raise ValueError in every process where their ``values``, which JSON can hold, are not all alike."""
        first, *others = self.tell(values)
        for rank, other in enumerate(others, 1):
            for name, value in first.items():
                if other[name] != value:
                    raise ValueError(
                        f"{name} must be the same in every process, got {value!r} in process 0 and {other[name]!r} "
                        f"in process {rank}"
                    )

    @contextlib.contextmanager
    def remembering(self) -> Iterator[None]:
        """An exception that leaves the block is remembered when this process leaves the others."""
        global _failed
        try:
            yield
        except BaseException:
            _failed = self.size > 1
            raise

    def wait(self) -> None:
        """Until all processes are here."""
        self.tell(None)  # NCCL's own barrier guesses a device

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a failed exchange into `RankLost`."""
        try:
            yield
        except RuntimeError as err:
            text = str(err).lower()
            if self.alone or not (isinstance(err, dist.DistError) or any(word in text for word in _LOST)):
                raise
            raise RankLost(
                f"process {self.rank} of {self.size} lost another one of the run ({_brief(err)}); what "
                "was last written is whole: start again with the same arguments to continue"
            ) from err


def joined(device: str | torch.device = "cpu") -> Ranks:
    """The processes of this run: those of torch.distributed, or of torchrun, or this one alone.

    A process group that exists is used and left alone. Where torchrun (or any launcher that sets RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT) started this process, a group is made that lasts until the process ends: NCCL where
    ``device`` is a CUDA device, which becomes the current one, else gloo.

    Raises
    ------
    ValueError
        Where two processes have the same GPU, or an existing group's backend does not know the device.
    """
    launched = dist.is_available() and all(name in os.environ for name in _LAUNCHED)
    if launched and not dist.is_initialized() and int(os.environ["WORLD_SIZE"]) > 1:
        # After an elastic restart the store still knows the addresses of processes that have ended.
        store, rank, size = next(rendezvous("env://"))
        store = PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        on, options = _placed(device), dict[str, Any]()
        if on.type == "cuda":
            _check_own_gpu(store, rank, size, on)
            torch.cuda.set_device(on)
            options = {"device_id": on}
        backend = "nccl" if on.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT, **options)
        atexit.register(_leave)
    return Ranks.present(device)


def _placed(device: str | torch.device) -> torch.device:
    """With its number, where it is a CUDA device."""
    on = torch.device(device)
    return torch.device("cuda", torch.cuda.current_device()) if on.type == "cuda" and on.index is None else on


def _served() -> set[str]:
    """Kinds of devices whose tensors the default group exchanges."""
    return {part.split(":")[0] for part in str(dist.get_backend_config()).split(",")}


def _check_own_gpu(store: PrefixStore, rank: int, size: int, device: torch.device) -> None:
    """Raise ValueError in every process where two have one GPU, on which NCCL would fail or wait for ever."""
    properties = torch.cuda.get_device_properties(device)
    store.set(f"gpu_{rank}", f"{socket.gethostname()} {getattr(properties, 'uuid', device)}")
    seen: dict[str, int] = {}
    for other in range(size):
        gpu = store.get(f"gpu_{other}").decode()
        if gpu in seen:
            raise ValueError(
                f"every process must have a GPU of its own, got {gpu.split()[-1]} of {gpu.split()[0]} for processes "
                f"{seen[gpu]} and {other}; start no more than there are GPUs, and put the model of each on "
                "f'cuda:{LOCAL_RANK}'"
            )
        seen[gpu] = other


def _brief(error: Exception) -> str:
    """First sentence, without where in the library it was raised."""
    return str(error).split("] ", 1)[-1].split(". ")[0].splitlines()[0]


def _leave() -> None:
    if not dist.is_initialized():
        return
    gc.collect()  # gradients' reducers that outlive their group end the process with an abort, now and then
    if _failed and "nccl" in str(dist.get_backend_config()):
        # The others may be in an exchange that never ends, for which destroying would wait; torch aborts it by itself.
        return
    dist.destroy_process_group()
