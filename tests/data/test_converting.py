import json

import h5py
import layout_files as files
import numpy as np
import pytest
import torch
from PIL import Image
from test_snapshots import make
from typer.testing import CliRunner

from gmvae_fast.cli import app
from gmvae_fast.data import (
    LazySnapshots,
    SnapshotFileError,
    Snapshots,
    convert_snapshots,
    inspect_snapshots,
    open_snapshots,
)
from gmvae_fast.data.fingerprint import stored_bytes
from gmvae_fast.data.inspection import _parts, as_text


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.h5", {}),
        ("a.h5", {"compression": "gzip", "dtype": "float16"}),
        ("a.h5", {"compression": "gzip", "dtype": "bfloat16"}),
        ("a.zarr", {"dtype": "bfloat16"}),
        ("a.zarr", {}),
        ("a.zarr", {"compression": "zstd"}),
    ],
)
@pytest.mark.parametrize("kind", ["memory", "file"])
def test_converted_snapshots_are_the_same(tmp_path, name, options, kind):
    source = make()
    if kind == "file":
        files.the_well(tmp_path / "well.h5")
        source = open_snapshots(tmp_path / "well.h5")
    seen = []
    convert_snapshots(source, tmp_path / name, progress=lambda done, n: seen.append((done, n)), **options)
    assert seen[-1] == (6, 6)
    again = open_snapshots(tmp_path / name)
    assert isinstance(again, LazySnapshots)
    half_step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(options.get("dtype"), 0)
    np.testing.assert_allclose(again.fields, source.fields, rtol=half_step, atol=half_step and 3e-8)
    if "dtype" in options:
        rounded = torch.from_numpy(source.fields).to(getattr(torch, options["dtype"])).float().numpy()
        np.testing.assert_array_equal(again.fields, rounded)
        np.testing.assert_array_equal(again.read([3, 0, 3]), rounded[[3, 0, 3]])
    assert again.field_names == source.field_names
    for table in ("quantities", "labels", "coordinates"):
        ours, theirs = getattr(again, table), getattr(source, table)
        assert ours.keys() == theirs.keys()
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])
    np.testing.assert_array_equal(again.trajectory, source.trajectory)
    np.testing.assert_array_equal(again.time, source.time)
    assert again.attributes["layout"] == "snapshots"
    assert not list(tmp_path.glob(".*"))


def test_masks_survive(tmp_path):
    mask = np.arange(12).reshape(3, 4) > 2
    convert_snapshots(make(mask=mask), tmp_path / "a.h5")
    np.testing.assert_array_equal(open_snapshots(tmp_path / "a.h5").mask, mask)


def test_own_archives_open_lazily_too(tmp_path):
    snapshots = make()
    snapshots.save(tmp_path / "a.npz")
    assert isinstance(open_snapshots(tmp_path / "a.npz"), Snapshots)
    lazy = open_snapshots(tmp_path / "a.npz", lazy=True)
    assert isinstance(lazy, LazySnapshots)
    np.testing.assert_array_equal(lazy.fields, snapshots.fields)
    np.testing.assert_array_equal(lazy.labels["group"], snapshots.labels["group"])
    assert lazy.mask is None or lazy.mask.all()


def test_what_cannot_be_converted(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"mine")
    for name, options, error, message in (
        ("a.nc", {}, ValueError, "out must end in"),
        ("a.h5", {}, FileExistsError, "overwrite"),
        ("b.h5", {"dtype": "int8"}, ValueError, "dtype"),
        ("b.h5", {"compression": "zstd"}, ValueError, "compression must be none or gzip"),
        ("b.h5", {"dtype": "float16"}, ValueError, "field 'u' has values beyond float16"),
    ):
        with pytest.raises(error, match=message):
            convert_snapshots(make(fields=np.full((6, 2, 3, 4), 1e6)), tmp_path / name, **options)
    assert (tmp_path / "a.h5").read_bytes() == b"mine"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    convert_snapshots(make(), tmp_path / "a.h5", overwrite=True)
    assert len(open_snapshots(tmp_path / "a.h5")) == 6


@pytest.mark.parametrize("change", ["metadata", "version", "names", "time"])
def test_damaged_converted_files_are_named(tmp_path, change):
    convert_snapshots(make(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        metadata = json.loads(f["metadata"][()])
        if change == "version":
            metadata["format_version"] = 9
        if change == "names":
            metadata["field_names"] = ["u"]
        text = json.dumps(metadata)
        del f["metadata"]
        f["metadata"] = np.bytes_((text[:-3] if change == "metadata" else text).encode())
        if change == "time":
            del f["time"]
            f["time"] = np.zeros(3)
    with pytest.raises(SnapshotFileError, match=r"a\.h5: "):
        open_snapshots(tmp_path / "a.h5")


# --- inspection ---------------------------------------------------------------------------------------------------


def test_a_recognised_file_is_described(tmp_path):
    arrays = files.the_well(tmp_path / "a.hdf5")
    d = inspect_snapshots(tmp_path / "a.hdf5")
    assert d["recognised"]
    assert d["layout"] == "the_well"
    assert (d["snapshots"], d["shape"], d["axes"]) == (6, [7, 5, 4], ["channel", "y", "x"])
    assert d["variables"][1] == {
        "name": "t1_fields/velocity",
        "axes": "b t x y c",
        "stored_shape": [2, 3, 4, 5, 2],
        "dtype": "float32",
        "channels": ["velocity_x", "velocity_y"],
    }
    assert d["trajectories"] == {"count": 2, "shortest": 3, "longest": 3}
    assert d["quantities"]["viscosity"] == {"min": 0.5, "max": 1.5, "distinct": 2, "missing": 0}
    assert d["sample"]["fields"]["density"]["max"] == pytest.approx(float(arrays["density"].max()))
    json.dumps(d, allow_nan=False)


@pytest.mark.parametrize("name", ["a.npy", "a.zarr", "frames"])
def test_the_size_is_that_of_all_files(tmp_path, name):
    path, array = tmp_path / name, files.numbers(5, 6, 7)
    if name == "a.npy":
        np.save(path, array)
    elif name == "frames":
        path.mkdir()
        for i, frame in enumerate(array):
            Image.fromarray(frame.astype(np.uint8)).save(path / f"{i}.png")
    else:
        convert_snapshots(Snapshots(array[:, None], ("u",)), path)
    parts = [p for p in (path.rglob("*") if path.is_dir() else tmp_path.iterdir()) if p.is_file()]
    d = inspect_snapshots(path)
    assert d["files"][0]["bytes"] == sum(p.stat().st_size for p in parts) > 100
    size = d["files"][0]["bytes"]
    assert f", {size} bytes" in as_text(d) or f", {size / 1e3:,.1f} kB" in as_text(d)


def test_a_list_of_vtk_files_is_of_their_size(tmp_path):
    (tmp_path / "part.vti").write_bytes(bytes(1000))
    path = tmp_path / "a.pvd"
    path.write_text('<VTKFile><Collection><DataSet timestep="0" file="part.vti"/></Collection></VTKFile>')
    assert stored_bytes(_parts(str(path))) == 1000 + path.stat().st_size


def test_not_a_number_is_counted(tmp_path):
    array = files.numbers(4, 3, 5)
    array[:, 0, 0] = np.nan
    np.save(tmp_path / "a.npy", array)
    d = inspect_snapshots(tmp_path / "a.npy")
    assert d["sample"]["fields"]["field_0"]["not_finite"] == 4
    assert "nan='mask'" in d["advice"][0]
    d = inspect_snapshots(tmp_path / "a.npy", nan="mask")
    assert (d["masked_cells"], d["advice"]) == (1, [])


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_commands(tmp_path):
    files.the_well(tmp_path / "a.hdf5")
    shown = run("inspect", tmp_path / "a.hdf5")
    assert shown.exit_code == 0
    for text in ("the_well", "axes b t x y c -> velocity_x, velocity_y", "trajectories  2", "viscosity"):
        assert text in shown.output
    described = json.loads(run("inspect", "--json", "--fields", "density", tmp_path / "a.hdf5").output)
    assert described["field_names"] == ["density"]
    done = run("convert", tmp_path / "a.hdf5", "--out", tmp_path / "b.zarr", "--fields", "velocity", "--quiet")
    assert done.exit_code == 0, done.output
    assert open_snapshots(tmp_path / "b.zarr").field_names == ("velocity_x", "velocity_y")
    data = tmp_path / "b.zarr"
    for command in (
        ("train", data, "--out", tmp_path / "s", "--epochs", 2, "--workers", 1, "--quiet"),
        ("embed", tmp_path / "s"),
        ("score", tmp_path / "s", "--neighbors", 2),
    ):
        done = run(*command)
        assert done.exit_code == 0, (command, done.output, done.exception)


def test_axes_array_by_array_on_the_command_line(tmp_path):
    u, k = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 2)), np.ones((2, 3, 4, 5))
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["flow/u"], f["flow/k"] = u, k
    dims = "flow/u=b t -y x c; flow/k = b t -y x"
    done = run("convert", tmp_path / "a.h5", "--dims", dims, "--out", tmp_path / "b.h5", "--quiet")
    assert done.exit_code == 0, done.output
    data = open_snapshots(tmp_path / "b.h5")
    assert data.field_names == ("flow/u_0", "flow/u_1", "flow/k")
    np.testing.assert_array_equal(data.fields[4, 0], u[1, 1, ::-1, :, 0].astype(np.float32))
    refused = run("inspect", tmp_path / "a.h5", "--dims", "b t y x; flow/k=b t y x")
    assert refused.exit_code == 1
    assert "u=t y x; k=t y x c" in str(refused.output) + str(refused.exception)


def test_frames_masks_and_joined_files_on_the_command_line(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (6, 8, 10), dtype=np.uint8)
    for i, name in enumerate(("a b", "c")):
        (tmp_path / name).mkdir()
        for j, frame in enumerate(frames[3 * i : 3 * i + 3]):
            Image.fromarray(frame).save(tmp_path / name / f"{j}.png")
    options = ("--roi", "1,7,2,10", "--background", 2, "--downsample", 2, "--joined", "--quiet")
    done = run("convert", tmp_path / "a b", tmp_path / "c", "--out", tmp_path / "film.h5", *options)
    assert done.exit_code == 0, done.output
    film, expected = (
        open_snapshots(tmp_path / "film.h5"),
        open_snapshots([tmp_path / "a b", tmp_path / "c"], roi=(1, 7, 2, 10), background=2, downsample=2, joined=True),
    )
    np.testing.assert_array_equal(film.fields, expected.fields)
    np.testing.assert_array_equal(film.trajectory, 0)
    assert run("inspect", tmp_path / "c", "--roi", "1,2,3").exit_code == 1
    with h5py.File(tmp_path / "masked.h5", "w") as f:
        f["u"], f["fluid"] = np.ones((3, 4, 5)), np.arange(20).reshape(4, 5) > 4
    shown = run("inspect", tmp_path / "masked.h5", "--fields", "u", "--dims", "t y x", "--mask", "fluid", "--json")
    assert json.loads(shown.output)["masked_cells"] == 5


def test_a_folder_of_folders_says_what_to_give(tmp_path):
    (tmp_path / "frames" / "run1").mkdir(parents=True)
    with pytest.raises(SnapshotFileError, match=r"frames: a folder of neither images .*frames/\*"):
        open_snapshots(tmp_path / "frames")


def test_npy_files_of_something_else(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{1: 2}], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for name in "ab":
        for lazy in (None, True):
            with pytest.raises(SnapshotFileError, match=rf"{name}\.npy") as caught:
                open_snapshots(tmp_path / f"{name}.npy", lazy=lazy)
            assert "allow_pickle" not in str(caught.value)


def test_an_unknown_layout_is_listed_with_what_to_pass(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["run/u"] = np.zeros((3, 4, 5))
    shown = run("inspect", tmp_path / "a.h5")
    assert shown.exit_code == 1
    assert "not recognised" in shown.output
    assert "run/u" in shown.output
    assert "[3, 4, 5] float64" in shown.output
    assert "dims" in shown.output
    assert run("inspect", tmp_path / "a.h5", "--dims", "t y x").exit_code == 0
    described = json.loads(run("inspect", tmp_path / "a.h5", "--json").output)
    assert described["arrays"] == [{"name": "run/u", "shape": [3, 4, 5], "dtype": "float64", "axes": []}]


def test_bfloat16_keeps_range_and_what_is_not_a_number(tmp_path):
    values = np.array([0.0, -0.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, 3e38, 1e-40, np.nan, np.inf], np.float32)
    convert_snapshots(make(fields=np.tile(values[:4], (6, 2, 3, 1))), tmp_path / "a.h5", dtype="bfloat16")
    np.testing.assert_array_equal(open_snapshots(tmp_path / "a.h5").fields[0, 0, 0], [0, -0.0, 1, 1 + 2.0**-6])
    convert_snapshots(make(fields=np.tile(values[4:], (6, 2, 3, 1))), tmp_path / "b.h5", dtype="bfloat16")
    stored = open_snapshots(tmp_path / "b.h5").fields[0, 0, 0]
    np.testing.assert_allclose(stored, values[4:], rtol=2.0**-8, atol=1e-40)
    with pytest.raises(ValueError, match="field 'u' has values beyond bfloat16"):
        convert_snapshots(make(fields=np.full((6, 2, 3, 4), 3.4e38)), tmp_path / "c.h5", dtype="bfloat16")
    with h5py.File(tmp_path / "a.h5", "r+") as f:
        assert f["fields"].dtype == np.uint16
        del f["fields"]
        f["fields"] = np.zeros((6, 2, 3, 4), np.float32)
        f["fields"].attrs["stored_as"] = "bfloat16"
    with pytest.raises(SnapshotFileError, match=r"a\.h5: .*must hold uint16, got float32"):
        open_snapshots(tmp_path / "a.h5")
