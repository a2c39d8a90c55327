"""Lazy snapshots: access by index, processes, tables, masks, damaged files."""

import gc
import multiprocessing
import pickle
import sys
import threading
import warnings

import h5py
import layout_files as files
import numpy as np
import pytest
import tifffile
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gmvae_fast.data import LazySnapshots, SnapshotFileError, Snapshots, open_snapshots, split_by_trajectory


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One array [samples, times, y, x] in every format that can hold it."""
    path = tmp_path_factory.mktemp("formats")
    array = files.numbers(3, 4, 5, 6, dtype=np.float64)
    dims = ("sample", "time", "y", "x")
    data = xarray.Dataset(
        {"u": (dims, array), "Re": ("sample", [10.0, 20.0, 30.0])},
        {"time": np.linspace(0, 3, 4), "x": np.arange(6.0), "y": np.arange(5.0)},
    )
    data.to_netcdf(path / "a.nc", engine="h5netcdf")
    data.to_netcdf(path / "three.nc", engine="scipy")
    for version in (2, 3):
        data.to_zarr(path / f"v{version}.zarr", zarr_format=version, consolidated=False)
    with h5py.File(path / "a.h5", "w") as f:
        f.create_dataset("u", data=array, chunks=(1, 2, 5, 6), compression="gzip")
    np.save(path / "a.npy", array)
    np.savez(path / "a.npz", u=array, other=np.zeros(3))
    np.savez_compressed(path / "small.npz", u=array)
    return path, array


FILES = ["a.nc", "three.nc", "v2.zarr", "v3.zarr", "a.h5", "a.npy", "a.npz", "small.npz"]


def opened(path):
    dims = None if path.suffix in (".nc", ".zarr") else "b t y x"
    return open_snapshots(path, fields="u" if path.suffix != ".npy" else None, dims=dims)


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_snapshots(folder, name):
    path, array = folder
    data = opened(path / name)
    assert isinstance(data, LazySnapshots)
    expected = array.reshape(12, 1, 5, 6).astype(np.float32)
    np.testing.assert_array_equal(data.fields, expected)
    np.testing.assert_array_equal(data.trajectory, np.repeat([0, 1, 2], 4))
    if data.attributes["layout"] == "named_axes":
        np.testing.assert_array_equal(data.quantities["Re"], np.repeat([10.0, 20, 30], 4))
        np.testing.assert_array_equal(data.time, np.tile([0.0, 1, 2, 3], 3))
        np.testing.assert_array_equal(data.coordinates["y"], np.arange(5.0))
    loaded = data.load()
    assert isinstance(loaded, Snapshots)
    np.testing.assert_array_equal(loaded.fields, expected)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(["a.h5", "a.npy", "v3.zarr", "a.nc"]),
    indices=st.lists(st.integers(-12, 11), max_size=30),
    kept=st.lists(st.integers(0, 11), min_size=12, max_size=20),
)
def test_any_indices_of_any_part(folder, name, indices, kept):
    path, array = folder
    expected = array.reshape(12, 1, 5, 6).astype(np.float32)
    data = opened(path / name)
    np.testing.assert_array_equal(data.read(indices), expected[np.array(indices, dtype=int)])
    part = data.subset(kept)
    np.testing.assert_array_equal(part.read(indices), expected[kept][np.array(indices, dtype=int)])
    np.testing.assert_array_equal(part.time_index, data.time_index[kept])
    starts = part.chunk_starts
    if starts is not None:
        assert starts[0] == 0
        assert (np.diff(starts) > 0).all()


def test_chunks_are_known(folder):
    path, _ = folder
    data = opened(path / "a.h5")
    np.testing.assert_array_equal(data.chunk_starts, [0, 2, 4, 6, 8, 10])
    np.testing.assert_array_equal(data.subset([0, 1, 5, 4, 2]).chunk_starts, [0, 2, 4])
    assert opened(path / "a.npy").chunk_starts is None


@pytest.mark.parametrize("bad", [[12], [-13], [[0]]])
def test_bad_indices(folder, bad):
    with pytest.raises(IndexError, match="indices"):
        opened(folder[0] / "a.h5").read(bad)


def _mean(data):
    return float(data.read(np.arange(len(data))).mean())


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("name", ["a.h5", "v3.zarr", "a.npy"])
def test_other_processes_read_for_themselves(folder, name, method):
    data = opened(folder[0] / name)
    expected = _mean(data)  # opens the files here first
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(_mean, [data] * 4).get(timeout=120) == [expected] * 4
    assert _mean(data) == expected


def test_a_fork_does_not_use_the_parents_handle(folder):
    data = opened(folder[0] / "a.h5")
    expected = _mean(data)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put((_mean(data), list(data._handles._open))))
    child.start()
    assert queue.get(timeout=60) == (expected, [0])
    child.join()
    assert child.exitcode == 0
    assert _mean(data) == expected


def test_pickles_are_small_and_whole(folder):
    data = opened(folder[0] / "a.h5").subset(slice(2, 7))
    data.read([0])
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.fields, data.fields)
    assert again.attributes == data.attributes


def test_threads_share_one_source(folder):
    data = opened(folder[0] / "a.h5")
    expected, found = data.fields, []
    threads = [threading.Thread(target=lambda: found.append(data.fields)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 4
    assert all(np.array_equal(f, expected) for f in found)


def test_files_are_closed_with_the_last_source_that_reads_them(folder):
    data = open_snapshots(folder[0] / "a.nc")
    part = data[:2]
    part.read([0])
    container, closed = data._handles._open[0], []
    close, container.close = container.close, lambda: closed.append(close())
    del data
    gc.collect()
    assert not closed
    del part
    gc.collect()
    assert closed == [None]


def test_frames_that_cannot_be_opened_are_closed(tmp_path):
    for i in range(2):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.zeros((4, 5), np.uint8))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(SnapshotFileError, match="roi"):
            open_snapshots(tmp_path, roi=(0, 9, 0, 2))
        gc.collect()
    assert not [w for w in caught if w.category is ResourceWarning]


def test_closed_sources_open_again(folder):
    data = opened(folder[0] / "a.h5")
    before = data.fields
    data.close()
    np.testing.assert_array_equal(data.fields, before)


def test_several_files_and_patterns(tmp_path):
    for i in (2, 10, 1):
        files.pdebench_compressible(tmp_path / f"run{i}.h5", n=i)
    data = open_snapshots(tmp_path / "run*.h5")
    assert len(data) == 13 * 3
    np.testing.assert_array_equal(np.unique(data.trajectory), np.arange(13))
    assert data.attributes["source"] == ["run1.h5", "run2.h5", "run10.h5"]
    train, test = split_by_trajectory(data, 0.3)
    assert not set(data.trajectory[train]) & set(data.trajectory[test])
    parts = open_snapshots([tmp_path / "run1.h5"] * 2, joined=True)
    np.testing.assert_array_equal(parts.trajectory, 0)
    np.testing.assert_array_equal(parts.time_index, np.arange(6))
    files.pdebench_compressible(tmp_path / "other.h5", grid=(4, 6))
    with pytest.raises(SnapshotFileError, match=r"other\.h5: .*expected those of .*run1\.h5"):
        open_snapshots([tmp_path / "run1.h5", tmp_path / "other.h5"])


def test_falling_coordinates_are_turned_over(tmp_path):
    array = files.numbers(2, 3, 4)
    data = xarray.Dataset({"t2m": (("time", "lat", "lon"), array)}, {"lat": [50.0, 40, 30], "lon": np.arange(4.0)})
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    opened = open_snapshots(tmp_path / "a.nc")
    np.testing.assert_array_equal(opened.fields[:, 0], array[:, ::-1])
    np.testing.assert_array_equal(opened.coordinates["y"], [30, 40, 50])


def test_packed_netcdf_is_unpacked(tmp_path):
    array = np.array([[[0.0, 0.5], [np.nan, 1.5]]])
    encoding = {"u": {"dtype": "i2", "scale_factor": 0.5, "_FillValue": -1}}
    xarray.Dataset({"u": (("time", "y", "x"), array)}).to_netcdf(
        tmp_path / "a.nc", engine="h5netcdf", encoding=encoding
    )
    np.testing.assert_array_equal(open_snapshots(tmp_path / "a.nc").fields[0], array.astype(np.float32))


# --- camera frames -----------------------------------------------------------------------------------------------


def test_image_series(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (12, 8, 10), dtype=np.uint8)
    for kind in ("png", "tif", "runs/a", "runs/b"):
        (tmp_path / kind).mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"png/frame{i}.png")
        tifffile.imwrite(tmp_path / f"tif/{i}.tif", frame)
        Image.fromarray(frame).save(tmp_path / f"runs/{'ab'[i % 2]}/{i}.png")
    tifffile.imwrite(tmp_path / "pages.tif", frames, photometric="minisblack")
    expected = frames[:, None, ::-1].astype(np.float32)  # row 0 at the bottom
    for path in ("png", "tif", "pages.tif"):
        data = open_snapshots(tmp_path / path)
        assert isinstance(data, LazySnapshots)
        np.testing.assert_array_equal(data.fields, expected)
        np.testing.assert_array_equal(data.trajectory, 0)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(data)).read([11, 0, 3]), expected[[11, 0, 3]])
    runs = open_snapshots(tmp_path / "runs/*/*.png")
    np.testing.assert_array_equal(runs.trajectory, np.repeat([0, 1], 6))
    np.testing.assert_array_equal(runs.fields[:6], expected[::2])
    image = (frames - frames[:3].mean(0))[5, 1:7, 2:10]
    image = image.reshape(3, 2, 4, 2).mean((1, 3))
    for path in ("png", "tif", "pages.tif"):
        cut = open_snapshots(tmp_path / path, roi=(1, 7, 2, 10), background=3, downsample=2)
        np.testing.assert_allclose(cut.fields[5, 0], image[::-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "axes", "options"),
    [("f.tif", "TCYX", {"imagej": True}), ("f.ome.tif", "TCYX", {}), ("f.ome.tif", "CTYX", {})],
)
def test_pages_along_channels_are_channels(tmp_path, name, axes, options):
    frames = np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)
    stored = frames if axes == "TCYX" else np.ascontiguousarray(frames.swapaxes(0, 1))
    tifffile.imwrite(tmp_path / name, stored, metadata={"axes": axes}, **options)
    data = open_snapshots(tmp_path / name)
    np.testing.assert_array_equal(data.fields, frames[:, :, ::-1])
    assert data.field_names == ("frames_0", "frames_1")


def test_an_imagej_stack_is_a_film_and_planes_of_colours_are_channels(tmp_path):
    frames = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "stack.tif", frames, imagej=True, metadata={"axes": "ZYX"})
    np.testing.assert_array_equal(open_snapshots(tmp_path / "stack.tif").fields, frames[:, None, ::-1])
    colours = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    tifffile.imwrite(tmp_path / "planes.tif", colours, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(open_snapshots(tmp_path / "planes.tif").fields, colours[:, :, ::-1])


def test_pages_that_are_no_film_are_refused(tmp_path):
    values = np.zeros((2, 3, 4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "volumes.tif", values, imagej=True, metadata={"axes": "TZYX"})
    tifffile.imwrite(tmp_path / "unnamed.tif", values, photometric="minisblack")
    tifffile.imwrite(tmp_path / "tiles.tif", np.zeros((16, 32, 32), np.uint8), volumetric=True, tile=(16, 16, 16))
    for name, message in (("volumes", "axes T Z"), ("unnamed", "axes Q Q"), ("tiles", "page 0 has the axes ZYX")):
        with pytest.raises(SnapshotFileError, match=rf"{name}\.tif.*{message}"):
            open_snapshots(tmp_path / f"{name}.tif")


@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_film_cut_short_is_refused_not_shortened(tmp_path, contiguous, part):
    frames = np.random.default_rng(0).integers(0, 255, (8, 20, 30), dtype=np.uint8)
    with tifffile.TiffWriter(tmp_path / "film.tif") as film:
        for frame in frames:
            film.write(frame, contiguous=contiguous)
    content = (tmp_path / "film.tif").read_bytes()
    (tmp_path / "film.tif").write_bytes(content[: int(part * len(content))])
    with pytest.raises(SnapshotFileError, match=r"film\.tif"):
        open_snapshots(tmp_path / "film.tif").read(np.arange(8))


def test_pages_that_the_description_promises_must_be_there(tmp_path):
    """Written by tifffile and by ImageJ beyond 4 GB: one page, whose description tells of the others."""
    tifffile.imwrite(tmp_path / "film.tif", np.zeros((6, 20, 30), np.uint8), metadata={"axes": "TYX"}, truncate=True)
    with pytest.raises(SnapshotFileError, match=r"tells of 6 pages \(T: 6\), it has 1"):
        open_snapshots(tmp_path / "film.tif")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"roi": (0, 9, 0, 4)}, "roi"),
        ({"roi": (4, 2, 0, 4)}, "roi"),
        ({"downsample": 0}, "downsample"),
        ({"downsample": 50}, "leaves nothing"),
        ({"background": np.zeros((2, 2))}, "background"),
    ],
)
def test_bad_frame_options(tmp_path, options, message):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=message):
        open_snapshots(tmp_path / "a.png", **options)


def test_frames_of_different_sizes_are_named(tmp_path):
    for i, n in enumerate((8, 8, 9)):
        Image.fromarray(np.zeros((n, 8), np.uint8)).save(tmp_path / f"{i}.png")
    with pytest.raises(SnapshotFileError, match=r"2\.png.*\(9, 8\).*\(8, 8\)"):
        open_snapshots(tmp_path).read([0, 1, 2])


# --- tables and masks --------------------------------------------------------------------------------------------


def test_quantities_from_a_table(tmp_path, folder):
    data_path = folder[0] / "a.nc"
    (tmp_path / "runs.csv").write_text("trajectory, kind, drag\n2,late,0.3\n0,early,0.1\n")
    data = open_snapshots(data_path, quantities=tmp_path / "runs.csv")
    np.testing.assert_array_equal(data.quantities["drag"], [0.1] * 4 + [np.nan] * 4 + [0.3] * 4)
    np.testing.assert_array_equal(data.labels["kind"], [0] * 4 + [-1] * 4 + [1] * 4)
    assert data.attributes["label_names"]["kind"] == ["early", "late"]
    assert "Re" in data.quantities
    (tmp_path / "rows.csv").write_text("p\n" + "\n".join(map(str, range(12))))
    np.testing.assert_array_equal(
        open_snapshots(data_path, quantities=tmp_path / "rows.csv").quantities["p"], range(12)
    )
    (tmp_path / "file.csv").write_text("file,time_index,q\na.nc,1,5\n")
    by_file = open_snapshots(data_path, quantities=tmp_path / "file.csv").quantities["q"]
    np.testing.assert_array_equal(np.isfinite(by_file), data.time_index == 1)


def test_tables_of_several_files(tmp_path):
    """Trajectories are counted within the file that a row names; a name that fits two files needs more of its path."""
    for folder, samples in (("run 1", 2), ("run 2", 1)):
        (tmp_path / folder).mkdir()
        files.the_well(tmp_path / folder / "data.hdf5", samples=samples)
    paths = [tmp_path / "run 1/data.hdf5", tmp_path / "run 2/data.hdf5"]
    table = tmp_path / "runs.csv"
    table.write_text("file,trajectory,Mach\nrun 1/data.hdf5,0,1\nrun 1/data.hdf5,1,2\nrun 2/data.hdf5,0,3\n")
    data = open_snapshots(paths, quantities=table)
    np.testing.assert_array_equal(data.quantities["Mach"], [1] * 3 + [2] * 3 + [3] * 3)
    table.write_text("trajectory,Mach\n0,1\n1,2\n2,3\n")
    np.testing.assert_array_equal(open_snapshots(paths, quantities=table).quantities["Mach"], data.quantities["Mach"])
    table.write_text("file,Mach\ndata.hdf5,1\n")
    with pytest.raises(SnapshotFileError, match=r"'data\.hdf5' fits 2 files, .*run 1.* and .*run 2.*more of the path"):
        open_snapshots(paths, quantities=table)


def test_quantities_from_parquet(tmp_path, folder, monkeypatch):
    pandas = pytest.importorskip("pandas")
    table = {"trajectory": [2, 0, None], "kind": ["late", None, "early"], "drag": [0.3, np.nan, 0.1], "n": [1, 2, 3]}
    pandas.DataFrame(table).to_parquet(tmp_path / "runs.parquet")  # trajectory is stored as floats, because of the gap
    data = open_snapshots(folder[0] / "a.nc", quantities=tmp_path / "runs.parquet")
    np.testing.assert_array_equal(data.quantities["drag"], [np.nan] * 8 + [0.3] * 4)
    np.testing.assert_array_equal(data.quantities["n"], [2] * 4 + [np.nan] * 4 + [1] * 4)
    np.testing.assert_array_equal(data.labels["kind"], [-1] * 8 + [1] * 4)
    assert data.attributes["label_names"]["kind"] == ["early", "late"]
    pandas.DataFrame({"a": []}).to_parquet(tmp_path / "empty.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no table")
    for name in ("empty", "bad"):
        with pytest.raises(SnapshotFileError, match=rf"{name}\.parquet: "):
            open_snapshots(folder[0] / "a.nc", quantities=tmp_path / f"{name}.parquet")
    with pytest.raises(FileNotFoundError, match="none"):
        open_snapshots(folder[0] / "a.nc", quantities=tmp_path / "none.parquet")
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"needs pyarrow or fastparquet: pip install 'gmvae_fast\[parquet\]'"):
        open_snapshots(folder[0] / "a.nc", quantities=tmp_path / "runs.parquet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a line of names"),
        ("a\n1\n2\n", "2 rows for 12 snapshots; add a column file, trajectory"),
        ("trajectory;a\n0;1\n1;2\n", "separated by commas"),
        ("trajectory,a\n0,1\n0,2\n", "two rows for"),
        ("trajectory,a\n7,1\n", "no row is about any"),
        ("trajectory,a\n0\n", "row 2 has 1 values, expected 2"),
        ("trajectory,a,a\n0,1,1\n", "distinct"),
        ("trajectory,Re\n0,x\n", "both a quantity and a label"),
    ],
)
def test_bad_tables_are_named(tmp_path, folder, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SnapshotFileError, match=rf"t\.csv: .*{message}"):
        open_snapshots(folder[0] / "a.nc", quantities=tmp_path / "t.csv")


def test_solid_cells(tmp_path):
    array = files.numbers(6, 4, 5)
    array[:, 1, 2:4] = np.nan
    fluid = np.isfinite(array[0])
    np.save(tmp_path / "a.npy", array)
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["u"], f["fluid"] = array.transpose(0, 2, 1), fluid.T
    for data in (
        open_snapshots(tmp_path / "a.npy", nan="mask"),
        open_snapshots(tmp_path / "a.npy", mask=fluid),
        open_snapshots(tmp_path / "a.h5", fields="u", dims="t x y", mask="fluid"),
    ):
        np.testing.assert_array_equal(data.mask, fluid)
        np.testing.assert_array_equal(data.fields[:, 0], np.nan_to_num(array))
    assert np.isnan(open_snapshots(tmp_path / "a.npy", lazy=True).fields).any()
    for mask in (np.ones((5, 4), bool), np.ones((4, 5))):
        with pytest.raises(ValueError, match="mask must be bool"):
            open_snapshots(tmp_path / "a.npy", mask=mask)
    with pytest.raises(SnapshotFileError, match="leaves no cell"):
        open_snapshots(tmp_path / "a.npy", mask=~np.ones((4, 5), bool))
    with pytest.raises(SnapshotFileError, match="mask 'solid' is not among"):
        open_snapshots(tmp_path / "a.h5", fields="u", dims="t x y", mask="solid")


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 20, 0.3, 0.9])
@pytest.mark.parametrize("name", ["a.h5", "a.nc", "a.npy", "a.npz", "three.nc"])
def test_files_cut_short_are_named(folder, tmp_path, name, kept):
    content = (folder[0] / name).read_bytes()
    (tmp_path / name).write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(SnapshotFileError, match=name):
        opened(tmp_path / name).read(np.arange(12))


def test_damage_is_found_when_it_is_read(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f.create_dataset("u", data=files.numbers(8, 50, 50), chunks=(1, 50, 50), compression="gzip", fletcher32=True)
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[-2000:-1000] = b"\xff" * 1000
    (tmp_path / "a.h5").write_bytes(bytes(content))
    data = open_snapshots(tmp_path / "a.h5", dims="t y x")
    with pytest.raises(SnapshotFileError, match=r"a\.h5: field 'u' cannot be read"):
        data.read(np.arange(8))


def test_a_file_that_vanished(tmp_path):
    np.save(tmp_path / "a.npy", files.numbers(3, 4, 5))
    data = open_snapshots(tmp_path / "a.npy", lazy=True)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.npy"):
        data.read([0])


def test_python_objects_are_never_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", u=np.array([{}, {}], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(SnapshotFileError, match=name):
            open_snapshots(tmp_path / name, lazy=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"format": "hdf6"}, ValueError, "format must be"),
        ({"nan": "drop"}, ValueError, "nan must be"),
        ({"fields": []}, ValueError, "fields must be"),
        ({"fields": ["a", "a"]}, ValueError, "fields must be"),
        ({"roi": (0, 1, 0, 1)}, ValueError, "image files only"),
    ],
)
def test_bad_options(folder, arguments, error, message):
    with pytest.raises(error, match=message):
        open_snapshots(folder[0] / "a.nc", **arguments)


@pytest.mark.parametrize("paths", ["none*.h5", [], "none.h5"])
def test_nothing_there(tmp_path, paths):
    with pytest.raises(FileNotFoundError):
        open_snapshots(tmp_path / paths if isinstance(paths, str) else paths)
    with pytest.raises(TypeError, match="got int"):
        open_snapshots([3])


def test_a_missing_package_is_named(folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py: pip install 'gmvae_fast\[data\]'"):
        open_snapshots(folder[0] / "a.h5", dims="b t y x")


@pytest.mark.parametrize("version", [2, 3])
def test_fields_of_a_zarr_store_are_in_the_order_of_their_names(tmp_path, version, monkeypatch):
    """Whatever the order in which the folder lists them."""
    written = xarray.Dataset(
        {name: (("time", "y", "x"), np.full((2, 3, 4), i, np.float32)) for i, name in enumerate("wuv")}
    )
    written.to_zarr(tmp_path / "a.zarr", zarr_format=version, consolidated=False)
    members = zarr.Group.members
    for turned in (False, True):
        listed = (lambda group, **options: tuple(reversed(members(group, **options)))) if turned else members
        monkeypatch.setattr(zarr.Group, "members", listed)
        data = open_snapshots(tmp_path / "a.zarr")
        assert data.field_names == ("u", "v", "w")
        np.testing.assert_array_equal(data.fields[0, :, 0, 0], [1, 2, 0])


def test_zarr_arrays_without_a_group(tmp_path):
    array = files.numbers(3, 4, 5)
    store = zarr.create_array(tmp_path / "a.zarr", shape=array.shape, chunks=(1, 4, 5), dtype="f4", zarr_format=3)
    store[:] = array
    data = open_snapshots(tmp_path / "a.zarr", dims="t y x")
    np.testing.assert_array_equal(data.fields[:, 0], array)
