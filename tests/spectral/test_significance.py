import itertools
import math

import numpy as np
import pytest
from known_graphs import geary_c, path_graph, random_graph, ring_graph
from scipy import sparse, stats

from gmvae_fast.spectral import WeightSums, knn_graph, randomization_variance, smoothness
from gmvae_fast.spectral.geary import kurtosis
from gmvae_fast.spectral.significance import (
    adjusted_log10_p,
    group_codes,
    permutation_p_values,
    permutations_of,
    permuted_geary,
)


def centred(n, seed, columns=1):
    signals = np.random.default_rng(seed).normal(size=(n, columns)) ** 3
    return signals - signals.mean(axis=0)


@pytest.mark.parametrize("columns", [1, 3, 20])
def test_each_permutation_has_the_c_of_its_definition(columns):
    weights, signals = random_graph(15, 1), centred(15, 2, columns)
    found = permuted_geary(sparse.csr_array(weights), signals, 5, 7)
    for row, order in zip(found, permutations_of(15, 5, 7), strict=True):
        expected = [geary_c(weights, signals[order, i]) for i in range(columns)]
        np.testing.assert_allclose(row, expected, rtol=1e-12)


def test_permutations_have_the_closed_form_moments():
    graph, signals = knn_graph(np.random.default_rng(0).normal(size=(200, 2)), 4), centred(200, 1)
    values = permuted_geary(graph, signals, 4000, 0)[:, 0]
    variance = randomization_variance(WeightSums.of(graph), kurtosis(signals[:, 0]))
    assert abs(values.mean() - 1) < 5 * math.sqrt(variance / 4000)
    assert values.var() == pytest.approx(variance, rel=0.15)


def test_p_value_is_the_share_of_a_full_enumeration():
    """Path of 7: all 5040 arrangements by the double sum, against 4000 random ones."""
    weights, signal = path_graph(7).toarray(), np.array([0.3, 0.1, 0.5, 0.9, 0.6, 1.4, 1.0])
    orders = np.array(list(itertools.permutations(range(7))))
    jumps = (np.diff(signal[orders], axis=1) ** 2).sum(1)
    exact = (jumps <= (np.diff(signal) ** 2).sum() * (1 + 1e-12)).mean()
    found = smoothness(None, signal, graph=weights, permutations=4000)["signal"].p_permutation
    assert abs(found - exact) < 5 * math.sqrt(exact / 4000) + 1 / 4000


def test_p_value_is_never_zero_and_counts_ties():
    observed, permuted = np.array([0.5, 0.5, np.nan]), np.array([[0.9, 0.5, 1], [0.8, 0.6, 1], [0.7, 0.4, 1]])
    np.testing.assert_allclose(permutation_p_values(observed, permuted), [1 / 4, 3 / 4, np.nan])


def test_white_noise_has_uniform_p_values():
    graph = knn_graph(np.random.default_rng(0).normal(size=(150, 2)))
    noise = np.random.default_rng(1).normal(size=(150, 300))
    found = smoothness(None, noise, graph=graph, permutations=199)
    p = np.array([signal.p_permutation for signal in found.values()])
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_time_resolved_noise_is_smooth_for_frames_but_not_for_trajectories():
    """Runs drawn anywhere, each a slow random walk: only exchanging whole runs gives an honest p-value."""
    rng = np.random.default_rng(0)
    runs, frames = 30, 20
    groups = np.repeat(np.arange(runs), frames)
    frames_p, runs_p = [], []
    for seed in range(40):
        latents = (rng.normal(size=(runs, 1, 2)) + 0.05 * rng.normal(size=(runs, frames, 2)).cumsum(1)).reshape(-1, 2)
        signal = (rng.normal(size=(runs, 1)) + 0.1 * rng.normal(size=(runs, frames)).cumsum(1)).ravel()
        frames_p.append(smoothness(latents, signal, permutations=99, seed=seed)["signal"].p_permutation)
        runs_p.append(smoothness(latents, signal, permutations=99, seed=seed, groups=groups)["signal"].p_permutation)
    assert max(frames_p) == 0.01
    assert stats.kstest(runs_p, "uniform").pvalue > 1e-3


def test_equal_trajectories_exchange_their_values_frame_by_frame():
    groups = group_codes(np.array(["b", "a", "b", "a", "c", "c"]), 6)
    np.testing.assert_array_equal(groups, [0, 1, 0, 1, 2, 2])
    for order in permutations_of(6, 20, 0, groups):
        assert sorted(order) == list(range(6))
        for first, second in ((0, 2), (1, 3), (4, 5)):
            assert (order[first], order[second]) in {(0, 2), (1, 3), (4, 5)}


def test_unequal_trajectories_are_strung_in_another_order():
    groups = np.array([0, 0, 0, 1, 2, 2])
    strings = {tuple(order) for order in permutations_of(6, 200, 0, groups)}
    pieces = [(0, 1, 2), (3,), (4, 5)]
    assert strings == {sum((pieces[i] for i in p), ()) for p in itertools.permutations(range(3))}


def test_adjustment_is_scipys_where_that_does_not_underflow():
    p = np.random.default_rng(0).random(40) ** 4
    np.testing.assert_allclose(10 ** adjusted_log10_p(np.log10(p)), stats.false_discovery_control(p), rtol=1e-12)


def test_adjustment_of_p_values_that_underflow_and_of_undefined_ones():
    found = adjusted_log10_p(np.array([-2000.0, np.nan, -1.0, -3000.0]))
    np.testing.assert_allclose(found, [-2000 + math.log10(1.5), np.nan, -1.0, -3000 + math.log10(3)])
    assert adjusted_log10_p(np.empty(0)).shape == (0,)


def test_results_carry_adjusted_values_and_the_table_only_what_was_asked_for():
    latents = np.random.default_rng(0).normal(size=(200, 2))
    signals = {"x": latents[:, 0], "noise": np.random.default_rng(1).normal(size=200)}
    plain, tested = smoothness(latents, signals), smoothness(latents, signals, permutations=99, bootstrap=20)
    expected = adjusted_log10_p(np.array([s.log10_p for s in plain.values()]))
    np.testing.assert_array_equal([s.log10_p_adjusted for s in plain.values()], expected)
    assert "p_permutation" not in plain.table()[0]
    assert "score_lower" not in plain.table()[0]
    assert tested.table()[0]["p_permutation"] == 0.01
    assert tested.table()[0]["p_permutation_adjusted"] == pytest.approx(0.02)
    assert tested.table()[0]["score_lower"] < tested.table()[0]["score_upper"]
    assert plain["x"].score == tested["x"].score


def test_constant_signals_take_no_part():
    latents = np.random.default_rng(0).normal(size=(60, 2))
    with pytest.warns(UserWarning, match="no score for 'c'"):
        found = smoothness(latents, {"c": np.ones(60), "x": latents[:, 0]}, permutations=19, bootstrap=9)
    assert math.isnan(found["c"].p_permutation)
    assert math.isnan(found["c"].score_error)
    assert found["x"].p_permutation == pytest.approx(0.05)
    assert found["x"].p_permutation_adjusted == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"permutations": -1}, ValueError, "permutations must be at least 1"),
        ({"bootstrap": 2.5}, TypeError, "bootstrap must be an integer"),
        ({"confidence": 1.0}, ValueError, "confidence must lie between 0 and 1"),
        ({"groups": np.zeros(30)}, ValueError, "groups must name at least two trajectories, got 1"),
        ({"groups": np.zeros(29)}, ValueError, r"groups must have one trajectory label per latent, shape \(30,\)"),
        ({"groups": np.where(np.arange(30) < 2, np.nan, 1.0)}, ValueError, "groups must not hold NaN"),
        ({"groups": np.array([1, "a"] * 15, object)}, TypeError, "groups must be of one sortable type"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        smoothness(None, np.arange(30.0), graph=ring_graph(30), **options)
