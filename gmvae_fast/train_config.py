"""How to train: the checked settings of `gmvae_fast.fit`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gmvae_fast._checks import check_damping, check_integer, check_real, nearest
from gmvae_fast.mixture import MixturePriors

SCHEMES = ("block",)
ASSIGNMENTS = ("exact", "sampled", "mean")


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes
    ----------
    scheme : {"block"}
        Minibatch Adam on the networks with the mixture frozen, and a closed-form M-step over the whole data set every
        ``m_step_every`` epochs and at the end.
    epochs : int
        All epochs, the warm-up included.
    warmup_epochs : int, optional
        Epochs as a plain VAE with prior N(0, I) before the mixture is fitted; default two fifths of ``epochs``.
    batch_size : int
    learning_rate : float
        Of Adam at its highest: it rises over the first twentieth of the steps, then falls along a cosine to 1% of this.
    beta : float
        Weight of the KL part.
    beta_warmup_epochs : int
        Epochs over which beta rises linearly from 0.
    assignment : {"exact", "sampled", "mean"}
        Responsibilities in the loss, see `gmvae_fast.ops.mixture_kl`.
    m_step_every : int
        Epochs between M-steps.
    damping : float in (0, 1]
        Share of new statistics in an M-step.
    n_init : int
        EM restarts when the mixture is first fitted to the latents.
    variance_floor : float
        Smallest component variance, relative to the mean variance of the latents.
    reseed_below : float
        A component whose share of the data falls below this many hundredths (at most 99) of 1/K is moved to where the
        data are described worst, unless no M-step follows; logged as an event. 0 switches it off.
    priors : MixturePriors
    gradient_clip : float, optional
        Largest norm of the gradient.
    validate_every : int
        Epochs between evaluations of held-out data.
    seed : int
        Of batches and draws. On a CPU a run is repeatable bit for bit for a fixed number of threads (a small model
        runs on one whatever the setting); own modules that draw by themselves (dropout) use torch's global generator,
        which `fit` neither seeds nor stores.
    """

    scheme: str = "block"
    epochs: int = 200
    warmup_epochs: int | None = None
    batch_size: int = 64
    learning_rate: float = 2e-3
    beta: float = 1.0
    beta_warmup_epochs: int = 0
    assignment: str = "exact"
    m_step_every: int = 1
    damping: float = 1.0
    n_init: int = 20
    variance_floor: float = 1e-4
    reseed_below: float = 5.0
    priors: MixturePriors = field(default_factory=MixturePriors)
    gradient_clip: float | None = None
    validate_every: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            hint = nearest(self.scheme, SCHEMES)
            raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {self.scheme!r}{hint}")
        if self.assignment not in ASSIGNMENTS:
            hint = nearest(self.assignment, ASSIGNMENTS)
            raise ValueError(f"assignment must be 'exact', 'sampled' or 'mean', got {self.assignment!r}{hint}")
        for name in ("epochs", "batch_size", "m_step_every", "n_init", "validate_every"):
            check_integer(name, getattr(self, name), 1)
        check_integer("beta_warmup_epochs", self.beta_warmup_epochs, 0)
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
        if self.gradient_clip is not None:
            check_real("gradient_clip", self.gradient_clip, above=0)
        if self.warmup_epochs is not None and check_integer("warmup_epochs", self.warmup_epochs, 0) > self.epochs:
            raise ValueError(f"warmup_epochs must be in 0..epochs = {self.epochs}, got {self.warmup_epochs!r}")

    @property
    def warmup(self) -> int:
        """Number of warm-up epochs."""
        return 2 * self.epochs // 5 if self.warmup_epochs is None else self.warmup_epochs
