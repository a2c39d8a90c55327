"""Chunks as large as they may be stored, which inflate a thousandfold: measured before they are inflated."""

import numpy as np
import pytest
from fuzz_damage import _zeros

import gmvae_fast as gf
from gmvae_fast.data import SnapshotFileError

SHAPE = (2, 1, 256, 256)  # a chunk of 256 KiB


@pytest.fixture(autouse=True)
def little_memory(monkeypatch):
    monkeypatch.setattr("gmvae_fast.data.formats.hostile.free_memory", lambda: 2**20)


def _hdf5(path, chunk):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_dataset("u", SHAPE, "f4", chunks=(1, *SHAPE[1:]), compression="gzip", shuffle=True)
        data[:] = np.random.default_rng(0).normal(size=SHAPE)
        if chunk is not None:
            data.id.write_direct_chunk((1, 0, 0, 0), chunk)
    return gf.open_snapshots(path, dims="b c y x")


def _zarr(path, chunk):
    zarr = pytest.importorskip("zarr")
    array = zarr.open_group(path, mode="w", zarr_format=2).create_array(
        "u", shape=SHAPE, chunks=(1, *SHAPE[1:]), dtype="f4", compressors={"id": "zlib", "level": 1}
    )
    array[:] = np.random.default_rng(0).normal(size=SHAPE)
    if chunk is not None:
        next(p for p in path.rglob("*") if p.name in ("1.0.0.0", "1")).write_bytes(chunk)
    return gf.open_snapshots(path, dims="b c y x")


@pytest.mark.parametrize(("suffix", "write"), [("h5", _hdf5), ("zarr", _zarr)])
def test_they_are_refused_and_others_read(tmp_path, suffix, write):
    whole = write(tmp_path / f"a.{suffix}", None)
    expected = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    np.testing.assert_array_equal(whole.read([0, 1]), expected)
    np.testing.assert_array_equal(whole.read([1]), expected[1:])
    bomb = _zeros(2**27, 15)
    assert 2**15 < len(bomb) < 2**19  # stored, it is no larger than a chunk may be
    data = write(tmp_path / f"b.{suffix}", bomb)
    np.testing.assert_array_equal(data.read([0]), expected[:1])
    with pytest.raises(SnapshotFileError, match=r"a chunk inflates beyond the 262144 bytes that it should hold"):
        data.read([1])
    large = write(tmp_path / f"c.{suffix}", bytes(2**20))
    with pytest.raises(SnapshotFileError, match="a chunk of 262144 bytes is stored in 1048576"):
        large.read([1])


def test_data_deflated_twice_are_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((1, *SHAPE[1:]))
    created.set_deflate(1)
    created.set_deflate(1)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        space = h5py.h5s.create_simple(SHAPE)
        h5py.h5d.create(file.id, b"u", h5py.h5t.IEEE_F32LE, space, created)
    with pytest.raises(SnapshotFileError, match="/u is deflated 2 times over"):
        gf.open_snapshots(tmp_path / "a.h5", dims="b c y x")


def test_more_snapshots_than_fit_are_refused_before_any_is_read(tmp_path, monkeypatch):
    data = _hdf5(tmp_path / "a.h5", None)
    monkeypatch.setattr("gmvae_fast._memory._SMALL", 2**10)
    monkeypatch.setattr("gmvae_fast._memory.free_memory", lambda: 2**18)
    assert data.read([0]).shape == (1, *SHAPE[1:])
    with pytest.raises(MemoryError, match=r"2 snapshots of \(1, 256, 256\) at once needs 0.000488 GiB"):
        data.read([0, 1])
    with pytest.raises(SnapshotFileError, match=r"a snapshot of 'u' .* of memory"):
        gf.open_snapshots(tmp_path / "a.h5", dims="b c y x")
