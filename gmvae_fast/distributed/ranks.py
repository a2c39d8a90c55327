"""The processes of a distributed run, and what they say to each other."""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
_LOST = ("gloo", "nccl", "connection", "timed out", "timeout", "socket", "peer")


class RankLost(RuntimeError):
    """Another process of a distributed run ended or does not answer; what was last written is whole."""


@dataclass(frozen=True)
class Ranks:
    """One process among ``size``; alone, every method returns what it was given.

    All processes must call the methods in the same order. Sums are those of all processes, in their order, so every
    process gets the same bits.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def present() -> Ranks:
        """Those of the default process group; this process alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return Ranks(dist.get_rank(), dist.get_world_size())
        return Ranks()

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """Sum over the processes of tensors of one shape."""
        if self.size == 1:
            return value
        total = value.detach().clone(memory_format=torch.contiguous_format)  # all in one layout
        with self.guarded():
            dist.all_reduce(total)
        return total

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Tensors [n_r, ...] of all processes, in their order; only n_r may differ."""
        if self.size == 1:
            return [rows]
        with self.guarded():
            sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
            dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
            counts = [int(s) for s in sizes]
            padded = rows.new_zeros(max(counts), *rows.shape[1:])
            padded[: len(rows)] = rows
            parts = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(parts, padded)
        return [part[:count] for part, count in zip(parts, counts, strict=True)]

    def share(self, value: Tensor) -> Tensor:
        """The first process's values in all; shape and dtype must agree."""
        if self.size == 1:
            return value
        common = value.detach().clone(memory_format=torch.contiguous_format)  # all in one layout
        with self.guarded():
            dist.broadcast(common, 0)
        return common

    def tell(self, value: T) -> list[T]:
        """Small values of all processes, in their order: what JSON can hold."""
        if self.size == 1:
            return [value]
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        text = torch.tensor(list(json.dumps(value).encode()), dtype=torch.uint8, device=device)
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

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            with self.guarded():
                dist.barrier()

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn a failed exchange into `RankLost`."""
        try:
            yield
        except RuntimeError as err:
            text = str(err).lower()
            if self.size == 1 or not (isinstance(err, dist.DistError) or any(word in text for word in _LOST)):
                raise
            raise RankLost(
                f"process {self.rank} of {self.size} lost another one of the run ({_brief(err)}); what "
                "was last written is whole: start again with the same arguments to continue"
            ) from err


def joined(device: str | torch.device = "cpu") -> Ranks:
    """The processes of this run: those of torch.distributed, or of torchrun, or this one alone.

    A process group that exists is used and left alone. Where torchrun (or any launcher that sets RANK, WORLD_SIZE,
    MASTER_ADDR and MASTER_PORT) started this process, a group is made that lasts until the process ends: NCCL where
    ``device`` is a CUDA device, else gloo.
    """
    launched = dist.is_available() and all(name in os.environ for name in _LAUNCHED)
    if launched and not dist.is_initialized() and int(os.environ["WORLD_SIZE"]) > 1:
        # After an elastic restart the store still knows the addresses of processes that have ended.
        store, rank, size = next(rendezvous("env://"))
        store = PrefixStore(f"attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        backend = "nccl" if torch.device(device).type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        atexit.register(_leave)
    return Ranks.present()


def _brief(error: Exception) -> str:
    """First sentence, without where in the library it was raised."""
    return str(error).split("] ", 1)[-1].split(". ")[0].splitlines()[0]


def _leave() -> None:
    if dist.is_initialized():
        gc.collect()  # gradients' reducers that outlive their group end the process with an abort, now and then
        dist.destroy_process_group()
