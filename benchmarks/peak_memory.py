"""Peak extra memory of one call, measured in a process of its own, native scratch included.

The contender is prepared and called once on a tiny problem (code, thread stacks, library handles), then prepared at
full size. Freed heap is given back to the system, the kernel's high-water mark of resident memory is reset, and the
call is made once: the mark minus the resident memory before the call is what the call needed on top of its inputs,
results included. Nothing is sampled, and it does not matter who allocated: torch, numpy, malloc or new.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import resource
import sys
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Factory = Callable[[], Callable[[], Any]]
TIME_LIMIT = 120  # seconds


def peak_extra_mib(full: Factory, tiny: Factory, threads: int) -> float:
    """MiB that the call made by ``full`` needs beyond what was resident before it.

    Parameters
    ----------
    full, tiny : callable
        Prepare inputs and return the call, at full size and at a size that costs nothing. They go to another process:
        functions of a module, or `functools.partial` of such.
    threads : int
        For torch and for every BLAS.

    Raises
    ------
    RuntimeError
        With the other process's traceback, or its exit code if it died.
    """
    context = multiprocessing.get_context("forkserver")  # a fork of a process that has imported, but never computed
    context.set_forkserver_preload(["torch", "gmvae_fast", "sklearn.mixture", "threadpoolctl"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sender, full, tiny, threads))
    process.start()
    sender.close()
    try:
        if not receiver.poll(TIME_LIMIT):
            raise RuntimeError(f"the measuring process did not answer within {TIME_LIMIT} s")
        answer = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"the measuring process died with exit code {process.exitcode}") from None
    finally:
        process.kill()
        process.join()
    if isinstance(answer, str):
        raise RuntimeError(f"the measuring process failed:\n{answer}")
    return float(answer)


def _measure(sender: Connection, full: Factory, tiny: Factory, threads: int) -> None:
    try:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            tiny()()
            sender.send(_growth(full()))
    except BaseException:
        sender.send(traceback.format_exc())


def _growth(call: Callable[[], Any]) -> float:
    """MiB by which the resident memory's peak during ``call`` exceeds what was resident before."""
    gc.collect()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)  # memory freed by the preparation must not serve the call unseen
    reset = _reset_high_water_mark()
    before = _status("VmRSS") if reset else _peak()
    result = call()
    after = _status("VmHWM") if reset else _peak()
    del result
    return max(0.0, (after - before) / 1024)


def _reset_high_water_mark() -> bool:
    """Linux: the peak starts anew at what is resident now. Elsewhere the peak since the process began has to do."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmHWM") <= _status("VmRSS") + 4096
    except (OSError, LookupError):
        return False


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return float(line.split()[1])  # KiB
    raise LookupError(f"/proc/self/status has no line {field}")


def _peak() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform == "darwin" else peak  # bytes there, KiB elsewhere


def at_both_sizes(factory: Callable[..., Callable[[], Any]], full: tuple[Any, ...], tiny: tuple[Any, ...]) -> Any:
    """The pair of factories that `peak_extra_mib` takes."""
    return partial(factory, *full), partial(factory, *tiny)
