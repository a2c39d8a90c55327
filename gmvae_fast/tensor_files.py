"""Tensors and a JSON header as one safetensors file with a checksum of all: what models and checkpoints are kept in."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from gmvae_fast._io import atomic_writer
from gmvae_fast._memory import shortage
from gmvae_fast._reading import parse_json

#: The format's names of what torch computes with.
_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64},
}


class ModelFileError(ValueError):
    """A model or checkpoint file that is damaged, incomplete, or of another kind."""


def write_tensors(path: str | os.PathLike[str], tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """One safetensors file, written atomically; its metadata holds ``header`` and a checksum of all as JSON."""
    plain: dict[str, Tensor] = {}
    storages: set[int] = set()
    for key, value in tensors.items():
        value = value.detach().cpu().contiguous()
        storage = value.untyped_storage().data_ptr()
        # safetensors refuses tensors that share memory, such as tied weights
        plain[key] = value.clone() if storage in storages else value
        storages.add(storage)
    text = json.dumps(header, default=lambda scalar: scalar.item())  # numpy scalars in a configuration
    content = json.loads(text)
    content["crc32"] = checksum(plain, content)
    blob = safetensors_bytes(plain, metadata={"gmvae_fast": json.dumps(content)})
    with atomic_writer(path) as stream:
        stream.write(blob)


def read_tensors(path: str | os.PathLike[str], kind: str, version: int) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of a file of `write_tensors`, checked for kind, version (at most ``version``) and checksum.

    Takes the memory of the tensors, and no more.

    Raises
    ------
    FileNotFoundError
    ModelFileError
    """
    name = Path(path)
    if not name.is_file():
        raise FileNotFoundError(f"{name}: no such file")
    try:
        # It opens a file only if shapes and places agree with each other and the length.
        with safe_open(name, framework="numpy"):
            pass
        with open(name, "rb") as stream:
            tensors, metadata = _tensors(stream)
        header = parse_json(metadata.get("gmvae_fast", "null"))
    except (SafetensorError, OSError, ValueError, KeyError) as err:
        raise ModelFileError(f"{name}: not a whole safetensors file ({err})") from err
    if not isinstance(header, dict) or header.get("format") != kind:
        raise ModelFileError(f"{name}: not a file of kind {kind}")
    found = header.get("version")
    if not isinstance(found, int) or isinstance(found, bool) or not 1 <= found <= version:
        raise ModelFileError(
            f"{name}: format version {found!r}, this gmvae_fast reads up to {version}; use a newer release"
        )
    if header.pop("crc32", None) != checksum(tensors, header):
        raise ModelFileError(f"{name}: the content is damaged (its checksum differs from the one stored)")
    return tensors, header


def _tensors(stream: BinaryIO) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, one by one, and metadata (https://github.com/huggingface/safetensors#format).

    The library's own ways take twice the memory (`load`, of bytes) or leak 110 bytes a tensor (`get_tensor`, 0.8).
    """
    lacking = shortage(os.fstat(stream.fileno()).st_size)
    if lacking:
        raise ValueError(f"its content {lacking}")
    size = int.from_bytes(stream.read(8), "little")
    entries = parse_json(stream.read(size))
    metadata = entries.pop("__metadata__", None) or {}
    tensors = {}
    for key, entry in entries.items():
        start, stop = entry["data_offsets"]
        tensor = tensors[key] = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]])
        content = _bytes(tensor)
        stream.seek(8 + size + start)
        if content.nbytes != stop - start or stream.readinto(content) != content.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"it changed while {key} was read")
    return tensors, metadata


def _bytes(tensor: Tensor) -> memoryview:
    """Of a contiguous tensor on the CPU, not copied."""
    view: memoryview = tensor.flatten().view(torch.uint8).numpy().data
    return view


def checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> int:
    """CRC-32 of header, names and bytes: safetensors itself does not notice a flipped bit or a missing tensor."""
    crc = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for key in sorted(tensors):
        crc = zlib.crc32(key.encode(), crc)
        crc = zlib.crc32(_bytes(tensors[key]), crc)
    return crc
