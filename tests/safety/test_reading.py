"""Reading what others wrote: one error for everything that can be wrong, nothing allocated by claims."""

import json
import re

import numpy as np
import pytest

from gmvae_fast import _memory
from gmvae_fast._reading import DamagedFileError, parse_json, read_json, read_npy, read_npz
from gmvae_fast.data.formats.hostile import HEAD, check_inflated, head_tells, inside


@pytest.mark.parametrize("text", ["[" * 100_000, "{", b"\xff", '{"a": ' + "9" * 10_000 + "}", ""])
def test_json_that_is_none(text):
    with pytest.raises(DamagedFileError, match="not readable as JSON"):
        parse_json(text)


def test_json_of_another_kind(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    assert read_json(tmp_path / "a.json") == [1]
    with pytest.raises(DamagedFileError, match="expected a JSON object, got list"):
        read_json(tmp_path / "a.json", dict)


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_is_read_as_numpy_reads_it(tmp_path, compressed):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array("text"), "empty": np.zeros((0, 3)), "n": np.array(3)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, values in arrays.items():
        np.testing.assert_array_equal(found[name], values)


def test_npy_is_read_as_numpy_reads_it(tmp_path):
    for values in (np.arange(6.0).reshape(2, 3).T, np.zeros((0, 3)), np.array(["a", "bc"])):
        np.save(tmp_path / "a.npy", values)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), values)
    np.save(tmp_path / "o.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(DamagedFileError, match="holds object"):
        read_npy(tmp_path / "o.npy")


def test_what_does_not_fit_is_refused_before_it_is_read(tmp_path, monkeypatch):
    values = np.zeros((2**21, 10))
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", values)
    monkeypatch.setattr(_memory, "free_memory", lambda: 2**26)
    message = r"needs 0.156 GiB of memory, 0.0625 GiB are free"
    with pytest.raises(DamagedFileError, match=message):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(DamagedFileError, match=message):
        read_npy(tmp_path / "a.npy")


def test_free_memory_is_that_of_the_machine_the_container_and_the_process(monkeypatch):
    assert 2**20 < _memory.free_memory() < 2**50
    monkeypatch.setattr(_memory, "_container", lambda: 1000)
    assert _memory.free_memory() == 800
    monkeypatch.setattr(_memory, "_own_limit", lambda: -5)
    assert _memory.free_memory() == 0


@pytest.mark.parametrize("name", ["../a", "a/../../b", "/etc/passwd", "C:\\a", "..\\a", "", "a\\..\\..\\b"])
def test_names_that_leave_the_folder(name):
    with pytest.raises(ValueError, match=re.escape(f"names the file {name!r}")):
        inside("folder", name)


@pytest.mark.parametrize("name", ["a", "a/b", "./a", "a/../b", "..a"])
def test_names_in_the_folder(name):
    assert inside("folder", name) == f"folder/{name}"


def _compressed(codec, content):
    numcodecs = pytest.importorskip("numcodecs")
    return bytes(numcodecs.get_codec({"id": codec}).encode(content))


@pytest.mark.parametrize("codec", ["zlib", "gzip", "bz2", "lzma", "zstd", "blosc", "lz4"])
def test_what_inflates_beyond_its_size_is_measured_without_inflating_it(codec, monkeypatch):
    monkeypatch.setattr("gmvae_fast.data.formats.hostile.free_memory", lambda: 0)
    monkeypatch.setattr("gmvae_fast.data.formats.hostile.may_inflate", lambda stored: True)
    content = np.arange(2**20, dtype="i4").tobytes() + bytes(2**22)
    stored = _compressed(codec, content)
    check_inflated("a chunk", codec, stored, len(content))
    with pytest.raises(ValueError, match="a chunk inflates beyond"):
        check_inflated("a chunk", codec, stored, len(content) - 1)


def _zstd_frame(*blocks):
    """Without its content size: a window descriptor, then (kind, size, bytes) for each block."""
    frame = b"\x28\xb5\x2f\xfd\x00\x58"
    for i, (kind, size, content) in enumerate(blocks):
        frame += ((size << 3) | (kind << 1) | (i == len(blocks) - 1)).to_bytes(3, "little") + content
    return frame


def test_zstd_that_does_not_tell_its_size_is_bounded_by_its_blocks(monkeypatch):
    monkeypatch.setattr("gmvae_fast.data.formats.hostile.free_memory", lambda: 0)
    raw = [(0, 2**17, bytes(2**17))] * 4
    run = (1, 2**17, b"\0")
    numcodecs = pytest.importorskip("numcodecs")
    bomb = _zstd_frame(*raw, *[run] * 600)
    assert len(numcodecs.get_codec({"id": "zstd"}).decode(bomb)) == 604 * 2**17  # such frames are valid
    assert not head_tells("zstd", bomb[:HEAD])
    check_inflated("a chunk", "zstd", bomb, 604 * 2**17)
    with pytest.raises(ValueError, match="a chunk inflates beyond"):
        check_inflated("a chunk", "zstd", bomb, 2**20)
    check_inflated("a chunk", "zstd", _zstd_frame(*raw), 2**10)  # half a MB: its reader says so
    for codec in ("zstd", "blosc", "lz4"):
        assert head_tells(codec, _compressed(codec, bytes(2**20))[:HEAD])


def test_models_larger_than_their_file_are_refused_before_they_are_built(tmp_path):
    from gmvae_fast import GMVAE, load
    from gmvae_fast.model import FORMAT, FORMAT_VERSION, ModelFileError, read_tensors, write_tensors

    path = tmp_path / "m.safetensors"
    GMVAE((5,), widths=[4]).save(path)
    tensors, header = read_tensors(path, FORMAT, FORMAT_VERSION)
    header["config"]["latent_dim"] = 10**9
    write_tensors(path, tensors, json.loads(json.dumps(header)))
    with pytest.raises(ModelFileError, match="do not fit the stored configuration"):
        load(path)
