"""Snapshots held in memory while training, and decoded copies on disk: the same numbers, and what can go wrong."""

import errno
import multiprocessing
import os
import pickle
import shutil
import sys
import time

import h5py
import layout_files as files
import numpy as np
import pytest

import gmvae_fast as gf
from gmvae_fast import _batches, cli
from gmvae_fast.data import (
    CopiedSnapshots,
    LazySnapshots,
    SnapshotFileError,
    checked_rows,
    copied,
    copies,
    fingerprint,
    open_snapshots,
)

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = gf.TrainConfig(epochs=5, batch_size=16, n_init=2)


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """60 snapshots in gzip chunks of 7, written long enough ago; the folder of copies is the test's own."""
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("u", data=files.numbers(60, 6, 8), chunks=(7, 6, 8), compression="gzip")
    aged(path)
    return path


def aged(path):
    before = time.time() - 10
    os.utime(path, (before, before))


def copies_in(folder):
    return sorted((folder / "cache" / "copies").glob("*"))


def fitted(data, **options):
    model = gf.GMVAE((1, 6, 8), n_components=2, widths=(4, 8))
    history = gf.fit(model, data, CONFIG, progress=False, **options)
    return [epoch.loss for epoch in history.epochs], model.embed(data).mean


def assert_same(a, b):
    assert a[0] == b[0]
    np.testing.assert_array_equal(a[1], b[1])


# --- in memory ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1])
def test_holding_changes_no_number(packed, workers):
    data = open_snapshots(packed, dims="t y x")
    assert data.chunk_starts is not None
    assert_same(fitted(data, hold_bytes=0), fitted(data, workers=workers))


def test_held_snapshots_are_read_once(packed, monkeypatch):
    data = open_snapshots(packed, dims="t y x")
    read, rows = LazySnapshots.read, []
    monkeypatch.setattr(LazySnapshots, "read", lambda self, i: rows.extend(i) or read(self, i))
    model = gf.GMVAE((1, 6, 8), n_components=2, widths=(4, 8))
    gf.fit(model, data, CONFIG, held_out=data.subset(slice(0, 10)), progress=False)
    assert len(rows) == 70


@pytest.mark.parametrize(("limit", "free"), [(4 * 60 * 48 - 1, 2**40), (2**30, 2 * 4 * 60 * 48 - 1)])
def test_what_is_too_large_is_not_held(packed, monkeypatch, limit, free):
    monkeypatch.setattr(_batches, "free_memory", lambda: free)
    batches = _batches.Batches(open_snapshots(packed, dims="t y x"))
    assert not batches.hold(limit)
    assert batches.hold(limit + 1) == (free == 2**40)


def test_closing_lets_go_and_pickles_are_small(packed):
    batches = _batches.Batches(open_snapshots(packed, dims="t y x"))
    size = len(pickle.dumps(batches))
    assert batches.hold(2**30)
    assert len(pickle.dumps(batches)) < size + 100
    batches.close()
    assert batches._held is None
    assert len(next(iter(batches.ordered(5)))) == 5


@pytest.mark.parametrize("value", [-1, 1.5, None])
def test_hold_bytes_is_checked(packed, value):
    with pytest.raises(ValueError, match="hold_bytes must be an integer >= 0"):
        fitted(open_snapshots(packed, dims="t y x"), hold_bytes=value)


# --- on disk -----------------------------------------------------------------------------------------------------


def test_a_copy_changes_no_number(packed, tmp_path):
    plain = open_snapshots(packed, dims="t y x")
    data = open_snapshots(packed, dims="t y x", cache=True)
    assert isinstance(data, CopiedSnapshots)
    np.testing.assert_array_equal(data.fields, plain.fields)
    np.testing.assert_array_equal(data.chunk_starts, plain.chunk_starts)
    assert data.fingerprint() == plain.fingerprint()
    assert_same(fitted(plain, hold_bytes=0), fitted(data, hold_bytes=0))
    assert_same(fitted(plain[10:50], hold_bytes=0), fitted(data[10:50], hold_bytes=0, workers=1))
    assert len(copies_in(tmp_path)) == 1


def test_a_copy_is_made_once_and_then_nothing_is_decoded(packed, monkeypatch):
    first = open_snapshots(packed, dims="t y x", cache=True).fields
    monkeypatch.setattr(LazySnapshots, "read", lambda *_: pytest.fail("the file was read"))
    again = open_snapshots(packed, dims="t y x", cache=True)
    np.testing.assert_array_equal(again.fields, first)
    np.testing.assert_array_equal(again.read([-1, 3, 3]), first[[-1, 3, 3]])
    with pytest.raises(IndexError):
        again.read([60])
    with pytest.raises(IndexError, match="one axis"):
        again.read(3)


def test_each_selection_and_window_has_its_own(packed, tmp_path):
    whole = open_snapshots(packed, dims="t y x", cache=tmp_path / "mine")
    part = open_snapshots(packed, dims="t y x", window={"crop": {"x": (2, 6)}}, cache=tmp_path / "mine")
    np.testing.assert_array_equal(part.fields, whole.fields[..., 2:6])
    np.testing.assert_array_equal(part.coordinates.get("x", 0), whole.coordinates.get("x", 0))
    assert len(list((tmp_path / "mine").glob("*.npy"))) == 2
    assert not copies_in(tmp_path)


def test_tables_and_masks_are_those_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "masked.h5"
    values = files.numbers(2, 9, 6, 8)
    values[:, :, 2:4, 3:5] = np.nan
    with h5py.File(path, "w") as file:
        file.create_dataset("u", data=values, chunks=(1, 3, 6, 8), compression="gzip")
    aged(path)
    table = tmp_path / "runs.csv"
    table.write_text("trajectory,Re,kind\n0,100,a\n1,200,b\n")
    options = {"dims": "b t y x", "nan": "mask", "quantities": table}
    plain, data = open_snapshots(path, **options), open_snapshots(path, **options, cache=True)
    np.testing.assert_array_equal(data.fields, plain.fields)
    np.testing.assert_array_equal(data.mask, plain.mask)
    for name in ("trajectory", "time", "time_index"):
        np.testing.assert_array_equal(getattr(data, name), getattr(plain, name))
    part = data[9:]
    assert set(part.quantities["Re"]) == {200.0}
    np.testing.assert_array_equal(part.labels["kind"], plain.labels["kind"][9:])
    assert part.attributes == plain.attributes


def test_a_changed_file_has_another_copy(packed, tmp_path):
    old = open_snapshots(packed, dims="t y x", cache=True).fields
    with h5py.File(packed, "r+") as file:
        file["u"][:] = old[:, 0] + 1
    aged(packed)
    np.testing.assert_array_equal(open_snapshots(packed, dims="t y x", cache=True).fields, old + 1)
    assert len(copies_in(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["cut", "other", "text"])
def test_a_damaged_copy_is_made_again(packed, tmp_path, damage):
    first = open_snapshots(packed, dims="t y x", cache=True).fields
    (path,) = copies_in(tmp_path)
    if damage == "other":
        np.save(path, first[:, 0])
    else:
        path.write_bytes(path.read_bytes()[:-100] if damage == "cut" else b"no array")
    with pytest.warns(UserWarning, match="making it again"):
        data = open_snapshots(packed, dims="t y x", cache=True)
    np.testing.assert_array_equal(data.fields, first)


@pytest.mark.parametrize("place", ["value", "checksum"])
def test_a_flipped_bit_is_noticed_and_the_copy_made_again(packed, tmp_path, place):
    open_snapshots(packed, dims="t y x", cache=True)
    (path,) = copies_in(tmp_path)
    content = bytearray(path.read_bytes())
    content[-4 * 60 - 4 * 48 * 40 - 1 if place == "value" else -4 * 41] ^= 1  # of snapshot 19
    path.write_bytes(content)
    data = open_snapshots(packed, dims="t y x", cache=True)
    np.testing.assert_array_equal(data.read([18, 20]), files.numbers(60, 6, 8)[[18, 20], None])
    with pytest.raises(SnapshotFileError, match=r"\.npy: snapshot 19 of this decoded copy is damaged.*copy is removed"):
        data[10:30].read(np.arange(20))
    assert not copies_in(tmp_path)
    np.testing.assert_array_equal(
        open_snapshots(packed, dims="t y x", cache=True).fields[:, 0], files.numbers(60, 6, 8)
    )


def test_a_sound_row_is_checked_once(packed, tmp_path, monkeypatch):
    data = open_snapshots(packed, dims="t y x", cache=True)
    rows = np.array([3, 5, 3])
    first = data.read(rows)
    monkeypatch.setattr(checked_rows.zlib, "crc32", lambda *_: pytest.fail("checked again"))
    np.testing.assert_array_equal(data.read(rows), first)


def test_files_that_are_read_as_they_lie_are_not_copied(tmp_path, monkeypatch):
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(tmp_path / "cache"))
    np.save(tmp_path / "a.npy", files.numbers(9, 1, 4, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["u"] = files.numbers(9, 4, 4)
    assert isinstance(open_snapshots(tmp_path / "a.npy", lazy=True, cache=True), LazySnapshots)
    assert isinstance(open_snapshots(tmp_path / "a.h5", dims="t y x", cache=True), LazySnapshots)
    assert not copies_in(tmp_path)


def test_no_room_costs_only_a_warning(packed, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(copies.shutil, "disk_usage", lambda _: usage._replace(free=usage.total // 30))
    with pytest.warns(UserWarning, match=r"no decoded copy is made.*GiB are free.*their own files"):
        data = open_snapshots(packed, dims="t y x", cache=True)
    assert isinstance(data, LazySnapshots)
    assert not copies_in(tmp_path)


def test_a_disk_that_fills_up_costs_only_a_warning(packed, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checked_rows.os, "fsync", full)
    with pytest.warns(UserWarning, match="No space left"):
        data = open_snapshots(packed, dims="t y x", cache=True)
    assert isinstance(data, LazySnapshots)
    assert not copies_in(tmp_path)  # nothing half-written, no lock


def test_a_folder_that_is_a_file_costs_only_a_warning(packed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot hold it"):
        assert isinstance(open_snapshots(packed, dims="t y x", cache=tmp_path / "file"), LazySnapshots)


def test_a_file_that_changes_while_it_is_copied_is_not(packed, tmp_path):
    with pytest.warns(UserWarning, match="changed while they were copied"):
        data = copied(open_snapshots(packed, dims="t y x"), progress=lambda done, n: aged(packed))
    assert isinstance(data, LazySnapshots)
    assert not copies_in(tmp_path)


def test_a_file_that_never_settles_is_not_copied(packed, monkeypatch):
    monkeypatch.setattr(copies, "COARSE", 0.1)
    os.utime(packed, (time.time() + 3600,) * 2)
    with pytest.warns(UserWarning, match="its files change or are gone"):
        assert isinstance(open_snapshots(packed, dims="t y x", cache=True), LazySnapshots)


def test_a_file_just_written_is_waited_for(packed, monkeypatch):
    monkeypatch.setattr(fingerprint, "COARSE", 0.3)
    os.utime(packed)
    assert isinstance(open_snapshots(packed, dims="t y x", cache=True), CopiedSnapshots)


def test_copies_unused_for_a_month_go(packed, tmp_path):
    open_snapshots(packed, dims="t y x", cache=True)
    open_snapshots(packed, dims="t y x", window={"stride": 2}, cache=True)
    old, _ = copies_in(tmp_path)
    before = time.time() - copies.KEPT_SECONDS - 60
    os.utime(old, (before, before))
    open_snapshots(packed, dims="t y x", window={"stride": 3}, cache=True)
    assert old not in copies_in(tmp_path)
    assert len(copies_in(tmp_path)) == 2


def _sum(data):
    return float(data.read(np.arange(len(data))).sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_copy(packed, method):
    data = open_snapshots(packed, dims="t y x", cache=True)[5:40]
    expected = _sum(data)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_sum, (data,)) == expected


def _opened(path):
    return open_snapshots(path, dims="t y x", cache=True).fields.sum()


def test_two_processes_make_one_copy(packed, tmp_path):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_opened, [packed, packed])
    assert sums[0] == sums[1] == open_snapshots(packed, dims="t y x").fields.sum()
    assert len(copies_in(tmp_path)) == 1


def test_train_makes_the_copy(packed, tmp_path, monkeypatch):
    file = tmp_path / "train.h5"
    gf.data.convert_snapshots(open_snapshots(packed, dims="t y x"), file, compression="gzip")
    aged(file)
    options = f"--out {tmp_path / 'study'} --cache {tmp_path / 'mine'} --quiet --epochs 2 --split frame --allow-leakage"
    monkeypatch.setattr(sys, "argv", ["gmvae-fast", "train", str(file), *options.split()])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 0
    assert len(list((tmp_path / "mine").glob("*.npy"))) == 1
    assert gf.load(tmp_path / "study" / "seed_0" / "model.safetensors").input_shape == (1, 6, 8)
