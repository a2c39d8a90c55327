"""Fields at conditions that were held out, against the simulation and two baselines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
from gmvae_fast.studies.comparison.statistics import paired_test, spread
from gmvae_fast.studies.comparison.tables import Compared, Entry, Table
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


def plan(case: StudyCase, profile: Profile, hashes: Mapping[tuple[str, int], str]) -> list[Unit]:
    """One unit a seed and rule: the model must not have seen what is held out, so it is trained anew."""
    return [
        Unit(case.name, REFERENCE, seed, NAME, f"held out {rule}", (("rule", rule),))
        for seed in profile.seeds
        for rule in RULES
        if (REFERENCE, seed) in hashes
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
    return Answer({NAME: [m for name, fields in found.items() for m in _measures(name, fields, test, scale)]})


def _measures(name: str, fields: npt.NDArray[np.float32], known: Snapshots, scale: FieldScale) -> Iterator[Measure]:
    yield Measure("error", scale.error(known.fields, fields), name)
    yield Measure("spectrum", spectral_distance(fields, known, scale), name)


def spectral_distance(fields: npt.NDArray[np.float32], known: Snapshots, scale: FieldScale) -> float:
    """Root mean square, over channels and shells, of log10 of the ratio of two mean spectra of fluctuations."""
    spacing = [float(np.diff(known.coordinates[axis]).mean()) for axis in "zyx"[-len(known.grid) :]]
    energies = []
    for values in (fields, known.fields):
        fluctuation = np.where(scale.mask, values - scale.mean, 0.0)
        energies.append(energy_spectrum(fluctuation, spacing).energy.mean(0))  # [C, B]
    new, true = energies
    counted = true > SMALLEST_SHELL * true.sum(1, keepdims=True)
    ratio = np.maximum(new[counted], 1e-30) / true[counted]
    return float(np.sqrt(np.mean(np.log10(ratio) ** 2))) if counted.any() else float("nan")


def tables(results: Results, case: StudyCase) -> Sequence[Table]:
    """One line a method, tested against the generator seed by seed."""
    settings = [f"held out {rule}" for rule in RULES]
    methods = [m for m in (OURS, NEIGHBOURS, POD, DECODED) if m in results.details(case.name, NAME, "error")]
    rows = []
    for method in methods:
        cells: list[Entry] = [method]
        for setting in settings:
            for metric in METRICS:
                own, ours = (
                    results.values(case.name, NAME, metric, REFERENCE, detail=m, setting=setting)
                    for m in (method, OURS)
                )
                cells.append(_cell(method, own, ours))
        rows.append(tuple(cells))
    head = ("method", *(f"{text}, {setting}" for setting in settings for text in METRICS.values()))
    note = (
        f"Conditions: {', '.join(case.conditions)}; ranges of {case.held_out_condition} are held out. p-values are not "
        "adjusted. The last line decodes the posterior means of the held-out fields themselves: what the generator "
        "could reach with this model."
    )
    return [Table("", head, tuple(rows), note)] if rows else []


def _cell(method: str, own: Mapping[int, float], ours: Mapping[int, float]) -> Compared:
    mean = spread(list(own.values()))
    if method == OURS or not set(own) & set(ours):
        return Compared(mean)
    test = paired_test(own, ours)
    verdict = "" if method == DECODED else "better" if test.difference < 0 else "worse" if test.difference else "equal"
    return Compared(mean, test, test.p_t, test.p_wilcoxon, verdict)


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
