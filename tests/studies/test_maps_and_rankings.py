"""Maps as text, orders of the arms, and spreads: from rows alone."""

from __future__ import annotations

import numpy as np
import pytest

from gmvae_fast.studies.comparison import CASES, maps
from gmvae_fast.studies.comparison.questions import stability
from gmvae_fast.studies.comparison.rankings import rank_correlation, ranking_table
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.rows import Row
from gmvae_fast.studies.comparison.statistics import Spread
from gmvae_fast.studies.comparison.tables import Compared, compare

SYSTEM = "surface_reaction"


def row(arm: str, seed: int, question: str, metric: str, detail: str, value: float) -> Row:
    return Row(SYSTEM, arm, "", seed, question, metric, detail, value, "h", "", "", 0.0)


@pytest.mark.parametrize("shape", [(50, 2), (1000, 3), (7, 1)])
def test_a_map_comes_back_as_it_is_drawn(shape: tuple[int, int]) -> None:
    latents = np.random.default_rng(0).standard_normal(shape).astype(np.float32) * 7 + 3
    found = maps.decode_points(maps.encode_points(latents))
    known = maps.flat(latents)[maps.shown(len(latents))]
    assert len(found) == min(len(latents), maps.MOST_POINTS)
    size = np.ptp(known, axis=0)
    np.testing.assert_allclose(found * size, (known - known.min(0)), atol=1e-3 * size.max())
    values = np.arange(len(latents)) / 8
    np.testing.assert_allclose(
        maps.decode_values(maps.encode_values(values)), values[maps.shown(len(values))], rtol=5e-4
    )


def test_what_is_no_map() -> None:
    for text in ("", "1 2;3", "a b", "1 2 3", "nan 1"):
        with pytest.raises(ValueError, match="could not convert|not a list|inhomogeneous|must be|sequence"):
            maps.decode_points(text)
    assert len(maps.decode_values("1 x")) == 0


def test_orders_of_the_arms() -> None:
    first = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert rank_correlation(first, {"a": 5.0, "b": 6.0, "c": 7.0}) == pytest.approx(1)
    assert rank_correlation(first, {"a": 7.0, "b": 6.0, "c": 5.0}) == pytest.approx(-1)
    assert np.isnan(rank_correlation(first, {"a": 1.0, "b": 1.0, "c": 1.0}))
    scores = {"score": (0.1, 0.2, 0.3), "score, mutual": (0.3, 0.2, 0.1)}
    rows = [
        row(arm, seed, "smoothness", metric, quantity, value + (0.5 * seed))
        for metric, values in scores.items()
        for arm, value in zip(("block", "pca", "vae"), values, strict=True)
        for seed in (0, 1)
        for quantity in ("rho_final", "alpha")
    ]
    table = ranking_table(Results(rows), SYSTEM, "smoothness", list(scores), ["rho_final", "alpha"])
    (_, same, all_same, best), (_, other, all_other, first_arm) = table.rows
    for cell, tau in ((same, 1), (all_same, 1), (other, -1), (all_other, -1)):
        assert isinstance(cell, Spread)
        assert (cell.mean, cell.n) == (pytest.approx(tau), 2)
    assert (best, first_arm) == ("vae", "block")


def test_runs_that_differ_more_are_found() -> None:
    ari = {"block": [0.9, 0.9, 0.9, 0.9, 0.91], "joint": [0.1, 0.9, 0.5, 0.2, 0.8]}
    rows = [row(arm, s, "regimes", "ARI", "branch", v) for arm, values in ari.items() for s, v in enumerate(values)]
    rows += [row(arm, s, "stability", "diverged", "", 0.0) for arm in ari for s in range(5)]
    _, spreads = stability.tables(Results(rows), CASES[SYSTEM])
    (_, *_, block), (_, *_, joint) = spreads.rows
    assert isinstance(block, Compared)
    assert isinstance(joint, Compared)
    assert block.test is None
    assert block.spread.mean == pytest.approx(0.002)
    assert (joint.verdict, joint.spread.mean) == ("worse", pytest.approx(np.mean([0.4, 0.4, 0, 0.3, 0.3])))
    assert stability.deviations({}) == {}


def test_p_values_of_a_column_are_adjusted_together() -> None:
    reference = dict(enumerate([1.0, 2.0, 3.0, 4.0, 5.5]))
    near, far = ({s: v + d + 0.1 * (s % 2) for s, v in reference.items()} for d in (0.0, 2.0))
    own, first, second = compare([reference, near, far], reference, "lower")
    assert own.test is None
    assert first.test is not None
    assert second.test is not None
    assert second.p_t == pytest.approx(2 * second.test.p_t)
    assert first.p_t == pytest.approx(first.test.p_t)
    assert (first.verdict, second.verdict) == ("worse", "worse")
