"""Crops, strides, patches and resampling: the same as of arrays in memory, read by parts, with all tables carried."""

import json
import os
import pickle
import time

import h5py
import layout_files as files
import numpy as np
import pytest
import tifffile
import torch
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from test_converting import run
from torch.utils.data import DataLoader

import gmvae_fast as gf
from gmvae_fast.data import Snapshots, SnapshotSource, open_snapshots, split_by_trajectory, window, windows
from gmvae_fast.data.resampling import resample

T, NY, NX = 6, 7, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One array [t, y, x] in every format; also turned over and transposed."""
    path = tmp_path_factory.mktemp("windows")
    array = files.numbers(T, NY, NX)
    np.save(path / "a.npy", array)
    np.savez_compressed(path / "a.npz", u=array)
    with h5py.File(path / "plain.h5", "w") as f:
        f["u"] = array
    with h5py.File(path / "chunks.h5", "w") as f:
        f.create_dataset("u", data=array, chunks=(2, 3, 4), compression="gzip")
    with h5py.File(path / "turned.h5", "w") as f:
        f["u"] = array[:, ::-1].transpose(2, 1, 0)  # x, -y, t
    for version in (2, 3):
        store = zarr.open_group(path / f"v{version}.zarr", mode="w", zarr_format=version)
        store.create_array("u", shape=array.shape, chunks=(1, 4, 4), dtype="f4")[:] = array
    data = xarray.Dataset({"u": (("time", "y", "x"), array)}, {"x": np.linspace(0, 9, NX), "y": np.arange(7.0) * 2})
    data.to_netcdf(path / "a.nc", engine="h5netcdf")
    data.to_netcdf(path / "three.nc", engine="scipy")
    tifffile.imwrite(path / "a.tif", array[:, ::-1], photometric="minisblack")
    return path, array


FILES = ["a.npy", "a.npz", "plain.h5", "chunks.h5", "turned.h5", "v2.zarr", "v3.zarr", "a.nc", "three.nc", "a.tif"]
SOME = ["a.npy", "plain.h5", "chunks.h5", "turned.h5", "v3.zarr", "a.nc"]


def opened(folder, name, **options):
    dims = {"turned.h5": "x -y t"}.get(name, None if name.endswith((".nc", ".tif")) else "t y x")
    return open_snapshots(folder[0] / name, dims=dims, lazy=True, **options)


@pytest.mark.parametrize("name", FILES)
def test_crop_and_stride_in_every_format(folder, name):
    data = opened(folder, name, window={"crop": {"x": (2, 9), "y": (1, None)}, "stride": {"x": 3, "y": 2}})
    expected = folder[1][:, 1::2, 2:9:3]
    assert isinstance(data, SnapshotSource)
    assert data.shape == (1, *expected.shape[1:])
    np.testing.assert_array_equal(data.fields[:, 0], expected)
    np.testing.assert_array_equal(data.read([4, 0, 0, -1])[:, 0], expected[[4, 0, 0, -1]])
    np.testing.assert_array_equal(data.subset([5, 2]).fields[:, 0], expected[[5, 2]])
    if name.endswith(".nc"):
        np.testing.assert_array_equal(data.coordinates["x"], [2, 5, 8])
        np.testing.assert_array_equal(data.coordinates["y"], [2, 6, 10])


edges = st.tuples(st.integers(-12, 11) | st.none(), st.integers(-12, 11) | st.none())


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(SOME),
    x=edges,
    y=edges,
    steps=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 10)) | st.none(),
    patch_step=st.integers(1, 5),
    indices=st.lists(st.integers(0, 10**6), max_size=12),
)
def test_any_window_is_that_of_the_array(folder, name, x, y, steps, size, patch_step, indices):
    part = folder[1][:, slice(*y), slice(*x)][:, :: steps[0], :: steps[1]]
    options = {"crop": {"x": x, "y": y}, "stride": {"y": steps[0], "x": steps[1]}}
    if 0 in part.shape:
        with pytest.raises(ValueError, match="must keep at least one"):
            opened(folder, name, window=options)
        return
    expected = part
    if size is not None:
        size = tuple(min(n, s) for n, s in zip(part.shape[1:], size, strict=True))
        along = [sorted({*range(0, n - s + 1, patch_step), n - s}) for n, s in zip(part.shape[1:], size, strict=True)]
        expected = np.concatenate(
            [[f[a : a + size[0], b : b + size[1]] for a in along[0] for b in along[1]] for f in part]
        )
        options |= {"patch": size, "patch_step": patch_step}
    for source in (opened(folder, name), Snapshots(folder[1][:, None], ("u",))):
        data = window(source, **options)
        assert len(data) == len(expected)
        index = np.array(indices, dtype=np.int64) % len(expected)
        np.testing.assert_array_equal(data.read(index)[:, 0], expected[index])
        np.testing.assert_array_equal(data.subset(index).fields[:, 0], expected[index])
        starts = data.chunk_starts
        assert starts is None or (starts[0] == 0 and (np.diff(starts) > 0).all())


def test_only_the_chunks_that_a_part_touches_are_read(folder, monkeypatch):
    data = opened(folder, "chunks.h5", window={"crop": {"x": (0, 4), "y": (0, 3)}})
    with h5py.File(folder[0] / "chunks.h5") as f:
        kept = [f["u"].id.get_chunk_info(i).chunk_offset for i in range(f["u"].id.get_num_chunks())]
    touched = []
    original = h5py.Dataset.__getitem__

    def spy(self, key, *rest, **options):
        touched.append(key)
        return original(self, key, *rest, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    data.read([0, 1])
    assert len(kept) == 3 * 3 * 3
    assert touched == [(slice(0, 2), slice(0, 3), slice(0, 4))]


def test_axes_that_an_array_lacks_are_repeated_over_the_window(tmp_path):
    arrays = files.the_well(tmp_path / "a.hdf5")
    whole = open_snapshots(tmp_path / "a.hdf5", fields=["velocity_y", "permeability"])
    data = whole.window(crop={"x": (1, 4), "y": (2, 5)}, stride={"y": 2})
    np.testing.assert_array_equal(data.fields, whole.fields[:, :, 2:5:2, 1:4])
    assert arrays["permeability"].shape == (2, 4)


# --- patches -------------------------------------------------------------------------------------------------------


@pytest.fixture
def volume(tmp_path):
    arrays = files.the_well(tmp_path / "a.hdf5", grid=(6, 5, 4), samples=2, times=3)
    return open_snapshots(tmp_path / "a.hdf5"), arrays


def test_patches_of_volumes_carry_their_runs_and_places(volume):
    whole, _ = volume
    data = whole.window(patch=(2, 3, 3), patch_step=(2, 2, 3))
    assert data.shape == (13, 2, 3, 3)
    assert len(data) == 6 * 2 * 2 * 2
    np.testing.assert_array_equal(data.trajectory, np.repeat([0, 1], 24))
    np.testing.assert_array_equal(data.time_index, np.repeat([0, 1, 2] * 2, 8))
    np.testing.assert_array_equal(data.labels["patch"], np.tile(np.arange(8), 6))
    np.testing.assert_array_equal(data.quantities["viscosity"], np.repeat(whole.quantities["viscosity"], 8))
    x = whole.coordinates["x"]
    np.testing.assert_allclose(np.unique(data.quantities["patch_x"]), [x[1], x[4]])
    np.testing.assert_allclose(data.coordinates["x"], x[:3] - x[0])
    fields = whole.fields
    for i in (0, 9, 47, 30):
        p = data.labels["patch"][i]
        z, y, xs = [(a, b, c) for a in (0, 2) for b in (0, 2) for c in (0, 3)][p]
        np.testing.assert_array_equal(data.read([i])[0], fields[i // 8][:, z : z + 2, y : y + 3, xs : xs + 3])
    train, test = split_by_trajectory(data, 0.5)
    assert not set(data.trajectory[train]) & set(data.trajectory[test])


def test_patches_cover_what_the_sizes_do_not_divide():
    data = Snapshots(files.numbers(2, 1, 5, 7), ("u",)).window(patch=(3, 4))
    np.testing.assert_array_equal(np.unique(data.quantities["patch_x"]), [1.5, 4.5])  # cells: no coordinates
    np.testing.assert_array_equal(np.unique(data.quantities["patch_y"]), [1, 3])
    assert len(data) == 8


@pytest.mark.parametrize("compressed", [False, True])
def test_patches_of_volumes_stored_whole_are_read_together(tmp_path, compressed, monkeypatch):
    array = files.numbers(4, 8, 8, 8)
    layout = {"chunks": (1, 8, 8, 8), "compression": "gzip"} if compressed else {}
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("u", data=array, **layout)
    whole = open_snapshots(tmp_path / "a.h5", dims="t z y x")
    data = whole.window(patch=(4, 4, 4))
    calls = []
    original = type(whole).read_region
    monkeypatch.setattr(type(whole), "read_region", lambda s, *a: calls.append(a) or original(s, *a))
    rows = data.read([0, 9, 1, 7])
    cut = [array[0, :4, :4, :4], array[1, :4, :4, 4:], array[0, :4, :4, 4:], array[0, 4:, 4:, 4:]]
    np.testing.assert_array_equal(rows[:, 0], cut)
    assert len(calls) == (2 if compressed else 4)  # the three of snapshot 0 lie far apart
    if compressed:
        np.testing.assert_array_equal(data.chunk_starts, [0, 8, 16, 24])
    else:
        assert data.chunk_starts is None


def test_masked_cells_stay_out_of_patches():
    mask = np.ones((6, 8), bool)
    mask[0, 0] = False
    data = Snapshots(files.numbers(3, 2, 6, 8), ("u", "v"), mask=mask).window(patch=(3, 4))
    assert (len(data), data.mask) == (9, None)
    assert set(data.labels["patch"]) == {0, 1, 2}
    assert data.attributes["window"]["patches_outside_mask"] == 1
    with pytest.raises(ValueError, match="none lies wholly inside the mask"):
        Snapshots(files.numbers(3, 2, 6, 8), ("u", "v"), mask=mask).window(patch=(6, 8))


# --- resampling ------------------------------------------------------------------------------------------------------


def test_means_over_cells_are_exact_where_the_sizes_divide():
    x = files.numbers(2, 3, 6, 8, dtype=np.float64)
    np.testing.assert_allclose(resample(x, (3, 2), "area"), x.reshape(2, 3, 3, 2, 2, 4).mean((3, 5)))
    np.testing.assert_array_equal(resample(x, (6, 8)), x)


@pytest.mark.parametrize("shape", [(12,), (5,), (9, 14), (4, 12), (3, 5, 9), (8, 2, 4)])
def test_linear_fields_stay_linear(shape):
    """A linear function sampled at cell centres is the same function at the new centres, borders aside."""
    grid = (8, 10, 6)[: len(shape)] if len(shape) > 1 else (8,)
    centres = [np.meshgrid(*[(np.arange(n) + 0.5) / n for n in sizes], indexing="ij") for sizes in (grid, shape)]
    old, new = (sum((i + 1) * c for i, c in enumerate(cs)) for cs in centres)
    method = "auto" if all(b >= a or a % b == 0 for a, b in zip(grid, shape, strict=True)) else "linear"
    found = resample(old[None, None], shape, method)[0, 0]
    inner = tuple(slice(n // 4 + 1, -(n // 4) - 1) if n > 3 else slice(None) for n in shape)
    if method == "auto":
        np.testing.assert_allclose(found[inner], new[inner], atol=1e-12)
    assert abs(found.mean() - old.mean()) < 0.05


def test_resampled_snapshots_keep_tables_masks_and_coordinates(folder):
    mask = np.ones((NY, NX), bool)
    mask[:, :4] = False
    base = open_snapshots(folder[0] / "a.nc", mask=mask)
    data = base.window(crop={"y": (1, 7)}, shape=(3, 5), resampling="area")
    assert data.shape == (1, 3, 5)
    np.testing.assert_array_equal(data.mask, np.broadcast_to([False, False, True, True, True], (3, 5)))
    expected = folder[1][:, 1:].reshape(T, 3, 2, 5, 2).mean((2, 4))
    np.testing.assert_allclose(data.fields[:, 0, :, 2:], expected[..., 2:], rtol=1e-5, atol=1e-6)
    assert (data.fields[..., :2] == 0).all()
    np.testing.assert_allclose(data.coordinates["x"], np.arange(5) * 2 + 0.5)
    np.testing.assert_allclose(data.coordinates["y"], [3, 7, 11])
    np.testing.assert_array_equal(data.time, base.time)
    model = gf.GMVAE(data.shape, n_components=2, network="mlp", widths=(4,))
    assert np.isfinite(gf.fit(model, data, gf.TrainConfig(epochs=2, n_init=1)).epochs[-1].loss)
    assert torch.equal(model.mask, torch.from_numpy(data.mask))


def test_cells_half_inside_the_mask_are_means_of_their_inner_part():
    mask = np.array([[True, False, False, False, True, True]])
    values = np.array([[[[2.0, np.nan, np.nan, np.nan, 3.0, 5.0]]]], np.float32)
    data = Snapshots(values, ("u",), mask=mask).window(shape=(1, 3), resampling="area")
    np.testing.assert_array_equal(data.mask, [[True, False, True]])
    np.testing.assert_array_equal(data.fields, [[[[2.0, 0.0, 4.0]]]])


def test_patches_at_the_resolution_of_a_network(volume):
    whole, _ = volume
    data = whole.window(patch=(4, 4, 4), patch_step=1, shape=(2, 2, 8))
    assert data.shape == (13, 2, 2, 8)
    first = whole.fields[:1, :, :4, :4, :4]
    np.testing.assert_allclose(data.read([0]), resample(first, (2, 2, 8)), rtol=1e-6)


def test_pieces_do_not_change_what_is_read(folder, monkeypatch):
    data = opened(folder, "chunks.h5", window={"patch": (3, 4), "patch_step": 2, "shape": (2, 2)})
    index = np.random.default_rng(0).permutation(len(data))
    before = data.read(index)
    for size in (1, 100, 1000):
        monkeypatch.setattr(windows, "PIECE_BYTES", size)
        np.testing.assert_array_equal(data.read(index), before)


# --- use -------------------------------------------------------------------------------------------------------------


def test_windows_are_picklable_load_convert_and_train_alike(folder, tmp_path):
    data = opened(folder, "chunks.h5", window={"patch": (4, 4), "stride": {"x": 2}})
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.fields, data.fields)
    held = data.load()
    assert isinstance(held, Snapshots)
    np.testing.assert_array_equal(held.quantities["patch_x"], data.quantities["patch_x"])
    gf.data.convert_snapshots(data, tmp_path / "a.h5")
    stored = open_snapshots(tmp_path / "a.h5")
    np.testing.assert_array_equal(stored.fields, data.fields)
    np.testing.assert_array_equal(stored.labels["patch"], data.labels["patch"])
    rows = torch.cat(list(DataLoader(data, batch_size=5, num_workers=2, multiprocessing_context="fork")))
    np.testing.assert_array_equal(rows, data.fields)
    config = gf.TrainConfig(epochs=3, batch_size=4, n_init=1)
    states = []
    for source, n in ((data, 0), (data, 2)):
        model = gf.GMVAE(data.shape, n_components=2, network="mlp", widths=(4,))
        gf.fit(model, source, config, workers=n)
        states.append(model.state_dict())
    assert all(torch.equal(states[1][k], v) for k, v in states[0].items())


def test_windows_of_windows(folder):
    data = opened(folder, "plain.h5").window(stride=2).window(crop={"x": (1, 4)})
    np.testing.assert_array_equal(data.fields[:, 0], folder[1][:, ::2, ::2][:, :, 1:4])


def test_fingerprints_know_the_window(folder, tmp_path):
    data = open_snapshots(folder[0] / "plain.h5", dims="t y x")
    made = [{}, {"stride": 2}, {"crop": {"x": (0, 4)}}, {"patch": (2, 2)}, {"shape": (3, 3)}]
    made += [{"shape": (3, 3), "resampling": "linear"}]
    then = time.time() - 60
    os.utime(folder[0] / "plain.h5", (then, then))
    found = {json.dumps(data.window(**options).fingerprint()) for options in made}
    found.add(json.dumps(data.window(patch=(2, 2)).subset([1, 2]).fingerprint()))
    assert len(found) == len(made) + 1
    assert "null" not in found
    assert Snapshots(folder[1][:, None], ("u",)).window(stride=2).fingerprint() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": {"z": (0, 1)}}, "crop must name axes among x, y, got z"),
        ({"crop": {"x": (5, 5)}}, "crop of x must keep at least one of its 10 cells"),
        ({"crop": {"x": 3}}, "crop of x must be \\(start, stop\\) in cells, got 3"),
        ({"crop": {"x": (0.5, 2)}}, "crop of x must be"),
        ({"stride": 0}, "stride of y must be an integer >= 1, got 0"),
        ({"stride": {"x": 1.5}}, "stride of x must be an integer"),
        ({"patch": (2, 2, 2)}, "patch must be 2 sizes"),
        ({"patch": 4}, "patch must be 2 sizes"),
        ({"patch": (8, 8)}, "patch must fit into the grid \\(7, 10\\)"),
        ({"patch_step": 2}, "patch_step needs patch"),
        ({"patch": (2, 2), "patch_step": 0}, "patch_step must be an integer >= 1"),
        ({"shape": (3,)}, "shape must be 2 sizes"),
        ({"shape": (0, 3)}, "shape must be an integer >= 1"),
        ({"shape": (14, 10), "resampling": "area"}, "'area' makes grids coarser only"),
        ({"resampling": "cubic"}, "resampling must be one of auto, area, linear, got 'cubic'"),
        ({"size": 3}, "window must hold options among crop, stride, patch, .* got size"),
    ],
)
def test_bad_windows_are_named(folder, options, message):
    with pytest.raises(ValueError, match=message):
        opened(folder, "plain.h5", window=options)


def test_the_commands_take_windows(folder, tmp_path):
    path = folder[0] / "plain.h5"
    base = ("--dims", "t y x", "--crop", "x=1:9,y=:6", "--stride", "x=2")
    shown = run("inspect", path, *base, "--shape", "3,4")
    assert shown.exit_code == 0, shown.output
    assert "6 of [1, 3, 4]" in shown.output
    assert "window        of [7, 10]" in shown.output
    assert "uniform permutation of 6 snapshots" in shown.output
    patched = json.loads(run("inspect", "--json", path, *base, "--patch", "2,2", "--patch-step", "2,1").output)
    assert (patched["snapshots"], patched["shape"]) == (6 * 3 * 3, [1, 2, 2])
    done = run("convert", path, *base, "--out", tmp_path / "b.h5", "--quiet")
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(open_snapshots(tmp_path / "b.h5").fields[:, 0], folder[1][:, :6, 1:9:2])
    for option, value in (("--crop", "3:4"), ("--crop", "x=3"), ("--stride", "x"), ("--patch", "a,b")):
        failed = run("inspect", path, "--dims", "t y x", option, value)
        assert failed.exit_code != 0
        assert option in str(failed.exception) + failed.output
    assert "--resampling needs --shape" in str(run("inspect", path, "--resampling", "area").exception)
