import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import simpson, solve_ivp

from gmvae_fast.data import systems
from gmvae_fast.data.snapshots import Snapshots
from gmvae_fast.data.systems import surface_reaction
from gmvae_fast.data.systems.surface_reaction import blocks, oscillator, scalar
from gmvae_fast.data.systems.surface_reaction.designs import BLOCK, MARGIN
from gmvae_fast.data.systems.surface_reaction.polynomials import real_cubic_roots
from gmvae_fast.data.systems.surface_reaction.quantities import mean_period, settling_time
from gmvae_fast.data.systems.surface_reaction.validation_cases import exact_share


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", params=surface_reaction.DESIGNS)
def made(request, cache):
    return surface_reaction.simulate(request.param, n_runs=200, seed=1, cache_dir=cache)


@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3))
@settings(max_examples=100, deadline=None)
def test_cubic_roots(roots):
    """Built from three separate real roots: all are found; from one: it alone."""
    low, middle, high = np.sort(roots)
    if min(middle - low, high - middle) > 1e-2:
        found = real_cubic_roots(np.poly([low, middle, high])[None, 1:])[0]
        np.testing.assert_allclose(found, [low, middle, high], atol=1e-8)
    pair = real_cubic_roots(np.real(np.poly([low, complex(middle, 1.0), complex(middle, -1.0)]))[None, 1:])[0]
    assert pair[0] == pytest.approx(low, abs=1e-8)
    assert np.isnan(pair[1:]).all()


@given(st.floats(0.5, 0.999), st.floats(0.1, 100.0))
@settings(max_examples=100, deadline=None)
def test_rate_and_slope_vanish_on_the_fold(rho, kappa):
    alpha, gamma = scalar.fold_curve(np.array([rho]), kappa)
    step = 1e-6
    slope = (
        scalar.rate(np.array([rho + step]), alpha, gamma, kappa)
        - scalar.rate(np.array([rho - step]), alpha, gamma, kappa)
    ) / (2 * step)
    assert abs(scalar.rate(np.array([rho]), alpha, gamma, kappa)[0]) < 1e-14 * kappa
    assert abs(slope[0]) < 1e-8 * kappa
    assert gamma[0] >= 0


def test_three_states_on_one_side_of_the_fold_only():
    for rho, inward in ((0.6, 1), (0.9, -1)):  # the fold at the lower and at the upper coverage
        alpha, gamma = scalar.fold_curve(np.array([rho]))
        count = [
            np.isfinite(scalar.steady_states(alpha, gamma * (1 + s * 1e-4), np.array([10.0]))).sum()
            for s in (inward, -inward)
        ]
        assert sorted(count) == [1, 3]


def test_the_cusp_is_where_the_folds_meet():
    alpha, gamma = surface_reaction.cusp(10.0)
    on_curve = surface_reaction.fold_curve(np.array([scalar.CUSP_COVERAGE]), 10.0)
    np.testing.assert_allclose([alpha, gamma], np.ravel(on_curve), rtol=1e-14)
    rho = np.linspace(0.5, 0.999, 2001)
    curve = surface_reaction.fold_curve(rho, 10.0)
    for values, limit in zip(curve, (alpha, gamma), strict=True):
        assert values.max() <= limit * (1 + 1e-12)
        assert abs(rho[values.argmax()] - scalar.CUSP_COVERAGE) < 5e-4
    with pytest.raises(ValueError, match=r"rho must lie in \[1/2, 1\), got values from 0.4"):
        surface_reaction.fold_curve(np.array([0.4, 0.7]))


@pytest.mark.parametrize("design", ["published", "bistable"])
def test_runge_kutta_agrees_with_scipy(design):
    block = blocks.Block(design, seed=5, block=0, count=BLOCK)
    draws, records = block.draws(), block.trajectories()
    unstable = scalar.steady_states(draws["alpha"], draws["gamma"], draws["kappa"])[:, 1]
    for i in np.argsort(np.abs(draws["rho_0"] - unstable))[:5]:  # errors grow most where the start is nearest

        def rate(_, y, i=i):
            return scalar.rate(y, draws["alpha"][i], draws["gamma"][i], draws["kappa"][i])

        times = blocks.TIMES[design]
        exact = solve_ivp(rate, times[[0, -1]], [draws["rho_0"][i]], "DOP853", times, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(records[i, 0], exact.y[0], rtol=0, atol=5e-9)


def test_the_oscillator_and_its_jacobian():
    b = np.linspace(19.0, 22.5, 71)
    still = oscillator.fixed_point(b)
    np.testing.assert_allclose(oscillator.rate(still, b), 0, atol=1e-13)
    assert (still > 0).all()
    assert (still.sum(axis=0) < 1).all()
    step = 1e-6
    for j in range(3):
        offset = np.zeros((3, 1))
        offset[j] = step
        column = (oscillator.rate(still + offset, b) - oscillator.rate(still - offset, b)) / (2 * step)
        np.testing.assert_allclose(oscillator.jacobian(still, b)[:, :, j].T, column, rtol=1e-7, atol=1e-8)
    growth = oscillator.growth_rate(b)
    np.testing.assert_array_equal(growth > 0, (b > 20.239484) & (b < 21.277913))
    assert oscillator.onset(20.0, 20.5) == pytest.approx(20.2395, abs=1e-4)
    assert np.isnan(oscillator.onset(20.5, 21.0))
    assert oscillator.onset(21.0, 21.5) == pytest.approx(21.2779, abs=1e-4)


def test_snapshots_of_every_design(made):
    design, n = made.attributes["design"], 200
    channels, samples = {"published": (1, 100), "bistable": (1, 128), "oscillating": (3, 256)}[design]
    assert made.fields.shape == (n, channels, samples)
    np.testing.assert_array_equal(made.coordinates["x"], blocks.TIMES[design])
    assert (made.fields >= 0).all()
    assert (made.fields <= 1).all()
    np.testing.assert_array_equal(made.trajectory, np.arange(n))
    label, values = next(iter(made.labels.items()))
    assert set(values) == {0, 1}
    assert 0.2 < values.mean() < 0.8
    assert len(made.attributes["label_names"][label]) > values.max()


def test_published_parameters(cache):
    q = surface_reaction.simulate("published", n_runs=2000, cache_dir=cache).quantities
    assert np.log(q["alpha"] - 0.1).std() == pytest.approx(0.025, rel=0.1)
    assert np.log((q["gamma"] - 0.001) / 0.01).std() == pytest.approx(0.025, rel=0.1)
    assert q["kappa"].min() >= 10
    assert q["kappa"].max() <= 11
    assert (q["rho_0"] == 0.89).all()
    fixed = surface_reaction.simulate("published", n_runs=2000, kappa=10.4, cache_dir=cache)
    assert (fixed.quantities["kappa"] == 10.4).all()
    np.testing.assert_array_equal(fixed.quantities["alpha"], q["alpha"])
    share = (fixed.labels["branch"] == 0).mean()
    assert share == pytest.approx(exact_share(10.4), abs=4 * (0.25 / 2000) ** 0.5)


def test_bistable_starts_keep_away_from_the_unstable_state_and_stay_on_their_side(cache):
    made = surface_reaction.simulate("bistable", n_runs=2000, cache_dir=cache)
    q, label = made.quantities, made.labels["branch"]
    roots = scalar.steady_states(q["alpha"], q["gamma"], q["kappa"])
    assert np.isfinite(roots).all()
    assert np.abs(q["rho_0_minus_unstable"]).min() >= MARGIN
    np.testing.assert_array_equal(q["rho_0_minus_unstable"] > 0, label == 1)
    np.testing.assert_array_equal(made.fields[:, 0, -1] > roots[:, 1], label == 1)
    np.testing.assert_allclose(q["rho_final"], np.where(label == 1, roots[:, 2], roots[:, 0]), atol=0.02)
    assert label.mean() == pytest.approx(0.5, abs=4 * 0.5 / 2000**0.5)


def test_the_monostable_class(cache):
    made = surface_reaction.simulate("bistable", n_runs=600, monostable=True, cache_dir=cache)
    label, q = made.labels["branch"], made.quantities
    assert made.attributes["label_names"]["branch"] == ["low", "high", "monostable"]
    np.testing.assert_array_equal(label == 2, np.isnan(q["rho_0_minus_unstable"]))
    assert (label == 2).mean() == pytest.approx(1 / 3, abs=0.08)


def test_oscillating_records_oscillate_where_the_steady_state_is_unstable(cache):
    made = surface_reaction.simulate("oscillating", n_runs=200, seed=1, cache_dir=cache)
    q, inside = made.quantities, made.labels["regime"] == 1
    np.testing.assert_array_equal(inside, (q["b"] > 20.2) & (q["b"] < 21.25))
    assert q["amplitude"][inside].min() > 0.1
    assert q["amplitude"][~inside].max() < 0.02
    np.testing.assert_array_equal(np.isfinite(q["period"]), inside)
    assert q["period"][inside].min() > 150
    assert q["period"][inside].max() < 280
    first = made.fields[inside, 0, 0]
    assert np.ptp(first) > 0.15  # phases differ


@pytest.mark.parametrize("design", ["published", "bistable"])
def test_the_flux_balances_coverage(design, cache):
    """d rho/dt integrates to the change of coverage: the flux in the quantities is that of the equation."""
    made = surface_reaction.simulate(design, n_runs=200, seed=1, cache_dir=cache)
    q, times = made.quantities, made.coordinates["x"]
    rho = made.fields[:, 0].astype(np.float64)
    others = q["alpha"][:, None] * (1 - rho) - q["gamma"][:, None] * rho
    gained = simpson(others, x=times, axis=1) - q["mean_reaction_flux"] * (times[-1] - times[0])
    np.testing.assert_allclose(gained, rho[:, -1] - rho[:, 0], atol=1e-3)


def test_settling_time_of_known_decays():
    times = np.linspace(0, 10, 2001)
    rate = np.array([1.0, 2.0, 0.01, 1.0])
    rho = 0.5 + np.array([0.3, 0.3, 0.3, 0.01])[:, None] * np.exp(-rate[:, None] * times)
    settled = settling_time(times, rho, np.full(4, 0.5))
    np.testing.assert_allclose(settled[:2], np.log(15) / rate[:2], atol=1e-4)
    assert np.isnan(settled[2])
    assert settled[3] == 0


def test_mean_period_of_sines():
    times = np.arange(0, 600, 2.5)
    periods = np.array([180.0, 200.0, 260.0])
    values = np.sin(2 * np.pi * times / periods[:, None] + np.array([0.1, 2.0, 4.0])[:, None])
    np.testing.assert_allclose(mean_period(times, values), periods, rtol=0.02)
    assert np.isnan(mean_period(times, np.zeros((1, len(times))))).all()


@pytest.mark.parametrize("design", ["published", "bistable"])
def test_results_depend_on_the_seed_alone(design, tmp_path):
    one = surface_reaction.simulate(design, 1500, seed=3, noise=0.01, workers=1, cache_dir=tmp_path / "a")
    two = surface_reaction.simulate(design, 2100, seed=3, noise=0.01, workers=3, cache_dir=tmp_path / "b")
    np.testing.assert_array_equal(one.fields, two.fields[:1500])
    for name, values in one.quantities.items():
        np.testing.assert_array_equal(values, two.quantities[name][:1500])
    other = surface_reaction.simulate(design, 1500, seed=4, cache_dir=tmp_path / "a")
    assert not np.array_equal(one.quantities["alpha"], other.quantities["alpha"])


def test_longer_oscillating_studies_contain_shorter_ones(cache):
    long, short = (surface_reaction.simulate("oscillating", n_runs=n, seed=1, cache_dir=cache) for n in (200, 7))
    np.testing.assert_array_equal(short.fields, long.fields[:7])


def test_noise_is_on_the_fields_alone(cache):
    clean, noisy = (surface_reaction.simulate(n_runs=500, noise=s, cache_dir=cache) for s in (0.0, 0.05))
    difference = noisy.fields - clean.fields
    assert difference.std() == pytest.approx(0.05, rel=0.02)
    assert abs(difference.mean()) < 1e-3
    for name, values in clean.quantities.items():
        np.testing.assert_array_equal(values, noisy.quantities[name])


def test_finished_blocks_are_kept_and_found(tmp_path):
    def interrupt(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surface_reaction.simulate(n_runs=3000, workers=1, cache_dir=tmp_path, progress=interrupt)
    kept = len(list(tmp_path.rglob("*.npz")))
    assert kept in (1, 2)  # the next block may have ended before it was told to stop
    calls = []
    made = surface_reaction.simulate(n_runs=3000, cache_dir=tmp_path, progress=lambda *a: calls.append(a))
    assert calls[0] == (kept, 3)
    assert calls[-1] == (3, 3)
    assert len(made) == 3000


def test_a_stopped_block_stops():
    stop = threading.Event()
    stop.set()
    with pytest.raises(surface_reaction.Interrupted):
        blocks.Block("oscillating", 0, 0, 10).run(stop)


def test_sizes_and_files(tmp_path):
    made = systems.simulate("surface_reaction", size="tiny", cache_dir=tmp_path)
    assert len(made) == 64
    made.save(tmp_path / "s.npz")
    again = Snapshots.load(tmp_path / "s.npz")
    np.testing.assert_array_equal(again.fields, made.fields)
    assert again.attributes == made.attributes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": "clustered"}, "'published', 'bistable', 'oscillating'"),
        ({"size": "huge"}, "'tiny', 'demo', 'paper'"),
        ({"n_runs": 0}, "n_runs must be an integer >= 1, got 0"),
        ({"n_runs": 1.5}, "n_runs"),
        ({"seed": -1}, "seed must be an integer >= 0"),
        ({"noise": -0.1}, "noise must be a finite number >= 0"),
        ({"noise": float("nan")}, "noise"),
        ({"kappa": 10.5}, "kappa is an option of the design 'published' only"),
        ({"design": "published", "kappa": 0.0}, "kappa must be a finite number > 0"),
        ({"design": "oscillating", "monostable": True}, "monostable must be False"),
        ({"monostable": 1}, "monostable"),
        ({"workers": 0}, "workers"),
    ],
)
def test_bad_arguments_name_what_is_allowed(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        surface_reaction.simulate(**{"n_runs": 1, "cache_dir": tmp_path, **arguments})


def test_options_of_another_system_are_refused(tmp_path):
    with pytest.raises(ValueError, match="surface_reaction has no option 'geometry'; it takes design"):
        systems.simulate("surface_reaction", geometry="channel", n_runs=1, cache_dir=tmp_path)
    with pytest.raises(ValueError, match="wake has no option 'kappa', 'noise'"):
        systems.simulate("wake", kappa=1, noise=2)


def test_the_quick_validation_passes():
    report = surface_reaction.validate(quick=True)
    assert report.passed, str(report)
    assert str(report).endswith("validation of the surface reaction (quick): passed")
    assert set(report.seconds) == {row.case for row in report.rows}
    with pytest.raises(ValueError, match="workers"):
        surface_reaction.validate(quick=True, workers=0)


def test_exact_shares():
    """The shares first measured for the design, to within the sampling error of 500 runs."""
    for kappa, share in ((10, 0.10), (10.2, 0.28), (10.4, 0.62), (10.6, 0.84), (10.8, 0.965), (11, 0.998)):
        exact = exact_share(kappa)
        assert abs(exact - share) < 3 * (exact * (1 - exact) / 500) ** 0.5
