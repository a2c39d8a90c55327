"""Fields at given conditions by a regression of the model's latent distribution on them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from gmvae_fast import ops
from gmvae_fast._checks import check_integer, check_real, nearest
from gmvae_fast._covariances import from_factor
from gmvae_fast._threads import threads_for
from gmvae_fast.generation.conditions import ConditionScale, Float64, Generator
from gmvae_fast.mixture import MixturePrior
from gmvae_fast.model import GMVAE
from gmvae_fast.networks import dense_layers
from gmvae_fast.tensor_files import ModelFileError, read_tensors, write_tensors

FORMAT = "gmvae_fast.conditional_generator"
FORMAT_VERSION = 1
#: Of the log variances of standardised latents: standard deviations between 7e-4 and 7.
_LOG_VAR_RANGE = (-14.5, 4.0)
_ASSIGNMENTS = ("exact", "model")
_SCALES = ("mean", "std", "low", "high")


@dataclass(frozen=True)
class ConditionalDistribution:
    """p(z | conditions), a mixture of Gaussians for each of M conditions.

    Attributes
    ----------
    probabilities : float32 [M, K]
    means, log_vars : float32 [M, K, D]
    extrapolated : bool [M]
        Where a condition lies outside its training range.
    """

    probabilities: npt.NDArray[np.float32]
    means: npt.NDArray[np.float32]
    log_vars: npt.NDArray[np.float32]
    extrapolated: npt.NDArray[np.bool_]


class ConditionalGenerator(Generator):
    r"""Regression net from physical conditions to the latent distribution, then the model's decoder.

    The net gives probability, mean and log variance of every component, :math:`\pi_c(y)`, :math:`\mu_c(y)`,
    :math:`\sigma_c(y)`, at conditions y. It is fitted to the posteriors q(z|x) of the training snapshots by

    .. math:: -\log \sum_c \pi_c(y) \exp E_q[\log N(z; \mu_c(y), \sigma_c^2(y))],

    the expected negative log likelihood with the best assignment of each snapshot, which bounds that of the mixture
    from above (Jensen). It starts as the model's own mixture, whatever the conditions.

    Parameters
    ----------
    assignment : {"exact", "model"}
        "exact" is the objective above. Where conditions determine the field one component may then do for several
        regimes, and numbers of components mean nothing. "model" assigns each snapshot as the model does, by its
        responsibilities: a looser bound, but component c stays the model's regime c, and its probability is that of
        the regime under the conditions.
    widths : sequence of int
        Hidden layers.
    steps : int
        Of Adam.
    batch_size : int
        Snapshots in a step; all where there are not more.
    learning_rate : float
        At the start; falls to 0 as half a cosine.
    seed : int
        Of weights and batches.

    Attributes
    ----------
    scale : ConditionScale
        Names, scales and range of the training conditions, once fitted.
    loss : float
        The objective over all training snapshots at the end, in nats a snapshot, of standardised latents.
    """

    def __init__(
        self,
        *,
        assignment: str = "exact",
        widths: Sequence[int] = (64, 64),
        steps: int = 2000,
        batch_size: int = 1024,
        learning_rate: float = 5e-3,
        seed: int = 0,
    ) -> None:
        if assignment not in _ASSIGNMENTS:
            hint = nearest(assignment, ("exact", "model"))
            raise ValueError(f"assignment must be 'exact' or 'model', got {assignment!r}{hint}")
        self.assignment = assignment
        self.widths = tuple(check_integer("widths", width, 1) for width in widths)
        self.steps = check_integer("steps", steps, 1)
        self.batch_size = check_integer("batch_size", batch_size, 1)
        self.learning_rate = check_real("learning_rate", learning_rate, above=0)
        self.seed = check_integer("seed", seed)
        self.loss = math.nan
        self._model: GMVAE | None = None
        self._net: nn.Sequential | None = None
        self._center = self._spread = torch.empty(0)  # of the training latents [D]

    def fit(self, model: GMVAE | None, data: Any, conditions: Any, *, names: Sequence[str] | None = None) -> Self:
        """Train the net; the model is left as it is.

        Parameters
        ----------
        model, data, conditions, names
            As in `Generator.fit`; the model must be given.

        Raises
        ------
        TypeError, ValueError
            Naming the argument that does not fit.
        """
        if not isinstance(model, GMVAE):
            raise TypeError(f"model must be a trained GMVAE, got {type(model).__name__}")
        source = model._source(data)
        scale, table = self._take(source, conditions, names)
        mean, log_var = model.embed_tensors(source)
        with torch.no_grad():
            responsibilities = model.prior.responsibilities(mean, log_var).cpu().float()
        mean, log_var = mean.cpu().float(), log_var.cpu().float()
        center = mean.double().mean(0).float()
        spread = mean.double().std(0, correction=0).clamp_min(1e-6).float()
        targets: tuple[Tensor, ...] = ((mean - center) / spread, log_var - 2 * spread.log())
        if self.assignment == "model":
            targets += (responsibilities,)
        inputs = torch.from_numpy(scale.standardise(table)).float()
        with threads_for(0):  # small matrices, and the same bits whatever the number of threads
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)  # as in GMVAE
                net = _network(len(scale.names), self.widths, model)
            _start_at(net, model.prior, center, spread)
            self.loss = self._train(net, inputs, targets)
        if not math.isfinite(self.loss):
            raise ValueError("the regression diverged; try a smaller learning_rate")
        self.scale, self._model, self._net = scale, model, net
        self._center, self._spread = center, spread
        return self

    def _train(self, net: nn.Sequential, inputs: Tensor, targets: tuple[Tensor, ...]) -> float:
        k, d = self._sizes(net, targets[0].shape[1])
        optimiser = torch.optim.Adam(net.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        generator = torch.Generator().manual_seed(self.seed)
        for rows in _batches(len(inputs), self.batch_size, self.steps, generator):
            loss = _objective(_parts(net(inputs[rows]), k, d), *(t[rows] for t in targets)).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimiser.step()
            schedule.step()
        net.requires_grad_(False)
        return float(_objective(_parts(net(inputs), k, d), *targets).double().mean())

    @staticmethod
    def _sizes(net: nn.Sequential, d: int) -> tuple[int, int]:
        last = net[-1]
        assert isinstance(last, nn.Linear)
        return last.out_features // (1 + 2 * d), d

    def distribution(self, conditions: Any) -> ConditionalDistribution:
        """p(z | conditions) for each of M conditions, given as in `predict`."""
        scale = self._fitted()
        table = scale.read(conditions)
        log_weights, means, log_vars = (part.numpy() for part in self._mixture(scale, table))
        return ConditionalDistribution(np.exp(log_weights), means, log_vars, scale.outside(table))

    def _mixture(self, scale: ConditionScale, table: Float64) -> tuple[Tensor, Tensor, Tensor]:
        assert self._net is not None
        with torch.no_grad(), threads_for(0):
            out = self._net(torch.from_numpy(scale.standardise(table)).float())
            log_weights, means, log_vars = _parts(out, *self._sizes(self._net, len(self._center)))
        return log_weights, means * self._spread + self._center, log_vars + 2 * self._spread.log()

    def predict(self, conditions: Any) -> npt.NDArray[np.float32]:
        """Decoded mean of the most probable component, for each of M conditions: [M, *input_shape], in data units.

        ``conditions`` is a mapping of name to number or [M], or [M, P]. Outside the range of training the answer is
        an extrapolation (see `extrapolates`).
        """
        scale = self._fitted()
        log_weights, means, _ = self._mixture(scale, scale.read(conditions))
        return self._decoded(means[torch.arange(len(means)), log_weights.argmax(1)])

    def sample(
        self, conditions: Any, n: int = 1, *, seed: int = 0
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Draw ``n`` fields for each of M conditions.

        Returns
        -------
        fields : float32 [M, n, *input_shape]
            In data units: decoded draws of z, without the decoder's noise.
        components : int64 [M, n]
        """
        scale = self._fitted()
        log_weights, means, log_vars = self._mixture(scale, scale.read(conditions))
        n = check_integer("n", n, 1)
        generator = torch.Generator().manual_seed(check_integer("seed", seed))
        components = torch.multinomial(log_weights.double().exp(), n, replacement=True, generator=generator)
        rows = torch.arange(len(means))[:, None]
        noise = torch.randn(len(means), n, means.shape[2], generator=generator)
        z = means[rows, components] + torch.exp(0.5 * log_vars[rows, components]) * noise
        fields = self._decoded(z.flatten(0, 1))
        return fields.reshape(len(means), n, *fields.shape[1:]), components.numpy()

    def _decoded(self, z: Tensor) -> npt.NDArray[np.float32]:
        assert self._model is not None
        fields: npt.NDArray[np.float32] = self._model.from_latents(z.numpy())
        return fields

    # -- files -----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write net and scales as one safetensors file, atomically; the model has a file of its own."""
        scale = self._fitted()
        assert self._net is not None
        assert self._model is not None
        header = {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "names": list(scale.names),
            "settings": {
                "assignment": self.assignment,
                "widths": list(self.widths),
                "steps": self.steps,
                "batch_size": self.batch_size,
                "learning_rate": self.learning_rate,
                "seed": self.seed,
            },
            "loss": self.loss,
            "model": self._model.checksum(),
        }
        tensors = {f"net.{key}": value for key, value in self._net.state_dict().items()}
        tensors |= {f"conditions.{key}": torch.from_numpy(getattr(scale, key)) for key in _SCALES}
        tensors |= {"latents.center": self._center, "latents.spread": self._spread}
        write_tensors(path, tensors, header)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: GMVAE) -> ConditionalGenerator:
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path
        model : GMVAE
            The one it was fitted with, such as `gmvae_fast.load` gives it.

        Raises
        ------
        FileNotFoundError
        ModelFileError
            Naming the file and what is wrong with it; for another model too.
        """
        if not isinstance(model, GMVAE):
            raise TypeError(f"model must be a GMVAE, got {type(model).__name__}")
        tensors, header = read_tensors(path, FORMAT, FORMAT_VERSION)
        where = os.fspath(path)
        if header.get("model") != model.checksum():
            raise ModelFileError(f"model must be the one that {where} was fitted with; its content differs")
        try:
            made = cls(**header["settings"])
            names = tuple(str(name) for name in header["names"])
            made.loss = float(header["loss"])
            shapes = _shapes(len(names), made.widths, model) if len(made.widths) < len(tensors) else {}
        except (KeyError, TypeError, ValueError, RuntimeError, OverflowError) as err:
            raise ModelFileError(f"{where}: the header does not describe a generator ({err!r})") from err
        found = {key: (tuple(value.shape), value.dtype) for key, value in tensors.items()}
        if found != shapes:
            wrong = next((k for k in (*shapes, *found) if shapes.get(k) != found.get(k)), "widths")
            raise ModelFileError(f"{where}: the tensors do not fit the header ({wrong})")
        made.scale = ConditionScale(names, *(tensors[f"conditions.{key}"].numpy() for key in _SCALES))
        with torch.device("meta"):
            net = _network(len(names), made.widths, model)
        net.load_state_dict(
            {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}, assign=True
        )
        made._net, made._model = net.requires_grad_(False), model
        made._center, made._spread = tensors["latents.center"], tensors["latents.spread"]
        return made


def _network(n_conditions: int, widths: Sequence[int], model: GMVAE) -> nn.Sequential:
    return nn.Sequential(*dense_layers((n_conditions, *widths, model.n_components * (1 + 2 * model.latent_dim))))


def _shapes(
    n_conditions: int, widths: Sequence[int], model: GMVAE
) -> Mapping[str, tuple[tuple[int, ...], torch.dtype]]:
    """Names, shapes and dtypes of a file's tensors; nothing is allocated, whatever a file claims."""
    with torch.device("meta"):
        state = _network(n_conditions, widths, model).state_dict()
    shapes = {f"net.{key}": (tuple(value.shape), torch.float32) for key, value in state.items()}
    shapes |= {f"conditions.{key}": ((n_conditions,), torch.float64) for key in _SCALES}
    return shapes | {f"latents.{key}": ((model.latent_dim,), torch.float32) for key in ("center", "spread")}


def _parts(out: Tensor, k: int, d: int) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs of the net [N, K (1 + 2 D)] -> log weights [N, K], means and log variances [N, K, D]."""
    weights, means, log_vars = out.split((k, k * d, k * d), 1)
    return weights.log_softmax(1), means.unflatten(1, (k, d)), log_vars.unflatten(1, (k, d)).clamp(*_LOG_VAR_RANGE)


def _objective(
    mixture: tuple[Tensor, Tensor, Tensor], mean: Tensor, log_var: Tensor, responsibilities: Tensor | None = None
) -> Tensor:
    """Bound of -E_q log p(z) of posteriors [N, D], each with its own mixture, by given or the best responsibilities.

    sum_c gamma_c (log gamma_c - log pi_c - E_q log N(z; mu_c, sigma_c^2)), at the minimum a logsumexp: [N].
    """
    log_weights, means, log_vars = mixture
    squares = (mean[:, None] - means).square() + log_var.exp()[:, None]
    expected = -0.5 * (squares * torch.exp(-log_vars) + log_vars + ops.reference.LOG_2PI).sum(2)
    joint = log_weights + expected
    if responsibilities is None:
        return -torch.logsumexp(joint, 1)
    return (torch.xlogy(responsibilities, responsibilities) - responsibilities * joint).sum(1)


def _start_at(net: nn.Sequential, prior: MixturePrior, center: Tensor, spread: Tensor) -> None:
    """The last layer gives the model's own mixture, in standardised latents, whatever the conditions."""
    log_weights, means, log_vars, cholesky = (p if p is None else p.detach().cpu() for p in prior.parameters_tuple)
    assert log_weights is not None
    assert means is not None
    if log_vars is None:
        assert cholesky is not None
        log_vars = from_factor(cholesky).diagonal(dim1=-2, dim2=-1).log().expand_as(means)
    last = net[-1]
    assert isinstance(last, nn.Linear)
    log_vars = (log_vars - 2 * spread.log()).clamp(_LOG_VAR_RANGE[0] + 1, _LOG_VAR_RANGE[1] - 1)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.cat([log_weights, ((means - center) / spread).flatten(), log_vars.flatten()]))


def _batches(n: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor | slice]:
    """``steps`` batches of shuffled passes over n rows; all rows where they are not more than ``size``."""
    waiting: list[Tensor] = []
    for _ in range(steps):
        if n <= size:
            yield slice(None)
            continue
        if not waiting:
            waiting = list(torch.randperm(n, generator=generator).split(size))
        yield waiting.pop()
