"""Tensors in files: every dtype comes back, what is read is checked, and loading takes no more memory than the file."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gmvae_fast as gf
from gmvae_fast.tensor_files import _DTYPES, ModelFileError, read_tensors, write_tensors

HEADER = {"format": "a", "version": 1}


@pytest.mark.parametrize("dtype", _DTYPES.values(), ids=_DTYPES.keys())
def test_every_dtype_and_shape_comes_back(tmp_path, dtype):
    values = torch.arange(12).reshape(3, 4) % 2
    tensors = {"matrix": values.to(dtype), "scalar": values[0, 1].to(dtype), "empty": torch.zeros(0, 3).to(dtype)}
    tensors["of columns"] = tensors["matrix"].t()
    write_tensors(tmp_path / "a", tensors, HEADER)
    found, header = read_tensors(tmp_path / "a", "a", 1)
    assert header == HEADER
    assert found.keys() == tensors.keys()
    for key, value in tensors.items():
        assert found[key].dtype == dtype
        assert found[key].shape == value.shape
        assert torch.equal(found[key].flatten().view(torch.uint8), value.flatten().view(torch.uint8))


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 2**40]},
        {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "F4", "shape": [2, 8], "data_offsets": [0, 8]},
        {"dtype": "object", "shape": [1], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
        [],
    ],
)
def test_headers_that_do_not_fit_the_file_are_refused(tmp_path, entry):
    text = json.dumps({"a": entry}).encode()
    (tmp_path / "a").write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ModelFileError, match="a: not a whole safetensors file"):
        read_tensors(tmp_path / "a", "a", 1)


def test_files_larger_than_memory_are_refused(tmp_path, monkeypatch):
    write_tensors(tmp_path / "a", {"a": torch.zeros(3)}, HEADER)
    monkeypatch.setattr("gmvae_fast.tensor_files.shortage", lambda size: f"needs {size}")
    with pytest.raises(ModelFileError, match=r"a: not a whole safetensors file \(its content needs \d+\)"):
        read_tensors(tmp_path / "a", "a", 1)


def test_a_loaded_model_has_its_own_types_and_gradients(tmp_path):
    model = gf.GMVAE((5,), widths=[4], seed=1)
    model.double().save(tmp_path / "m")
    loaded = gf.load(tmp_path / "m")
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    wanted = {name: value.requires_grad for name, value in model.named_parameters()}
    assert {name: value.requires_grad for name, value in loaded.named_parameters()} == wanted
    assert torch.equal(loaded.encoder[1].weight.double(), model.encoder[1].weight)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_loading_takes_the_memory_of_the_file(tmp_path):
    """Growth of the largest resident memory, beyond that of loading a small model first."""
    gf.GMVAE((8000,), widths=[1000]).save(tmp_path / "large")
    gf.GMVAE((5,), widths=[4]).save(tmp_path / "small")
    code = """
import sys
import gmvae_fast as gf

def largest():
    lines = open("/proc/self/status").read().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

gf.load(sys.argv[1])
before = largest()
model = gf.load(sys.argv[2])
print(largest() - before)
"""
    command = [sys.executable, "-c", code, tmp_path / "small", tmp_path / "large"]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    size = Path(tmp_path / "large").stat().st_size
    assert size > 6e7
    assert grown < 1.5 * size
