"""What is compared on: a data set, the networks and the budget that all arms share. One entry a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gmvae_fast.data import Snapshots
from gmvae_fast.studies.comparison.preparation import binned, last_frames, thinned, with_label
from gmvae_fast.studies.stages import ModelConfig
from gmvae_fast.train_config import TrainConfig


@dataclass(frozen=True)
class Scale:
    """How much of a case a profile takes.

    Attributes
    ----------
    simulate : mapping
        Options of the system's own ``simulate`` beside those of the case.
    epochs : int
        Of every arm with networks.
    thinned : int
        Every how many grid points are kept along each axis, of snapshots as the case prepares them.
    simulate_s, unit_s : float
        Processor seconds of all its runs, and of a unit in the mean, as measured before: what a plan is estimated by
        until units are finished.
    """

    simulate: Mapping[str, Any]
    epochs: int
    thinned: int = 1
    simulate_s: float = 5.0
    unit_s: float = 1.0


def _as_simulated(snapshots: Snapshots) -> Snapshots:
    return snapshots


@dataclass(frozen=True)
class StudyCase:
    """One data set of the comparison.

    Attributes
    ----------
    name, title : str
    system : str
        Of `gmvae_fast.data.systems`.
    simulate : mapping
        Options of its ``simulate``.
    scales : mapping of profile name to Scale
    model : ModelConfig
        Networks, D and K, shared by the arms.
    training : TrainConfig
        Budget and beta; the scale sets its epochs, an arm its scheme, a unit its seed.
    main_quantity : str
        The physical quantity whose score counts.
    regime : str
        The label that the components ought to find.
    n_regimes : int or None
        Its number of classes where that is known to be the right K.
    prepare : callable
        Snapshots as simulated -> snapshots as compared; ``preparation`` says in words what it does.
    preparation : str
    by_run : bool
        Whether regimes belong to runs: then agreement is measured by the majority of a run's frames too.
    stratify : str or None
        Label that training and held-out data must both cover.
    conditions : tuple of str
        Quantities that determine a field, for conditional generation.
    held_out_condition : str
        The one of which a range between and the values beyond are held out there.
    notes : tuple of str
    """

    name: str
    title: str
    system: str
    simulate: Mapping[str, Any]
    scales: Mapping[str, Scale]
    model: ModelConfig
    training: TrainConfig
    main_quantity: str
    regime: str
    n_regimes: int | None
    conditions: tuple[str, ...]
    held_out_condition: str
    prepare: Callable[[Snapshots], Snapshots] = _as_simulated
    preparation: str = "as simulated"
    by_run: bool = False
    stratify: str | None = None
    notes: tuple[str, ...] = field(default=())

    def compared(self, snapshots: Snapshots, profile: str) -> Snapshots:
        """Snapshots as simulated -> snapshots as compared in ``profile``."""
        return thinned(self.prepare(snapshots), self.scales[profile].thinned)

    def preparation_in(self, profile: str) -> str:
        """What `compared` does, in words."""
        factor = self.scales[profile].thinned
        return self.preparation if factor == 1 else f"{self.preparation}, every {factor}th grid point along each axis"


LATE_FRAMES, IMAGE_BINNING = 6, 2


def _late_images(snapshots: Snapshots) -> Snapshots:
    late = binned(last_frames(snapshots, LATE_FRAMES), IMAGE_BINNING)
    return with_label(late, "ignited", "outcome", (2,), ("not ignited", "ignited"))


CASES: dict[str, StudyCase] = {
    case.name: case
    for case in (
        StudyCase(
            name="surface_reaction",
            title="Surface reaction: two stable branches",
            system="surface_reaction",
            simulate={"design": "bistable"},
            scales={
                "tiny": Scale({"n_runs": 80}, 6),
                "quick": Scale({"n_runs": 1000}, 60, simulate_s=1, unit_s=3),
                "full": Scale({"n_runs": 2000}, 100, simulate_s=1, unit_s=15),
            },
            model=ModelConfig(latent_dim=2, n_components=2, network="mlp", widths=(128, 64)),
            training=TrainConfig(batch_size=50, beta=0.1),
            main_quantity="rho_final",
            regime="branch",
            n_regimes=2,
            conditions=("alpha", "gamma", "rho_0"),
            held_out_condition="alpha",
            stratify="branch",
            notes=(
                "Every snapshot is one trajectory of the coverage at 128 times.",
                "beta = 0.1: trajectories of the upper branch differ so little that with beta = 1 they collapse to one "
                "point of the map.",
            ),
        ),
        StudyCase(
            name="channel",
            title="Cylinder in a channel: three groups of Reynolds numbers",
            system="wake",
            simulate={"geometry": "channel", "design": "clustered"},
            scales={
                "tiny": Scale({"n_runs": 24, "size": "tiny"}, 6),
                "quick": Scale({"n_runs": 120}, 80, thinned=2, simulate_s=75, unit_s=3),
                "full": Scale({"n_runs": 180}, 200, simulate_s=115, unit_s=30),
            },
            model=ModelConfig(latent_dim=2, n_components=3, network="mlp", widths=(64, 64)),
            training=TrainConfig(batch_size=24),
            main_quantity="log_Re",
            regime="re_group",
            n_regimes=3,
            conditions=("log_Re",),
            held_out_condition="log_Re",
            stratify="re_group",
            notes=(
                'Flow from rest, seen once at t = 5. "Re" is 1 / nu: ten times the Reynolds number on the diameter and '
                "the mean velocity.",
            ),
        ),
        StudyCase(
            name="free_stream",
            title="Cylinder in a free stream: shedding resolved in time",
            system="wake",
            simulate={"geometry": "free_stream", "design": "uniform"},
            scales={
                "tiny": Scale({"n_runs": 6, "size": "tiny", "snapshots_per_run": 8}, 4),
                "quick": Scale({"n_runs": 12, "snapshots_per_run": 30}, 40, thinned=2, simulate_s=70, unit_s=4),
                "full": Scale({"n_runs": 12}, 80, simulate_s=100, unit_s=60),
            },
            model=ModelConfig(latent_dim=3, n_components=6, network="mlp", widths=(64, 64)),
            training=TrainConfig(batch_size=36),
            main_quantity="log_Re",
            regime="re_group",
            n_regimes=None,
            conditions=("log_Re", "sin_phase", "cos_phase"),
            held_out_condition="log_Re",
            notes=(
                "The shedding phase carries most of the variance: agreement with bins of the phase and with the "
                "Reynolds groups stand side by side, and neither is a target.",
                "Two-dimensional model flow; real wakes are three-dimensional above Re 190. The domain's blockage is "
                "6%.",
            ),
        ),
        StudyCase(
            name="ignition",
            title="Sparks in a jet seen by Schlieren: ignited or not",
            system="ignition",
            simulate={"design": "uniform", "size": "demo"},
            scales={
                "tiny": Scale({"n_runs": 10, "size": "tiny"}, 6),
                "quick": Scale({"n_runs": 48}, 60, simulate_s=55, unit_s=3),
                "full": Scale({"n_runs": 96}, 100, simulate_s=110, unit_s=12),
            },
            model=ModelConfig(latent_dim=2, n_components=2, network="mlp", widths=(128, 64)),
            training=TrainConfig(batch_size=32, beta=3.0),
            main_quantity="hot_area",
            regime="ignited",
            n_regimes=2,
            conditions=("E", "phi", "spark_x", "spark_y", "tilt", "time"),
            held_out_condition="phi",
            prepare=_late_images,
            preparation=f"the last {LATE_FRAMES} frames of every run, binned {IMAGE_BINNING} x {IMAGE_BINNING}",
            by_run=True,
            stratify="ignited",
            notes=(
                "A regime belongs to a run: the component of most of its late frames is compared with what became of "
                "it. Runs that linger count as not ignited.",
                "Sparks stand at different places with different tilts, which few latent coordinates cannot hold: "
                "reconstructions are poor, and that is no target.",
                "beta = 3, for every arm with a prior: 230 pictures are few, and with beta = 1 the maps follow them so "
                "closely that unseen ones are placed worse.",
            ),
        ),
    )
}

#: What the command line calls a system: one case, or several.
SYSTEMS: dict[str, tuple[str, ...]] = {
    "surface_reaction": ("surface_reaction",),
    "wake": ("channel", "free_stream"),
    "ignition": ("ignition",),
    **{name: (name,) for name in ("channel", "free_stream")},
    "all": tuple(CASES),
}
