"""Training: block-coordinate descent between the networks (Adam) and the mixture (closed-form EM)."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from gmvae_fast._batches import Batches
from gmvae_fast._checks import check_integer
from gmvae_fast._latent_mixture import fit_latent_mixture, latent_spread
from gmvae_fast._progress import epoch_progress
from gmvae_fast._threads import threads_for
from gmvae_fast.history import EpochRecord, Event, History
from gmvae_fast.mixture import m_step
from gmvae_fast.model import GMVAE, ModelFileError, load_state, read_tensors, write_tensors
from gmvae_fast.train_config import TrainConfig

CHECKPOINT_FORMAT = "gmvae_fast.checkpoint"
CHECKPOINT_VERSION = 1
_DIAGNOSTICS = ("occupancy", "responsibility_entropy", "component_kl", "active_dimensions")
_SMALLEST_NOISE = 1e-6  # of tau^2: float32 data cannot be described better


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


def fit(
    model: GMVAE,
    data: Any,
    config: TrainConfig | None = None,
    *,
    held_out: Any = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    resume: bool = True,
    progress: bool = True,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    workers: int = 0,
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
        Evaluated every ``config.validate_every`` epochs, never trained on.
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
    TrainingDiverged
        When the loss stops being finite; the model is set back to the last good epoch and the message says what to
        try.
    """
    if not isinstance(model, GMVAE):
        raise TypeError(f"model must be a GMVAE, got {type(model).__name__}")
    if not isinstance(config, TrainConfig | None):
        raise TypeError(f"config must be a TrainConfig or None, got {type(config).__name__}")
    check_integer("checkpoint_every", checkpoint_every, 1)
    if checkpoint is not None and os.path.isdir(checkpoint):
        raise IsADirectoryError(f"checkpoint must be a file, got the folder {os.fspath(checkpoint)}")
    run = _Run(model, data, config or TrainConfig(), held_out, workers)
    if checkpoint is not None and resume and os.path.exists(checkpoint):
        run.restore(checkpoint)
    try:
        with epoch_progress(run.config.epochs, run.epoch, len(run.source), enabled=progress) as show:
            while run.epoch < run.config.epochs:
                with threads_for(run.step_work):
                    record = run.one_epoch()
                due = run.epoch % checkpoint_every == 0 or run.epoch == run.config.epochs
                if checkpoint is not None and due:
                    run.save(checkpoint)
                show(record)
                if on_epoch is not None:
                    on_epoch(record)
    finally:
        model.eval()
        run.source.close()
    return run.history


class _Run:
    """State of one training run: what a checkpoint holds."""

    def __init__(self, model: GMVAE, data: Any, config: TrainConfig, held_out: Any, workers: int) -> None:
        self.model, self.config = model, config
        self.source = model._source(Batches(data, "data", workers))
        self.held_out = None if held_out is None else model._source(Batches(held_out, "held_out"))
        if len(self.source) < model.n_components:
            raise ValueError(
                f"data must hold at least n_components = {model.n_components} snapshots, got {len(self.source)}"
            )
        if self.held_out is not None:
            self.held_out.check_finite()
        model.set_normalisation(self.source)
        self.optimizer = torch.optim.Adam(
            [p for p in model.parameters() if p.requires_grad], lr=config.learning_rate, fused=True
        )
        self.order = torch.Generator().manual_seed(config.seed)
        self.noise = torch.Generator(model.device).manual_seed(config.seed + 1)
        self.epoch = 0
        self.records: list[EpochRecord] = []
        self.events: list[Event] = []
        self.last_good = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @property
    def step_work(self) -> float:
        """Rough multiply-adds of one step's forward pass: dense layers by parameters, convolutions by grid points."""
        parameters = sum(p.numel() for p in self.model.parameters())
        batch = min(self.config.batch_size, len(self.source))
        return float(batch * max(parameters, 64 * math.prod(self.model.input_shape)))

    # -- one epoch -------------------------------------------------------------------------------------------

    def one_epoch(self) -> EpochRecord:
        started = time.perf_counter()
        config, warmup = self.config, self.epoch < self.config.warmup
        if self.epoch == config.warmup:
            self._initialise_mixture()
        self.epoch += 1
        reconstruction, kl = self._descend(standard_prior=warmup)
        loss = reconstruction + self._beta() * kl
        if not math.isfinite(loss):
            self._diverged(f"the loss became {loss}")
        diagnostics: dict[str, Any] = dict.fromkeys(_DIAGNOSTICS)
        if not warmup and self._m_step_due(self.epoch):
            diagnostics = self._m_step()
        if not self._is_finite():
            self._diverged("the model's parameters became NaN or infinite")
        self._keep()
        record = EpochRecord(
            epoch=self.epoch,
            phase="warmup" if warmup else "block",
            loss=loss,
            reconstruction=reconstruction,
            kl=kl,
            **self._validate(standard_prior=warmup),
            **diagnostics,
            seconds=time.perf_counter() - started,
        )
        self.records.append(record)
        return record

    def _m_step_due(self, epoch: int) -> bool:
        since = epoch - self.config.warmup
        return since % self.config.m_step_every == 0 or epoch == self.config.epochs

    def _beta(self) -> float:
        ramp = self.config.beta_warmup_epochs
        return self.config.beta * (min(1.0, self.epoch / ramp) if ramp else 1.0)

    def _learning_rate(self, step: int, steps: int) -> float:
        rise = max(1, steps // 20)
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / max(1, steps - rise)))
        return self.config.learning_rate * min(1.0, (step + 1) / rise) * (0.01 + 0.99 * fall)

    def _descend(self, *, standard_prior: bool) -> tuple[float, float]:
        """One epoch of Adam on the networks; mean reconstruction and KL terms."""
        model, config, n = self.model, self.config, len(self.source)
        model.train()
        per_epoch = -(-n // config.batch_size)
        total = torch.zeros(2, dtype=torch.float64, device=model.device)
        beta = self._beta()
        for b, rows in enumerate(self.source.shuffled(config.batch_size, self.order, model.device)):
            step = (self.epoch - 1) * per_epoch + b
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(step, config.epochs * per_epoch)
            x = model.normalise(rows)
            terms = model.loss_terms(x, self.noise, assignment=config.assignment, standard_prior=standard_prior)
            loss = (terms.reconstruction + beta * terms.kl).mean()
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if config.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
            self.optimizer.step()
            with torch.no_grad():
                total += torch.stack([terms.reconstruction.sum(), terms.kl.sum()])
        if model.learn_noise:
            self._update_noise()
        reconstruction, kl = (total / n).tolist()
        return reconstruction, kl

    def _update_noise(self) -> None:
        """tau^2 that minimises the reconstruction term: the mean squared error of decoded posterior samples."""
        model = self.model
        total = torch.zeros((), dtype=torch.float64, device=model.device)
        model.eval()
        with torch.no_grad():
            for x in self.source.ordered(self.source.pass_size, model.device):
                x = model.normalise(x)
                mean, log_var = model.encode(x)
                z = mean + torch.exp(0.5 * log_var) * torch.empty_like(mean).normal_(generator=self.noise)
                total += (model.decode(z) - x).square().double().sum()
            variance = total / (len(self.source) * model.n_values)
            model.log_noise.copy_(variance.clamp_min(_SMALLEST_NOISE).log())

    # -- mixture ---------------------------------------------------------------------------------------------

    def _initialise_mixture(self) -> None:
        """Fit the mixture to the latents: EM restarts on the package's kernels, the most likely kept."""
        mean, log_var, spread = self._latents()
        mixture = fit_latent_mixture(
            mean,
            log_var,
            n_components=self.model.n_components,
            covariance_type=self.model.prior.covariance_type,
            n_init=self.config.n_init,
            floor=self.config.variance_floor * spread,
            seed=self.config.seed,
        )
        self.model.prior.set(mixture.parameters_)
        shares = ", ".join(f"{float(w):.2f}" for w in mixture.weights_)
        self._event("initialise", f"mixture from {self.config.n_init} EM starts on the latents, weights {shares}")

    def _m_step(self) -> dict[str, Any]:
        prior, config = self.model.prior, self.config
        mean, log_var, spread = self._latents()
        statistics = prior.statistics(mean, log_var)
        parameters = m_step(
            statistics,
            prior.get(),
            covariance_type=prior.covariance_type,
            priors=config.priors,
            variance_floor=config.variance_floor * spread,
            damping=config.damping,
        )
        prior.set(parameters)
        if self.epoch < config.epochs:  # a moved component stands at a guess, which only an M-step makes good
            self._reseed(mean, log_var)
        return self._diagnose(mean, log_var)

    def _latents(self) -> tuple[Tensor, Tensor, float]:
        """Posterior means and log variances of the training data, and the mean variance of the means (1 if none)."""
        mean, log_var = self.model.embed_tensors(self.source, self.source.pass_size)
        spread = latent_spread(mean)
        if not math.isfinite(spread):
            self._diverged("the latents became NaN or infinite")
        return mean, log_var, spread

    def _reseed(self, mean: Tensor, log_var: Tensor) -> None:
        """Move components without data to the snapshots that the mixture describes worst."""
        prior, k = self.model.prior, self.model.n_components
        share = prior.statistics(mean, log_var).weight / len(self.source)
        empty = (share < self.config.reseed_below / 100 / k).nonzero().flatten().tolist()
        if not empty:
            return
        parameters = prior.get()
        worst = prior.kl(mean, log_var).argsort(descending=True)
        variance = mean.var(0, unbiased=False).clamp_min(1e-12) / k
        if prior.covariance_type == "spherical":
            variance = variance.mean().expand_as(variance)
        factors = parameters.cholesky if prior.covariance_type == "full" else None  # a tied one is the others' too
        for rank, component in enumerate(empty):
            parameters.means[component] = mean[worst[rank * len(worst) // (4 * len(empty) * k)]]
            if parameters.log_vars is not None:
                parameters.log_vars[component] = torch.log(variance)
            if factors is not None:
                factors[component] = torch.diag(variance.sqrt())
            parameters.log_weights[component] = -math.log(k)
            self._event("reseed", f"component {component} held {float(share[component]):.4f} of the data, moved")
        weights = torch.log_softmax(parameters.log_weights, 0)
        prior.set(dataclasses.replace(parameters, log_weights=weights))

    def _diagnose(self, mean: Tensor, log_var: Tensor) -> dict[str, Any]:
        prior = self.model.prior
        with torch.no_grad():
            gamma = prior.responsibilities(mean, log_var).double()
            kl = prior.component_kl(mean, log_var).double()
            occupancy = gamma.mean(0)
            per_component = (gamma * kl).sum(0) / gamma.sum(0).clamp_min(1e-300)
            entropy = -(gamma * torch.log(gamma.clamp_min(1e-300))).sum(1).mean()
            variance = mean.double().var(0, unbiased=False)
            active = variance > 0.01 * (variance + log_var.double().exp().mean(0))
        return {
            "occupancy": tuple(occupancy.tolist()),
            "responsibility_entropy": float(entropy),
            "component_kl": tuple(per_component.tolist()),
            "active_dimensions": int(active.sum()),
        }

    # -- held-out data ---------------------------------------------------------------------------------------

    def _validate(self, *, standard_prior: bool) -> dict[str, Any]:
        due = self.epoch % self.config.validate_every == 0 or self.epoch == self.config.epochs
        if self.held_out is None or not due:
            return {"held_out_loss": None, "held_out_error": None}
        model = self.model
        noise = torch.Generator(model.device).manual_seed(self.config.seed + 2)
        model.eval()
        total = 0.0
        with torch.no_grad():
            for x in self.held_out.ordered(self.held_out.pass_size, model.device):
                terms = model.loss_terms(
                    model.normalise(x), noise, assignment=self.config.assignment, standard_prior=standard_prior
                )
                total += float((terms.reconstruction + self._beta() * terms.kl).double().sum())
        return {
            "held_out_loss": total / len(self.held_out),
            "held_out_error": fluctuation_error(model, self.held_out),
        }

    # -- state -----------------------------------------------------------------------------------------------

    def _event(self, kind: str, message: str) -> None:
        self.events.append(Event(self.epoch, kind, message))

    @property
    def history(self) -> History:
        return History(tuple(self.records), tuple(self.events))

    def _keep(self) -> None:
        """Remember this state as the last good one."""
        for key, value in self.model.state_dict().items():
            self.last_good[key].copy_(value)

    def _is_finite(self) -> bool:
        floating = [v for v in self.model.state_dict().values() if v.is_floating_point()]
        return bool(torch.stack([torch.isfinite(v).all() for v in floating]).all())

    def _diverged(self, what: str) -> NoReturn:
        self.model.load_state_dict(self.last_good)
        good = len(self.records)
        self._event("diverged", what)
        raise TrainingDiverged(
            f"{what} in epoch {good + 1} (learning rate {self.config.learning_rate:g}); the model is set back to epoch "
            f"{good}. Try a smaller learning_rate, gradient_clip=1.0, or a larger batch_size",
            self.history,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        tensors |= {"generator.order": self.order.get_state(), "generator.noise": self.noise.get_state()}
        header = {
            "format": CHECKPOINT_FORMAT,
            "version": CHECKPOINT_VERSION,
            "epoch": self.epoch,
            "model": self.model.config,
            "training": dataclasses.asdict(self.config),
            "n_snapshots": len(self.source),
            "history": self.history.to_dict(),
        }
        write_tensors(path, tensors, header)

    def restore(self, path: str | os.PathLike[str]) -> None:
        where = os.fspath(path)
        tensors, header = read_tensors(path, CHECKPOINT_FORMAT, CHECKPOINT_VERSION)
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "generator": {}}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            parts.setdefault(kind, {})[rest] = value
        self._check_same_run(header, parts["model"], where)
        try:
            history = History.from_dict(header["history"])
            epoch = check_integer("epoch", header["epoch"], 0)
            if epoch != len(history.epochs) or epoch > self.config.epochs:
                raise ValueError(f"epoch {epoch} with {len(history.epochs)} records")
            self._restore_optimizer(parts["optimizer"])
            self.order.set_state(parts["generator"]["order"])
            self.noise.set_state(parts["generator"]["noise"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as err:
            raise ModelFileError(f"{where}: the checkpoint is incomplete ({err!r})") from err
        load_state(self.model, parts["model"], where)
        self.epoch, self.records, self.events = epoch, list(history.epochs), list(history.events)
        self._keep()

    def _check_same_run(self, header: dict[str, Any], model: dict[str, Tensor], where: str) -> None:
        """Another configuration or other data would give neither run's result."""
        advice = "give another checkpoint path or resume=False"
        for name, mine in (("model", self.model.config), ("training", dataclasses.asdict(self.config))):
            stored = header.get(name)
            if not isinstance(stored, dict):
                raise ModelFileError(f"{where}: the checkpoint is incomplete (no {name} configuration)")
            changed = sorted(k for k in mine.keys() | stored.keys() if mine.get(k) != stored.get(k))
            if changed:
                detail = ", ".join(f"{k}: {stored.get(k)!r} there, {mine.get(k)!r} here" for k in changed)
                raise ValueError(f"checkpoint {where} belongs to another {name} configuration ({detail}); {advice}")
        if header.get("n_snapshots") != len(self.source):
            detail = f"{header.get('n_snapshots')} snapshots there, {len(self.source)} here"
            raise ValueError(f"checkpoint {where} belongs to other data ({detail}); {advice}")
        masks = [m.cpu() for m in (self.model.mask, model.get("mask")) if m is not None]
        if len(masks) == 1 or (masks and not torch.equal(*masks)):
            raise ValueError(f"checkpoint {where} belongs to other data (their mask differs); {advice}")
        # The normalisation of the data given now stands in the model; rounding varies with the number of threads.
        tolerance = 1e-4 * float(self.model.scale.max())
        for name, buffer in (("mean", "offset"), ("standard deviation", "scale")):
            here, there = getattr(self.model, buffer).cpu(), model.get(buffer)
            if there is not None and not torch.allclose(here, there, rtol=1e-4, atol=tolerance):
                raise ValueError(f"checkpoint {where} belongs to other data (their {name} differs); {advice}")

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        parameters = dict(enumerate(self.optimizer.param_groups[0]["params"]))
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            index, _, slot = key.partition(".")
            like = parameters[int(index)]
            if slot != "step":
                if value.shape != like.shape:
                    raise ValueError(f"optimizer.{key} of shape {tuple(value.shape)}")
                # Fused Adam walks through memory: its moments must have the parameter's strides.
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(index), {})[slot] = value
        if any(slots.keys() != {"step", "exp_avg", "exp_avg_sq"} for slots in state.values()):
            raise ValueError("the optimizer's state lacks a part")
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})


def fluctuation_error(model: GMVAE, data: Any) -> float:
    """Relative L2 error of reconstructed fluctuations: |x - x_hat| / |x - training mean|, fields scaled as in training.

    Sums run over all snapshots, grid points and channels, each channel divided by its training standard deviation.
    """
    source = model._source(data)
    error = total = 0.0
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for x in source.ordered(source.pass_size, model.device):
                x = model.normalise(x)
                decoded = model.decode(model.encode(x)[0])
                error += float((decoded - x).double().square().sum())
                total += float(x.double().square().sum())
    finally:
        model.train(was_training)
    return math.sqrt(error / total) if total > 0 else math.nan
