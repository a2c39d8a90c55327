"""The same inputs through other people's software: esda, PyGSP, scikit-learn, scipy.

esda and PyGSP are heavy and not installed with the tests: their answers are stored, with the program that asked them,
in answers/, and compared live where they are installed.
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse, stats
from scipy.sparse import csgraph
from scipy.spatial import cKDTree
from sklearn.manifold import spectral_embedding

from gmvae_fast.spectral import eigenpairs, knn_graph, laplacian, smoothness

N = 60
FOLDER = Path(__file__).with_name("answers")
ANSWERS = json.loads((FOLDER / "answers.json").read_text())
SPEC = importlib.util.spec_from_file_location("answers_of_others", FOLDER / "generate.py")
GENERATE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(GENERATE)


@pytest.fixture(scope="module")
def example():
    """Latents [60, 2], their 4-nearest-neighbour graph by scipy, and a skewed signal."""
    rng = np.random.default_rng(7)
    latents = rng.normal(size=(N, 2))
    _, nearest = cKDTree(latents).query(latents, 5)
    dense = np.zeros((N, N))
    dense[np.arange(N)[:, None], nearest[:, 1:]] = 1
    return latents, np.maximum(dense, dense.T), latents[:, 0] ** 3 + 0.5 * rng.normal(size=N)


@pytest.mark.parametrize("case", GENERATE.CASES)
def test_stored_answers_of_esda(case):
    """C, z and p of both nulls; esda's z is negative where ours is positive, its p the tail on the side of its z."""
    latents, dense, signals = GENERATE.example(case)
    _, _, k, weights, symmetrize = GENERATE.CASES[case]
    given = smoothness(None, signals, graph=dense)
    found = smoothness(latents, signals, n_neighbors=k, weights=weights, symmetrize=symmetrize)
    np.testing.assert_allclose(found.graph.toarray(), dense, rtol=1e-13)
    for name in signals:
        theirs = ANSWERS["cases"][case][name]["esda"]
        for ours in (given[name], found[name]):
            assert ours.geary_c == pytest.approx(theirs["C"], rel=1e-10)
            for z, p, null in ((ours.z_score, ours.p_value, "rand"), (ours.z_normal, ours.p_normal, "norm")):
                assert z == pytest.approx(-theirs[f"z_{null}"], rel=1e-10)
                tail = p if theirs[f"z_{null}"] < 0 else 1 - p
                assert tail == pytest.approx(theirs[f"p_{null}"], rel=1e-9, abs=1e-15)


def test_esda_where_it_is_installed(example):
    esda = pytest.importorskip("esda", reason="a live comparison; its stored answers are tested above")
    weights = pytest.importorskip("libpysal.weights")
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(300, 3))
    signal, graph = np.exp(latents[:, 0]), knn_graph(latents)
    theirs = esda.Geary(signal, weights.WSP(sparse.csr_matrix(graph)).to_W(), transformation="B", permutations=0)
    ours = smoothness(None, signal, graph=graph)["signal"]
    np.testing.assert_allclose(
        [ours.geary_c, ours.z_score, ours.z_normal], [theirs.C, -theirs.z_rand, -theirs.z_norm], rtol=1e-10
    )


def test_permutation_distribution_of_the_definition(example):
    """C of 20000 permutations through the dense quadratic form: mean, variance, and the share as smooth as seen."""
    _, graph, signal = example
    rng = np.random.default_rng(0)
    centred = signal - signal.mean()
    shuffled = rng.permuted(np.tile(centred, (20_000, 1)), axis=1)
    energies = np.einsum("pi,ij,pj->p", shuffled, np.diag(graph.sum(1)) - graph, shuffled, optimize=True)
    values = (N - 1) * energies / (graph.sum() * (centred @ centred))
    found = smoothness(None, signal, graph=graph, permutations=9999)["signal"]
    assert abs(values.mean() - 1) < 5 * values.std() / np.sqrt(20_000)
    z = (1 - found.geary_c) / values.std()
    assert z == pytest.approx(found.z_score, rel=0.05)
    share = (1 + (values <= found.geary_c).sum()) / 20_001
    assert abs(share - found.p_permutation) < 5 * np.sqrt(share / 10_000) + 1e-4


@pytest.mark.parametrize("case", GENERATE.CASES)
def test_stored_answers_of_pygsp(case):
    """Inside the null space the curve depends on its basis: it is compared from the number of components on."""
    _, dense, signals = GENERATE.example(case)
    found = smoothness(None, signals, graph=dense)
    modes = np.array([m for m in ANSWERS["modes"] if m >= found.n_components])
    assert len(modes) > 2
    for name in signals:
        theirs = ANSWERS["cases"][case][name]["pygsp"][-len(modes) :]
        np.testing.assert_allclose(found[name].cumulative_energy(41)[modes - 1], theirs, atol=1e-9)


def test_pygsp_where_it_is_installed(example):
    graphs = pytest.importorskip("pygsp", reason="a live comparison; its stored answers are tested above").graphs
    _, graph, signal = example
    theirs = graphs.Graph(graph)
    theirs.compute_laplacian("normalized")
    theirs.compute_fourier_basis()
    degree = graph.sum(1)
    x = np.sqrt(degree) * (signal - degree @ signal / degree.sum())
    expected = np.cumsum(theirs.gft(x) ** 2) / (x @ x)
    curve = smoothness(None, signal, graph=graph)["signal"].cumulative_energy(N)
    np.testing.assert_allclose(curve, expected, atol=1e-10)


@pytest.mark.parametrize("method", ["dense", "lanczos", "shift-invert", "chebyshev"])
def test_spectral_embedding_of_scikit_learn(method):
    """Its coordinates are Deg^(-1/2) u_l, up to sign."""
    latents = np.random.default_rng(1).normal(size=(400, 3))
    graph = knn_graph(latents, weights="gaussian")
    theirs = spectral_embedding(sparse.csr_matrix(graph), n_components=5, drop_first=False, random_state=0)
    pairs = eigenpairs(laplacian(graph, "symmetric"), 5, method=method)
    ours = pairs.vectors / np.sqrt(np.asarray(graph.sum(axis=1)))[:, None]
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=1e-6)


@pytest.mark.parametrize("normed", [False, True])
def test_laplacian_of_scipy_and_scikit_learn(example, normed):
    _, graph, _ = example
    expected = csgraph.laplacian(sparse.csr_array(graph), normed=normed)
    found = laplacian(graph, "symmetric" if normed else "none")
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-14)


def test_adjusted_p_values_of_scipy(example):
    latents, graph, signal = example
    noise = {f"noise {i}": np.random.default_rng(i).normal(size=N) for i in range(6)}
    signals = {"s": signal, "x": latents[:, 0], **noise}
    found = smoothness(None, signals, graph=graph)
    expected = stats.false_discovery_control([s.p_value for s in found.values()])
    np.testing.assert_allclose([s.p_adjusted for s in found.values()], expected, rtol=1e-10)
