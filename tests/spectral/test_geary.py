import itertools
import math

import numpy as np
import pytest
from known_graphs import geary_c, path_graph, random_graph, ring_graph
from scipy import stats

from gmvae_fast.spectral import WeightSums, normality_variance, randomization_variance, smoothness
from gmvae_fast.spectral.geary import NullTest, kurtosis


def all_permutations_of_c(weights, signal):
    """C of every permutation of the signal over the nodes."""
    centred = signal - signal.mean()
    permuted = centred[np.array(list(itertools.permutations(range(len(signal)))))]
    matrix = np.diag(weights.sum(1)) - weights
    energy = np.einsum("pi,ij,pj->p", permuted, matrix, permuted)
    return (len(signal) - 1) * energy / (weights.sum() * (centred @ centred))


@pytest.mark.parametrize("n", [4, 6, 7])
@pytest.mark.parametrize("kind", ["weighted", "binary", "path", "ring"])
def test_randomization_moments_equal_full_enumeration(n, kind):
    weights = {
        "weighted": random_graph(n, 10 + n, density=0.8),
        "binary": (random_graph(n, 20 + n, density=0.7) > 0).astype(float),
        "path": path_graph(n).toarray(),
        "ring": ring_graph(n).toarray(),
    }[kind]
    signal = np.random.default_rng(n).normal(size=n) ** 3  # heavy tails: the kurtosis must enter
    values = all_permutations_of_c(weights, signal)
    assert values.mean() == pytest.approx(1.0, abs=1e-12)
    variance = randomization_variance(WeightSums.of(weights), kurtosis(signal - signal.mean()))
    assert variance == pytest.approx(values.var(), abs=1e-12)


def test_a_permutation_of_the_enumeration_has_the_z_score_of_the_result():
    weights = random_graph(7, 3)
    signal = np.random.default_rng(0).normal(size=7)
    values = all_permutations_of_c(weights, signal)
    result = smoothness(None, signal, graph=weights)["signal"]
    assert result.z_score == pytest.approx((1 - values[0]) / values.std(), rel=1e-10)


@pytest.mark.parametrize("kind", ["weighted", "path"])
def test_normality_variance_equals_monte_carlo(kind):
    weights = random_graph(9, 5) if kind == "weighted" else path_graph(9).toarray()
    samples = np.random.default_rng(0).normal(size=(400_000, 9))
    samples -= samples.mean(axis=1, keepdims=True)
    matrix = np.diag(weights.sum(1)) - weights
    values = 8 * ((samples @ matrix) * samples).sum(1) / (weights.sum() * (samples**2).sum(1))
    spread = np.sqrt(((values - 1) ** 2).var() / len(values))  # standard error of the sampled variance
    assert values.mean() == pytest.approx(1.0, abs=5 * values.std() / math.sqrt(len(values)))
    assert abs(values.var() - normality_variance(WeightSums.of(weights))) < 5 * spread


def test_both_assumptions_agree_for_a_large_normal_sample():
    sums = WeightSums.of(ring_graph(20_000))
    assert randomization_variance(sums, 3.0) == pytest.approx(normality_variance(sums), rel=1e-3)


def test_weight_sums_follow_their_definitions():
    weights = random_graph(12, 1)
    sums = WeightSums.of(weights)
    assert sums.n == 12
    assert sums.s0 == pytest.approx(weights.sum())
    assert sums.s1 == pytest.approx(0.5 * ((weights + weights.T) ** 2).sum())
    assert sums.s2 == pytest.approx(((weights.sum(0) + weights.sum(1)) ** 2).sum())


@pytest.mark.parametrize("seed", range(4))
def test_score_is_one_minus_c_by_the_double_sum(seed):
    weights = random_graph(25, seed)
    binary = (weights > 0).astype(float)
    signal = np.random.default_rng(seed).normal(size=25)
    for graph in (weights, binary):
        result = smoothness(None, signal, graph=graph)["signal"]
        assert result.geary_c == pytest.approx(geary_c(graph, signal), rel=1e-12)
        assert 1 - result.score == pytest.approx(geary_c(graph, signal), rel=1e-12)


def test_kurtosis_is_scipys():
    signal = np.random.default_rng(0).gamma(2.0, size=100)
    assert kurtosis(signal - signal.mean()) == pytest.approx(stats.kurtosis(signal, fisher=False))


def test_complete_graph_has_no_null_spread():
    """Every permutation has the same C = 1, so there is nothing to compare with."""
    result = smoothness(None, np.random.default_rng(0).normal(size=9), graph=1 - np.eye(9))["signal"]
    assert result.score == pytest.approx(0.0, abs=1e-12)
    assert math.isnan(result.z_score)
    assert math.isnan(result.z_normal)
    assert math.isnan(result.p_value)


@pytest.mark.parametrize("n", [2, 3])
def test_too_few_nodes_for_a_variance(n):
    result = smoothness(None, np.arange(n), graph=path_graph(n).toarray())["signal"]
    assert math.isfinite(result.score)
    assert math.isnan(result.z_score)
    assert math.isnan(result.p_value)


def test_p_values_far_in_the_tail():
    test = NullTest.of(geary_c=0.4, variance=1e-4)
    assert test.z == pytest.approx(60.0)
    assert test.p == 0.0 or test.p < 1e-300
    assert test.log10_p == pytest.approx(stats.norm.logsf(60.0) / math.log(10))
    rough = NullTest.of(geary_c=1.6, variance=1e-4)
    assert rough.z == pytest.approx(-60.0)
    assert rough.p == 1.0
