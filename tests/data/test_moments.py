"""Statistics by one pass: exact, mergeable, and used again only for files that have not changed."""

import os
import time

import h5py
import layout_files as files
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import gmvae_fast as gf
from gmvae_fast import _batches
from gmvae_fast._batches import Batches
from gmvae_fast.data import moments, open_snapshots
from gmvae_fast.data.fingerprint import files_state
from gmvae_fast.data.moments import Moments


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GMVAE_FAST_CACHE", str(folder))
    return folder / "statistics"


def age(path, seconds=60.0):
    """Make a file look older than the coarsest clock of file systems."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def written(path, array, **layout):
    with h5py.File(path, "w") as f:
        f.create_dataset("u", data=array, **layout)
        f["v"] = array + 1
    age(path)
    return path


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 1e3, 1e5]),
    masked=st.booleans(),
    vector=st.booleans(),
)
def test_merged_moments_are_those_of_all(sizes, offset, masked, vector):
    shape = (3,) if vector else (2, 3, 4)
    x = np.random.default_rng(sum(sizes)).standard_normal((sum(sizes), *shape)) + offset
    x = x.astype(np.float32)
    mask = np.arange(12).reshape(3, 4) % 5 > 0 if masked and not vector else None
    if mask is not None:
        x[:, :, ~mask] = np.nan
    parts = torch.from_numpy(x).split(sizes)
    total = Moments.of(parts[0], None if mask is None else torch.from_numpy(mask))
    for part in parts[1:]:
        total = total + Moments.of(part, None if mask is None else torch.from_numpy(mask))
    exact = x.astype(np.float64) if mask is None else np.where(mask, x, 0).astype(np.float64)
    assert total.count == len(x)
    np.testing.assert_allclose(total.mean, exact.mean(0), rtol=1e-12, atol=1e-12)
    squares = ((exact - exact.mean(0)) ** 2).sum(0).reshape(shape[0], -1).sum(1)
    np.testing.assert_allclose(total.squares, squares, rtol=1e-9, atol=1e-12 * offset**2)


def test_a_second_run_reads_no_statistics(tmp_path, cache, monkeypatch):
    data = open_snapshots(written(tmp_path / "a.h5", files.numbers(30, 4, 5)), "u", dims="t y x")
    first = Batches(data).moments()
    assert len(list(cache.glob("*.npz"))) == 1

    def refuse(*arguments):
        raise AssertionError("read again")

    monkeypatch.setattr(Moments, "of", refuse)
    again = Batches(open_snapshots(tmp_path / "a.h5", "u", dims="t y x")).moments()
    assert (again.count, torch.equal(again.mean, first.mean)) == (first.count, True)
    assert torch.equal(again.squares, first.squares)


def changes(tmp_path):
    """Everything that makes them other snapshots."""
    path = tmp_path / "a.h5"
    array = files.numbers(30, 4, 4)

    def opened(**options):
        return open_snapshots(path, **{"fields": "u", "dims": "t y x", **options})

    def rewritten(values, then):
        written(path, values)
        age(path, then)
        return opened()

    yield "as it is", lambda: opened()
    yield "another field", lambda: opened(fields="v")
    yield "other axes", lambda: opened(dims="t x y")
    yield "turned over", lambda: opened(dims="t -y x")
    yield "a mask", lambda: opened(mask=np.eye(4, dtype=bool))
    yield "a part", lambda: opened().subset(slice(0, 20))
    yield "another order", lambda: opened().subset(np.arange(30)[::-1])
    yield "twice", lambda: open_snapshots([path, path], "u", dims="t y x")
    yield "another time", lambda: rewritten(array + 1, 40)
    yield "another size", lambda: rewritten(files.numbers(31, 4, 4), 60)


def test_statistics_are_kept_apart_for_whatever_changes_them(tmp_path, cache):
    written(tmp_path / "a.h5", files.numbers(30, 4, 4))
    known = set()
    for i, (what, make) in enumerate(changes(tmp_path)):
        data = make()
        held = Batches(data).moments()
        np.testing.assert_allclose(held.mean, data.fields.astype(np.float64).mean(0), rtol=1e-12, atol=1e-12)
        assert len(list(cache.glob("*.npz"))) == i + 1, what
        assert str(data.fingerprint()) not in known
        known.add(str(data.fingerprint()))
        data.close()


def test_a_replaced_file_is_read_anew(tmp_path, cache):
    data = open_snapshots(written(tmp_path / "a.h5", files.numbers(30, 4, 5)), "u", dims="t y x")
    data.read([0])  # open
    os.replace(written(tmp_path / "b.h5", files.numbers(30, 4, 5, seed=1)), tmp_path / "a.h5")
    held = Batches(data).moments()
    fresh = open_snapshots(tmp_path / "a.h5", "u", dims="t y x")
    assert data.fingerprint() == fresh.fingerprint()
    np.testing.assert_allclose(held.mean[0], files.numbers(30, 4, 5, seed=1).mean(0), rtol=1e-5, atol=1e-6)


def test_options_of_frames_belong_to_the_fingerprint(tmp_path):
    for i in range(4):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"{i}.png")
        age(tmp_path / f"{i}.png")
    found = {
        str(open_snapshots(tmp_path, **options).fingerprint())
        for options in (
            {},
            {"roi": (0, 8, 0, 8)},
            {"background": 2},
            {"background": np.ones((8, 8))},
            {"downsample": 2},
        )
    }
    found.add(str(open_snapshots(str(tmp_path / "*.png")).fingerprint()))
    found.add(str(open_snapshots(str(tmp_path / "[0-2].png")).fingerprint()))
    assert len(found) == 7
    assert "None" not in found


def test_new_files_are_not_remembered(tmp_path, cache):
    np.save(tmp_path / "a.npy", files.numbers(6, 4, 5))  # a clock of two seconds could not tell the next from this
    data = open_snapshots(tmp_path / "a.npy", lazy=True)
    assert data.fingerprint() is None
    Batches(data).moments()
    assert not cache.exists()
    age(tmp_path / "a.npy")
    assert data.fingerprint() is not None
    (tmp_path / "a.npy").unlink()
    assert data.fingerprint() is None


def test_folders_are_known_by_their_files(tmp_path):
    (tmp_path / "store/sub").mkdir(parents=True)
    for name in ("store/a", "store/sub/b"):
        (tmp_path / name).write_text("x")
        age(tmp_path / name)
    before = files_state([str(tmp_path / "store")])
    age(tmp_path / "store/sub/b", 30)
    after = files_state([str(tmp_path / "store")])
    assert before is not None
    assert after is not None
    assert before != after


def test_damaged_entries_are_computed_again(tmp_path, cache):
    data = open_snapshots(written(tmp_path / "a.h5", files.numbers(30, 4, 5)), "u", dims="t y x")
    first = Batches(data).moments()
    entry = next(cache.glob("*.npz"))
    for content in (b"no archive", None):
        if content is None:
            np.savez(entry, count=np.array(3))
        else:
            entry.write_bytes(content)
        if content:
            with pytest.warns(UserWarning, match="cannot be read"):
                again = Batches(data).moments()
        else:
            again = Batches(data).moments()
        assert torch.equal(first.mean, again.mean)


@pytest.mark.parametrize(
    "changed",
    [
        {"count": np.array(-1)},
        {"count": np.array("3")},
        {"count": np.array([3, 3])},
        {"mean": np.full((1, 4, 5), "x")},
        {"mean": np.full((1, 4, 5), np.nan)},
        {"squares": np.array([-1.0])},
    ],
)
def test_entries_that_are_no_statistics_are_not_used(cache, changed):
    own = Moments.of(torch.from_numpy(files.numbers(6, 1, 4, 5)))
    moments.store_moments({}, own)
    assert moments.stored_moments({}, (1, 4, 5)).count == 6
    arrays = {"count": np.array(6), "mean": own.mean.numpy(), "squares": own.squares.numpy()}
    np.savez(next(cache.glob("*.npz")), **(arrays | changed))
    assert moments.stored_moments({}, (1, 4, 5)) is None


def test_what_is_not_finite_is_not_remembered(tmp_path, cache):
    array = files.numbers(30, 4, 5)
    array[3, 1, 1] = np.nan
    data = open_snapshots(written(tmp_path / "a.h5", array), "u", dims="t y x")
    for _ in range(2):
        with pytest.raises(ValueError, match="NaN or inf in snapshot 3"):
            gf.fit(gf.GMVAE((1, 4, 5), n_components=2), data)
    assert not cache.exists()


def test_the_oldest_entries_go(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(moments, "KEPT", 3)
    data = open_snapshots(written(tmp_path / "a.h5", files.numbers(30, 4, 5)), "u", dims="t y x")
    for i in range(5):
        before = set(cache.glob("*.npz"))
        Batches(data.subset(slice(i, 30))).moments()
        (new,) = set(cache.glob("*.npz")) - before
        age(new, 100 - i)
    assert len(list(cache.glob("*.npz"))) == 3
    assert new in set(cache.glob("*.npz"))


def test_training_from_remembered_statistics_is_the_same(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(_batches, "_PASS_BYTES", 1000)
    data = open_snapshots(written(tmp_path / "a.h5", files.numbers(30, 4, 5)), "u", dims="t y x")
    states = []
    for held in (data.load(), data, data):
        model = gf.GMVAE((1, 4, 5), n_components=2, widths=(2, 4))
        gf.fit(model, held, gf.TrainConfig(epochs=2, n_init=2))
        states.append(model.state_dict())
    assert all(torch.equal(states[0][k], s[k]) for s in states[1:] for k in states[0])
