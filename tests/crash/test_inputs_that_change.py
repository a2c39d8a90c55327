"""Data that disappear or change while they are read: an error that names the file, and a checkpoint to go on from."""

import os
import shutil

import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast.data import SnapshotFileError, Snapshots, convert_snapshots

MODEL = {"n_components": 2, "network": "mlp", "widths": [8]}


@pytest.fixture
def snapshots():
    fields = np.random.default_rng(0).normal(size=(40, 1, 8)).astype(np.float32)
    return Snapshots(fields, ("u",))


def stored(snapshots, path):
    if path.suffix == ".npy":
        np.save(path, snapshots.fields)
    elif path.suffix == ".npz":
        snapshots.save(path)
    elif path.suffix == ".nc":
        xarray = pytest.importorskip("xarray")
        xarray.Dataset({"u": (("time", "x"), snapshots.fields[:, 0])}).to_netcdf(path, engine="scipy")
    else:
        pytest.importorskip("zarr" if path.suffix == ".zarr" else "h5py")
        convert_snapshots(snapshots, path)
    return gf.open_snapshots(path, lazy=True)


def remove(path):
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def cut(path):
    """In place, as a copy that begins anew does."""
    name = path / "zarr.json" if path.is_dir() else path
    os.truncate(name, name.stat().st_size // 2)


def replace(path):
    name = path / "zarr.json" if path.is_dir() else path
    content = name.read_bytes()
    name.unlink()
    name.write_bytes(content)
    os.utime(name, (1, 1))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".zarr", ".nc"])
@pytest.mark.parametrize("change", [remove, cut, replace])
def test_reading_says_what_happened(tmp_path, snapshots, suffix, change):
    source = stored(snapshots, tmp_path / f"data{suffix}")
    np.testing.assert_array_equal(source.read([3]), snapshots.fields[[3]])
    change(tmp_path / f"data{suffix}")
    kind, word = (FileNotFoundError, "gone") if change is remove else (SnapshotFileError, "changed since")
    with pytest.raises(kind, match=rf"data{suffix}: {word}"):
        source.read([4])


@pytest.mark.parametrize("options", [{"compressors": None}, {}, {"shards": (4, 8)}], ids=["plain", "zstd", "shards"])
@pytest.mark.parametrize("change", ["remove", "rewrite"])
def test_a_chunk_of_a_zarr_store_that_changes_is_noticed(tmp_path, snapshots, options, change):
    """One that is gone would be read as zeros."""
    zarr = pytest.importorskip("zarr")
    path = tmp_path / "data.zarr"
    store, values = zarr.open_group(path, mode="w"), snapshots.fields[:, 0]
    store.create_array("u", shape=values.shape, chunks=(1, 8), dtype="f4", **options)[:] = values
    source = gf.open_snapshots(path, dims="t x")
    source.read(np.arange(len(source)))
    chunk = path / "u" / "c" / "3" / "0"  # of the snapshots 12 to 15 where it is a shard
    if change == "remove":
        chunk.unlink()
    else:
        chunk.write_bytes(chunk.read_bytes()[::-1])
        os.utime(chunk, (1, 1))
    np.testing.assert_array_equal(source.read([2]), snapshots.fields[[2]])
    word = "is gone, it was there when it was" if change == "remove" else "has changed since it was"
    with pytest.raises(SnapshotFileError, match=rf"data\.zarr: .*{word} first read"):
        source.read([12 if "shards" in options else 3])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_frame_that_is_overwritten_is_noticed(tmp_path, suffix):
    """The folder has its old time of change."""
    image = pytest.importorskip("PIL.Image" if suffix == ".png" else "tifffile")
    for i in range(3):
        frame = np.full((4, 5), 10 * i, np.uint8)
        image.fromarray(frame).save(tmp_path / f"{i}.png") if suffix == ".png" else image.imwrite(
            tmp_path / f"{i}.tif", frame
        )
    source = gf.open_snapshots(tmp_path)
    assert source.read(np.arange(3)).mean() == 10
    with open(tmp_path / f"2{suffix}", "r+b") as file:
        file.truncate(40)
    np.testing.assert_array_equal(source.read([1]), 10)
    with pytest.raises(SnapshotFileError, match=rf"2{suffix} has changed since it was first read"):
        source.read([2])
    (tmp_path / f"1{suffix}").unlink()
    with pytest.raises(SnapshotFileError, match="changed since it was first read"):
        source.read([0])


def test_a_file_opened_anew_may_be_another(tmp_path, snapshots):
    source = stored(snapshots, tmp_path / "data.npy")
    source.read([0])
    np.save(tmp_path / "data.npy", snapshots.fields + 1)
    source.close()
    np.testing.assert_array_equal(source.read([0]), snapshots.fields[[0]] + 1)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_ends_with_the_error_and_continues_bit_for_bit(tmp_path, snapshots, workers):
    path = tmp_path / "data.h5"
    source = stored(snapshots, path)
    config = gf.TrainConfig(epochs=8, n_init=2, batch_size=16)
    options = {"checkpoint": tmp_path / "c.safetensors", "checkpoint_every": 2, "progress": False, "workers": workers}
    options["hold_bytes"] = 0  # read in every epoch

    def take_away(record):
        if record.epoch == 5:
            path.rename(tmp_path / "elsewhere.h5")

    with pytest.raises(FileNotFoundError, match=r"data\.h5: gone"):
        gf.fit(gf.GMVAE((1, 8), **MODEL), source, config, on_epoch=take_away, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.safetensors", "elsewhere.h5"]
    (tmp_path / "elsewhere.h5").rename(path)
    resumed, undisturbed = gf.GMVAE((1, 8), **MODEL), gf.GMVAE((1, 8), **MODEL)
    gf.fit(resumed, gf.open_snapshots(path), config, **options)
    gf.fit(undisturbed, snapshots, config, progress=False)
    for name, value in undisturbed.state_dict().items():
        assert value.equal(resumed.state_dict()[name]), name


def test_data_held_in_memory_are_needed_once(tmp_path, snapshots):
    path = tmp_path / "data.h5"
    source = stored(snapshots, path)
    config = gf.TrainConfig(epochs=4, n_init=2, batch_size=16)
    left, undisturbed = gf.GMVAE((1, 8), **MODEL), gf.GMVAE((1, 8), **MODEL)
    gf.fit(left, source, config, on_epoch=lambda _: path.unlink(missing_ok=True), progress=False)
    gf.fit(undisturbed, snapshots, config, progress=False)
    for name, value in undisturbed.state_dict().items():
        assert value.equal(left.state_dict()[name]), name


def test_other_data_under_the_old_name_are_refused(tmp_path, snapshots):
    path, checkpoint = tmp_path / "data.npy", tmp_path / "c.safetensors"
    config, options = gf.TrainConfig(epochs=2, n_init=2), {"checkpoint": checkpoint, "progress": False}
    gf.fit(gf.GMVAE((1, 8), **MODEL), stored(snapshots, path), config, **options)
    np.save(path, snapshots.fields * 3 + 1)
    with pytest.raises(ValueError, match="belongs to other data"):
        gf.fit(gf.GMVAE((1, 8), **MODEL), gf.open_snapshots(path, lazy=True), config, **options)
