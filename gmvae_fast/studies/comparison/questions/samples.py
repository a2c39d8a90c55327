"""Are new fields drawn from one component of its regime, and physical?"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from gmvae_fast.baselines._features import PrincipalComponents
from gmvae_fast.data import Snapshots
from gmvae_fast.metrics import divergence
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions.base import Question, Trained
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Column

NAME = "samples"
SAMPLED, SIMULATED, HELD_OUT = "sampled", "simulated", "held out"
#: Rows of a figure: the share of the fields of one component that is classified as another.
CONFUSION, TO = "classified as", " -> "
#: Fields drawn from each component.
PER_COMPONENT = 64
#: A value counts as out of range where it lies beyond what was simulated by more than this share of that range.
TOLERANCE = 0.05

Fields = npt.NDArray[np.float32]


def measure(trained: Trained) -> Iterator[Measure]:
    """Of arms that can draw from a component."""
    snapshots, drawn = trained.bench.snapshots, []
    shares = []
    for component in range(trained.n_components):
        fields = trained.fitted.sample(PER_COMPONENT, component, trained.budget.training.seed + component)
        if fields is None:
            return
        drawn.append(fields)
        found = trained.fitted.map(as_snapshots(fields, snapshots))[1]
        back = np.bincount(found, minlength=trained.n_components) / len(found)
        shares.append(float(back[component]))
        yield Measure("classified back", shares[-1], f"component {component}")
        for other, share in enumerate(back):
            yield Measure(CONFUSION, float(share), f"{component}{TO}{other}")
    yield Measure("classified back", float(np.mean(shares)))
    yield Measure("classified back, worst component", min(shares))
    simulated, sampled = snapshots[trained.train].fields, np.concatenate(drawn)
    yield Measure("values out of range, %", 100 * out_of_range(sampled, simulated, snapshots.mask))
    if set("uv") <= set(snapshots.field_names) and len(snapshots.grid) == 2:
        for name, fields in ((SAMPLED, sampled), (SIMULATED, simulated)):
            yield from _velocity(name, fields, trained)
        known, energy = kinetic_energy(simulated, snapshots), kinetic_energy(sampled, snapshots)
        within = (energy >= known.min()) & (energy <= known.max())
        yield Measure("kinetic energy in range, %", 100 * float(within.mean()))
    if "drag" in snapshots.quantities:
        yield from _drag(sampled, trained)


def _drag(sampled: Fields, trained: Trained) -> Iterator[Measure]:
    """Drag by a regression on the fields: the grid does not resolve the surface that it is an integral over."""
    snapshots, (train, test) = trained.bench.snapshots, (trained.train, trained.test)
    of_fields = DragRegression(snapshots[train])
    known = snapshots.quantities["drag"]
    error = known[test] - of_fields(snapshots[test])
    yield Measure("drag explained, %", 100 * (1 - float(np.mean(error**2) / np.var(known[test]))), HELD_OUT)
    drag, margin = of_fields(as_snapshots(sampled, snapshots)), TOLERANCE * float(np.ptp(known[train]))
    within = (drag >= known[train].min() - margin) & (drag <= known[train].max() + margin)
    yield Measure("drag in range, %", 100 * float(within.mean()))


class DragRegression:
    """Drag of fields: ridge regression (penalty by generalised cross-validation) on their principal components.

    Parameters
    ----------
    train : Snapshots
        With the quantity "drag".
    n_modes : int
    """

    def __init__(self, train: Snapshots, n_modes: int = 20) -> None:
        from sklearn.linear_model import RidgeCV

        self._modes = PrincipalComponents(train, n_modes, 0, fewer=True)
        coefficients = self._modes.embed(train)
        self._scale = coefficients.std(0).max()  # of all: trailing modes stay small
        self._ridge = RidgeCV(alphas=np.logspace(-6, 2, 17)).fit(coefficients / self._scale, train.quantities["drag"])

    def __call__(self, snapshots: Snapshots) -> npt.NDArray[np.float64]:
        """Drag [N]."""
        return np.asarray(self._ridge.predict(self._modes.embed(snapshots) / self._scale), np.float64)


def _velocity(name: str, fields: Fields, trained: Trained) -> Iterator[Measure]:
    snapshots = trained.bench.snapshots
    u, v = (fields[:, snapshots.field_names.index(part)] for part in "uv")
    spacing = [float(np.diff(snapshots.coordinates[axis]).mean()) for axis in "xy"]
    relative = divergence(u, v, spacing=spacing, mask=snapshots.mask).relative
    yield Measure("divergence", float(relative.mean()), name)
    if trained.bench.case.simulate.get("geometry") == "channel":  # walls above and below: nothing leaves sideways
        yield Measure("variation of the flux, %", 100 * float(flux_variation(u, snapshots.mask).mean()), name)


def as_snapshots(fields: Fields, like: Snapshots) -> Snapshots:
    """New fields on the grid and mask of ``like``."""
    return dataclasses.replace(
        like,
        fields=fields,
        quantities={},
        labels={},
        trajectory=np.arange(len(fields)),
        time=np.zeros(len(fields)),
    )


def out_of_range(fields: Fields, simulated: Fields, mask: npt.NDArray[np.bool_] | None) -> float:
    """Share of values beyond the range of their channel in ``simulated``, which is widened by `TOLERANCE`."""
    inside = np.ones(fields.shape[2:], dtype=bool) if mask is None else mask
    known, new = simulated[..., inside], fields[..., inside]
    low, high = known.min((0, 2))[:, None], known.max((0, 2))[:, None]
    margin = TOLERANCE * (high - low)
    return float(((new < low - margin) | (new > high + margin)).mean())


def kinetic_energy(fields: Fields, like: Snapshots) -> npt.NDArray[np.float64]:
    """Mean of (u^2 + v^2) / 2 over the fluid, of each field [N]."""
    inside = np.ones(like.grid, dtype=bool) if like.mask is None else like.mask
    parts = (fields[:, like.field_names.index(part)][:, inside].astype(np.float64) for part in "uv")
    return np.asarray(sum(0.5 * np.square(part).mean(1) for part in parts))


def flux_variation(u: Fields, mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.float64]:
    """Standard deviation over the cross-sections [N, H, W] -> [N] of the flux along x, over its mean.

    Cross-sections that the obstacle cuts are left out: its edge runs through cells.
    """
    whole = slice(None) if mask is None else mask.all(0)
    flux = u[:, :, whole].sum(1, dtype=np.float64)
    return np.asarray(flux.std(1) / np.abs(flux.mean(1)))


def columns(results: Results, case: StudyCase) -> Sequence[Column]:
    """Sampled beside simulated."""
    return [
        Column("classified back", "share classified back", "higher"),
        Column("classified back, worst component", "the same, worst component", "higher"),
        Column("values out of range, %", "values out of the simulated range, %", "lower"),
        Column("kinetic energy in range, %", "fields with kinetic energy in the simulated range, %", "higher"),
        Column("drag in range, %", "fields with drag in the simulated range, %", "higher"),
        Column("drag explained, %", "drag of held-out fields explained by the regression, %", "", HELD_OUT),
        Column("divergence", "relative divergence, sampled", "lower", SAMPLED),
        Column("divergence", "relative divergence, simulated", "", SIMULATED),
        Column("variation of the flux, %", "variation of the flux along x, sampled, %", "lower", SAMPLED),
        Column("variation of the flux, %", "variation of the flux along x, simulated, %", "", SIMULATED),
    ]


QUESTION = Question(
    name=NAME,
    title="New fields of one regime",
    about=f"{PER_COMPONENT} latents drawn from each component, decoded, encoded again and classified: the share that "
    "comes back to its component. A field is physical where its values and kinetic energy lie in the range of the "
    "training data; in flows, the norm of the divergence over that of the velocity gradient (central differences, "
    "not across the mask) and, between walls, the variation of the flux over cross-sections stand beside those of the "
    "simulated fields on the same grid. Drag is an integral over a surface that the grid does not resolve: that of new "
    "fields is by a ridge regression on the principal components of the training fields, which is as good as the "
    "share of the variance that it explains on held-out ones.",
    measure=measure,
    columns=columns,
)
