"""`fit`: training in one call, with checkpoints and progress."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._checks import check_integer, nearest
from gmvae_fast._locks import file_lock
from gmvae_fast._memory import freed_memory_kept
from gmvae_fast._progress import epoch_progress
from gmvae_fast._threads import threads_for
from gmvae_fast.distributed import joined
from gmvae_fast.history import EpochRecord, History
from gmvae_fast.model import GMVAE
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training import checkpoint as checkpoints
from gmvae_fast.training.run import Run

#: Snapshots of files that take no more than this in memory are held there, as small .npy files are when opened.
HOLD_BYTES = 2**30


def fit(
    model: GMVAE,
    data: Any,
    config: TrainConfig | None = None,
    *,
    held_out: Any = None,
    sample_weight: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    resume: bool = True,
    progress: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    workers: int = 0,
    hold_bytes: int = HOLD_BYTES,
    cache: str | os.PathLike[str] | None = None,
    numbers: Mapping[str, npt.NDArray[np.int64]] | None = None,
) -> History:
    """Train ``model`` in place.

    Parameters
    ----------
    model : GMVAE
    data : ndarray, Tensor, torch Dataset, Snapshots, or another SnapshotSource such as `open_snapshots` gives
        Snapshots [N, *input_shape] in their own units; normalisation is taken from them, and where they have a mask,
        the cells outside it are left out of the loss. Files are read ahead in a background thread within a bounded
        memory, whatever their size. Each epoch sees all snapshots in a new order drawn from ``config.seed``: a uniform
        permutation, but for files of chunks that hold several snapshots, where chunks come in random order and
        snapshots are shuffled within windows of 64 MiB only, so batches are less mixed than a permutation's.
    config : TrainConfig, optional
    held_out : like ``data``, optional
        Evaluated every ``config.validate_every`` epochs, never trained on, never weighted.
    sample_weight : array [N], optional
        How often each snapshot counts, at least 0, in any unit: `gmvae_fast.data.balanced_weights` gives runs or groups
        the same total. Weights multiply a snapshot's loss and its share in every statistic of the mixture; they change
        neither the order of snapshots nor the normalisation, which is a choice of units. A snapshot of weight 0 is not
        there: weights of 0 and 1 give, bit for bit, what training on the others gives (arrays of such are copied).
    checkpoint : path, optional
        File that is written every ``checkpoint_every`` epochs and at the end, always whole.
    checkpoint_every : int
    resume : bool
        Continue from ``checkpoint`` if it exists; the result is the one an uninterrupted run would have given. Refused
        for another configuration or other data.
    progress : bool
        Show a bar with losses, rate and remaining time (only on a terminal).
    on_epoch : callable, optional
        Called with each EpochRecord, after the checkpoint of that epoch is written.
    workers : int
        Processes that read and decode ``data`` where they are a lazy source or a torch Dataset; 0 reads in a
        background thread. The result is the same bit for bit. Worth it where decoding is slow (compressed files,
        images, resampling) and cores are free. Each has up to 64 MiB of batches (a window, where files are chunked)
        waiting. Processes start as ``multiprocessing.get_start_method()`` says.
    hold_bytes : int
        ``data`` and ``held_out`` from files are read and decoded once and held in memory while training, each where
        its float32 values take at most this much and twice as much is free; 0: all passes read the files. Only the
        speed depends on it. Of several processes each holds its own share, and counts on its part of what is free.
    cache : path, optional
        Folder for a decoded copy of ``data`` and of ``held_out`` where they come from files that are slow to decode and
        are not held in memory; see `gmvae_fast.data.copies.copied`. Of several processes each copies its own share,
        which ``cache`` of `gmvae_fast.open_snapshots` cannot: it knows nothing of the others.
    numbers : mapping of "data" or "held_out" to int array [N], optional
        By which errors and events call the snapshots, where they are parts of something larger; else 0, 1, ...

    Notes
    -----
    Within a process group of torch.distributed, or started by torchrun, all processes train one model: each reads its
    own trajectories, and gradients, moments and mixture statistics are summed over all (``batch_size`` counts the
    snapshots of all together). Every process must call with the same arguments; the result is that of one process up
    to the rounding of sums. The first process writes the checkpoint and calls ``on_epoch``. See docs/distributed.md.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        For data that do not fit the model, are not finite, or are fewer than the components; for a checkpoint of
        another configuration or other data.
    ModelFileError
        For a checkpoint that is damaged or of another kind.
    InUseError
        A RuntimeError, for a checkpoint that another process writes; it names the process.
    TrainingDiverged
        When the loss stops being finite; the model is set back to the last good epoch and the message says what to
        try.
    RankLost
        When another process of a distributed run has ended.
    """
    if not isinstance(model, GMVAE):
        raise TypeError(f"model must be a GMVAE, got {type(model).__name__}")
    if not isinstance(config, TrainConfig | None):
        raise TypeError(f"config must be a TrainConfig or None, got {type(config).__name__}")
    check_integer("checkpoint_every", checkpoint_every, 1)
    check_integer("hold_bytes", hold_bytes, 0)
    for name in numbers or ():
        if name not in ("data", "held_out"):
            raise ValueError(f"numbers must be of data or held_out, got {name!r}{nearest(name, ('data', 'held_out'))}")
    if checkpoint is not None and os.path.isdir(checkpoint):
        raise IsADirectoryError(f"checkpoint must be a file, got the folder {os.fspath(checkpoint)}")
    ranks = joined(model.device)
    with ranks.remembering(), contextlib.ExitStack() as held:
        ranks.same(
            config=dataclasses.asdict(config or TrainConfig()),
            parameters=sum(p.numel() for p in model.parameters()),
            held_out=held_out is not None,
            sample_weight=sample_weight is not None,
            checkpoint=None if checkpoint is None else (checkpoint_every, resume),
        )
        if checkpoint is not None:
            with ranks.agreeing():  # where another run has the checkpoint no process goes on
                if ranks.first:
                    held.enter_context(file_lock(checkpoint))
        run = Run(
            model, data, config or TrainConfig(), held_out, workers, ranks, sample_weight, hold_bytes, cache, numbers
        )
        if checkpoint is not None and resume and ranks.tell(os.path.exists(checkpoint))[0]:
            with ranks.agreeing():
                checkpoints.restore(run, checkpoint)
        try:
            with epoch_progress(
                run.config.epochs, run.epoch, len(run.source), enabled=progress and ranks.first
            ) as show:
                for record in _epochs(run, checkpoint, checkpoint_every):
                    show(record)
                    if on_epoch is not None and ranks.first:
                        on_epoch(record)
            ranks.wait()  # the file is there when any process goes on
        finally:
            model.eval()
            run.close()
        return run.history


def _epochs(run: Run, checkpoint: str | os.PathLike[str] | None, every: int) -> Iterator[EpochRecord]:
    """The records of the epochs that are left, each given out once its checkpoint is written where one is due."""
    while not run.finished:
        with threads_for(run.descent.step_work), freed_memory_kept():
            record = run.one_epoch()
        if checkpoint is not None and (run.epoch % every == 0 or run.finished):
            with run.ranks.agreeing():  # where it cannot be written no process goes on
                if run.ranks.first:
                    checkpoints.save(run, checkpoint)
        yield record
