"""Fields at conditions that were held out, against the simulation and two baselines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast.data import Snapshots
from gmvae_fast.data.condition_splits import split_by_condition
from gmvae_fast.generation import ConditionalGenerator, Generator, NeighbourInterpolation, PodRegression
from gmvae_fast.metrics import energy_spectrum
from gmvae_fast.studies.comparison.arms import ARMS, REFERENCE
from gmvae_fast.studies.comparison.arms.gmvae import FittedGMVAE
from gmvae_fast.studies.comparison.bench import budget_of
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.protocol import Profile
from gmvae_fast.studies.comparison.questions.base import Answer, Bench, Question
from gmvae_fast.studies.comparison.questions.reconstruction import FieldScale
from gmvae_fast.studies.comparison.questions.stability import DIVERGED
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Measure
from gmvae_fast.studies.comparison.tables import Compared, Entry, Table, compare
from gmvae_fast.studies.comparison.units import Unit
from gmvae_fast.training import TrainingDiverged

NAME = "conditions"
RULES = ("between", "beyond")
OURS, NEIGHBOURS, POD, DECODED = "GM-VAE", "interpolated neighbours", "POD + regression", "GM-VAE, fields encoded"
METRICS = {"error": "relative error", "spectrum": "distance of spectra, decades"}
#: Of the net's descent, for each epoch of the model's training.
STEPS_PER_EPOCH = 30
#: Shells that hold less than this share of the simulated energy are left out: rounding fills them.
SMALLEST_SHELL = 1e-6
#: Rows that figures are drawn from: error by the held-out condition, energy by wave number (a method, then `OF` and the
#: number), and the conditions of training, as text.
ERROR_AT, ENERGY, TRAINED_AT, OF = "error at", "energy", "trained at", " @ "
SIMULATION = "simulation"
MOST_BINS, MOST_MARKS = 10, 60

Fields = npt.NDArray[np.float32]
#: Wave numbers [B], energies [C, B].
Spectra = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def plan(case: StudyCase, profile: Profile, arms: Sequence[str]) -> list[Unit]:
    """One unit a seed and rule: the model must not have seen what is held out, so it is trained anew."""
    return [
        Unit(case.name, REFERENCE, seed, NAME, f"held out {rule}", (("rule", rule),))
        for seed in profile.seeds
        for rule in RULES
        if REFERENCE in arms
    ]


def perform(unit: Unit, bench: Bench) -> Answer:
    """Train on the other conditions, predict at those held out."""
    case, snapshots = bench.case, bench.snapshots
    rule = str(dict(unit.options)["rule"])
    split = split_by_condition(snapshots, case.held_out_condition, rule, bench.profile.test_fraction, unit.seed)
    train, test = snapshots[split.train], snapshots[split.test]
    budget = budget_of(bench, unit.seed)
    try:
        fitted = ARMS[unit.arm].fit(train, budget)
    except TrainingDiverged:
        return Answer({NAME: DIVERGED})
    assert isinstance(fitted, FittedGMVAE)
    generators: dict[str, Generator] = {
        OURS: ConditionalGenerator(steps=STEPS_PER_EPOCH * budget.training.epochs, seed=unit.seed),
        NEIGHBOURS: NeighbourInterpolation(),
        POD: PodRegression(seed=unit.seed),
    }
    given, asked = ({name: part.quantities[name] for name in case.conditions} for part in (train, test))
    found = {name: g.fit(fitted.model, train, given).predict(asked) for name, g in generators.items()}
    found[DECODED] = fitted.reconstruct(test)
    scale = FieldScale(train)
    simulated = mean_spectra(test.fields, test, scale)
    measures = [m for name, fields in found.items() for m in _measures(name, fields, test, scale, simulated, case)]
    seen = np.unique(train.quantities[case.held_out_condition])
    marks = seen[np.unique(np.linspace(0, len(seen) - 1, MOST_MARKS).round().astype(int))]
    measures.append(Measure(TRAINED_AT, float(len(seen)), " ".join(f"{value:.5g}" for value in marks)))
    measures += _spectrum(SIMULATION, simulated, simulated)
    return Answer({NAME: measures})


def _measures(
    name: str, fields: Fields, known: Snapshots, scale: FieldScale, simulated: Spectra, case: StudyCase
) -> Iterator[Measure]:
    yield Measure("error", scale.error(known.fields, fields), name)
    spectra = mean_spectra(fields, known, scale)
    yield Measure("spectrum", spectral_distance(spectra, simulated), name)
    for centre, rows in condition_bins(known.quantities[case.held_out_condition]):
        yield Measure(ERROR_AT, scale.error(known.fields[rows], fields[rows]), f"{name}{OF}{centre:.5g}")
    yield from _spectrum(name, spectra, simulated)


def condition_bins(values: npt.NDArray[Any]) -> Iterator[tuple[float, npt.NDArray[np.int64]]]:
    """Mean and members of each distinct value, or, of many, of `MOST_BINS` bins with as many values each."""
    distinct, inverse = np.unique(values, return_inverse=True)
    for members in np.array_split(np.arange(len(distinct)), min(len(distinct), MOST_BINS)):
        yield float(distinct[members].mean()), np.flatnonzero(np.isin(inverse, members))


def _spectrum(name: str, spectra: Spectra, simulated: Spectra) -> list[Measure]:
    """Energy of the shells that count, over the simulated one of all, mean over channels; shell 0 is the mean field."""
    counted, total = counted_shells(simulated), simulated[1].sum(1, keepdims=True)
    share = np.divide(spectra[1], total, out=np.zeros_like(spectra[1]), where=total > 0)[total[:, 0] > 0].mean(0)
    return [
        Measure(ENERGY, float(share[i]), f"{name}{OF}{k:.5g}")
        for i, k in enumerate(simulated[0])
        if i > 0 and counted[:, i].any()
    ]


def mean_spectra(fields: Fields, known: Snapshots, scale: FieldScale) -> Spectra:
    """Wave numbers [B], and the energy of fluctuations in their shells, mean over fields [C, B]."""
    spacing = [float(np.diff(known.coordinates[axis]).mean()) for axis in "zyx"[-len(known.grid) :]]
    spectrum = energy_spectrum(np.where(scale.mask, fields - scale.mean, 0.0), spacing)
    return spectrum.wavenumber, spectrum.energy.mean(0)


def counted_shells(simulated: Spectra) -> npt.NDArray[np.bool_]:
    """Those with more than `SMALLEST_SHELL` of their channel's energy: [C, B]."""
    return np.asarray(simulated[1] > SMALLEST_SHELL * simulated[1].sum(1, keepdims=True))


def spectral_distance(spectra: Spectra, simulated: Spectra) -> float:
    """Root mean square, over channels and shells, of log10 of the ratio of two mean spectra."""
    counted = counted_shells(simulated)
    ratio = np.maximum(spectra[1][counted], 1e-30) / simulated[1][counted]
    return float(np.sqrt(np.mean(np.log10(ratio) ** 2))) if counted.any() else float("nan")


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """One line a method, tested against the generator seed by seed."""
    settings = [f"held out {rule}" for rule in RULES]
    methods = [m for m in (OURS, NEIGHBOURS, POD, DECODED) if m in results.details(case.name, NAME, "error")]
    if not methods:
        return []
    columns = [_column(results, case, metric, setting, methods) for setting in settings for metric in METRICS]
    rows: list[tuple[Entry, ...]] = [(name, *cells) for name, *cells in zip(methods, *columns, strict=True)]
    head = ("method", *(f"{text}, {setting}" for setting in settings for text in METRICS.values()))
    note = (
        f"Conditions: {', '.join(case.conditions)}; ranges of {case.held_out_condition} are held out. p-values are "
        "against the GM-VAE, adjusted by Holm for the methods of a column. The last line decodes the posterior means "
        "of the held-out fields themselves: what the generator could reach with this model."
    )
    return [Table("", head, tuple(rows), note)]


def _column(results: Results, case: StudyCase, metric: str, setting: str, methods: Sequence[str]) -> list[Compared]:
    """A metric of every method; the decoded fields are no contender and get no verdict."""
    values = [results.values(case.name, NAME, metric, REFERENCE, detail=method, setting=setting) for method in methods]
    cells = compare(values, values[0], "lower")
    return [dataclasses.replace(c, verdict="") if m == DECODED else c for m, c in zip(methods, cells, strict=True)]


QUESTION = Question(
    name=NAME,
    title="Fields at unseen conditions",
    about="Trained without a range of a condition, between the training values or at both ends: fields there from the "
    "latent distribution that a small net gives for the conditions, decoded, against linear interpolation of the "
    "neighbouring training fields and POD coefficients by regression. Relative L2 error of the fluctuation about the "
    "training mean against the simulation, and the root mean square difference of the logarithms of the fields' "
    "energy spectra (shells of wave numbers; grids are not periodic, which adds the same leak to both).",
    tables=tables,
    plan=plan,
    perform=perform,
)
