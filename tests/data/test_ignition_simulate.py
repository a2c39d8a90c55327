"""Sparks from design to pictures, at the size that takes seconds."""

from threading import Event

import numpy as np
import pytest

pytest.importorskip("numba")

from gmvae_fast.data import Snapshots
from gmvae_fast.data.systems import SYSTEMS, get_system, ignition
from gmvae_fast.data.systems.ignition import cases as cases_module
from gmvae_fast.data.systems.ignition import designs
from gmvae_fast.data.systems.ignition.cases import IgnitionCase
from gmvae_fast.data.systems.ignition.designs import plan
from gmvae_fast.data.systems.ignition.outcomes import outcome, stages
from gmvae_fast.data.systems.ignition.schlieren import Optics, bin_down, brightness, path_integral, picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def sparks(folder):
    return ignition.simulate(n_runs=4, size="tiny", cache_dir=folder)


def test_snapshots(sparks, tmp_path):
    assert sparks.fields.shape[1:] == (1, 48, 48)
    assert sparks.field_names == ("schlieren",)
    assert 0 <= sparks.fields.min() < 0.2
    assert 0.8 < sparks.fields.max() <= 1
    np.testing.assert_allclose(sparks.fields * 255, np.rint(sparks.fields * 255), atol=1e-4)
    assert set(sparks.trajectory) == {0, 1, 2, 3}
    np.testing.assert_array_equal(sparks.quantities["time"], sparks.time)
    assert all(np.isfinite(values).all() for values in sparks.quantities.values())
    for name in ("E", "phi", "spark_x", "spark_y", "hot_area", "max_temperature", "burnt_mass", "max_pressure"):
        assert name in sparks.quantities
    assert sparks.attributes["label_names"]["outcome"] == ["fails", "lingers", "ignites"]
    np.testing.assert_allclose(sparks.coordinates["y"][[0, -1]], [-47 / 48, 47 / 48])
    for run in range(4):
        mine = sparks.subset(sparks.trajectory == run)
        assert len(set(mine.labels["outcome"])) == 1
        np.testing.assert_allclose(mine.time, 0.26 * np.arange(len(mine)))
        assert (np.diff(mine.quantities["burnt_mass"]) > -1e-4).all()
    sparks.save(tmp_path / "sparks.npz")
    np.testing.assert_array_equal(Snapshots.load(tmp_path / "sparks.npz").fields, sparks.fields)


def test_strong_and_weak_sparks(tmp_path):
    """Where the outcome is clear even on coarse cells."""
    tiny = ignition.SIZES["tiny"]
    strong = IgnitionCase(0.22, 1.1, 0.8, 0.0, 0.0, **tiny).run(Event())
    weak = IgnitionCase(0.06, 0.7, 0.8, 0.0, 0.0, **tiny).run(Event())
    air = IgnitionCase(0.22, 0.0, 0.8, 0.0, 0.0, **tiny).run(Event())
    assert set(strong["labels/outcome"]) == {2}
    assert set(weak["labels/outcome"]) == {0}
    assert set(air["labels/outcome"]) == {0}
    assert strong["labels/stage"][0] == 0
    assert weak["labels/stage"][-1] == 3
    assert strong["quantities/burnt_mass"][-1] > 0.1
    assert abs(air["quantities/burnt_mass"]).max() < 1e-4


def test_the_result_depends_on_neither_workers_nor_cache(sparks, tmp_path):
    again = ignition.simulate(n_runs=4, size="tiny", workers=1, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.fields, sparks.fields)
    for name, values in sparks.quantities.items():
        np.testing.assert_array_equal(again.quantities[name], values)


def test_a_longer_study_contains_the_shorter_one_and_reuses_it(sparks, folder):
    calls = []
    longer = ignition.simulate(n_runs=5, size="tiny", cache_dir=folder, progress=lambda *a: calls.append(a))
    np.testing.assert_array_equal(longer.fields[: len(sparks)], sparks.fields)
    assert calls == [(4, 5), (5, 5)]
    assert len(list((folder / "ignition").glob("*.npz"))) == 5


def test_an_interrupt_keeps_finished_runs(tmp_path):
    def progress(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ignition.simulate(n_runs=4, size="tiny", workers=1, cache_dir=tmp_path, progress=progress)
    assert len(list(tmp_path.rglob("*.npz"))) in (2, 3)  # the next run may have ended before it was told to stop


def test_the_seed_changes_design_and_noise(sparks, tmp_path):
    other = ignition.simulate(n_runs=1, seed=1, size="tiny", snapshots_per_run=2, cache_dir=tmp_path)
    assert len(other) == 2
    assert other.quantities["E"][0] != sparks.quantities["E"][0]
    along_y = ignition.simulate(n_runs=1, seed=1, size="tiny", snapshots_per_run=2, knife="y", cache_dir=tmp_path)
    assert np.abs(along_y.fields - other.fields).max() > 0.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"design": "random"}, "'uniform', 'jets', 'centred'"),
        ({"size": "huge"}, "'tiny', 'demo', 'paper'"),
        ({"knife": "z"}, "'x', 'y'"),
        ({"geometry": "round"}, "'planar', 'axisymmetric'"),
        ({"n_runs": 0}, "n_runs"),
        ({"n_runs": True}, "n_runs"),
        ({"seed": -1}, "seed"),
        ({"workers": 0}, "workers"),
        ({"snapshots_per_run": 0}, "snapshots_per_run"),
    ],
)
def test_bad_arguments_name_what_is_allowed(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        ignition.simulate(**{"n_runs": 1, "size": "tiny", "cache_dir": tmp_path, **arguments})


def test_detonations_are_drawn_again(tmp_path, monkeypatch):
    """With the bar lowered to what one of three sparks passes, that one is replaced and the others stay."""
    before = ignition.simulate(n_runs=3, size="tiny", workers=1, cache_dir=tmp_path / "a")
    assert before.attributes["rejected"] == []
    assert "notes" not in before.attributes
    early = {r: before.quantities["hot_area"][before.trajectory == r][:2].max() for r in range(3)}
    worst = max(early, key=early.get)
    second = sorted(early.values())[-2]
    monkeypatch.setattr(cases_module, "DETONATION_AREA", 0.5 * (early[worst] + second))
    after = ignition.simulate(n_runs=3, size="tiny", workers=1, cache_dir=tmp_path / "b")
    assert set(after.trajectory) == {0, 1, 2}
    rejected = after.attributes["rejected"]
    assert {entry["run"] for entry in rejected} == {worst}
    assert rejected[0]["energy"] == before.quantities["E"][before.trajectory == worst][0]
    assert after.attributes["notes"] == [
        f"{len(rejected)} of {3 + len(rejected)} draws detonated, an artefact of the model, and were drawn again"
    ]
    for run in range(3):
        same = np.array_equal(after.fields[after.trajectory == run], before.fields[before.trajectory == run])
        assert same == (run != worst)
        assert after.quantities["hot_area"][after.trajectory == run][:2].max() <= cases_module.DETONATION_AREA
        assert after.attributes["run_parameters"][run]["energy"] == after.quantities["E"][after.trajectory == run][0]
    again = ignition.simulate(n_runs=3, size="tiny", workers=2, cache_dir=tmp_path / "c")
    np.testing.assert_array_equal(again.fields, after.fields)
    short = ignition.simulate(n_runs=3, size="tiny", snapshots_per_run=1, cache_dir=tmp_path / "d")
    assert short.attributes["rejected"][0]["run"] == worst  # though the record ends before
    monkeypatch.setattr(cases_module, "DETONATION_AREA", -1.0)
    with pytest.raises(ignition.SimulationError, match="all 20 draws of a run detonated"):
        ignition.simulate(n_runs=1, size="tiny", cache_dir=tmp_path / "e")


@pytest.mark.parametrize("design", list(ignition.DESIGNS))
def test_designs(design):
    drawn = plan(design, 200, 3)
    assert drawn[:50] == plan(design, 50, 3)
    assert drawn != plan(design, 200, 4)
    more = plan(design, 5, 3, attempts=4)
    assert [draws[:1] for draws in more] == drawn[:5]
    assert len({draw["energy"] for draws in more for draw in draws}) == 20
    firsts = [draws[0] for draws in drawn]
    assert all(0.06 <= run["energy"] <= 0.22 and 0.7 <= run["phi"] <= 1.2 for run in firsts)
    assert all(abs(run["spark_y"]) <= 0.35 for run in firsts)
    assert np.mean(np.log([run["energy"] for run in firsts])) == pytest.approx(np.log(0.06 * 0.22) / 2, abs=0.1)


def test_outcomes():
    time = np.linspace(0, 2, 21)
    rising, steady = 0.1 + 0.4 * np.maximum(time - 0.5, 0), np.full(21, 0.1)
    gone = np.where(time < 1, 0.1, 0.0)
    assert outcome(time, rising, False) == 2
    assert outcome(time, steady, False) == 1
    assert outcome(time, steady, True) == 2
    assert outcome(time, gone, False) == 0
    assert list(stages(time, gone)[[0, 4, 6, 20]]) == [0, 0, 1, 3]
    assert stages(time, rising)[-1] == 2


def test_pictures():
    """A density step shows where the knife sees it; light goes dark or bright but never beyond."""
    density = np.ones((40, 40))
    density[:, 20:] = 1.5
    seen = brightness(density, np.ones((40, 40)), 0.05, Optics(knife="x"))
    assert seen[:, 19:21].min() > 0.7
    np.testing.assert_allclose(seen[:, :18], 0.5)
    np.testing.assert_allclose(brightness(density, np.ones((40, 40)), 0.05, Optics(knife="y")), 0.5)
    assert brightness(-1e6 * density, np.ones((40, 40)), 0.05, Optics()).min() == 0
    glowing = brightness(np.ones((40, 40)), np.full((40, 40), 12.0), 0.05, Optics())
    assert (glowing > 0.5).all()
    rng = np.random.default_rng(0)
    image = picture(np.ones((40, 40)), np.ones((40, 40)), 0.05, 20, Optics(vignetting=0.0), rng)
    assert image.shape == (20, 20)
    assert image.dtype == np.uint8
    assert image.mean() == pytest.approx(127.5, abs=1.5)
    # Shot noise of 2000 electrons and read noise of 12, in units of 4000 / 255 electrons.
    assert image.std() == pytest.approx(np.sqrt(2000 + 144) * 255 / 4000, rel=0.15)
    np.testing.assert_array_equal(bin_down(np.arange(16.0).reshape(4, 4), 2), [[2.5, 4.5], [10.5, 12.5]])
    with pytest.raises(ValueError, match="knife"):
        Optics(knife="z")


def test_path_integrals():
    """Closed forms: a Gaussian (second order), a ball (its edge is lost in a ring), a full cylinder (exact)."""
    errors = []
    for n in (24, 48):
        y = (np.arange(n) + 0.5) / n
        seen = path_integral(np.stack([np.exp(-((y / 0.25) ** 2)), y < 0.5, np.ones(n)], axis=1).astype(float), 1 / n)
        np.testing.assert_array_equal(seen, seen[::-1])
        gauss, ball, full = seen[n:].T
        np.testing.assert_allclose(full, 2 * np.sqrt(1 - y**2), atol=1e-12)
        errors.append(np.abs(gauss - np.sqrt(np.pi) * 0.25 * np.exp(-((y / 0.25) ** 2))).max())
        assert np.abs(ball - 2 * np.sqrt(np.maximum(0.25 - y**2, 0))).mean() < 0.05 / n
    assert errors[1] < 0.3 * errors[0] < 1e-3


def test_a_ball_seen_around_its_axis():
    """The gradient of sqrt(pi) a exp(-(x^2 + y^2) / a^2), in both directions of the knife, and the glow."""
    n, a = 40, 0.3
    x, r = (np.arange(2 * n) + 0.5) / n - 1, (np.arange(n) + 0.5) / n
    ball = np.exp(-(x**2 + r[:, None] ** 2) / a**2)
    seen = np.exp(-(x**2 + x[:, None] ** 2) / a**2) * np.sqrt(np.pi) * a
    for knife, along in (("x", x), ("y", x[:, None])):
        optics = Optics(knife=knife, gain=0.05, axisymmetric=True)
        light = brightness(1 + ball, np.ones_like(ball), 1 / n, optics)
        np.testing.assert_allclose(light, 0.5 - 0.5 * 0.05 * 2 * along / a**2 * seen, atol=4e-4)
        assert np.ptp(light) > 0.05
    glow = brightness(np.ones_like(ball), 11 + 0.1 * ball, 1 / n, Optics(axisymmetric=True, luminosity=0.25))
    np.testing.assert_allclose(glow, 0.5 + 0.25 * 0.1 * seen, atol=1e-4)


def test_an_axisymmetric_study(tmp_path):
    made = ignition.simulate("jets", 3, 1, "tiny", geometry="axisymmetric", cache_dir=tmp_path)
    assert made.attributes["geometry"] == "axisymmetric"
    assert made.fields.shape[1:] == (1, 48, 48)
    low, high = designs.ENERGY_AXISYMMETRIC
    assert ((made.quantities["E"] >= low) & (made.quantities["E"] <= high)).all()
    assert (made.quantities["spark_y"] == 0).all()
    assert set(np.abs(np.sin(made.quantities["tilt"])) < 1e-12) == {True}
    quiet = made.fields.mean(0)[0]
    np.testing.assert_allclose(quiet, quiet[::-1], atol=0.05)  # up to noise, the knife along x sees both halves alike
    again = ignition.simulate("jets", 3, 1, "tiny", geometry="axisymmetric", workers=1, cache_dir=tmp_path / "again")
    np.testing.assert_array_equal(again.fields, made.fields)


def test_outcomes_around_an_axis():
    tiny = {**ignition.SIZES["tiny"], "axisymmetric": True}
    strong = IgnitionCase(0.016, 1.1, 0.8, 0.0, 0.0, **tiny).run(Event())
    weak = IgnitionCase(0.003, 0.7, 0.8, 0.0, 0.0, **tiny).run(Event())
    assert set(strong["labels/outcome"]) == {2}
    assert set(weak["labels/outcome"]) == {0}
    with pytest.raises(ValueError, match="even"):
        IgnitionCase(0.01, 1.0, 0.8, 0.0, 0.0, cells=45, pixels=45, axisymmetric=True)


def test_cells_are_a_multiple_of_pixels():
    with pytest.raises(ValueError, match="multiple of pixels"):
        IgnitionCase(0.1, 1.0, 0.8, 0.0, 0.0, cells=100, pixels=96)


def test_the_registry():
    assert get_system("ignition") is ignition is SYSTEMS["ignition"]
