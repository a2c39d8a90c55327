"""The reacting gas against exact solutions and its own invariants."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from gmvae_fast.data.systems import ignition
from gmvae_fast.data.systems.ignition import validation_cases as cases
from gmvae_fast.data.systems.ignition.jet import Jet, Spark, start
from gmvae_fast.data.systems.ignition.reaction import _consumed, react
from gmvae_fast.data.systems.ignition.solver import Box, Gas
from gmvae_fast.data.systems.ignition.validation import _full_checks, _quick_checks

NEVER = threading.Event()
IDEAL = Gas(diffusivity=0.0, rate=0.0)
WALLS = (("wall", "wall"), ("wall", "wall"))
PERIODIC = (("periodic", "periodic"), ("periodic", "periodic"))


def test_the_quick_validation_passes():
    report = ignition.validate(quick=True)
    assert report.passed, str(report)
    assert "validation of the ignition (quick)" in str(report)


@pytest.mark.parametrize("checks", [_full_checks, _quick_checks])
def test_bands_are_intervals_and_cases_have_different_names(checks):
    made = checks()
    assert len({check.case for check in made}) == len(made)
    assert all(band.low < band.high for check in made for band in check.bands)


def test_the_exact_riemann_solution_of_sod():
    """Values behind the waves from Toro's book, table 4.2, test 1."""
    xi = np.array([-2.0, -0.02, 0.0, 0.95, 1.7, 2.0])
    rho, u, p = cases.riemann_solution((1.0, 0.0, 1.0), (0.125, 0.0, 0.1), 1.4, xi)
    np.testing.assert_allclose(rho, [1.0, 0.42632, 0.42632, 0.26557, 0.26557, 0.125], atol=2e-5)
    np.testing.assert_allclose(u, [0.0, 0.92745, 0.92745, 0.92745, 0.92745, 0.0], atol=2e-5)
    np.testing.assert_allclose(p, [1.0, 0.30313, 0.30313, 0.30313, 0.30313, 0.1], atol=2e-5)


def test_the_riemann_solution_mirrors():
    left, right, xi = (1.0, 0.3, 2.0), (0.2, -0.1, 0.4), np.linspace(-3, 3, 101)
    forward = cases.riemann_solution(left, right, 1.3, xi)
    mirrored = cases.riemann_solution((0.2, 0.1, 0.4), (1.0, -0.3, 2.0), 1.3, -xi)
    np.testing.assert_allclose(mirrored * np.array([[1.0], [-1.0], [1.0]]), forward, atol=1e-10)


def test_sod_converges():
    coarse, fine = cases.sod(NEVER, 100), cases.sod(NEVER, 400)
    for name, error in fine.items():
        assert error < 0.35 * coarse[name], name


def _tube(axis):
    shape = (40, 3) if axis == "y" else (3, 40)
    ends, periodic = ("open", "open"), ("periodic", "periodic")
    sides = (periodic, ends) if axis == "y" else (ends, periodic)
    box = Box(shape[1], shape[0], 1 / 40, Gas(gamma=1.4), sides=sides, dtype="float64")
    x = (np.arange(40) + 0.5) / 40
    profile = x[:, None] if axis == "y" else x
    first = profile < 0.5
    velocity, other = np.where(first, 0.2, -0.1), np.where(first, 0.3, 0.0)
    u, v = (other, velocity) if axis == "y" else (velocity, other)
    box.set_state(np.where(first, 1.0, 0.2), u, v, np.where(first, 1.0, 0.3), np.where(first, 0.8, 0.0), 1.0)
    return box


def test_both_directions_are_the_same():
    x, y = _tube("x"), _tube("y")
    assert x.advance(0.15) == y.advance(0.15)
    along, up = x.primitives(), y.primitives().transpose(0, 2, 1)
    np.testing.assert_allclose(along[[0, 1, 2, 3, 4, 5]], up[[0, 2, 1, 3, 4, 5]], atol=1e-12)
    assert np.ptp(along[0]) > 0.5


def test_a_contact_at_rest_stays():
    box = Box(32, 8, 1 / 32, IDEAL, sides=WALLS, dtype="float64")
    density = np.where(box.centres[0] < 0.5, 1.0, 0.1)
    box.set_state(density, 0.0, 0.0, 1.0, 1.0 - density, 1.0)
    box.advance(0.5)
    np.testing.assert_allclose(box.primitives()[0], np.broadcast_to(density, (8, 32)), atol=1e-12)


def test_heat_diffuses_at_the_exact_rate():
    """A small temperature wave at uniform pressure decays with D k² at leading order."""
    n, amplitude, diffusivity = 64, 1e-3, 0.002
    box = Box(n, 1, 1 / n, Gas(rate=0.0, diffusivity=diffusivity), sides=PERIODIC, dtype="float64")
    wave = np.sin(2 * np.pi * box.centres[0])
    box.set_state(1.0 / (1.0 + amplitude * wave), 0.0, 0.0, 1.0, 0.5 + amplitude * wave, 1.0)
    box.advance(5.0)
    state = box.primitives()[:, 0]
    decay = np.exp(-5.0 * diffusivity * (2 * np.pi) ** 2)
    for k, mean in ((6, 1.0), (4, 0.5)):
        assert 2 * np.mean((state[k] - mean) * wave) / amplitude == pytest.approx(decay, rel=0.01)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_shear_diffuses_at_the_exact_rate(axis):
    n, viscosity = 64, 0.7 * 0.01
    nx, ny = (1, n) if axis == "x" else (n, 1)
    box = Box(nx, ny, 1 / n, Gas(rate=0.0, diffusivity=0.01), sides=PERIODIC, dtype="float64")
    s = (np.arange(n) + 0.5) / n
    wave = 0.01 * np.sin(2 * np.pi * s)
    box.set_state(1.0, wave[:, None] if axis == "x" else 0.0, wave if axis == "y" else 0.0, 1.0, 0.0, 1.0)
    box.advance(1.0)
    u = box.primitives()[1 if axis == "x" else 2].ravel()
    assert (u @ wave) / (wave @ wave) == pytest.approx(np.exp(-viscosity * (2 * np.pi) ** 2), rel=0.01)


def test_a_plane_wave_leaves_through_an_open_side():
    box = Box(100, 1, 0.01, IDEAL, sides=(("open", "open"), ("periodic", "periodic")), dtype="float64")
    pulse = 0.01 * np.exp(-(((box.centres[0] - 0.5) / 0.08) ** 2))
    box.set_state((1 + pulse) ** (1 / 1.3), 0.0, 0.0, 1 + pulse, 0.0, 1.0)
    box.advance(2.0)
    assert np.abs(box.primitives()[3] - 1).max() < 2e-5


AXIS = (("periodic", "periodic"), ("axis", "wall"))


def test_around_an_axis_uniform_gas_stays_and_a_uniform_expansion_feels_no_stress():
    """Pressure on the sides of a ring balances that around it; div tau of v = a r, u = b x is nothing."""
    box = Box(6, 10, 0.1, Gas(rate=0.0, diffusivity=0.01), sides=AXIS, dtype="float64")
    box.set_state(1.3, 0.0, 0.0, 2.0, 0.4, 1.0)
    box.advance(0.5)
    for values, expected in zip(box.primitives()[:4], (1.3, 0.0, 0.0, 2.0), strict=True):
        np.testing.assert_allclose(values, expected, atol=1e-12)
    after = []
    for prandtl in (0.0, 5.0):
        gas = Gas(rate=0.0, diffusivity=0.05, prandtl=prandtl)
        box = Box(12, 12, 0.1, gas, sides=(("open", "open"), ("axis", "open")), dtype="float64")
        x, r = box.centres
        box.set_state(1.0, 0.03 * (x - 0.6), 0.02 * r[:, None], 1.0, 0.0, 1.0)
        box.advance(1e-4)
        after.append(box.primitives()[1:3, :8, 3:-3])
    np.testing.assert_allclose(*after, atol=1e-10)


def test_stress_around_an_axis_by_a_finite_difference():
    """Radial momentum from d(r tau_rr)/dr / r + d tau_xr / dx - tau_tt / r for a smooth flow, in one small step."""
    errors = []
    for cells in (32, 64):
        after = []
        for prandtl in (0.0, 1.0):
            gas = Gas(rate=0.0, diffusivity=0.1, prandtl=prandtl)
            box = Box(cells, cells, 1 / cells, gas, sides=(("open", "open"), ("axis", "open")), dtype="float64")
            x, r = box.centres
            r = r[:, None]
            box.set_state(1.0, 0.01 * r**2 * np.sin(3 * x), 0.01 * r * np.cos(2 * r) * np.cos(3 * x), 1.0, 0.0, 1.0)
            box.advance(1e-6)
            after.append(box.primitives()[1:3])
        change = (after[1] - after[0]) / (1e-6 * 0.1)
        # By hand, mu = 1: v = f(r) cos 3x with f = r cos 2r, u = r^2 sin 3x; all over 100.
        f = r * np.cos(2 * r)
        f1 = np.cos(2 * r) - 2 * r * np.sin(2 * r)
        f2 = -4 * np.sin(2 * r) - 4 * r * np.cos(2 * r)
        c, s = np.cos(3 * x), np.sin(3 * x)
        laplace_v = (f2 + f1 / r - f / r**2 - 9 * f) * c
        laplace_u = (4 - 9 * r**2) * s
        div_r = (f2 + f1 / r - f / r**2 + 6 * r) * c  # of (f' + f / r + 3 r^2) cos 3x
        div_x = -3 * (f1 + f / r + 3 * r**2) * s
        exact = 0.01 * np.stack([laplace_u + div_x / 3, laplace_v + div_r / 3])
        # By volume: at the innermost rings the mean over a cell is not the value at its middle.
        inner = (slice(None), slice(0, cells - 4), slice(4, -4))
        errors.append((np.abs(change - exact) * r)[inner].mean() / np.abs(exact * r).mean())
    assert errors[1] < 0.35 * errors[0] < 0.01


def test_a_point_blast_around_an_axis_is_round():
    box = Box(48, 48, 1 / 48, Gas(gamma=1.4, diffusivity=0.0, rate=0.0), sides=(("wall", "open"), ("axis", "open")))
    box.set_state(1.0, 0.0, 0.0, 1e-4, 0.0, 0.0)
    x, r = box.centres
    spot = np.exp(-(x**2 + r[:, None] ** 2) * 16**2)
    box.add_energy(0.3 * spot / (spot * box.lengths).sum() * 48**2)
    box.advance(0.5)
    shocked = box.primitives()[0] > 2
    along, across = (np.flatnonzero(line).max() for line in (shocked[0], shocked[:, 0]))
    assert 20 < along < 46
    assert abs(along - across) <= 1


@pytest.mark.parametrize("sides", [(("axis", "open"), ("open", "open")), (("open", "open"), ("open", "axis"))])
def test_only_the_lower_side_is_an_axis(sides):
    with pytest.raises(ValueError, match="only the lower side can be the axis"):
        Box(4, 4, 0.1, sides=sides)


def test_a_spark_around_an_axis_deposits_its_energy_and_stands_on_it():
    box, without = (start(48, Jet(1.0), Spark(e, 0.8, 0.0, np.pi), "float64", axisymmetric=True) for e in (0.01, 0.0))
    assert box.totals()["energy"] - without.totals()["energy"] == pytest.approx(0.01, rel=1e-9)
    assert box.totals()["mass"] == pytest.approx(2 * np.pi)
    for spark in (Spark(0.01, 0.8, 0.1, 0.0), Spark(0.01, 0.8, 0.0, 0.3)):
        with pytest.raises(ValueError, match="must stand on it"):
            start(48, Jet(1.0), spark, axisymmetric=True)


@given(
    fuel=st.floats(1e-6, 1.5),
    oxygen=st.floats(1e-6, 1.5),
    first=st.floats(0.0, 20.0),
    second=st.floats(0.0, 20.0),
)
@settings(max_examples=200, deadline=None)
def test_reaction_at_frozen_temperature(fuel, oxygen, first, second):
    """Never more than there is, and two steps are one step of both lengths: the solution is exact."""
    one = _consumed(fuel, oxygen, first)
    assert -1e-12 <= one <= min(fuel, oxygen) * (1 + 1e-9)
    two = one + _consumed(fuel - one, oxygen - one, second)
    assert two == pytest.approx(_consumed(fuel, oxygen, first + second), rel=1e-5, abs=1e-9)


def test_reaction_against_an_ode_solver():
    from scipy.integrate import solve_ivp

    gas, rho, fuel, oxygen, temperature = Gas(), 0.4, 0.9, 1.0, 4.0
    box = Box(1, 1, 1.0, gas, dtype="float64")
    box.set_state(rho, 0.1, 0.2, rho * temperature, fuel, oxygen)

    def rhs(t, y):
        warm = temperature + (gas.gamma - 1) * gas.chemical_energy * (fuel - y[0])
        return [-gas.rate * rho * y[0] * (oxygen - fuel + y[0]) * np.exp(-gas.activation / warm)]

    # Just short of thermal runaway, where errors in the rate are magnified most.
    end = 0.011
    exact = solve_ivp(rhs, (0, end), [fuel], rtol=1e-10, atol=1e-12).y[0, -1]
    steps = 60
    for _ in range(steps):
        react(box.q, box.stride, 1, end / steps, gas.gamma, gas.rate, gas.activation, gas.chemical_energy)
    assert fuel - exact > 0.05
    assert box.primitives()[4, 0, 0] == pytest.approx(exact, rel=0.02)


@given(st.floats(0.06, 0.22), st.floats(0.5, 1.5), st.floats(-0.35, 0.35), st.floats(-3.2, 3.2))
@settings(max_examples=20, deadline=None)
def test_a_spark_deposits_its_energy(energy, x, y, tilt):
    jet = Jet(1.0)
    box, without = (
        start(48, jet, Spark(energy, x, y, tilt), "float64"),
        start(48, jet, Spark(0.0, x, y, tilt), "float64"),
    )
    assert box.totals()["energy"] - without.totals()["energy"] == pytest.approx(energy, rel=1e-9)
    assert box.totals()["mass"] == pytest.approx(4.0)
    assert box.totals()["burnt"] == pytest.approx(0.0, abs=1e-12)


def test_a_spark_outside_is_refused():
    with pytest.raises(ValueError, match="outside the window"):
        start(48, Jet(1.0), Spark(0.1, 9.0, 0.0, 0.0))


def test_float32_agrees_with_float64():
    boxes = [start(48, Jet(1.0), Spark(0.2, 0.8, 0.1, 0.5), dtype) for dtype in ("float32", "float64")]
    for box in boxes:
        box.advance(0.4)
    single, double = (box.primitives() for box in boxes)
    np.testing.assert_allclose(single[6], double[6], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nx": 0}, "nx and ny"),
        ({"spacing": 0.0}, "spacing"),
        ({"cfl": 1.0}, "cfl"),
        ({"sides": (("open", "shut"), ("open", "open"))}, "sides"),
    ],
)
def test_bad_boxes_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        Box(**{"nx": 8, "ny": 8, "spacing": 0.1, **arguments})


@pytest.mark.parametrize(("arguments", "message"), [({"gamma": 1.0}, "gamma"), ({"rate": -1.0}, "rate")])
def test_bad_gases_name_the_argument(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gas(**arguments)


def test_bad_states_are_refused():
    with pytest.raises(ValueError, match="positive"):
        Box(4, 4, 0.1).set_state(1.0, 0.0, 0.0, -1.0, 0.0, 1.0)


def test_a_broken_state_is_noticed_and_a_stopped_run_stops():
    box = Box(8, 8, 0.1)
    stop = threading.Event()
    stop.set()
    with pytest.raises(ignition.Interrupted):
        box.advance(1.0, stop)
    box.q[3, 50] = np.nan
    with pytest.raises(ignition.SimulationError, match="blew up at time 0 of this test"):
        box.advance(1.0, name="of this test")
