"""How to train: the checked settings of `gmvae_fast.fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gmvae_fast._checks import check_damping, check_integer, check_real, nearest
from gmvae_fast.mixture import MixturePriors


@dataclass(frozen=True)
class SchemeDefaults:
    """What `TrainConfig` fields left at None mean for a scheme; ``closed_form``: it takes the full M-step."""

    warms_up: bool
    assignment: str
    mixture_start: str
    closed_form: bool


#: Every scheme is a file of `gmvae_fast.training.schemes`.
SCHEMES = {
    "block": SchemeDefaults(warms_up=True, assignment="exact", mixture_start="latents", closed_form=True),
    "means": SchemeDefaults(warms_up=False, assignment="sampled", mixture_start="normal", closed_form=False),
    "joint": SchemeDefaults(warms_up=True, assignment="exact", mixture_start="latents", closed_form=False),
}
ASSIGNMENTS = ("exact", "sampled", "mean")
MIXTURE_STARTS = ("latents", "normal")
ON_NAN = ("error", "drop", "mask")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes
    ----------
    scheme : {"block", "means", "joint"}
        How the mixture is trained beside the networks, which descend by minibatch Adam:

        - "block": it is frozen while they descend, and takes a closed-form M-step over the whole data set every
          ``m_step_every`` epochs and at the end;
        - "means": as PIMA was published (Trask et al. 2022, arXiv 2202.03242): only the means are set in closed form,
          every ``m_step_every`` epochs, from sums that the batches of the epoch leave; weights and covariances by Adam;
        - "joint": all of it by Adam, as VaDE (Jiang et al. 2017, arXiv 1611.05148).

        The last two take no variance floor and move no component. Diagnostics are recorded in the same epochs for all.
    epochs : int
        All epochs, the warm-up included.
    warmup_epochs : int, optional
        Epochs as a plain VAE with prior N(0, I) before the mixture; default two fifths of ``epochs``, none for "means".
    mixture_start : {"latents", "normal"}, optional
        The first mixture: EM with ``n_init`` restarts on the latents; or means from N(0, I), standard deviations
        K^(-1/D) and equal weights, the default of "means".
    batch_size : int
    learning_rate : float
        Of Adam at its highest: it rises over the first twentieth of the steps, then falls along a cosine to 1% of this.
    beta : float
        Weight of the KL part.
    beta_warmup_epochs : int
        Epochs over which beta rises linearly from 0.
    assignment : {"exact", "sampled", "mean"}, optional
        Responsibilities in the loss, see `gmvae_fast.ops.mixture_kl`; default "exact", "sampled" for "means".
    detach_assignment : bool
        Treat sampled or mean responsibilities as constants in the gradient.
    m_step_every : int
        Epochs between M-steps, and between diagnostics.
    damping : float in (0, 1]
        Share of new statistics in an M-step ("block" only).
    n_init : int
        EM restarts when the mixture is first fitted to the latents.
    refits : int
        Of "block": how often, over the first half of the epochs that follow, the mixture is fitted anew in the same
        way, and taken over where it describes the latents better by more than 0.01 nats a snapshot; logged as an event.
        A closed-form step cannot leave the optimum it is in, and networks that once jump may leave it a bad one.
    variance_floor : float
        Smallest component variance of an M-step and of the fit to the latents, relative to their mean variance.
    reseed_below : float
        A component whose share of the data falls below this many hundredths (at most 99) of 1/K is moved to where the
        data are described worst, unless no M-step follows; logged as an event. 0 switches it off. "block" only.
    priors : MixturePriors
        Of the M-step ("block" only).
    on_nan : {"error", "drop", "mask"}
        What to do about NaN and infinite values (inside the mask, where the data have one): refuse the data, naming the
        first snapshot and field; leave such snapshots out; or leave such values out of the loss, the mean and the
        standard deviation, while the encoder sees the mean in their place. Events say how much was left out.
    gradient_clip : float, optional
        Largest norm of the gradient.
    precision : {"float32", "bfloat16"}
        Of the networks' products in the descent. In "bfloat16" (torch.autocast) weights, gradients, Adam, the loss and
        the mixture stay in float32, and so do M-steps, diagnostics and held-out errors, which pass through the networks
        in float32. It pays for wide dense layers on CPUs with AVX512-BF16 or AMX, and on GPUs; on a CPU the package's
        convolutions stay in float32, where they are faster. A model of another dtype takes "float32" for its own.
    compile : bool
        Have torch.compile fuse the descent's forward and backward pass. It needs a C++ compiler where it runs, takes
        from ten seconds to a minute at the start of every run, and pays where runs are longer than that and networks
        small, so that the calls and not the arithmetic take the time; see benchmarks/README.md.
    cuda_graphs : bool
        On a GPU, have torch.compile record the descent's forward and backward pass as CUDA graphs (its mode
        "reduce-overhead") and replay them, which takes the launches of small kernels off the clock. On a CPU, and in
        several processes, training goes on as ``compile`` says, and an event says why. Not run on a GPU yet:
        scripts/gpu_check.sh compares it with eager training there.
    validate_every : int
        Epochs between evaluations of held-out data.
    patience : int, optional
        Stop after the warm-up once so many evaluations of held-out data in a row brought no lower loss than the best
        before them, with an M-step and a checkpoint like the last epoch's; the model stays as it is then. Learning
        rates follow the same curve as without.
    seed : int
        Of batches and draws. On a CPU a run is repeatable bit for bit for a fixed number of threads (a small model
        runs on one whatever the setting); own modules that draw by themselves (dropout) use torch's global generator,
        which `fit` neither seeds nor stores.
    """

    scheme: str = "block"
    epochs: int = 200
    warmup_epochs: int | None = None
    mixture_start: str | None = None
    batch_size: int = 64
    learning_rate: float = 2e-3
    beta: float = 1.0
    beta_warmup_epochs: int = 0
    assignment: str | None = None
    detach_assignment: bool = False
    m_step_every: int = 1
    damping: float = 1.0
    n_init: int = 20
    refits: int = 2
    variance_floor: float = 1e-4
    reseed_below: float = 5.0
    priors: MixturePriors = field(default_factory=MixturePriors)
    on_nan: str = "error"
    gradient_clip: float | None = None
    precision: str = "float32"
    compile: bool = False
    cuda_graphs: bool = False
    validate_every: int = 10
    patience: int | None = None
    seed: int = 0

    def __new__(cls, *args: Any, **values: Any) -> TrainConfig:
        """Name the field that a misspelt one may stand for; dataclasses name only the misspelt one."""
        known = [f.name for f in dataclasses.fields(cls)]
        for name in values:
            if name not in known:
                raise TypeError(f"TrainConfig has no field {name!r}{nearest(name, known)}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            hint = nearest(self.scheme, SCHEMES)
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}{hint}")
        optional = {"assignment": ASSIGNMENTS, "mixture_start": MIXTURE_STARTS}
        for name, valid in {**optional, "precision": PRECISIONS, "on_nan": ON_NAN}.items():
            value = getattr(self, name)
            if value not in valid and not (value is None and name in optional):
                raise ValueError(f"{name} must be one of {', '.join(valid)}, got {value!r}{nearest(value, valid)}")
        for name in ("detach_assignment", "compile", "cuda_graphs"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("epochs", "batch_size", "m_step_every", "n_init", "validate_every"):
            check_integer(name, getattr(self, name), 1)
        for name in ("beta_warmup_epochs", "refits"):
            check_integer(name, getattr(self, name), 0)
        check_integer("seed", self.seed)
        for name in ("learning_rate", "variance_floor"):
            check_real(name, getattr(self, name), above=0)
        for name in ("beta", "reseed_below"):
            check_real(name, getattr(self, name), at_least=0)
        if self.reseed_below > 99:
            raise ValueError(f"reseed_below must be <= 99 hundredths of 1/K, got {self.reseed_below!r}")
        check_damping(self.damping)
        if not isinstance(self.priors, MixturePriors):
            raise TypeError(f"priors must be MixturePriors, got {type(self.priors).__name__}")
        if not SCHEMES[self.scheme].closed_form:
            for name, plain in (("damping", 1.0), ("priors", MixturePriors())):
                if getattr(self, name) != plain:
                    raise ValueError(f"{name} must be left out with scheme={self.scheme!r}, which takes no full M-step")
        if self.patience is not None:
            check_integer("patience", self.patience, 1)
        if self.gradient_clip is not None:
            check_real("gradient_clip", self.gradient_clip, above=0)
        if self.warmup_epochs is not None and check_integer("warmup_epochs", self.warmup_epochs, 0) > self.epochs:
            raise ValueError(f"warmup_epochs must be in 0..epochs = {self.epochs}, got {self.warmup_epochs!r}")

    @property
    def warmup(self) -> int:
        """Number of warm-up epochs."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return 2 * self.epochs // 5 if SCHEMES[self.scheme].warms_up else 0

    @property
    def gamma(self) -> str:
        """The assignment in use."""
        return self.assignment or SCHEMES[self.scheme].assignment

    @property
    def start(self) -> str:
        """The start of the mixture in use."""
        return self.mixture_start or SCHEMES[self.scheme].mixture_start

    def resolved(self) -> dict[str, Any]:
        """Every field, as plain values; those left at None by what they mean."""
        values = dataclasses.asdict(self)
        return values | {"warmup_epochs": self.warmup, "assignment": self.gamma, "mixture_start": self.start}

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> TrainConfig:
        """Inverse of `dataclasses.asdict`; missing fields stand at their defaults.

        Raises
        ------
        TypeError, ValueError
            For unknown fields and wrong values.
        """
        known = {f.name for f in dataclasses.fields(TrainConfig)}
        if unknown := sorted(values.keys() - known):
            hint = nearest(unknown[0], known)
            raise ValueError(f"TrainConfig has no field {', '.join(unknown)}; it has {', '.join(sorted(known))}{hint}")
        priors = values.get("priors", MixturePriors())
        return TrainConfig(**{**values, "priors": MixturePriors(**priors) if isinstance(priors, Mapping) else priors})
