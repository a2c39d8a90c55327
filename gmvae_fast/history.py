"""What `gmvae_fast.fit` reports: one record an epoch, and events."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class EpochRecord:
    """Diagnostics of one epoch: means over snapshots, in nats on normalised data; None where not evaluated.

    Attributes
    ----------
    epoch : int
        From 1.
    phase : str
        "warmup", or the scheme: "block", "means", "joint".
    loss, reconstruction, kl : float
        Training negative ELBO (with beta) and its terms, averaged over the epoch's batches.
    held_out_loss, held_out_error : float or None
        The same loss on held-out data, and the relative L2 error of its fluctuation (`fluctuation_error`).
    occupancy : tuple of K floats or None
        Share of the responsibilities of each component.
    responsibility_entropy : float or None
        Mean entropy of the responsibilities, nats.
    component_kl : tuple of K floats or None
        Mean KL of a component's snapshots to it, weighted by responsibility.
    active_dimensions : int or None
        Latent coordinates whose posterior means vary by more than 1% of the mean posterior variance plus theirs.
    seconds : float
    mixture_kl_before, mixture_kl : float or None
        Mean mixture KL of all snapshots (exact assignment, this epoch's encoder) before and after the closed-form step;
        a full M-step without priors never raises it. Without such a step only the second is there.
    component_variance : tuple of K floats or None
        Smallest variance (or eigenvalue of the covariance) of each component over the mean variance of the latents.
    """

    epoch: int
    phase: str
    loss: float
    reconstruction: float
    kl: float
    held_out_loss: float | None
    held_out_error: float | None
    occupancy: tuple[float, ...] | None
    responsibility_entropy: float | None
    component_kl: tuple[float, ...] | None
    active_dimensions: int | None
    seconds: float
    mixture_kl_before: float | None = None
    mixture_kl: float | None = None
    component_variance: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened after epoch ``epoch``.

    ``kind`` is "constant", "drop" or "mask" (about the data), "initialise", "reseed", "refit" or "diverged".
    """

    epoch: int
    kind: str
    message: str


@dataclass(frozen=True)
class History:
    """What `fit` returns: one record an epoch, and the events."""

    epochs: tuple[EpochRecord, ...]
    events: tuple[Event, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and dictionaries, ready for JSON."""
        return {
            "epochs": [dataclasses.asdict(e) for e in self.epochs],
            "events": [dataclasses.asdict(e) for e in self.events],
        }

    @staticmethod
    def from_dict(value: dict[str, Any]) -> History:
        """Inverse of `to_dict`."""

        def record(entry: dict[str, Any]) -> EpochRecord:  # JSON has no tuples
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
            return EpochRecord(**values)

        return History(tuple(record(e) for e in value["epochs"]), tuple(Event(**e) for e in value["events"]))
