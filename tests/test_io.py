import errno
import json
import os
import stat

import numpy as np
import pytest

from gmvae_fast._io import atomic_writer, to_jsonable, write_json, write_npz


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
