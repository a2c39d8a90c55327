"""Files in the documented layouts open without options, and their values stand where they belong."""

import h5py
import layout_files as files
import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast.data import LazySnapshots, SnapshotFileError, SnapshotSource, open_snapshots


def channel_first(array, lead, d):
    """[..., x, y, z, components] -> [N, C, z, y, x] with the first ``lead`` axes flattened."""
    array = array.reshape(-1, *array.shape[lead:])
    array = array.reshape(*array.shape[: 1 + d], -1)
    return array.transpose(0, d + 1, *range(d, 0, -1))


@pytest.mark.parametrize("grid", [(6,), (4, 5), (3, 4, 5)])
def test_the_well(tmp_path, grid):
    arrays = files.the_well(tmp_path / "a.hdf5", grid=grid)
    data = gf.open_snapshots(tmp_path / "a.hdf5")
    d = len(grid)
    assert isinstance(data, LazySnapshots)
    assert isinstance(data, SnapshotSource)
    assert data.attributes["layout"] == "the_well"
    assert data.shape == (1 + d + d * d, *grid[::-1])
    assert data.field_names[:2] == (("density", "velocity_x") if d > 1 else ("density", "velocity"))
    expected = [channel_first(arrays[n], 2, d) for n in ("density", "velocity", "stress")]
    np.testing.assert_array_equal(data.fields, np.concatenate(expected, 1))
    assert data.fields.dtype == np.float32
    np.testing.assert_array_equal(data.trajectory, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(data.time_index, [0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(data.time, [0, 0.5, 1] * 2)
    np.testing.assert_array_equal(data.quantities["Schmidt"], 0.5)
    np.testing.assert_array_equal(data.quantities["viscosity"], [0.5] * 3 + [1.5] * 3)
    np.testing.assert_array_equal(data.quantities["forcing"], [0, 2, 4] * 2)
    np.testing.assert_array_equal(data.quantities["energy"], files.numbers(2, 3, seed=4).ravel())
    np.testing.assert_allclose(data.coordinates["x"], np.linspace(0, 2, grid[0]))


def test_the_wells_constant_fields_are_spread_over_times_and_axes(tmp_path):
    arrays = files.the_well(tmp_path / "a.hdf5")
    data = open_snapshots(tmp_path / "a.hdf5", fields=["velocity_y", "permeability"])
    assert data.field_names == ("velocity_y", "permeability")
    expected = np.broadcast_to(arrays["permeability"][:, None, None, :], (2, 3, 5, 4)).reshape(6, 5, 4)
    np.testing.assert_array_equal(data.fields[:, 1], expected)
    np.testing.assert_array_equal(data.fields[:, 0], channel_first(arrays["velocity"], 2, 2)[:, 1])


@pytest.mark.parametrize("grid", [(4, 5), (3, 4, 5)])
def test_the_wells_other_ways_to_store_constant_axes_and_tensors(tmp_path, grid):
    """Axes without variation left out, as specified, or of length one, as its reader wants; tensors with D^2 last."""
    arrays = files.the_well(tmp_path / "a.hdf5", grid=grid, constant=False)
    d, letters = len(grid), "xyz"[: len(grid)]
    whole = {
        "steady": (files.numbers(2, *grid, seed=7), True, False, [True] * d, ()),
        "everywhere": (files.numbers(3, *grid, seed=8), False, True, [True] * d, ()),
        "map": (files.numbers(*grid, seed=9), False, False, [True] * d, ()),
        "wall": (files.numbers(grid[1], seed=10), False, False, [i == 1 for i in range(d)], ()),
        "profile": (files.numbers(2, 3, grid[0], seed=11), True, True, [i == 0 for i in range(d)], ()),
        "single": (files.numbers(2, 3, grid[0], *[1] * (d - 1), seed=12), True, True, [i == 0 for i in range(d)], ()),
        "strain": (files.numbers(2, 3, *grid, d * d, seed=13), True, True, [True] * d, (d * d,)),
    }
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        for name, (array, sample, time, dims, last) in whole.items():
            group = f["t2_fields" if last else "t0_fields"]
            group.create_dataset(name, data=array).attrs.update(
                dim_varying=dims, sample_varying=sample, time_varying=time, symmetric=True
            )
    data = open_snapshots(tmp_path / "a.hdf5", fields=["density", *whole])
    full = (2, 3, *grid)
    for i, (name, (array, sample, time, dims, last)) in enumerate(whole.items(), 1):
        shape = [n if s else 1 for n, s in zip(full, (sample, time, *dims), strict=True)]
        expected = channel_first(np.broadcast_to(array.reshape(*shape, *last), (*full, *last)), 2, d)
        np.testing.assert_array_equal(data.fields[:, i : i + expected.shape[1]], expected, err_msg=name)
    np.testing.assert_array_equal(data.fields[:, :1], channel_first(arrays["density"], 2, d))
    assert data.field_names[-d * d :] == tuple(f"strain_{a}{b}" for a in letters for b in letters)
    part = data.window(crop={"x": (1, 3)})
    np.testing.assert_array_equal(part.fields, data.fields[..., 1:3])


def test_the_wells_times_of_every_sample(tmp_path):
    files.the_well(tmp_path / "a.hdf5")
    times = np.array([[0.0, 1, 2], [0, 10, 20]])
    with h5py.File(tmp_path / "a.hdf5", "r+") as f:
        del f["dimensions/time"]
        f["dimensions"].create_dataset("time", data=times).attrs.update(sample_varying=True)
        f["scalars"].create_dataset("once", data=[4.0]).attrs.update(sample_varying=False, time_varying=False)
    data = open_snapshots(tmp_path / "a.hdf5")
    np.testing.assert_array_equal(data.time, times.ravel())
    np.testing.assert_array_equal(data.quantities["once"], 4)


@pytest.mark.parametrize("grid", [(4, 5), (3, 4, 5)])
def test_pdebench_compressible(tmp_path, grid):
    arrays = files.pdebench_compressible(tmp_path / "a.hdf5", grid=grid)
    data = open_snapshots(tmp_path / "a.hdf5")
    assert data.field_names == tuple(arrays)
    assert data.attributes["layout"] == "pdebench"
    np.testing.assert_array_equal(
        data.fields, np.concatenate([channel_first(v, 2, len(grid)) for v in arrays.values()], 1)
    )
    np.testing.assert_allclose(data.time, [0, 1 / 3, 2 / 3] * 2, rtol=1e-6)
    np.testing.assert_array_equal(data.quantities["M"], 0.1)


@pytest.mark.parametrize(("shape", "nu"), [((3, 4, 7), False), ((3, 1, 4, 5), True)])
def test_pdebench_tensor(tmp_path, shape, nu):
    array = files.pdebench_tensor(tmp_path / "a.hdf5", shape, nu)
    data = open_snapshots(tmp_path / "a.hdf5")
    assert data.field_names == ("tensor",)
    np.testing.assert_array_equal(data.fields, channel_first(array, 2, len(shape) - 2))
    if nu:
        both = open_snapshots(tmp_path / "a.hdf5", ["nu", "tensor"])
        np.testing.assert_array_equal(both.fields[:, 1], data.fields[:, 0])
        np.testing.assert_array_equal(both.fields[:, 0], files.numbers(3, 4, 5, seed=9).transpose(0, 2, 1))


def test_pdebench_incompressible(tmp_path):
    arrays = files.pdebench_incompressible(tmp_path / "a.h5")
    data = open_snapshots(tmp_path / "a.h5")
    assert data.field_names == ("velocity_x", "velocity_y", "particles")
    np.testing.assert_array_equal(data.fields[:, :2], channel_first(arrays["velocity"], 2, 2))
    np.testing.assert_array_equal(data.time, np.arange(6))
    forced = open_snapshots(tmp_path / "a.h5", ["velocity", "force"])
    assert forced.shape == (4, 5, 4)
    np.testing.assert_array_equal(forced.fields[4, 2:], arrays["force"][1].transpose(2, 1, 0))


@pytest.mark.parametrize("grid", [(7,), (5, 6)])
def test_pdebench_groups(tmp_path, grid):
    arrays = files.pdebench_groups(tmp_path / "a.h5", grid=grid)
    data = open_snapshots(tmp_path / "a.h5")
    assert data.field_names == ("data_0", "data_1")
    np.testing.assert_array_equal(data.fields, np.concatenate([channel_first(a, 1, len(grid)) for a in arrays]))
    np.testing.assert_array_equal(data.trajectory, np.repeat([0, 1, 2], 4))
    np.testing.assert_allclose(data.time[:4], np.linspace(0, 5, 4))


def test_jhtdb(tmp_path):
    velocity, pressure = files.jhtdb(tmp_path / "a.h5")
    data = open_snapshots(tmp_path / "a.h5", ["velocity", "pressure"])
    assert data.field_names == ("velocity_x", "velocity_y", "velocity_z", "pressure")
    for i, t in enumerate((1, 2, 10)):
        np.testing.assert_array_equal(data.fields[i, :3], velocity[t].transpose(3, 0, 1, 2))
        np.testing.assert_array_equal(data.fields[i, 3], pressure[t][..., 0])
    np.testing.assert_array_equal(data.time, [1, 2, 10])
    np.testing.assert_array_equal(data.trajectory, 0)


def test_a_plane_of_jhtdb_is_two_dimensional(tmp_path):
    velocity, _ = files.jhtdb(tmp_path / "a.h5", grid=(1, 4, 5))
    data = open_snapshots(tmp_path / "a.h5", "velocity")
    assert data.shape == (3, 4, 5)
    np.testing.assert_array_equal(data.fields[2], velocity[10][0].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("dims", "shape", "axes"),
    [
        ("b t x y c", (2, 3, 4, 5, 2), (0, 1, 4, 3, 2)),
        ("b t -y x c", (2, 3, 4, 5, 2), (0, 1, 4, 2, 3)),
        ("t c y x", (3, 2, 4, 5), None),
        ("x y t", (4, 5, 3), (2, 1, 0)),
        ("c x b", (2, 4, 3), (2, 0, 1)),
    ],
)
def test_declared_axes(tmp_path, dims, shape, axes):
    array = files.numbers(*shape, dtype=np.float64)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["run/u"] = array
        f["other"] = np.zeros(3)
    np.save(tmp_path / "a.npy", array)
    expected = array.transpose(axes) if axes else array
    expected = expected[..., ::-1, :] if "-y" in dims else expected
    lead = sum(a in dims for a in "bt")
    expected = expected.reshape(-1, *expected.shape[lead:]).astype(np.float32)
    expected = expected if "c" in dims else expected[:, None]
    for path, kept in (("a.h5", {"fields": ["run/u"]}), ("a.h5", {}), ("a.npy", {})):
        data = open_snapshots(tmp_path / path, dims=dims, **kept)
        np.testing.assert_array_equal(data.fields, expected)
        picked = np.array([len(data) - 1, 0, 0])
        np.testing.assert_array_equal(data.read(picked), expected[picked])


def test_several_plain_datasets_with_declared_axes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"], f["v"] = files.numbers(6, 4, 5), files.numbers(6, 4, 5, seed=1)
        f["k"] = files.numbers(6, 4, 5, 2, seed=2)
    data = open_snapshots(tmp_path / "a.h5", dims={"u": "t y x", "k": "t y x c"})
    assert data.field_names == ("u", "k_0", "k_1")
    both = open_snapshots(tmp_path / "a.h5", fields=["v", "u"], dims="t y x")
    np.testing.assert_array_equal(both.fields[:, 1], data.fields[:, 0])


def test_dimension_scales_name_the_axes(tmp_path):
    array = files.numbers(2, 3, 4, 5)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"] = array
        for i, name in enumerate(["sample", "time", "y", "x"]):
            f["u"].dims[i].label = name
    data = open_snapshots(tmp_path / "a.h5")
    np.testing.assert_array_equal(data.fields[:, 0], array.reshape(6, 4, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"a\.h5: the layout is not recognised.*dims.*u \[6, 4, 5\] float32"),
        ({"dims": "t y"}, "no real array has axes 't y'"),
        ({"fields": ["u"], "dims": "t y"}, r"shape \(6, 4, 5\), but dims 't y' name 2"),
        ({"fields": ["w"], "dims": "t y x"}, "field 'w' is not in the file; found: u"),
        ({"dims": {"w": "t y x"}}, "no array 'w'"),
        ({"fields": ["name"], "dims": "t"}, "dims must name"),
        ({"fields": ["name"], "dims": "x"}, "'name' holds"),
        ({"format": "the_well"}, "not of the layout 'the_well'"),
    ],
)
def test_what_is_not_recognised_is_listed(tmp_path, arguments, message):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"] = files.numbers(6, 4, 5)
        f["name"] = np.array([b"a", b"b"])
    with pytest.raises(ValueError, match=message) as caught:
        open_snapshots(tmp_path / "a.h5", **arguments)
    assert isinstance(caught.value, SnapshotFileError) or "dims must" in message


@pytest.mark.parametrize("dims", ["", "b t", "b q x", "x x", "b -t x", 3])
def test_bad_dims(tmp_path, dims):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    with pytest.raises(ValueError, match="dims must name each axis"):
        open_snapshots(tmp_path / "a.npy", dims=dims)


def test_fields_that_do_not_fit_together_are_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"], f["v"] = np.zeros((6, 4, 5)), np.zeros((6, 4, 6))
    with pytest.raises(SnapshotFileError, match=r"'u' and 'v' differ along x: 5 and 6; choose with fields"):
        open_snapshots(tmp_path / "a.h5", dims="t y x")
