"""Minibatch Adam on the networks, and on whatever of the mixture a scheme hands over."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gmvae_fast.distributed import Share
from gmvae_fast.model import GMVAE, LossTerms
from gmvae_fast.train_config import TrainConfig
from gmvae_fast.training.adam import Adam
from gmvae_fast.training.compiling import compiled
from gmvae_fast.training.schemes import Scheme
from gmvae_fast.training.synchronised import average_gradients, synchronised

_KEPT_SUMS = 512  # numbers, two a step
_SMALLEST_NOISE = 1e-6  # of tau^2: float32 data cannot be described better


class Descent:
    """Optimiser, learning rate and random numbers of a run.

    Attributes
    ----------
    optimizer : Adam
        One group: the model's trainable parameters, then the scheme's.
    order, noise : torch.Generator
        Of batches and of posterior samples.
    """

    def __init__(self, model: GMVAE, scheme: Scheme, config: TrainConfig, source: Share) -> None:
        self.model, self.scheme, self.config, self.source = model, scheme, config, source
        self.trained = [p for p in model.parameters() if p.requires_grad] + scheme.parameters()
        self.optimizer = Adam(self.trained, lr=config.learning_rate)
        self.order = torch.Generator().manual_seed(config.seed)
        self.noise = torch.Generator(model.device).manual_seed(config.seed + 1)
        self._terms = compiled(synchronised(model, source.ranks), config, model.device, source.ranks)
        self._half = config.precision == "bfloat16"

    @property
    def step_work(self) -> float:
        """Rough multiply-adds of one step's forward pass: dense layers by parameters, convolutions by grid points."""
        parameters = sum(p.numel() for p in self.model.parameters())
        batch = min(self.config.batch_size, len(self.source))
        return float(batch * max(parameters, 64 * math.prod(self.model.input_shape)))

    def beta(self, epoch: int) -> float:
        """Weight of the KL in ``epoch``."""
        ramp = self.config.beta_warmup_epochs
        return self.config.beta * (min(1.0, epoch / ramp) if ramp else 1.0)

    def _learning_rate(self, step: int, steps: int) -> float:
        rise = max(1, steps // 20)
        fall = 0.5 * (1 + math.cos(math.pi * max(0, step - rise) / max(1, steps - rise)))
        return self.config.learning_rate * min(1.0, (step + 1) / rise) * (0.01 + 0.99 * fall)

    def run(self, epoch: int, *, standard_prior: bool) -> tuple[float, float]:
        """One epoch, from 1; mean reconstruction and KL terms."""
        model, scheme, config, n = self.model, self.scheme, self.config, len(self.source)
        model.train()
        per_epoch = -(-n // config.batch_size)
        total = torch.zeros(2, dtype=torch.float64, device=model.device)
        sums: list[Tensor] = []  # of the last steps: adding two numbers at every step takes as long as a kernel
        beta = self.beta(epoch)
        for b, part in enumerate(self.source.steps(config.batch_size, self.order, model.device)):
            step = (epoch - 1) * per_epoch + b
            for group in self.optimizer.param_groups:
                group["lr"] = self._learning_rate(step, config.epochs * per_epoch)
            noise = torch.empty(part.size, model.latent_dim, dtype=model.offset.dtype, device=model.device)
            noise.normal_(generator=self.noise)
            x = model.normalise(part.rows)
            with torch.autocast(x.device.type, torch.bfloat16, enabled=self._half):
                terms = self._terms(
                    x,
                    None,
                    noise=noise[part.places.to(noise.device)],
                    assignment=config.gamma,
                    detach_assignment=config.detach_assignment,
                    standard_prior=standard_prior,
                    mixture=None if standard_prior else scheme.mixture(),
                )
            for parameter in self.trained:
                parameter.grad = None
            with self.source.ranks.guarded():
                # Gradients are averaged over the processes: the mean over the batch has this process's share of it.
                _descend(terms, beta, self.source.ranks.size / part.size, part.weight)
            average_gradients(scheme.parameters(), self.source.ranks)
            if config.gradient_clip is not None:
                torch.nn.utils.clip_grad_norm_(self.trained, config.gradient_clip)
            self.optimizer.step()
            if not standard_prior:
                scheme.observe(terms, part.weight)
            with torch.no_grad():
                for term in (terms.reconstruction, terms.kl):
                    sums.append((term if part.weight is None else part.weight * term).sum())
                if len(sums) >= _KEPT_SUMS:
                    _add_pairs(total, sums)
        _add_pairs(total, sums)
        if model.learn_noise:
            self.update_noise()
        first, second = (self.source.ranks.sum(total) / n).tolist()
        return first, second

    def update_noise(self) -> None:
        """tau^2 that minimises the reconstruction term: the mean squared error of decoded posterior samples."""
        model = self.model
        errors: list[Tensor] = []
        values: list[Tensor] = []
        model.eval()
        with torch.no_grad():
            local = self.source.local
            noise = self.source.noise(self.noise, model.latent_dim, model.offset)
            for x, eps in zip(local.ordered(local.pass_size, model.device), noise.split(local.pass_size), strict=True):
                x = model.normalise(x)
                mean, log_var = model.encode(x)
                z = mean + torch.exp(0.5 * log_var) * eps
                errors.append(model.differences(model.decode(z), x).square().flatten(1).sum(1, dtype=torch.float64))
                values.append(torch.as_tensor(model.known_values(x), device=x.device).expand(len(x)))
            variance = self.source.total(torch.cat(errors)) / self.source.total(torch.cat(values))
            model.log_noise.copy_(variance.clamp_min(_SMALLEST_NOISE).log())

    # -- state -----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold, by names "optimizer.INDEX.SLOT" and "generator.NAME"."""
        tensors = {"generator.order": self.order.get_state(), "generator.noise": self.noise.get_state()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items()}
        return tensors

    def load(self, optimizer: dict[str, Tensor], generator: dict[str, Tensor]) -> None:
        """Inverse of `state`, without the first part of the names.

        Raises
        ------
        KeyError, TypeError, ValueError, RuntimeError
            When something is missing or does not fit.
        """
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in optimizer.items():
            index, _, slot = key.partition(".")
            like = dict(enumerate(self.trained))[int(index)]
            if slot != "step":
                if value.shape != like.shape:
                    raise ValueError(f"optimizer.{key} of shape {tuple(value.shape)}")
                # The native step walks through memory: its moments must have the parameter's strides.
                value = torch.empty_like(like).copy_(value)
            state.setdefault(int(index), {})[slot] = value
        if any(slots.keys() != {"step", "exp_avg", "exp_avg_sq"} for slots in state.values()):
            raise ValueError("the optimizer's state lacks a part")
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        self.order.set_state(generator["order"])
        self.noise.set_state(generator["noise"])


def _add_pairs(total: Tensor, numbers: list[Tensor]) -> None:
    """Add ``numbers``, of which none is left, to ``total`` [2]: even ones to the first, odd ones to the second."""
    if numbers:
        total += torch.stack(numbers).view(-1, 2).sum(0, dtype=torch.float64)
        numbers.clear()


def _descend(terms: LossTerms, beta: float, share: float, weight: Tensor | None) -> None:
    """Gradients of share * sum_i weight_i (reconstruction_i + beta kl_i), ``weight`` None for 1.

    The sum itself is not computed: each of its few small operations costs as much as a kernel, backward once more.
    """
    roots, upstream = [], []
    for term, factor in ((terms.reconstruction, share), (terms.kl, share * beta)):
        if term.requires_grad:  # not the KL where the encoder does not learn
            each = term.new_full((1,), factor)
            roots.append(term)
            upstream.append(each.expand_as(term) if weight is None else each * weight)
    torch.autograd.backward(roots, upstream)
