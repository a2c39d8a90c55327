import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_graphs import geary_c, path_graph, random_graph, ring_graph
from scipy import sparse, stats

from gmvae_fast.spectral import WeightSums, knn_graph, randomization_variance, smoothness
from gmvae_fast.spectral.geary import kurtosis
from gmvae_fast.spectral.significance import (
    LONGEST,
    adjusted_log10_p,
    count_arrangements,
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


EQUAL = np.full(30, 20)
UNEQUAL = np.exp(np.random.default_rng(1).uniform(np.log(5), np.log(60), 40)).astype(int)
ONE_LONG = np.r_[250, np.full(29, 10)]


@pytest.mark.parametrize("lengths", [EQUAL, UNEQUAL, ONE_LONG], ids=["equal", "unequal", "one long"])
@pytest.mark.parametrize("step", [0.0, 0.1], ids=["constant", "walk"])
def test_time_resolved_noise_is_smooth_for_frames_but_not_for_trajectories(lengths, step):
    """Runs drawn anywhere, each a slow random walk: only exchanging whole runs gives an honest p-value."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    frames_p, runs_p = [], []
    for seed in range(40):
        latents = np.concatenate([rng.normal(size=2) + 0.05 * rng.normal(size=(n, 2)).cumsum(0) for n in lengths])
        signal = np.concatenate([rng.normal() + step * rng.normal(size=n).cumsum() for n in lengths])
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


def test_trajectories_of_similar_length_are_cut_or_run_on_backwards():
    groups = np.repeat([0, 1, 2], [5, 4, 1])
    orders = {tuple(order.tolist()) for order in permutations_of(10, 50, 0, groups)}
    assert orders == {(0, 1, 2, 3, 4, 5, 6, 7, 8, 9), (5, 6, 7, 8, 8, 0, 1, 2, 3, 9)}


@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=12), seed=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_only_trajectories_of_similar_length_are_exchanged(lengths, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(lengths)), lengths))
    for order in permutations_of(len(groups), 3, seed, groups):
        sources = [np.unique(groups[order[groups == g]]) for g in range(len(lengths))]
        assert all(len(source) == 1 for source in sources)
        assert sorted(np.concatenate(sources).tolist()) == list(range(len(lengths)))
        for g, (source,) in enumerate(sources):
            assert max(lengths[g], lengths[source]) <= LONGEST * min(lengths[g], lengths[source])
    assert count_arrangements(groups) <= math.factorial(len(lengths))


def test_number_of_arrangements():
    assert count_arrangements(np.repeat(np.arange(4), 7)) == 24
    assert count_arrangements(np.repeat(np.arange(4), [1, 10, 12, 100])) == 2
    assert count_arrangements(np.arange(1000)) == math.inf


def test_c_of_exchanged_trajectories_follows_its_definition():
    """Runs of 4 and 5: values are not each there once, so that mean and norm are those of the arrangement."""
    weights, groups, signals = random_graph(9, 1), np.repeat([0, 1], [4, 5]), centred(9, 2, 2)
    found = permuted_geary(sparse.csr_array(weights), signals, 6, 7, groups)
    for row, order in zip(found, permutations_of(9, 6, 7, groups), strict=True):
        np.testing.assert_allclose(row, [geary_c(weights, signals[order, i]) for i in range(2)], rtol=1e-12)


def test_an_arrangement_that_leaves_nothing_counts_as_reaching_the_observed_one():
    """The one frame that differs is the last of a longer run: cut off in half of the arrangements."""
    groups, signal = np.repeat([0, 1], [5, 4]), np.zeros(9)
    signal[4] = 1.0
    found = permuted_geary(sparse.csr_array(random_graph(9, 1)), (signal - signal.mean())[:, None], 40, 0, groups)
    assert set(np.round(found[:, 0], 6)) == {0.0, round(geary_c(random_graph(9, 1), signal), 6)}


def test_trajectories_that_cannot_be_exchanged_are_told():
    latents, groups = np.random.default_rng(0).normal(size=(60, 2)), np.repeat([0, 1, 2], [10, 20, 30])
    with pytest.warns(UserWarning, match=r"exchanged in 1 way\(s\) only: p_permutation cannot be below 1"):
        found = smoothness(latents, latents[:, 0], groups=groups, permutations=19)
    assert found["signal"].p_permutation == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smoothness(latents, latents[:, 0], groups=groups, bootstrap=5)
        smoothness(latents, latents[:, 0], groups=np.arange(60) // 10, permutations=19)


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
        ({"permutations": -1}, ValueError, "permutations must be at least 0, got -1"),
        ({"bootstrap": 2.5}, TypeError, "bootstrap must be an integer"),
        ({"confidence": 1.0}, ValueError, "confidence must lie between 0 and 1"),
        ({"groups": np.zeros(30)}, ValueError, "groups must name at least two trajectories, got 1"),
        ({"groups": np.zeros(29)}, ValueError, r"groups must have one trajectory label per latent, shape \(30,\)"),
        ({"groups": np.where(np.arange(30) < 2, np.nan, 1.0)}, ValueError, "groups holds 2 NaN"),
        ({"groups": np.array([1, "a"] * 15, object)}, TypeError, "groups must be of one sortable type"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        smoothness(None, np.arange(30.0), graph=ring_graph(30), **options)
