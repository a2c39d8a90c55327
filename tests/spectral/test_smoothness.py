import math
import pickle
import sys

import numpy as np
import pytest
import torch
from known_graphs import path_graph, path_values, path_vector, product_graph, ring_graph
from scipy import sparse, stats
from scipy.spatial.transform import Rotation

from gmvae_fast.spectral import degrees, eigenpairs, knn_graph, laplacian, one_vs_rest, results, smoothness

NUMBERS = ["score", "dirichlet", "expected_dirichlet", "geary_c", "z_score", "z_normal", "log10_p"]


def disc_latents(n=600, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), rng


def numbers(signal):
    return np.array([getattr(signal, name) for name in NUMBERS])


def test_dirichlet_energy_of_an_eigenvector_is_its_eigenvalue():
    signals = {f"mode {i}": path_vector(90, i) for i in (1, 2, 7, 40, 89)}
    result = smoothness(None, signals, graph=path_graph(90))
    for index in (1, 2, 7, 40, 89):
        signal = result[f"mode {index}"]
        assert signal.dirichlet == pytest.approx(path_values(90)[index], rel=1e-10)
        expected = 2 * 89 / 89  # tr L = twice the edges, over N - 1
        assert signal.expected_dirichlet == pytest.approx(expected)
        assert signal.score == pytest.approx(1 - path_values(90)[index] / expected, rel=1e-10)
    assert result.ranking == ("mode 1", "mode 2", "mode 7", "mode 40", "mode 89")


@pytest.mark.parametrize("index", [1, 2, 5, 11])
def test_low_frequency_energy_of_an_eigenvector_jumps_at_its_index(index):
    """With f = Deg^(-1/2) u_l, x = u_l: nothing before l, everything from l on."""
    graph = product_graph(path_graph(9), path_graph(6))
    pairs = eigenpairs(laplacian(graph, "symmetric"), 20)
    signal = pairs.vectors[:, index] / np.sqrt(degrees(graph)) + 3.0
    curve = smoothness(None, signal, graph=graph)["signal"].cumulative_energy(20)
    np.testing.assert_allclose(curve[:index], 0, atol=1e-20)
    np.testing.assert_allclose(curve[index:], 1, atol=1e-12)


def test_energy_over_all_modes_is_one_and_grows():
    latents, rng = disc_latents(150)
    result = smoothness(latents, {"noise": rng.normal(size=150), "x": latents[:, 0]})
    for signal in result.values():
        curve = signal.cumulative_energy(150)
        assert curve.shape == (150,)
        assert (np.diff(curve) >= 0).all()
        assert curve[-1] == pytest.approx(1.0, abs=1e-12)
        assert signal.low_frequency_energy(37) == pytest.approx(curve[36], rel=1e-9)
    assert result["x"].low_frequency_energy(5) > 0.8
    assert result["noise"].low_frequency_energy(5) < 0.15


def test_energy_follows_its_definition():
    latents, rng = disc_latents(200)
    graph = knn_graph(latents, 6, weights="gaussian")
    signal = rng.normal(size=200)
    degree = degrees(graph)
    x = np.sqrt(degree) * (signal - (degree @ signal) / degree.sum())
    _, vectors = np.linalg.eigh(laplacian(graph, "symmetric").toarray())
    expected = np.cumsum((vectors.T @ x) ** 2) / (x @ x)
    curve = smoothness(None, signal, graph=graph)["signal"].cumulative_energy(60)
    np.testing.assert_allclose(curve, expected[:60], atol=1e-10)
    assert curve[0] < 1e-20  # x is orthogonal to the null vector


def test_eigenpairs_are_computed_once_for_all_signals(monkeypatch):
    calls = []

    def counted(matrix, m):
        calls.append(m)
        return eigenpairs(matrix, m)

    monkeypatch.setattr(results, "eigenpairs", counted)
    latents, _ = disc_latents(100)
    result = smoothness(latents, {"x": latents[:, 0], "y": latents[:, 1]})
    assert result["x"].score > 0  # no eigenpairs for this
    assert calls == []
    result.table(energies=(3, 8, 5))
    result["y"].cumulative_energy(8)
    assert result.eigenpairs(4).vectors.shape == (100, 4)
    assert calls == [8]
    result["x"].low_frequency_energy(12)
    assert calls == [8, 12]


def test_smooth_signals_score_near_one():
    latents, _ = disc_latents(3000)
    signals = {"x": latents[:, 0], "wave": np.sin(latents[:, 0] + latents[:, 1])}
    for signal in smoothness(latents, signals).values():
        assert 0.98 < signal.score < 1
        assert signal.z_score > 50
        assert signal.log10_p < -500


def test_checkerboard_is_rougher_than_chance():
    graph = product_graph(path_graph(10), path_graph(10))
    signal = smoothness(None, np.indices((10, 10)).sum(0).ravel() % 2, graph=graph)["signal"]
    assert signal.score < -0.9
    assert signal.z_score < -5
    assert signal.p_value > 0.999


@pytest.mark.parametrize("weights", ["binary", "gaussian"])
def test_white_noise_has_standard_normal_z_scores(weights):
    """400 seeds: mean within 4 / sqrt(400), standard deviation within 4 / sqrt(800), and a Kolmogorov test."""
    latents, _ = disc_latents(500)
    graph = knn_graph(latents, weights=weights)
    noise = np.random.default_rng(7).standard_normal((500, 400))
    found = smoothness(None, noise, graph=graph)
    for name in ("z_score", "z_normal"):
        z = np.array([getattr(signal, name) for signal in found.values()])
        assert abs(z.mean()) < 0.2
        assert abs(z.std() - 1) < 0.15
        assert stats.kstest(z, "norm").pvalue > 1e-3
    assert abs(np.mean([signal.score for signal in found.values()])) < 0.01


def test_permutations_of_a_skewed_signal_follow_the_randomisation_moments():
    """For a rare class only the randomisation variance is right; 2000 permutations, 5 standard errors."""
    latents, rng = disc_latents(60)
    graph = knn_graph(latents, 3)
    signal = np.zeros(60)
    signal[:2] = 1.0
    permuted = np.stack([rng.permutation(signal) for _ in range(2000)], axis=1)
    z = np.array([s.z_score for s in smoothness(None, permuted, graph=graph).values()])
    assert abs(z.mean()) < 5 / math.sqrt(2000)
    assert abs(z.var() - 1) < 5 * np.sqrt((z**2).var() / 2000)


@pytest.mark.parametrize(("scale", "shift"), [(3.0, 0.0), (-2.0, 5.0), (1e-250, 0.0), (1e300, 0.0), (1.0, 1e6)])
def test_invariant_to_scale_and_shift_of_the_signal(scale, shift):
    latents, rng = disc_latents(200)
    signal = latents[:, 0] + 0.3 * rng.normal(size=200)
    graph = knn_graph(latents)
    a = smoothness(None, signal, graph=graph)["signal"]
    b = smoothness(None, scale * signal + shift, graph=graph)["signal"]
    np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-8)
    np.testing.assert_allclose(b.cumulative_energy(9), a.cumulative_energy(9), rtol=1e-7, atol=1e-15)


def test_invariant_to_the_order_of_the_nodes():
    latents, rng = disc_latents(300)
    order = rng.permutation(300)
    signal = np.sin(3 * latents[:, 0])
    a, b = smoothness(latents, signal)["signal"], smoothness(latents[order], signal[order])["signal"]
    np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-10)
    np.testing.assert_allclose(b.cumulative_energy(12), a.cumulative_energy(12), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("index", ["exact", "kdtree"])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_invariant_to_rotation_and_translation_of_the_latents(index, offset):
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 3))
    signal = latents[:, 0] ** 2
    moved = Rotation.from_rotvec([1.0, 0.2, -0.4]).apply(latents) * 0.01 + offset
    a, b = (smoothness(z, signal, index=index, weights="gaussian")["signal"] for z in (latents, moved))
    np.testing.assert_allclose(numbers(b), numbers(a), rtol=1e-6)


def test_components_are_reported():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 2)) + 100 * np.arange(3)[np.arange(300) % 3, None]
    result = smoothness(latents, {"cluster": np.arange(300) % 3, "noise": rng.normal(size=300)})
    assert result.n_components == 3
    assert result["cluster"].score == 1.0  # constant on every component: no edge sees a difference
    assert result["cluster"].dirichlet == 0.0
    assert result["cluster"].low_frequency_energy(3) == pytest.approx(1.0, abs=1e-12)
    assert "3 connected components" in str(result)
    assert all(row["n_components"] == 3 for row in result.table())


def test_collapsed_latents_do_not_make_an_ordered_signal_smooth():
    with pytest.warns(UserWarning, match="identical"):
        signal = smoothness(np.zeros((1000, 2)), np.arange(1000))["signal"]
    assert abs(signal.z_score) < 4
    assert abs(signal.score) < 0.1


def test_energy_with_isolated_nodes():
    """An isolated node has degree 0: it takes no part in x, and the rest is unchanged."""
    ring = ring_graph(30)
    graph = sparse.block_diag([ring, sparse.csr_array((2, 2))], format="csr")
    signal = np.concatenate([np.cos(2 * np.pi * np.arange(30) / 30), [5.0, -9.0]])
    result = smoothness(None, signal, graph=graph)
    assert result.n_components == 3
    curve = result["signal"].cumulative_energy(5)
    np.testing.assert_allclose(curve, [0, 0, 0, curve[3], 1], atol=1e-12)


@pytest.mark.parametrize("constant", [np.full(50, 0.1), np.zeros(50), np.full(50, 1e300), np.ones(50, bool)])
def test_constant_signal_has_no_score(constant):
    latents, _ = disc_latents(50)
    with pytest.warns(UserWarning, match="no score for 'c': they are constant"):
        result = smoothness(latents, {"c": constant, "x": latents[:, 0]})
    signal = result["c"]
    assert all(math.isnan(v) for v in (signal.score, signal.dirichlet, signal.geary_c, signal.z_score))
    assert all(math.isnan(v) for v in (signal.p_value, signal.log10_p, signal.z_normal, signal.p_normal))
    assert np.isnan(signal.cumulative_energy(4)).all()
    assert result["x"].score > 0.5
    assert result.ranking == ("x", "c")
    assert "nan" in str(result)


def test_graph_without_edges_has_no_score():
    with pytest.warns(UserWarning, match="the graph has no edges"):
        result = smoothness(None, np.arange(5), graph=sparse.csr_array((5, 5)))
    assert math.isnan(result["signal"].score)
    assert math.isnan(result["signal"].low_frequency_energy(2))
    assert result.n_components == 5


def test_forms_of_signals_agree():
    pandas = pytest.importorskip("pandas")
    latents, _ = disc_latents(100)
    both = {"signal_0": latents[:, 0], "signal_1": latents[:, 1]}
    expected = smoothness(latents, both)
    forms = [latents, torch.from_numpy(latents), pandas.DataFrame(both)]
    for form in forms:
        found = smoothness(torch.from_numpy(latents), form)
        assert list(found) == ["signal_0", "signal_1"]
        for name in found:
            np.testing.assert_array_equal(numbers(found[name]), numbers(expected[name]))


def test_given_graph_equals_computed_graph():
    latents, _ = disc_latents(100)
    a = smoothness(latents, latents[:, 0], n_neighbors=6, weights="gaussian", symmetrize="mutual")
    b = smoothness(latents, latents[:, 0], graph=knn_graph(latents, 6, weights="gaussian", symmetrize="mutual"))
    np.testing.assert_array_equal(numbers(a["signal"]), numbers(b["signal"]))
    assert a.settings == {"n_neighbors": 6, "weights": "gaussian", "symmetrize": "mutual"}
    assert b.settings == {}


def test_result_is_a_mapping_with_a_table():
    pandas = pytest.importorskip("pandas")
    latents, rng = disc_latents(100)
    result = smoothness(latents, {"x": latents[:, 0], "noise": rng.normal(size=100)})
    assert set(result) == {"x", "noise"}
    assert len(result) == 2
    with pytest.raises(KeyError, match="no signal 'Re'; the result holds 'x', 'noise'"):
        result["Re"]
    rows = result.table(energies=[4])
    assert rows[0]["signal"] == "x"
    assert rows[0]["score"] == result["x"].score
    assert rows[0]["energy_4"] == result["x"].low_frequency_energy(4)
    frame = result.table(energies=[4], as_frame=True)
    assert isinstance(frame, pandas.DataFrame)
    assert frame.to_dict("records") == rows


def test_as_frame_without_pandas_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    latents, _ = disc_latents(50)
    with pytest.raises(ImportError, match="as_frame=True needs pandas"):
        smoothness(latents, latents).table(as_frame=True)


def test_text_shows_small_p_values():
    latents, _ = disc_latents(3000)
    lines = str(smoothness(latents, {"x": latents[:, 0]})).splitlines()
    assert lines[0] == ("3000 nodes, n_neighbors=10, weights=binary, symmetrize=union, 1 connected component")
    assert lines[2].startswith("x ")
    assert "e-" in lines[2].split()[3]
    assert float(lines[2].split()[1]) == pytest.approx(smoothness(latents, latents[:, 0])["signal"].score, abs=1e-4)


def test_result_can_be_pickled():
    latents, _ = disc_latents(80)
    result = smoothness(latents, {"x": latents[:, 0]})
    copy = pickle.loads(pickle.dumps(result))
    assert copy["x"].score == result["x"].score
    assert copy["x"].low_frequency_energy(5) == pytest.approx(result["x"].low_frequency_energy(5))


def test_labels_are_scored_one_against_the_rest():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    latents = rng.normal(size=(300, 2)) + 100 * labels[:, None]
    result = smoothness(latents, {"x": latents[:, 0]}, labels=labels)
    assert list(result) == ["x", "label=0", "label=1", "label=2"]
    assert result["label=1"].score == 1.0
    only = smoothness(latents, labels=np.array(["low", "mid", "high"])[labels])
    assert list(only) == ["label=high", "label=low", "label=mid"]


@pytest.mark.parametrize("labels", [[2, 0, 2], [2.0, 0.0, 2.0], torch.tensor([2, 0, 2]), np.array([2, 0, 2], "uint8")])
def test_one_vs_rest(labels):
    found = one_vs_rest(labels, prefix="group")
    assert list(found) == ["group=0", "group=2"]
    np.testing.assert_array_equal(found["group=0"], [0, 1, 0])
    np.testing.assert_array_equal(found["group=2"], [1, 0, 1])
    assert found["group=0"].dtype == np.float64


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([1, 1], ValueError, "at least two categories, got 1"),
        ([0.5, 1.0], ValueError, "fractional values"),
        ([0.0, np.nan], ValueError, "labels holds 1 NaN"),
        ([[0, 1]], ValueError, r"labels must have shape \[N\]"),
        (np.array([1, "a"], object), TypeError, "one sortable type"),
        ([], ValueError, "at least two categories"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        one_vs_rest(labels)


LATENTS = disc_latents(30)[0]
X = LATENTS[:, 0]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"signals": {"Re": np.where(X[4] == X, np.nan, X)}}, ValueError, "signal 'Re' holds 1 NaN .* row 4"),
        ({"signals": {"Re": X[:-1]}}, ValueError, "signal 'Re' must have one value per latent, 30, got 29"),
        ({"signals": {"Re": LATENTS}}, ValueError, r"signal 'Re' must have shape \[N\], got \(30, 2\)"),
        ({"signals": {"Re": ["a"] * 30}}, TypeError, "signal 'Re' must hold real numbers.* as labels"),
        ({"signals": {"Re": X.astype(complex)}}, TypeError, "signal 'Re' must hold real numbers"),
        ({"signals": {1: X, "1": X}}, ValueError, "the same as strings"),
        ({"signals": LATENTS[None]}, ValueError, "signals must be a mapping or have shape"),
        ({"signals": {}}, ValueError, "give at least one quantity"),
        ({}, ValueError, "give at least one quantity"),
        ({"signals": {"label=0": X}, "labels": np.arange(30) % 2}, ValueError, r"share the names \['label=0'\]"),
        ({"signals": X, "labels": np.arange(29) % 2}, ValueError, "labels must have one value per latent, 30, got 29"),
        ({"signals": X, "groups": np.array([1.0, np.nan] * 15, object)}, ValueError, "groups holds 15 NaN"),
        ({"signals": X, "labels": np.array([1.0, np.nan] * 15, object)}, ValueError, "labels holds 15 NaN"),
        ({"signals": X, "groups": np.array(["NaT", "2020"] * 15, "M8[s]")}, ValueError, "groups holds 15 NaN"),
        ({"signals": {"Re": [[1, 2], [3]] * 15}}, ValueError, "signal 'Re' must be an array.* unequal shapes"),
        ({"signals": X, "connect": "no"}, TypeError, "connect must be True or False, got 'no'"),
        ({"signals": X, "graph": ring_graph(29)}, ValueError, "graph has 29 nodes, but there are 30 latents"),
        ({"signals": X, "n_neighbors": 30}, ValueError, "needs at least 31 latents, got 30"),
        ({"signals": X, "min_recall": "high"}, ValueError, r"min_recall must lie in \(0, 1\], got 'high'"),
        ({"signals": X, "seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"signals": X, "confidence": "95%"}, ValueError, "confidence must lie between 0 and 1, got '95%'"),
        ({"signals": np.ma.masked_greater(X, X.min())}, ValueError, "signal 'signal' holds 29 masked value"),
        ({"signals": X, "labels": np.ma.masked_equal(np.arange(30) % 3, 2)}, ValueError, "labels holds 10 masked"),
        ({"signals": X, "groups": np.ma.masked_equal(np.arange(30), 2)}, ValueError, "groups holds 1 masked"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        smoothness(LATENTS, **arguments)


def test_neither_latents_nor_a_graph():
    with pytest.raises(ValueError, match="latents must be given, or a graph made before"):
        smoothness(None, X)


def test_text_and_table_tell_what_was_asked_for():
    latents = np.concatenate([LATENTS, LATENTS + 100])
    found = smoothness(latents, latents[:, 0], n_neighbors=4, connect=True, permutations=19, bootstrap=9)
    head, columns, row = str(found).splitlines()
    assert head.endswith("1 connected component, 1 edge added")
    assert columns.endswith("Dirichlet  p permuted  interval of the score")
    low, high = found["signal"].score_lower, found["signal"].score_upper
    assert row.split()[-3:] == ["0.0500", f"[{low:.4f},", f"{high:.4f}]"]
    assert found.table()[0]["n_added_edges"] == 1
    plain = smoothness(latents, latents[:, 0], n_neighbors=4)
    assert "permuted" not in str(plain)
    assert "n_added_edges" not in plain.table()[0]
    with pytest.raises(TypeError, match="energies must be a sequence, one number of modes each, got 5"):
        plain.table(energies=5)


def test_energy_estimates_hold_the_exact_energies():
    latents, rng = disc_latents(400)
    result = smoothness(latents, {"x": latents[:, 0], "noise": rng.normal(size=400)}, weights="gaussian")
    for signal in result.values():
        for m in (1, 10, 40, 200):
            found = signal.energy_estimate(m)
            assert found.lower - 1e-9 <= signal.low_frequency_energy(m) <= found.upper + 1e-9
    values = result.eigenpairs(20).values
    counted = result.density_of_states().count(values + 1e-9)
    assert ((counted.lower <= np.arange(1, 21)) & (np.arange(1, 21) <= counted.upper)).all()


def test_spectral_measures_of_all_signals_share_one_recurrence(monkeypatch):
    calls = []
    block = results.measure_block
    monkeypatch.setattr(results, "measure_block", lambda *a, **k: (calls.append(a[1].shape), block(*a, **k))[1])
    latents, _ = disc_latents(100)
    with pytest.warns(UserWarning, match="no score for 'c'"):
        result = smoothness(latents, {"x": latents[:, 0], "c": np.ones(100), "y": latents[:, 1]})
    assert result["x"].spectral_measure().mean > 0
    assert result["y"].energy_estimate(10).value > 0.5
    assert np.isnan(result["c"].energy_estimate(10).value)
    with pytest.raises(ValueError, match="signal 'c' has no spectral measure"):
        result["c"].spectral_measure()
    assert calls == [(100, 2)]


def test_how_the_graph_was_found_is_reported():
    latents, _ = disc_latents(100)
    result = smoothness(latents, {"x": latents[:, 0]})
    assert (result.recall, result.index, result.n_added_edges) == (1.0, "kdtree", 0)
    assert result.table()[0]["recall"] == 1.0
    given = smoothness(None, {"x": latents[:, 0]}, graph=result.graph)
    assert math.isnan(given.recall)
    assert given.index == ""
    parts = smoothness(latents + 50 * (np.arange(100) % 2)[:, None], latents[:, 0], connect=True)
    assert (parts.n_components, parts.n_added_edges) == (1, 1)


def test_plot(tmp_path):
    figure_module = pytest.importorskip("matplotlib.figure", reason="plots need matplotlib")
    latents, rng = disc_latents(200)
    result = smoothness(latents, {"x": latents[:, 0], "noise": rng.normal(size=200)}, bootstrap=20)
    figure = result.plot(tmp_path / "scores.png")
    assert isinstance(figure, figure_module.Figure)
    assert (tmp_path / "scores.png").stat().st_size > 10_000
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["noise", "x"]
    assert [line.get_label() for line in right.lines] == ["x", "noise"]


def test_plot_without_matplotlib_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    latents, _ = disc_latents(50)
    with pytest.raises(ImportError, match="plot needs matplotlib"):
        smoothness(latents, latents[:, 0]).plot()


def test_masked_arrays_without_masked_values_are_plain_arrays():
    rng = np.random.default_rng(0)
    latents, signal, labels = rng.normal(size=(40, 2)), rng.normal(size=40), np.arange(40) % 3
    plain = smoothness(latents, signal, labels=labels, groups=labels, bootstrap=5)
    masked = smoothness(
        *map(np.ma.masked_array, (latents, signal)),
        labels=np.ma.masked_array(labels),
        groups=np.ma.masked_array(labels),
        bootstrap=5,
    )
    assert list(plain) == list(masked)
    for name in plain:
        assert plain[name].score == masked[name].score
        np.testing.assert_array_equal(plain[name].score_samples, masked[name].score_samples)


def test_ragged_latents_are_named():
    with pytest.raises(ValueError, match="latents must be an array, got a sequence of parts of unequal shapes"):
        smoothness([[1.0, 2.0], [3.0]], [1.0, 2.0])
