"""The wake from design to snapshots, at the size that takes seconds."""

import builtins
import shutil
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba")

from gmvae_fast.data import Snapshots
from gmvae_fast.data.systems import SYSTEMS, get_system, wake
from gmvae_fast.data.systems.wake.channel import ChannelCase, ChannelFlow
from gmvae_fast.data.systems.wake.free_stream import StreamFlow
from gmvae_fast.data.systems.wake.solver import Flow

TINY_STREAM = {"geometry": "free_stream", "size": "tiny", "snapshots_per_run": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def channel(folder):
    return wake.simulate("channel", "clustered", 4, size="tiny", cache_dir=folder)


@pytest.fixture(scope="module")
def stream(folder):
    return wake.simulate(design="onset", n_runs=2, cache_dir=folder, **TINY_STREAM)


def test_channel_snapshots(channel, tmp_path):
    assert channel.fields.shape == (4, 3, 41, 220)
    assert channel.field_names == ("u", "v", "p")
    assert np.isfinite(channel.fields).all()
    assert set(channel.labels["re_group"]) == {0, 1, 2}
    np.testing.assert_array_equal(channel.trajectory, np.arange(4))
    np.testing.assert_array_equal(channel.time, 5.0)
    np.testing.assert_allclose(channel.quantities["Re_D"], 0.1 * channel.quantities["Re"])
    np.testing.assert_allclose(channel.coordinates["x"][[0, -1]], [0.005, 2.195])
    assert all(np.isfinite(values).all() for values in channel.quantities.values())
    assert channel.attributes["label_names"]["re_group"][2] == "Re near 1500"
    channel.save(tmp_path / "channel.npz")
    np.testing.assert_array_equal(Snapshots.load(tmp_path / "channel.npz").fields, channel.fields)


def test_channel_flow_is_physical(channel):
    u, v, _ = channel.fields.transpose(1, 0, 2, 3)
    solid = ~channel.mask
    assert 0.5 < solid.sum() / (np.pi * 25) < 1.5
    assert (channel.fields[:, :, solid] == 0).all()
    inflow = np.sin(np.pi * 5 / 8)
    flux = u.mean(axis=1)
    np.testing.assert_allclose(flux[:, 1], inflow, rtol=1e-3)
    # Sound is slow at this size (Mach 0.26), so the falling pressure releases some mass along the channel.
    np.testing.assert_allclose(flux[:, [100, 218]], inflow, rtol=0.03)
    assert (u[:, 18:23, 26] < 0.1).all()  # the near wake
    assert np.abs(v[:, :, 0]).max() < 0.1
    drag, re = channel.quantities["drag"], channel.quantities["Re"]
    assert (drag > 2).all()
    assert drag[re.argmin()] == drag.max()


def test_free_stream_snapshots(stream):
    assert stream.fields.shape == (16, 3, 64, 128)
    np.testing.assert_array_equal(stream.trajectory, np.repeat([0, 1], 8))
    np.testing.assert_allclose(np.diff(stream.time[:8]), 0.6)
    np.testing.assert_array_equal(stream.labels["shedding"], np.repeat([0, 1], 8))
    steady, shedding = stream.subset(slice(0, 8)), stream.subset(slice(8, 16))
    for name in ("Strouhal", "phase", "sin_phase", "cos_phase"):
        assert np.isnan(steady.quantities[name]).all()
    assert (steady.labels["phase_bin"] == -1).all()
    q = shedding.quantities
    assert ((q["phase"] >= 0) & (q["phase"] < 2 * np.pi)).all()
    np.testing.assert_allclose(q["sin_phase"] ** 2 + q["cos_phase"] ** 2, 1.0)
    advance = np.diff(np.unwrap(q["phase"])).mean() / (2 * np.pi * 0.6)
    np.testing.assert_allclose(advance, q["Strouhal"][0], rtol=0.1)
    np.testing.assert_array_equal(shedding.labels["phase_bin"], np.floor(q["phase"] / (np.pi / 4)))
    assert 0.15 < q["Strouhal"][0] < 0.19
    corner = shedding.fields[:, 0, 0, 0]
    np.testing.assert_allclose(corner, 1.0, atol=0.2)


def test_the_result_depends_on_neither_workers_nor_cache(channel, tmp_path):
    again = wake.simulate("channel", "clustered", 4, size="tiny", workers=1, cache_dir=tmp_path)
    np.testing.assert_array_equal(again.fields, channel.fields)
    for name, values in channel.quantities.items():
        np.testing.assert_array_equal(again.quantities[name], values)


def test_a_longer_study_contains_the_shorter_one_and_reuses_it(channel, folder):
    calls = []
    longer = wake.simulate(
        "channel", "clustered", 5, size="tiny", cache_dir=folder, progress=lambda *a: calls.append(a)
    )
    np.testing.assert_array_equal(longer.fields[:4], channel.fields)
    assert calls == [(4, 5), (5, 5)]


def test_a_damaged_cache_entry_is_computed_again(channel, tmp_path, folder):
    folder = shutil.copytree(folder, tmp_path / "copy")
    for entry in (folder / "wake").glob("*.npz"):
        entry.write_bytes(entry.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="computing it again"):
        repaired = wake.simulate("channel", "clustered", 4, size="tiny", cache_dir=folder)
    np.testing.assert_array_equal(repaired.fields, channel.fields)


def test_a_cache_that_cannot_be_written_does_not_lose_the_run(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="not cached"):
        result = wake.simulate(n_runs=1, size="tiny", cache_dir=tmp_path / "file")
    assert len(result) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"geometry": "pipe"}, "'channel', 'free_stream'"),
        ({"design": "random"}, "'clustered', 'uniform'"),
        ({"design": "onset"}, "'clustered', 'uniform'"),
        ({"size": "huge"}, "'tiny', 'demo', 'paper'"),
        ({"n_runs": 0}, "n_runs"),
        ({"n_runs": -3}, "n_runs"),
        ({"n_runs": 1.5}, "n_runs"),
        ({"n_runs": True}, "n_runs"),
        ({"seed": -1}, "seed"),
        ({"seed": None}, "seed"),
        ({"workers": 0}, "workers"),
        ({"snapshots_per_run": 5}, "snapshots_per_run"),
        ({"geometry": "free_stream", "snapshots_per_run": 0}, "snapshots_per_run"),
    ],
)
def test_bad_arguments_name_what_is_allowed(arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        wake.simulate(**{"n_runs": 1, "size": "tiny", "cache_dir": tmp_path, **arguments})


def test_a_run_that_blows_up_names_its_parameters(tmp_path, monkeypatch):
    def explode(self, steps, amplitude=None):
        self.populations[3, 50] = np.nan
        return np.zeros((steps, 2))

    monkeypatch.setattr(Flow, "advance", explode)
    with pytest.raises(wake.SimulationError, match=r"'reynolds': .*Use a lower lattice velocity"):
        wake.simulate(n_runs=2, size="tiny", cache_dir=tmp_path)
    assert not list(tmp_path.rglob("*.npz"))


def test_an_interrupt_keeps_finished_runs(tmp_path):
    def progress(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wake.simulate(n_runs=4, size="tiny", workers=1, cache_dir=tmp_path, progress=progress)
    kept = len(list(tmp_path.rglob("*.npz")))
    assert kept in (2, 3)  # the next run may have ended before it was told to stop
    calls = []
    wake.simulate(n_runs=4, size="tiny", cache_dir=tmp_path, progress=lambda *a: calls.append(a))
    assert calls[0] == (kept, 4)


def test_a_stopped_run_stops():
    stop = threading.Event()
    stop.set()
    with pytest.raises(wake.Interrupted):
        ChannelCase(500.0).run(stop)


@pytest.mark.parametrize(("geometry", "design"), [(g, d) for g, designs in wake.DESIGNS.items() for d in designs])
def test_designs(geometry, design):
    make = wake.DESIGNS[geometry][design]
    plan, same, longer = make(50, 3), make(50, 3), make(60, 3)
    np.testing.assert_array_equal(plan.reynolds, same.reynolds)
    assert (plan.reynolds > 0).all()
    assert set(plan.group) == set(range(len(plan.group_names)))
    if design == "clustered":
        np.testing.assert_array_equal(plan.reynolds, longer.reynolds[:50])
        for n in (3, 4):
            assert all(set(make(n, seed).group) == {0, 1, 2} for seed in range(20))
    assert len(make(1, 0).reynolds) == 1


def test_the_published_mixture():
    plan = wake.DESIGNS["channel"]["clustered"](3000, 0)
    for group, centre in enumerate((250, 750, 1500)):
        values = plan.reynolds[plan.group == group]
        assert values.mean() == pytest.approx(centre, abs=6)
        assert values.std() == pytest.approx(50, rel=0.1)
        assert len(values) == pytest.approx(1000, rel=0.1)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (ChannelFlow, {"cells_per_diameter": 15}, "multiple of 10"),
        (ChannelFlow, {"lattice_velocity": 0.3}, "lattice_velocity"),
        (StreamFlow, {"cells_per_diameter": 0}, "multiple of 10"),
        (StreamFlow, {"reynolds": 0.0}, "reynolds"),
        (StreamFlow, {"lattice_velocity": 0.0}, "lattice_velocity"),
    ],
)
def test_bad_flows_name_the_argument(make, changes, message):
    common = {"cells_per_diameter": 10, "lattice_velocity": 0.1}
    if make is ChannelFlow:
        arguments = {"viscosity": 0.01, **common}
    else:
        arguments = {"reynolds": 100.0, "length": 18.0, "height": 10.0, "upstream": 5.0, **common}
    with pytest.raises(ValueError, match=message):
        make(**(arguments | changes))


def test_the_registry():
    assert get_system("wake") is wake is SYSTEMS["wake"]
    with pytest.raises(ValueError, match="'wake'"):
        get_system("wave")


def test_without_numba_the_error_says_what_to_install(monkeypatch, tmp_path):
    original = builtins.__import__

    def no_numba(name, *args, **kwargs):
        if name == "numba" or name.startswith("numba."):
            raise ImportError("No module named 'numba'")
        return original(name, *args, **kwargs)

    prefix = "gmvae_fast.data.systems.wake."
    kept = {name: module for name, module in sys.modules.items() if name.startswith(prefix)}
    lazy = ("_jit", "lattice", "boundaries", "geometry", "solver", "channel", "free_stream", "quantities")
    for name in kept:
        if name.removeprefix(prefix) in lazy:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", no_numba)
    with pytest.raises(ImportError, match=r"pip install gmvae_fast\[systems\]"):
        wake.simulate(n_runs=1, size="tiny", cache_dir=tmp_path)
