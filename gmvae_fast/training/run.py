"""One training run, epoch by epoch: descent, update of the mixture, guards, records."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import torch

from gmvae_fast.data.incomplete import IncompleteMoments
from gmvae_fast.data.moments import Moments
from gmvae_fast.distributed import Ranks, Share
from gmvae_fast.history import EpochRecord, Event, History
from gmvae_fast.model import GMVAE
from gmvae_fast.train_config import SCHEMES, TrainConfig
from gmvae_fast.training import starts
from gmvae_fast.training.compiling import graphs_refused
from gmvae_fast.training.descent import Descent
from gmvae_fast.training.diagnostics import DIAGNOSTICS, Latents, diagnose, fluctuation_error
from gmvae_fast.training.schemes import REGISTRY

#: Mean squared error over the variance of the data, above which no run comes back: decoding noughts has 1.
LARGEST_ERROR = 1e6


class TrainingDiverged(RuntimeError):
    """The loss or the model became NaN or infinite; the model holds the last good epoch's state.

    Attributes
    ----------
    history : History or None
        Up to and including the last good epoch.
    """

    def __init__(self, message: str, history: History | None = None) -> None:
        super().__init__(message)
        self.history = history


class Run:
    """State of one training run: what a checkpoint holds."""

    def __init__(
        self,
        model: GMVAE,
        data: Any,
        config: TrainConfig,
        held_out: Any = None,
        workers: int = 0,
        ranks: Ranks | None = None,
        sample_weight: Any = None,
        hold_bytes: int = 0,
        cache: str | os.PathLike[str] | None = None,
        numbers: Mapping[str, npt.NDArray[np.int64]] | None = None,
    ) -> None:
        self.model, self.config, self.ranks = model, config, ranks or Ranks()
        self._numbers = numbers or {}
        self._hold_bytes, self._cache = hold_bytes, cache
        self.epoch = 0
        self.records: list[EpochRecord] = []
        self.events: list[Event] = []
        self.source = self._share(data, "data", workers, sample_weight)
        if config.patience is not None and held_out is None:
            raise ValueError(f"held_out must be given with patience = {config.patience}, got None")
        self.held_out = None if held_out is None else self._share(held_out, "held_out")
        moments = self._complete(data, held_out, workers, sample_weight)
        if len(self.source) < model.n_components:
            raise ValueError(
                f"data must hold at least n_components = {model.n_components} snapshots, got {len(self.source)}; "
                "give more of them, or lower n_components"
            )
        constant = [self.source.local.field_name(c) for c in model.take_moments(moments, self.source.mask)]
        if constant:
            self._event("constant", f"{', '.join(constant)} varies by no more than rounding and is taken for constant")
        self.scheme = REGISTRY[config.scheme](model.prior, config)
        self.descent = Descent(model, self.scheme, config, self.source)
        if config.cuda_graphs and (refused := graphs_refused(model.device, self.ranks)):
            self._event("cuda_graphs", f"training goes on without CUDA graphs: {refused}")
        self._last_good = {k: v.detach().clone() for k, v in model.state_dict().items()}

    def one_epoch(self) -> EpochRecord:
        """Train for one epoch and record it.

        Raises
        ------
        TrainingDiverged
        """
        started = time.perf_counter()
        config, warmup = self.config, self.epoch < self.config.warmup
        if self.epoch == config.warmup:
            self._start_mixture()
        self.epoch += 1
        self.scheme.begin()
        log_noise = float(self.model.log_noise)
        reconstruction, kl = self.descent.run(self.epoch, standard_prior=warmup)
        loss = reconstruction + self.descent.beta(self.epoch) * kl
        if not math.isfinite(loss):
            self._diverged(f"the loss became {loss}")
        error = self._relative_error(reconstruction, log_noise)
        if error > LARGEST_ERROR:
            self._diverged(f"the reconstruction error rose to {error:.2g} times the variance of the data")
        diagnostics: dict[str, Any] = dict.fromkeys(DIAGNOSTICS)
        if not warmup:
            self.scheme.settle()
            if self._update_due(self.epoch):
                diagnostics = self._update()
        if not self._is_finite():
            self._diverged("the model's parameters became NaN or infinite")
        self.keep()
        record = EpochRecord(
            epoch=self.epoch,
            phase="warmup" if warmup else config.scheme,
            loss=loss,
            reconstruction=reconstruction,
            kl=kl,
            **self._validate(standard_prior=warmup),
            **diagnostics,
            seconds=time.perf_counter() - started,
        )
        self.records.append(record)
        if self.epoch < config.epochs and self._lost_patience():
            message = (
                f"the held-out loss did not fall in {config.patience} evaluations, stopped before epoch {config.epochs}"
            )
            self._event("stop", message)
        return record

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch >= self.config.epochs or self._lost_patience()

    def _lost_patience(self) -> bool:
        """Whether to stop early: the same in all processes and after a restart, as the records are."""
        since = self.epoch - self.config.warmup
        if self.config.patience is None or since % self.config.m_step_every:
            return False
        losses = [r.held_out_loss for r in self.records[self.config.warmup :] if r.held_out_loss is not None]
        last = losses[-self.config.patience :]
        return len(losses) > self.config.patience and min(last) >= min(losses[: -self.config.patience])

    def _share(self, data: Any, name: str, workers: int = 0, sample_weight: Any = None) -> Share:
        """This process's part of ``data``; where one process cannot have its own, none goes on."""
        with self.ranks.agreeing():
            # What is only evaluated may be cut anywhere: a few trajectories must do for many processes.
            share = Share(
                data,
                name,
                self.ranks,
                workers,
                sample_weight,
                split_trajectories=name == "held_out",
                numbers=self._numbers.get(name),
            )
            self.model._source(share.local)
            if not share.hold(self._hold_bytes) and self._cache is not None:
                share.copy(self._cache)
        self.ranks.same(**{f"number of snapshots in {name}": len(share)})
        return share

    def _complete(self, data: Any, held_out: Any, workers: int, sample_weight: Any) -> Moments | IncompleteMoments:
        """Moments of the data, after NaN and infinite values are dealt with as the configuration says."""
        self.model.gaps = None
        moments: Moments | IncompleteMoments = self.source.moments(self.model.device)
        if self.config.on_nan == "error":
            self._refuse_gaps([None if moments.finite else self.source, self.held_out])
            return moments
        broken = {"data": [] if moments.finite else self.source.not_finite_rows()}
        if self.held_out is not None:
            broken["held_out"] = self.held_out.not_finite_rows()
        if not any(broken.values()):
            return moments
        if self.config.on_nan == "drop":
            if broken["data"]:
                weight = np.ones(len(self.source)) if sample_weight is None else np.array(sample_weight, np.float64)
                self.source.close()
                weight = self._without(self.source, weight, broken["data"])
                self.source = self._share(data, "data", workers, weight)
                moments = self.source.moments(self.model.device)
            if broken.get("held_out"):
                assert self.held_out is not None
                weight = self._without(self.held_out, np.ones(len(self.held_out)), broken["held_out"])
                self.held_out = self._share(held_out, "held_out", 0, weight)
            return moments
        self.model.gaps = torch.ones((), dtype=torch.bool, device=self.model.device)
        for name, share in (("data", self.source), ("held_out", self.held_out)):
            if share is not None and broken[name]:
                found = share.incomplete_moments(self.model.device)
                if name == "data":
                    moments = found
                    self._refuse_empty(found)
                missing = [(share.local.field_name(c), int(n)) for c, n in enumerate(found.missing.tolist()) if n]
                told = ", ".join(f"{n} of {field}" for field, n in missing[:10])
                self._event("mask", f"{name}: NaN and infinite values are left out of the loss: {told}")
        return moments

    @staticmethod
    def _refuse_gaps(shares: list[Share | None]) -> None:
        """Raise ValueError at the first snapshot that holds NaN or inf; nothing behind it is read."""
        try:
            for share in shares:
                if share is not None:
                    share.check_finite()
        except ValueError as error:
            advice = "on_nan='drop' leaves such snapshots out, on_nan='mask' such values (--on-nan on the command line)"
            raise ValueError(f"{error}; {advice}") from None

    def _refuse_empty(self, moments: IncompleteMoments) -> None:
        """Raise ValueError for a channel of which there is nothing to learn."""
        local = self.source.local
        cells = math.prod(local.shape[1:]) if local.mask is None else int(local.mask.sum())
        for channel in (moments.known(cells) == 0).nonzero().flatten().tolist():
            raise ValueError(
                f"data must hold a finite value of every field, got only NaN or inf in {local.field_name(channel)}"
            )

    def _without(self, share: Share, weight: npt.NDArray[np.float64], rows: list[int]) -> npt.NDArray[np.float64]:
        """``weight`` of all snapshots but the ``rows`` of the share, which an event names."""
        name, kept = share.local.name, np.flatnonzero(weight)  # those of weight 0 are not in the share
        told = ", ".join(map(str, share.numbers[rows[:10]])) + (", ..." if len(rows) > 10 else "")
        self._event("drop", f"{name}: {len(rows)} of {len(kept)} snapshots hold NaN or inf and are left out: {told}")
        if len(rows) == len(kept):
            raise ValueError(
                f"{name} must hold a finite snapshot, got NaN or inf in all {len(kept)}; try on_nan='mask'"
            )
        weight[kept[rows]] = 0
        return weight

    # -- mixture ---------------------------------------------------------------------------------------------

    def _start_mixture(self) -> None:
        prior, config = self.model.prior, self.config
        if config.start == "latents":
            first, message = starts.from_latents(prior, self._latents(), config)
        else:
            first, message = starts.from_normal(prior, config)
        self.scheme.start(first)
        self._event("initialise", message)

    def _update_due(self, epoch: int) -> bool:
        since = epoch - self.config.warmup
        return since % self.config.m_step_every == 0 or epoch == self.config.epochs

    def _refit_due(self, epoch: int) -> bool:
        """At the first update from each of `refits` epochs, evenly spaced over the first half after the warm-up."""
        config = self.config
        if not (SCHEMES[config.scheme].closed_form and config.start == "latents" and config.refits):
            return False
        distance = (config.epochs - config.warmup) / (2 * config.refits)
        since = epoch - config.warmup
        reached, before = (min(int(e / distance), config.refits) for e in (since, since - config.m_step_every))
        return reached > max(before, 0) and epoch < config.epochs

    def _update(self) -> dict[str, Any]:
        latents = self._latents()
        if self._refit_due(self.epoch):
            message = starts.refit(self.model.prior, latents, self.config)
            if message:
                self._event("refit", message)
        update = self.scheme.update(latents, last=self.epoch == self.config.epochs)
        for message in update.moved:
            self._event("reseed", message)
        found = diagnose(self.model.prior, latents)
        return {"mixture_kl_before": update.kl_before, "mixture_kl": update.kl, **found}

    def _latents(self) -> Latents:
        latents = Latents.of(self.model, self.source)
        if not math.isfinite(latents.spread):
            self._diverged("the latents became NaN or infinite")
        return latents

    # -- held-out data ---------------------------------------------------------------------------------------

    def _validate(self, *, standard_prior: bool) -> dict[str, Any]:
        due = self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs
        if self.held_out is None or not due:
            return {"held_out_loss": None, "held_out_error": None}
        model = self.model
        draws = torch.Generator(model.device).manual_seed(self.config.seed + 2)
        noise, local = self.held_out.noise(draws, model.latent_dim, model.offset), self.held_out.local
        model.eval()
        total = torch.zeros((), dtype=torch.float64, device=model.device)
        with torch.no_grad():
            batches = local.ordered(local.pass_size, model.device)
            for x, eps in zip(batches, noise.split(local.pass_size), strict=True):
                terms = model.loss_terms(
                    model.normalise(x), None, assignment=self.config.gamma, standard_prior=standard_prior, noise=eps
                )
                total += (terms.reconstruction + self.descent.beta(self.epoch) * terms.kl).double().sum()
        return {
            "held_out_loss": float(self.ranks.sum(total)) / len(self.held_out),
            "held_out_error": fluctuation_error(model, local, self.ranks),
        }

    # -- state -----------------------------------------------------------------------------------------------

    def _event(self, kind: str, message: str) -> None:
        self.events.append(Event(self.epoch, kind, message))

    @property
    def history(self) -> History:
        """Records and events so far."""
        return History(tuple(self.records), tuple(self.events))

    def close(self) -> None:
        """End what reads the data, let go of what is held of them."""
        for share in (self.source, self.held_out):
            if share is not None:
                share.close()

    def keep(self) -> None:
        """Remember this state as the last good one."""
        for key, value in self.model.state_dict().items():
            self._last_good[key].copy_(value)

    def _is_finite(self) -> bool:
        floating = [v for v in self.model.state_dict().values() if v.is_floating_point()]
        # A sum is finite only where all of it is; where one is not, the parts may have been too large for it only.
        broken = ~torch.isfinite(torch.stack([v.sum().double() for v in floating])).all()
        if broken:
            broken = torch.stack([~torch.isfinite(v).all() for v in floating]).any()
        return not float(self.ranks.sum(broken.double()))  # all stop where one must

    def _relative_error(self, reconstruction: float, log_noise: float) -> float:
        """Mean squared error of decoded samples over the variance of the data, which is 1 in the network's units."""
        return (2 * reconstruction / max(1, self.model.n_values) - log_noise) * math.exp(log_noise)

    def _diverged(self, what: str) -> NoReturn:
        self.model.load_state_dict(self._last_good)
        good = len(self.records)
        self._event("diverged", what)
        raise TrainingDiverged(
            f"{what} in epoch {good + 1} (learning rate {self.config.learning_rate:g}); the model is set back to epoch "
            f"{good}. Try a smaller learning_rate, gradient_clip=1.0, or a larger batch_size",
            self.history,
        )
