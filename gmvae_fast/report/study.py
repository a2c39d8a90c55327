"""What a study is, once read and checked: frozen dataclasses, no behaviour. N snapshots, D latent
dimensions, K mixture components, C fields on an [H, W] grid (or [W] in one dimension)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gmvae_fast.report.reading import Array

EPOCH_TERMS = (
    "loss",
    "reconstruction",
    "kl",
    "held_out_loss",
    "held_out_error",
    "responsibility_entropy",
    "active_dimensions",
    "seconds",
)
SCORE_COLUMNS = (
    "score",
    "dirichlet",
    "z_score",
    "p_value",
    "log10_p",
    "z_normal",
    "p_normal",
    "low_frequency_energy",
)
#: Measured only where permutations of trajectories or bootstrap samples were asked for.
RESAMPLED_COLUMNS = ("p_permutation", "score_lower", "score_upper")


@dataclass(frozen=True)
class Target:
    """A number the study promised to reach."""

    name: str
    value: float
    bound: str
    passed: bool


@dataclass(frozen=True)
class DataDescription:
    """The data set: ``shape`` is [C, D, H, W], [C, H, W] or [C, W], without the batch axis."""

    n_snapshots: int
    n_train: float
    n_test: float
    shape: tuple[int, ...]
    field_names: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Coordinates:
    """Grid points and solid cells; ``y`` is None in one dimension or when not stored."""

    x: Array | None  # [W]
    y: Array | None  # [H]
    solid: Array | None  # [H, W] or [W], True inside a body


@dataclass(frozen=True)
class ValidationRow:
    """One quantity of the solver against its accepted range."""

    case: str
    quantity: str
    value: float
    low: float
    high: float
    source: str
    passed: bool


@dataclass(frozen=True)
class Validation:
    """The solver checks; ``quick`` if run at reduced resolution or duration."""

    rows: tuple[ValidationRow, ...]
    passed: bool
    quick: bool


@dataclass(frozen=True)
class Spread:
    """A metric over the seeds."""

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Epoch:
    """One line of the training history; numbers not recorded are NaN, ``occupancy`` then empty."""

    epoch: float
    phase: str
    terms: Mapping[str, float]
    occupancy: tuple[float, ...]


@dataclass(frozen=True)
class Event:
    """Something that happened in training: an M-step, a reseeded component, a stop."""

    epoch: float
    kind: str
    message: str


@dataclass(frozen=True)
class Latents:
    """Posterior of every snapshot, and what is known of it."""

    mean: Array  # [N, D]
    log_var: Array  # [N, D]
    responsibilities: Array  # [N, K]
    component: Array  # [N]
    is_test: Array  # [N] bool
    quantities: Mapping[str, Array]  # each [N]
    labels: Mapping[str, Array]  # each [N], text


@dataclass(frozen=True)
class Mixture:
    """The prior: K Gaussians."""

    weights: Array  # [K]
    means: Array  # [K, D]
    covariances: Array  # [K, D, D]


@dataclass(frozen=True)
class Reconstructions:
    """Held-out snapshots before and after the autoencoder, in physical units."""

    index: Array  # [R]
    original: Array  # [R, C, H, W] or [R, C, W]
    reconstruction: Array  # as original
    titles: tuple[str, ...]


@dataclass(frozen=True)
class Samples:
    """Generated fields, one per component, in physical units."""

    component: Array  # [S]
    fields: Array  # [S, C, H, W] or [S, C, W]


@dataclass(frozen=True)
class ScoreRow:
    """The smoothness of one signal over the latent graph."""

    signal: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class SweepPoint:
    """The scores at another number of neighbours."""

    n_neighbors: int
    n_components: int
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Scores:
    """The spectral metric of one latent space."""

    n_neighbors: int
    n_components: int
    n_nodes: int
    weights: str
    rows: tuple[ScoreRow, ...]
    sweep: tuple[SweepPoint, ...]


@dataclass(frozen=True)
class Contingency:
    """Counts of snapshots, one row per label value and one column per component."""

    rows: tuple[str, ...]
    table: Array  # [len(rows), K] int


@dataclass(frozen=True)
class Metrics:
    """Errors and cluster agreement; what was not measured is NaN or empty."""

    held_out_error: float
    train_error: float
    held_out_error_by_field: Mapping[str, float]
    agreement: Mapping[str, Mapping[str, float]]  # "ari", "nmi", "ari_held_out" -> label -> value
    contingency: Mapping[str, Contingency]


@dataclass(frozen=True)
class Run:
    """Everything about one seed."""

    seed: int
    config: Mapping[str, Any]
    epochs: tuple[Epoch, ...]
    events: tuple[Event, ...]
    latents: Latents
    mixture: Mixture
    reconstructions: Reconstructions | None
    samples: Samples | None
    scores: Scores
    metrics: Metrics | None


@dataclass(frozen=True)
class Study:
    """A whole study folder."""

    title: str
    system: str
    geometry: str
    design: str
    command: str
    created: str
    seeds: tuple[int, ...]
    versions: Mapping[str, Any]
    machine: Mapping[str, Any]
    data: DataDescription
    notes: tuple[str, ...]
    targets: tuple[Target, ...]
    timings: Mapping[str, float]
    coordinates: Coordinates | None
    validation: Validation | None
    summary: Mapping[str, Spread] | None
    runs: tuple[Run, ...]
