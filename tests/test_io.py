import errno
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gmvae_fast import _locks
from gmvae_fast._io import atomic_path, atomic_writer, remove_abandoned, to_jsonable, write_json, write_npz


class FullDisk(Exception):
    pass


def only(folder):
    return sorted(p.name for p in folder.iterdir())


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "file.bin"
    for content in (b"first", b"second, longer"):
        with atomic_writer(path) as stream:
            stream.write(content)
            assert not path.exists() or path.read_bytes() != content
        assert path.read_bytes() == content
    assert only(path.parent) == ["file.bin"]


def test_permissions_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_writer(tmp_path / "file") as stream:
            stream.write(b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt(), FullDisk()])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write():
        with atomic_writer(path) as stream:
            stream.write(b"half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["file"]


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{path}'") as caught:
        write_json(path, {"a": 1})
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["file"]


def test_a_failing_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def broken(source, target):
        raise PermissionError(errno.EPERM, "not now", str(source))

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(PermissionError, match=str(path)):
        write_npz(path, {"a": np.zeros(2)})
    assert path.read_bytes() == b"old"
    assert only(tmp_path) == ["file"]


def test_json_is_strict_and_plain(tmp_path):
    value = {
        "f": np.float32(0.5),
        "i": np.int64(3),
        "a": np.array([1.0, np.nan, np.inf]),
        "t": (1, [2, -np.inf]),
        4: tmp_path,
        "n": None,
        "b": np.bool_(True),
    }
    expected = {
        "f": 0.5,
        "i": 3,
        "a": [1.0, None, None],
        "t": [1, [2, None]],
        "4": str(tmp_path),
        "n": None,
        "b": True,
    }
    assert to_jsonable(value) == expected
    write_json(tmp_path / "v.json", value)
    assert json.loads((tmp_path / "v.json").read_text()) == expected


def test_npz_round_trip_refuses_objects(tmp_path):
    path = tmp_path / "a.npz"
    write_npz(path, {"x": np.arange(3), "s": np.array(["a", "b"])})
    with np.load(path, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["x"], [0, 1, 2])
        assert file["s"].tolist() == ["a", "b"]
    with pytest.raises(TypeError, match="array 'o' holds Python objects"):
        write_npz(path, {"o": np.array([{}, 1], dtype=object)})
    assert only(tmp_path) == ["a.npz"]


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path):
    for name in (".file.0a.partial", ".other.0a.partial", ".file.partial.txt"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / ".folder.0a.partial").mkdir()
    with atomic_writer(tmp_path / "file") as stream:
        stream.write(b"whole")
    assert only(tmp_path) == [".file.partial.txt", ".folder.0a.partial", ".other.0a.partial", "file"]
    assert remove_abandoned(tmp_path) == 2
    assert only(tmp_path) == [".file.partial.txt", "file"]
    assert remove_abandoned(tmp_path / "missing") == 0


@pytest.mark.skipif(not _locks.have_locks(), reason="no locks here")
def test_a_file_that_is_being_written_is_nobodys_leftover(tmp_path):
    path = tmp_path / "file"
    with atomic_writer(path) as slow:
        slow.write(b"slow, ")
        assert remove_abandoned(tmp_path) == 0
        with atomic_writer(path) as fast:
            fast.write(b"fast")
        assert path.read_bytes() == b"fast"
        slow.write(b"but last")
    assert path.read_bytes() == b"slow, but last"
    assert only(tmp_path) == ["file"]


def test_without_locks_age_tells(tmp_path, monkeypatch):
    monkeypatch.setattr(_locks, "fcntl", None)
    young, old = tmp_path / ".a.0.partial", tmp_path / ".b.0.partial"
    for name in (young, old):
        name.write_bytes(b"half")
    os.utime(old, (0, 0))
    with atomic_writer(tmp_path / "a") as stream:
        stream.write(b"whole")
    assert remove_abandoned(tmp_path) == 1
    assert only(tmp_path) == [".a.0.partial", "a"]
    (tmp_path / "again").mkdir()
    test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path / "again", FullDisk())


def test_writers_of_one_file_at_a_time_leave_one_whole_file(tmp_path):
    """Threads that write and sweep at once: never an error, never a mixture, nothing left over."""
    contents = [bytes([i]) * 5000 for i in range(8)]

    def write(content):
        for _ in range(20):
            with atomic_writer(tmp_path / "file") as stream:
                stream.write(content)
            remove_abandoned(tmp_path)
            assert (tmp_path / "file").read_bytes() in contents

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, contents))
    assert only(tmp_path) == ["file"]


def test_a_folder_appears_whole_and_takes_the_place_of_an_old_one(tmp_path):
    target = tmp_path / "store"
    for content in ("first", "second"):
        with atomic_path(target, folder=True) as name:
            (name / "inner").mkdir()
            (name / "inner" / "file").write_text(content)
            assert remove_abandoned(tmp_path) == 0
            assert not target.exists() or (target / "inner" / "file").read_text() == "first"
        assert (target / "inner" / "file").read_text() == content
    assert only(tmp_path) == ["store"]

    def fail():
        with atomic_path(target, folder=True) as name:
            (name / "half").write_text("x")
            raise FullDisk

    with pytest.raises(FullDisk):
        fail()
    assert only(tmp_path) == ["store"]
    assert (target / "inner" / "file").read_text() == "second"


def test_folders_are_exchanged_without_a_system_call_for_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: None)
    test_a_folder_appears_whole_and_takes_the_place_of_an_old_one(tmp_path)
