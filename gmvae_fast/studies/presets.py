"""What `gmvae-fast demo` runs for each system, and what its result must reach. One entry a demo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gmvae_fast.studies.stages import ModelConfig
from gmvae_fast.train_config import TrainConfig


@dataclass(frozen=True)
class Bound:
    """A promise about one number of summary.json: the worst seed must satisfy it.

    Attributes
    ----------
    name : str
        As readers see it.
    metric : str
        Key in summary.json.
    limit : float
    kind : {"below", "above"}
    """

    name: str
    metric: str
    limit: float
    kind: str

    def check(self, summary: dict[str, Any]) -> dict[str, Any]:
        """Row of the target table."""
        values = summary["metrics"][self.metric]["values"]
        worst = max(values) if self.kind == "below" else min(values)
        passed = worst < self.limit if self.kind == "below" else worst > self.limit
        sign = "<" if self.kind == "below" else ">"
        return {"name": self.name, "value": worst, "bound": f"{sign} {self.limit:g}", "passed": passed}


@dataclass(frozen=True)
class DemoPreset:
    """One demo: data, model, training, promises. ``simulate`` holds options of the system's own ``simulate``."""

    title: str
    system: str
    simulate: dict[str, Any]
    model: ModelConfig
    training: TrainConfig
    stratify: str | None
    bounds: tuple[Bound, ...]
    notes: tuple[str, ...]


PRESETS: dict[str, DemoPreset] = {
    "channel": DemoPreset(
        title="Cylinder in a channel: three groups of Reynolds numbers",
        system="wake",
        simulate={"geometry": "channel", "design": "clustered", "n_runs": 180},
        model=ModelConfig(latent_dim=2, n_components=3, network="mlp", widths=(64, 64)),
        training=TrainConfig(epochs=200, batch_size=36),
        stratify="re_group",
        bounds=(
            Bound("relative L2 error of held-out fluctuations, worst seed", "held_out_error", 0.15, "below"),
            Bound("smoothness score of log Re, worst seed", "score log_Re", 0.98, "above"),
            Bound("ARI against the Reynolds groups, worst seed", "ari re_group", 0.95, "above"),
            Bound("smallest share of a component, worst seed", "smallest occupancy", 0.0, "above"),
        ),
        notes=(
            'The published set-up: the flow starts from rest and is seen once, at t = 5. Its "Re" is 1 / nu; the '
            "Reynolds number on the diameter and the mean velocity is about a tenth of it.",
            "Two-dimensional flow; one snapshot a run, so snapshots are independent and p-values hold as they stand.",
        ),
    ),
    "free_stream": DemoPreset(
        title="Cylinder in a free stream: shedding resolved in time",
        system="wake",
        simulate={"geometry": "free_stream", "design": "uniform", "n_runs": 12},
        model=ModelConfig(latent_dim=3, n_components=6, network="mlp", widths=(128, 64)),
        training=TrainConfig(epochs=80, batch_size=48),
        stratify=None,
        bounds=(
            Bound("relative L2 error of held-out fluctuations, worst seed", "held_out_error", 0.3, "below"),
            Bound("smoothness score of log Re, worst seed", "score log_Re", 0.9, "above"),
        ),
        notes=(
            "The shedding phase carries most of the variance of these snapshots, so components follow the phase rather "
            "than the Reynolds number; both agreements are listed.",
            "Frames of one run are not independent: z and p of the scores are too optimistic here.",
            "Two-dimensional model flow; real wakes are three-dimensional above Re 190. The domain's blockage is 6%.",
            "Three latent coordinates: phase is an angle and the Reynolds number a radius, and neighbouring Reynolds "
            "numbers need room beside it.",
            "Held-out runs are whole Reynolds numbers that training never saw.",
        ),
    ),
    "surface_reaction": DemoPreset(
        title="Surface reaction: two stable branches",
        system="surface_reaction",
        simulate={"design": "bistable"},
        model=ModelConfig(latent_dim=2, n_components=2, network="mlp", widths=(128, 64)),
        training=TrainConfig(epochs=100, batch_size=50, beta=0.1),
        stratify="branch",
        bounds=(
            Bound("relative L2 error of held-out fluctuations, worst seed", "held_out_error", 0.05, "below"),
            Bound("ARI against the side of the unstable state, worst seed", "ari branch", 0.99, "above"),
            Bound("smoothness score of the final coverage, worst seed", "score rho_final", 0.99, "above"),
        ),
        notes=(
            "Every snapshot is one trajectory, the coverage rho at 128 times; the axis x of the fields is time.",
            "Three numbers vary (alpha, gamma, rho(0)) and the map has two: gamma, which hardly moves the "
            "trajectories, is not found again on it.",
            "beta = 0.1: trajectories of the upper branch differ so little that with beta = 1 they collapse to one "
            "point of the map. A learnt noise level resolves them further (error 0.01 instead of 0.03), at the cost of "
            "some agreement with the branches (ARI 0.96 to 1).",
            "The branches are apart in the data, so finding them is a check of the method rather than a feat.",
        ),
    ),
}
