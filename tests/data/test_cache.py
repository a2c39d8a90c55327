import errno
import os
import warnings

import numpy as np
import pytest

from gmvae_fast.data import cache


def compute_once():
    calls = []

    def compute():
        calls.append(1)
        return {"a": np.arange(3.0), "b": np.array([True])}

    return compute, calls


def test_a_result_is_computed_once_for_each_set_of_parameters(tmp_path):
    compute, calls = compute_once()
    for _ in range(2):
        result = cache.cached("x", {"re": 1.0, "n": 2}, compute, tmp_path)
    np.testing.assert_array_equal(result["a"], np.arange(3.0))
    assert len(calls) == 1
    cache.cached("x", {"n": 2, "re": 1.0}, compute, tmp_path)  # order does not matter
    assert len(calls) == 1
    cache.cached("x", {"re": 1.0000001, "n": 2}, compute, tmp_path)
    cache.cached("y", {"re": 1.0, "n": 2}, compute, tmp_path)
    assert len(calls) == 3


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not a zip", None])
def test_a_damaged_entry_is_computed_again(tmp_path, damage):
    compute, calls = compute_once()
    cache.cached("x", {}, compute, tmp_path)
    path = cache.cache_path("x", {}, tmp_path)
    path.write_bytes(path.read_bytes()[:-40] if damage is None else damage)
    with pytest.warns(UserWarning, match="computing it again"):
        cache.cached("x", {}, compute, tmp_path)
    assert len(calls) == 2
    cache.cached("x", {}, compute, tmp_path)
    assert len(calls) == 2


def test_a_folder_that_is_a_file_costs_only_a_warning(tmp_path):
    (tmp_path / "file").write_text("")
    compute, _ = compute_once()
    with pytest.warns(UserWarning, match="not cached"):
        result = cache.cached("x", {}, compute, tmp_path / "file")
    assert result["b"].all()


def test_a_full_disk_costs_only_a_warning(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "write_npz", full)
    with pytest.warns(UserWarning, match="No space left"):
        assert not cache.write_entry(tmp_path / "a.npz", {"a": np.zeros(1)})


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_read_only_folder_costs_only_a_warning(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    compute, _ = compute_once()
    with pytest.warns(UserWarning, match="not cached"):
        cache.cached("x", {}, compute, folder)


def test_the_folder_comes_from_the_argument_then_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv(cache.CACHE_VARIABLE, str(tmp_path / "environment"))
    assert cache.cache_directory(tmp_path) == tmp_path
    assert cache.cache_directory() == tmp_path / "environment"
    monkeypatch.setenv(cache.CACHE_VARIABLE, "")
    assert cache.cache_directory().name == "gmvae_fast"


def test_an_intact_entry_gives_no_warning(tmp_path):
    compute, _ = compute_once()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cache.cached("x", {}, compute, tmp_path)
        cache.cached("x", {}, compute, tmp_path)
