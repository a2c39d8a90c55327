import numpy as np
import pytest

from gmvae_fast.spectral import neighbor_sweep, smoothness, sweep, weights_sweep

RNG = np.random.default_rng(0)
LATENTS = RNG.normal(size=(300, 2))
SIGNALS = {"x": LATENTS[:, 0], "wave": np.sin(4 * LATENTS[:, 0]), "noise": RNG.normal(size=300)}


def test_every_result_is_that_of_smoothness():
    sweep = neighbor_sweep(LATENTS, SIGNALS, (5, 20), weights="gaussian")
    for k in (5, 20):
        single = smoothness(LATENTS, SIGNALS, n_neighbors=k, weights="gaussian")
        assert {n: s.score for n, s in sweep[k].items()} == {n: s.score for n, s in single.items()}
    np.testing.assert_array_equal(sweep.scores["x"], [sweep[5]["x"].score, sweep[20]["x"].score])
    assert [result.settings["n_neighbors"] for result in sweep] == [5, 20]


def test_a_clear_ranking_is_stable():
    sweep = neighbor_sweep(LATENTS, SIGNALS)
    assert sweep.n_neighbors == (5, 10, 20, 40)
    assert sweep.ranking_is_stable
    assert sweep[10].ranking == ("x", "wave", "noise")
    assert "ranking does not depend on n_neighbors" in str(sweep)


def test_a_ranking_that_depends_on_k_is_seen():
    """Pairs of near-identical points, opposite within a pair: rough at k = 1, as good as any at larger k."""
    line = np.arange(60.0)
    latents = np.concatenate([line, line + 1e-3])[:, None]
    side = np.repeat([0.0, 1.0], 60) + 0.2 * np.tile(line / 60, 2)
    pairs = np.tile(np.random.default_rng(0).normal(size=60), 2)
    sweep = neighbor_sweep(latents, {"side": side, "pairs": pairs}, (1, 30))
    assert sweep[1].ranking == ("pairs", "side")
    assert sweep.scores["pairs"][0] == pytest.approx(1.0)
    assert sweep.scores["pairs"][1] < 0.2
    assert sweep[1].n_components == 60
    assert sweep[30].n_components == 1


def test_table_has_one_row_per_signal_and_count():
    rows = neighbor_sweep(LATENTS, SIGNALS, (5, 10), labels=LATENTS[:, 0] > 0).table(energies=(4,))
    assert [(row["n_neighbors"], row["signal"]) for row in rows] == [
        (k, name) for k in (5, 10) for name in ("x", "wave", "noise", "label=False", "label=True")
    ]
    assert all(0 <= row["energy_4"] <= 1 for row in rows)


@pytest.mark.parametrize(
    ("counts", "error", "message"),
    [
        ((), ValueError, "at least one number and none twice"),
        ((5, 5), ValueError, "none twice"),
        ((5, 300), ValueError, "n_neighbors=300 needs at least 301 latents"),
        ((5, 2.5), TypeError, "n_neighbors must be an integer"),
    ],
)
def test_bad_counts(counts, error, message):
    with pytest.raises(error, match=message):
        neighbor_sweep(LATENTS, SIGNALS, counts)


def test_unknown_count():
    with pytest.raises(KeyError, match="no result for n_neighbors=7; the sweep holds"):
        neighbor_sweep(LATENTS, SIGNALS, (5,))[7]


def test_one_search_serves_all_counts(monkeypatch):
    calls = []
    search = sweep.nearest_neighbors
    monkeypatch.setattr(sweep, "nearest_neighbors", lambda *a, **k: (calls.append(a[1]), search(*a, **k))[1])
    monkeypatch.setattr("gmvae_fast.spectral.graph.nearest_neighbors", None)
    neighbor_sweep(LATENTS, SIGNALS, (5, 20, 10))
    weights_sweep(LATENTS, SIGNALS)
    assert calls == [20, 10]


def test_weights_sweep():
    found = weights_sweep(LATENTS, SIGNALS, ("binary", "gaussian"), n_neighbors=7)
    for weights in ("binary", "gaussian"):
        single = smoothness(LATENTS, SIGNALS, n_neighbors=7, weights=weights)
        assert {n: s.score for n, s in found[weights].items()} == {n: s.score for n, s in single.items()}
    assert found.ranking_is_stable
    assert "ranking does not depend on weights" in str(found)
    assert found.table()[0]["weights"] == "binary"
    with pytest.raises(KeyError, match="no result for weights=distance"):
        found["distance"]
    with pytest.raises(ValueError, match="none twice"):
        weights_sweep(LATENTS, SIGNALS, ("binary", "binary"))


@pytest.mark.parametrize(("sweep", "one"), [(neighbor_sweep, 10), (weights_sweep, "binary")])
def test_one_value_instead_of_several(sweep, one):
    with pytest.raises(TypeError, match=f"must be a sequence, one .* each, got {one!r}"):
        sweep(np.random.default_rng(0).normal(size=(60, 2)), np.arange(60.0), one)


@pytest.mark.parametrize("sweep", [neighbor_sweep, weights_sweep])
def test_sweeps_hand_on_the_options_of_smoothness_and_warn_once(sweep):
    latents = np.random.default_rng(0).normal(size=(60, 2))
    latents[30:] += 1000
    signals = {"x": latents[:, 0], "c": np.ones(60)}
    values = {"n_neighbors": (4, 8)} if sweep is neighbor_sweep else {}
    with pytest.warns(UserWarning, match="no score for 'c'") as caught:
        found = sweep(latents, signals, connect=True, permutations=19, groups=np.arange(60) // 6, **values)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert all(result.n_components == 1 and result.n_added_edges == 1 for result in found)
    assert all(0 < result["x"].p_permutation <= 1 for result in found)
