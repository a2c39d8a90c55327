import numpy as np
import pytest
from known_graphs import random_graph
from scipy import sparse

from gmvae_fast.spectral import knn_graph, smoothness
from gmvae_fast.spectral.bootstrap import _multiplicities, bootstrap_scores, percentile_interval


def score_by_definition(weights, signal, codes, multiplicity):
    """Two weighted means over pairs, as plain loops."""
    sums = np.zeros(4)
    for i in range(len(signal)):
        for j in range(i):
            same = codes[i] == codes[j]
            share = multiplicity[codes[i]] * (1 if same else multiplicity[codes[j]])
            squared = share * (signal[i] - signal[j]) ** 2
            sums += [weights[i, j] * squared, weights[i, j] * share, squared, share]
    return 1 - (sums[0] / sums[1]) / (sums[2] / sums[3])


@pytest.mark.parametrize("codes", [None, np.arange(18) // 3, np.array([0] * 7 + [1] * 2 + [2] * 9)])
def test_each_sample_has_the_score_of_its_definition(codes):
    weights, signals = random_graph(18, 3), np.random.default_rng(0).normal(size=(18, 2)) ** 3
    signals -= signals.mean(axis=0)
    found = bootstrap_scores(sparse.csr_array(weights), signals, 20, 5, codes)
    groups = np.arange(18) if codes is None else codes
    draws = np.concatenate([block for _, block in _multiplicities(groups.max() + 1, 20, 5)], axis=1)
    assert draws.sum(axis=0).tolist() == [groups.max() + 1] * 20
    for row, multiplicity in zip(found, draws.T, strict=True):
        if np.count_nonzero(multiplicity) > 1:
            expected = [score_by_definition(weights, signals[:, i], groups, multiplicity) for i in range(2)]
            np.testing.assert_allclose(row, expected, rtol=1e-9)


@pytest.mark.parametrize("codes", [None, np.arange(25) // 5])
def test_a_sample_that_holds_everything_once_is_the_score(monkeypatch, codes):
    weights, signal = random_graph(25, 1), np.random.default_rng(0).normal(size=25)
    ones = np.ones((25 if codes is None else 5, 1))
    monkeypatch.setattr("gmvae_fast.spectral.bootstrap._multiplicities", lambda *_: iter([(0, ones)]))
    found = bootstrap_scores(sparse.csr_array(weights), (signal - signal.mean())[:, None], 1, 0, codes)
    assert found[0, 0] == pytest.approx(smoothness(None, signal, graph=weights)["signal"].score, rel=1e-12)


def draw_runs(rng, runs, frames, offset):
    """Latents and a signal of fresh trajectories: a function of the latents, an offset of each run, and noise."""
    start, velocity = rng.normal(size=(2, runs, 1, 2))
    time = np.linspace(0, 1, frames)[None, :, None]
    latents = start + 0.5 * velocity * time + 0.15 * rng.normal(size=(runs, frames, 2))
    noise = offset * rng.normal(size=(runs, 1)) + 0.3 * offset * rng.normal(size=(runs, frames))
    return latents.reshape(-1, 2), (latents[:, :, 0] + noise).ravel()


@pytest.mark.parametrize(("runs", "frames", "offset"), [(30, 8, 0.5), (80, 1, 0.8)])
def test_intervals_cover_the_mean_score_of_fresh_draws(runs, frames, offset):
    """The graph is made anew for each of 120 draws: 90% intervals, allowed down to 81%, four standard errors."""
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(runs), frames)
    scores, intervals = [], []
    for seed in range(120):
        latents, signal = draw_runs(rng, runs, frames, offset)
        graph, signal = knn_graph(latents, 6), (signal - signal.mean())[:, None]
        scores.append(smoothness(None, signal, graph=graph)["signal_0"].score)
        samples = bootstrap_scores(graph, signal, 150, seed, groups)
        intervals.append(np.ravel(percentile_interval(samples, 0.9)))
    low, high = np.transpose(intervals)
    assert np.mean((low <= np.mean(scores)) & (np.mean(scores) <= high)) > 0.81
    assert np.mean(high - low) < 1.4 * 2 * 1.645 * np.std(scores)  # and not by being far too wide


def test_frames_as_independent_snapshots_are_overconfident():
    latents, signal = draw_runs(np.random.default_rng(1), 20, 25, 1.5)
    groups = np.repeat(np.arange(20), 25)
    alone = smoothness(latents, signal, bootstrap=100)["signal"]
    blocks = smoothness(latents, signal, bootstrap=100, groups=groups)["signal"]
    assert blocks.score_error > 1.5 * alone.score_error
    assert blocks.score_lower < blocks.score < blocks.score_upper


def test_deterministic_and_the_same_draws_on_every_graph():
    rng = np.random.default_rng(0)
    latents, signal = rng.normal(size=(100, 2)), rng.normal(size=(100, 1))
    first, again = (bootstrap_scores(knn_graph(latents), signal, 33, 4) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = bootstrap_scores(knn_graph(latents + 1e-6 * rng.normal(size=(100, 2))), signal, 33, 4)
    assert np.corrcoef(first[:, 0], other[:, 0])[0, 1] > 0.99


def test_samples_without_a_score_take_no_part():
    low, high = percentile_interval(np.array([[0.0, np.nan], [1.0, np.nan], [np.nan, np.nan]]), 0.5)
    np.testing.assert_allclose(low, [0.25, np.nan])
    np.testing.assert_allclose(high, [0.75, np.nan])
