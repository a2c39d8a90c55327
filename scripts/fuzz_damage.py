"""What `scripts/fuzz.py` does to whole files: random damage of any file, and files made to harm by a format's means."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_readers import numbers

#: Values with which a size, an offset or a type is overwritten.
_EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**64 - 1)
_TOKENS = (
    *('"../../outside/secret.bin"', '"/etc/hostname"', '""', "null", "true", "-1", "0", "1e400", "NaN", "1" * 400),
    *("9" * 25, "[" * 5000, '{"a":' * 5000, "[]", "{}", '"<f8"', '"|O"', '"\\u0000"', "\x00", "\ufffd", "[1, 2"),
)
#: Nested deeper than any parser's stack.
DEEP = 200_000


def files_of(folder: Path, pattern: str) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.match(pattern))


# -- any file --------------------------------------------------------------------------------------------------------


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.choice([0, rng.randrange(len(content) + 1), max(0, len(content) - rng.randint(1, 16))])]


def _flip_bits(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    reach = min(len(changed), rng.choice([64, 1024, len(changed)]))  # headers are where it matters
    for _ in range(rng.choice([1, 1, 2, 8]) if changed else 0):
        changed[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(content: bytes, rng: random.Random) -> bytes:
    changed, size = bytearray(content), rng.choice([1, 4, 16, 64])
    if len(changed) > size:
        at = rng.randrange(len(changed) - size)
        changed[at : at + size] = rng.choice([bytes(size), b"\xff" * size, rng.randbytes(size)])
    return bytes(changed)


def _extreme_integer(content: bytes, rng: random.Random) -> bytes:
    """A size that is not so: a huge or negative integer somewhere, mostly in the header."""
    changed, width = bytearray(content), rng.choice([2, 4, 8])
    if len(changed) > width:
        at = rng.randrange(min(len(changed) - width, rng.choice([128, 2048, len(changed)])) or 1)
        value = rng.choice(_EXTREMES) % 2 ** (8 * width)
        changed[at : at + width] = value.to_bytes(width, rng.choice(["little", "little", "big"]))
    return bytes(changed)


def _splice(content: bytes, rng: random.Random) -> bytes:
    start, stop = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    piece = content[start : min(stop, start + 4096)]
    return rng.choice([content[:start] + content[stop:], content[:stop] + piece + content[stop:]])


def _token(content: bytes, rng: random.Random) -> bytes:
    """A number, a text or a bracket of a text file, or of the text inside a binary one, replaced by another."""
    found = list(re.finditer(rb'"[^"\n]{0,60}"|-?\d+(\.\d+)?|[\[\]{}]|<f4|\'[^\'\n]{0,60}\'', content))
    if not found:
        return _overwrite(content, rng)
    match = rng.choice(found[: rng.choice([8, 64, len(found)])])
    return content[: match.start()] + rng.choice(_TOKENS).encode() + content[match.end() :]


def _other_kind(content: bytes, rng: random.Random) -> bytes:
    """The first bytes of another format."""
    heads = [b"\x89HDF\r\n\x1a\n", b"\x93NUMPY\x01\x00v\x00", b"PK\x03\x04", b"CDF\x02", b"\x89PNG\r\n\x1a\n"]
    heads += [b"II*\x00", b"MM\x00*", b"PAR1", b"<VTKFile", b"# vtk DataFile Version 3.0\n", b"\x80\x04\x95", b"{", b""]
    head = rng.choice(heads)
    return rng.choice([head, head + content[len(head) :], head + content, rng.randbytes(200)])


DAMAGES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": _truncate,
    "bits flipped": _flip_bits,
    "overwritten": _overwrite,
    "extreme integer": _extreme_integer,
    "spliced": _splice,
    "other token": _token,
    "other kind": _other_kind,
}


def damage(folder: Path, pattern: str, kind: str, rng: random.Random) -> None:
    """Damage one of the folder's files, sometimes twice."""
    path = rng.choice(files_of(folder, pattern))
    content = path.read_bytes()
    for _ in range(rng.choice([1, 1, 2])):
        content = DAMAGES[kind](content, rng)
    path.write_bytes(content)


def lose(folder: Path, pattern: str, rng: random.Random) -> None:
    """A file that is gone, or is a folder."""
    path = rng.choice(files_of(folder, pattern))
    path.unlink()
    if rng.random() < 0.5:
        path.mkdir()


# -- made to harm: each is refused, or bears being read ---------------------------------------------------------------

Harm = Callable[[Path], None]
_HUGE = 2**50


def _npy_bytes(shape: str, dtype: str = "<f4", data: bytes = b"") -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    text = (header + " " * (-(len(header) + 11) % 64) + "\n").encode()
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + data


def _npy(*arguments: Any) -> Harm:
    return lambda folder: (folder / "a.npy").write_bytes(_npy_bytes(*arguments)) and None


def _member(content: Callable[[], bytes], name: str = "fields.npy") -> Harm:
    """One member of the archive exchanged, the others whole."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "a.npz") as archive:
            kept = {n: archive.read(n) for n in archive.namelist() if n != name}
        with zipfile.ZipFile(folder / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            for n, data in kept.items():
                archive.writestr(n, data)
            with archive.open(name, "w", force_zip64=True) as stream:
                stream.write(content())

    return make


def _zeros(size: int, wbits: int) -> bytes:
    """Deflated zeros (raw, zlib or gzip by ``wbits``), made without deflating them all; their checksum is wrong."""
    stream, block = zlib.compressobj(9, wbits=wbits), bytes(2**20)
    first = stream.compress(block) + stream.flush(zlib.Z_FULL_FLUSH)
    again = stream.compress(block) + stream.flush(zlib.Z_FULL_FLUSH)
    return first + again * (size // len(block) - 1) + stream.flush()


def _zstd_zeros(size: int) -> bytes:
    """A frame that does not tell its content size: runs of 128 KiB in four bytes each."""
    count = size // 2**17
    blocks = (((2**17 << 3) | (1 << 1) | (i == count - 1)).to_bytes(3, "little") + b"\0" for i in range(count))
    return b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks)


def _npz_bomb(folder: Path) -> None:
    """A member of 4 GB, held and claimed, in 4 MB."""
    head = _npy_bytes("(40, 1, 5000, 5000)", "'<f4'")
    size = len(head) + 4 * 10**9
    stored = zlib.compressobj(9, wbits=-15)
    start = stored.compress(head) + stored.flush(zlib.Z_FULL_FLUSH)
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("fields.npy", start + _zeros(size, -15))
    content = bytearray((folder / "a.npz").read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        struct.pack_into("<H", content, content.find(mark) + at, zipfile.ZIP_DEFLATED)
        struct.pack_into("<I", content, content.find(mark) + at + 14, size)
    (folder / "a.npz").write_bytes(content)


def _study_bomb(folder: Path) -> None:
    _npz_bomb(folder)
    shutil.move(folder / "a.npz", folder / "study" / "seed_0" / "embedding.npz")


def _zip_claims(folder: Path) -> None:
    """A member that says it is 8 EiB large, in the directory and in its header."""
    content = bytearray((folder / "a.npz").read_bytes())
    for mark, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        start = content.find(mark)
        while start >= 0:
            content[start + at : start + at + 4] = b"\xfe\xff\xff\xff"
            start = content.find(mark, start + 4)
    (folder / "a.npz").write_bytes(content)


def _npz_metadata(text: str) -> Harm:
    def content() -> bytes:
        import io

        stream = io.BytesIO()
        np.save(stream, np.array(text))
        return stream.getvalue()

    return _member(content, "metadata.npy")


def _in_hdf5(change: Callable[[Any], None], name: str = "a.h5") -> Harm:
    def make(folder: Path) -> None:
        import h5py

        with h5py.File(folder / name, "r+") as file:
            change(file)

    return make


def _replace(file: Any, name: str, **options: Any) -> None:
    del file[name]
    file.create_dataset(name, **options)


def _alone(file: Any, **options: Any) -> None:
    """One dataset only, so that nothing else contradicts it."""
    del file["v"]
    _replace(file, "u", **options)


def _secret(folder: Path) -> Path:
    return folder.parent / "outside" / "secret.bin"


def _external_data(where: str) -> Harm:
    def make(folder: Path) -> None:
        import h5py

        with h5py.File(folder / "a.h5", "r+") as file:
            target = str(_secret(folder)) if where == "absolute" else "../outside/secret.bin"
            _replace(file, "u", shape=(2, 3, 4, 5), dtype="f4", external=[(target, 0, 480)])

    return make


def _virtual(where: str) -> Harm:
    def make(folder: Path) -> None:
        import h5py

        other = folder.parent / "outside" / "secret.h5"
        layout = h5py.VirtualLayout((2, 3, 4, 5), "f4")
        name = str(other) if where == "absolute" else "../outside/secret.h5"
        layout[:] = h5py.VirtualSource(name, "u", shape=(2, 3, 4, 5))
        with h5py.File(folder / "a.h5", "r+") as file:
            del file["u"]
            file.create_virtual_dataset("u", layout)

    return make


def _external_link(file: Any) -> None:
    import h5py

    del file["u"], file["v"]
    file["u"] = h5py.ExternalLink("../outside/secret.h5", "u")


def _inflating_chunk(file: Any) -> None:
    """A gzip chunk of the largest stored size that inflates to a thousand times what it should hold."""
    del file["u"]
    data = file.create_dataset("u", (2, 3, 4, 5), "f4", chunks=(1, 3, 4, 5), compression="gzip")
    for i in range(2):
        data.id.write_direct_chunk((i, 0, 0, 0), _zeros(2**31, 15))


def _zarr_metadata(change: Callable[[dict[str, Any]], None]) -> Harm:
    """Of the array u, in its own file and in the consolidated ones."""

    def make(folder: Path) -> None:
        if (folder / "a.zarr" / "v" / "zarr.json").exists():
            shutil.rmtree(folder / "a.zarr" / "v")  # nothing else contradicts it
        for path in (folder / "a.zarr" / "u" / name for name in (".zarray", "zarr.json")):
            if path.exists():
                value = json.loads(path.read_text())
                change(value)
                path.write_text(json.dumps(value))
        path = folder / "a.zarr" / ".zmetadata"
        if path.exists():
            value = json.loads(path.read_text())
            change(value["metadata"]["u/.zarray"])
            path.write_text(json.dumps(value))

    return make


def _zarr_compressor(name: str, content: Callable[[], bytes]) -> Harm:
    """Chunks that hold ``content`` under another compressor."""

    def change(value: dict[str, Any]) -> None:
        if value["zarr_format"] == 2:
            value["compressor"] = {"id": name}
        else:
            value["codecs"] = [value["codecs"][0], {"name": name, "configuration": {"level": 1}}]

    def make(folder: Path) -> None:
        _zarr_metadata(change)(folder)
        _chunks(folder, content())

    return make


def _chunks(folder: Path, content: bytes) -> None:
    for path in files_of(folder / "a.zarr" / "u", "*"):
        if path.name not in (".zarray", ".zattrs", "zarr.json"):
            path.write_bytes(content)


class _Executes:
    """What a pickle would do to whoever loads it."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def _pickled(mark: Path) -> bytes:
    import pickle  # only to make what the package must refuse

    return pickle.dumps(_Executes(str(mark)))


def _zarr_pickle(where: str) -> Harm:
    def make(folder: Path) -> None:
        def change(value: dict[str, Any]) -> None:
            if value["zarr_format"] == 2:
                value["compressor"] = None
                value[where] = [{"id": "pickle"}] if where == "filters" else {"id": "pickle"}
            else:
                value["codecs"] = [value["codecs"][0], {"name": "numcodecs.pickle", "configuration": {}}]

        _zarr_metadata(change)(folder)
        _chunks(folder, _pickled(folder.parent / "outside" / "executed"))

    return make


def _zarr_name(name: str) -> Harm:
    """A consolidated name that leaves the store."""

    def make(folder: Path) -> None:
        store = folder / "a.zarr"
        if (path := store / ".zmetadata").exists():
            value = json.loads(path.read_text())
            for end in (".zarray", ".zattrs"):
                value["metadata"][f"{name}/{end}"] = value["metadata"].pop(f"u/{end}")
        else:
            path = store / "zarr.json"
            value = json.loads(path.read_text())
            own = json.loads((store / "u" / "zarr.json").read_text())
            value["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": {name: own}}
        path.write_text(json.dumps(value))
        shutil.copytree(store / "u", folder.parent / "outside" / "secret.zarr", dirs_exist_ok=True)

    return make


def _list_entry(name: str) -> Harm:
    """The first file of a .pvd or .series lies elsewhere."""

    def make(folder: Path) -> None:
        path = next(p for p in files_of(folder, "*") if p.suffix in (".pvd", ".series"))
        first = sorted(p for p in folder.iterdir() if p.name.startswith("f0"))[0]
        shutil.copy(first, folder.parent / "outside" / first.name)
        target = str(folder.parent / "outside" / first.name) if name == "absolute" else f"../outside/{first.name}"
        path.write_text(path.read_text().replace(first.name, target))

    return make


def _vtm(name: str) -> Harm:
    def make(folder: Path) -> None:
        target = str(folder.parent / "outside" / "f0.vtu") if name == "absolute" else "../outside/f0.vtu"
        shutil.copy(folder / "f0.vtu", folder.parent / "outside" / "f0.vtu")
        (folder / "b.vtm").write_text(
            f'<VTKFile><vtkMultiBlockDataSet><DataSet file="{target}"/></vtkMultiBlockDataSet></VTKFile>'
        )
        path = folder / "a.pvd"
        path.write_text(path.read_text().replace("f0.vtu", "b.vtm"))

    return make


def _entities(folder: Path) -> None:
    """Entities that multiply a billion times (billion laughs), and one that names a file."""
    path = next(p for p in files_of(folder, "*") if p.suffix == ".pvd")
    lines = ['<!ENTITY l0 "ha">'] + [f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12)]
    text = '<DataSet timestep="0" file="&l11;"/>'
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE x [{"".join(lines)}]><VTKFile>{text}</VTKFile>')


def _xml_deep(folder: Path) -> None:
    path = next(p for p in files_of(folder, "*") if p.suffix in (".pvd", ".vtu"))
    path.write_text("<a>" * DEEP + "</a>" * DEEP)


def _vtu_claims(folder: Path) -> None:
    path = folder / "f0.vtu"
    path.write_bytes(re.sub(rb'Number(OfPoints|OfCells)="\d+"', rb'Number\1="9999999999999"', path.read_bytes()))


def _vtk_changed(pattern: str, replacement: str) -> Harm:
    """Of every frame that VTK wrote."""

    def make(folder: Path) -> None:
        for path in files_of(folder, "f*"):
            content, count = re.subn(pattern.encode(), replacement.encode(), path.read_bytes())
            path.write_bytes(content)
            assert count

    return make


def _vtk_parallel(source: str) -> Harm:
    """A parallel file instead of the frames, whose piece lies elsewhere."""

    def make(folder: Path) -> None:
        shutil.copy(folder / "f0.vti", folder.parent / "outside" / "f0.vti")
        target = source.format(outside=folder.parent / "outside")
        for path in files_of(folder, "f*"):
            path.unlink()
        (folder / "f0.pvti").write_text(
            '<?xml version="1.0"?><VTKFile type="PImageData" version="0.1"><PImageData WholeExtent="0 3 0 2 0 1" '
            'GhostLevel="0" Origin="0 0 0" Spacing="1 1 1"><PPointData><PDataArray type="Float32" Name="p"/>'
            f'</PPointData><Piece Extent="0 3 0 2 0 1" Source="{target}"/></PImageData></VTKFile>'
        )

    return make


def _vtk_entities(folder: Path) -> None:
    lines = ['<!ENTITY l0 "1 ">'] + [f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12)]
    path = folder / "f0.vti"
    content = re.sub(rb"<\?xml[^>]*>", b"", path.read_bytes()).strip()
    head = f'<?xml version="1.0"?><!DOCTYPE VTKFile [{"".join(lines)}]>'.encode()
    path.write_bytes(head + re.sub(rb"(<DataArray[^>]*>)", rb"\1&l11;", content))


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, data: bytes, text: bytes = b"") -> Harm:
    def make(folder: Path) -> None:
        header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
        inflating = _png_chunk(text, b"a\0\0" + _zeros(2**30, 15)) if text else b""
        body = _png_chunk(b"IDAT", data) + _png_chunk(b"IEND", b"")
        for path in files_of(folder, "*.png"):
            path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + inflating + body)

    return make


def _tiff_claims(folder: Path) -> None:
    """Frames that say they are 2^20 x 2^20 pixels."""
    for path in files_of(folder, "*.tif"):
        content = bytearray(path.read_bytes())
        order = "<" if content[:2] == b"II" else ">"
        (at,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, at)
        for i in range(count):
            entry = at + 2 + 12 * i
            tag, _ = struct.unpack_from(f"{order}HH", content, entry)
            if tag in (256, 257, 278):
                struct.pack_into(f"{order}HHII", content, entry, tag, 4, 1, 2**20)
        path.write_bytes(content)


def _tiff_bomb(folder: Path) -> None:
    import tifffile

    for path in files_of(folder, "*.tif"):
        with tifffile.TiffWriter(path) as writer:
            strip = zlib.compress(bytes(26 * 40_000), 1)  # 1.6 GB of zeros in 8 MB
            strips = (strip for _ in range(math.ceil(40_000 / 26)))
            writer.write(strips, shape=(40_000, 40_000), dtype=np.uint8, compression="zlib", rowsperstrip=26)


def _text(name: str, content: Callable[[], bytes]) -> Harm:
    def make(folder: Path) -> None:
        path = next(p for p in files_of(folder, "*") if p.match(name))
        path.write_bytes(content())

    return make


def _safetensors(header: Callable[[dict[str, Any]], Any], *, whole: bool = True) -> Harm:
    """The model's own header changed, its checksum mended where ``whole``."""

    def make(folder: Path) -> None:
        from gmvae_fast import tensor_files

        path = folder / "a.safetensors"
        tensors, stored = tensor_files.read_tensors(path, json.loads(_metadata(path))["format"], 99)
        changed = header(stored)
        if whole:
            tensor_files.write_tensors(path, tensors, changed)
            return
        content = path.read_bytes()
        (size,) = struct.unpack_from("<Q", content)
        own = json.loads(content[8 : 8 + size])
        own["__metadata__"]["gmvae_fast"] = changed
        text = json.dumps(own).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])

    return make


def _metadata(path: Path) -> str:
    content = path.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    return str(json.loads(content[8 : 8 + size])["__metadata__"]["gmvae_fast"])


def _config(part: str, **changes: Any) -> Harm:
    return _safetensors(lambda header: {**header, part: {**header[part], **changes}})


def _claimed_header(folder: Path) -> None:
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def _claimed_tensor(folder: Path) -> None:
    path = folder / "a.safetensors"
    content = path.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    own = json.loads(content[8 : 8 + size])
    own["offset"] = {"dtype": "F32", "shape": [_HUGE], "data_offsets": [0, 4 * _HUGE]}
    text = json.dumps(own).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])


def _deep_json() -> bytes:
    return b'{"a":' * DEEP + b"1" + b"}" * DEEP


def _table(content: str | bytes) -> Harm:
    return _text("t.*", lambda: content if isinstance(content, bytes) else content.encode())


_MODEL_CONFIGS: dict[str, Harm] = {
    "a latent space of 10^9": _config("config", latent_dim=10**9),
    "10^12 components": _config("config", n_components=10**12),
    "widths of 10^9": _config("config", widths=[10**9, 10**9]),
    "a million layers": _config("config", widths=[1] * 10**6),
    "snapshots of 10^30": _config("config", input_shape=[10**30]),
    "full covariances of 10^6": _config("config", latent_dim=10**6, covariance_type="full"),
    "a network by another name": _config("config", network="os.system"),
    "options of nothing": _config("config", **{"__class__": "x"}),
    "a future version": _safetensors(lambda header: {**header, "version": 10**6}),
    "version true": _safetensors(lambda header: {**header, "version": True}),
    "header nested": _safetensors(lambda _: "[" * DEEP, whole=False),
    "header of text": _safetensors(lambda _: "'", whole=False),
    "header claims 1 EiB": _claimed_header,
    "tensor claims 4 PiB": _claimed_tensor,
    "a pickle": _text("a.safetensors", lambda: _pickled(Path("executed"))),
}


def _copy_changed(at: int) -> Harm:
    """One bit of a decoded copy, which leaves its form whole."""

    def make(folder: Path) -> None:
        content = bytearray((folder / "copy.npy").read_bytes())
        content[at] ^= 4
        (folder / "copy.npy").write_bytes(content)

    return make


def _to_link(file: Any) -> None:
    import h5py

    del file["u"]
    file["u"] = h5py.ExternalLink("../outside/secret.h5", "u")


#: By reader: cases that must be refused with a documented exception, within the bounds of memory and time.
HARMS: dict[str, dict[str, Harm]] = {
    "npy": {
        "shape claims 4 PiB": _npy(f"({_HUGE}, 4)", "'<f4'"),
        "shape overflows": _npy(f"({2**33}, {2**33}, 4)", "'<f4'"),
        "shape negative": _npy("(-4, 5)", "'<f4'", bytes(80)),
        "a pickle": lambda folder: (
            (folder / "a.npy").write_bytes(
                _npy_bytes("(2, 2)", "'|O'", _pickled(folder.parent / "outside" / "executed"))
            )
            and None
        ),
        "header executes": _npy("(2, __import__('os').mkdir('executed'))", "'<f4'", bytes(80)),
        "header nested": _npy("(" * 3000 + ")" * 3000, "'<f4'"),
        "header of 300 kB": _npy("(2, 2)" + " " * 300_000, "'<f4'", bytes(16)),
        "text": _npy("(2, 2)", "'<U4'", bytes(64)),
        "complex": _npy("(2, 2)", "'<c8'", bytes(32)),
        "fields of a record": _npy("(4, 4)", "[('a', '<f4'), ('b', '<f4')]", bytes(128)),
        "one axis": _npy("(4,)", "'<f4'", bytes(16)),
    },
    "npz": {
        "member claims 4 PiB": _member(lambda: _npy_bytes(f"({_HUGE}, 1, 4, 5)", "'<f4'")),
        "members claim 4 GB": _zip_claims,
        "a bomb": _npz_bomb,
        "a pickle": _member(lambda: _npy_bytes("(2, 2)", "'|O'", _pickled(Path("executed")))),
        "member no array": _member(lambda: b"text"),
        "metadata nested": _npz_metadata('{"format": "gmvae_fast.snapshots", "a": ' + "[" * DEEP),
        "metadata of another version": _npz_metadata('{"format": "gmvae_fast.snapshots", "format_version": 99}'),
        "names are numbers": _npz_metadata(
            '{"format": "gmvae_fast.snapshots", "format_version": 1, "field_names": 7, "attributes": []}'
        ),
    },
    "hdf5-plain": {
        "external data": _external_data("relative"),
        "external data, absolute": _external_data("absolute"),
        "virtual data": _virtual("relative"),
        "virtual data, absolute": _virtual("absolute"),
        "external link": _in_hdf5(_external_link),
        "2^50 samples of nothing": _in_hdf5(
            lambda f: _alone(f, shape=(_HUGE, 3, 4, 5), dtype="f4", chunks=(1, 3, 4, 5))
        ),
        "a snapshot of 4 TiB": _in_hdf5(
            lambda f: _alone(f, shape=(2, 3, 2**20, 2**20), dtype="f4", chunks=(1, 1, 64, 64))
        ),
        "chunks of 3 GiB": _in_hdf5(
            lambda f: _alone(f, shape=(2, 3, 2**15, 2**13), dtype="f4", chunks=(1, 3, 2**15, 2**13))
        ),
        "chunks that inflate": _in_hdf5(_inflating_chunk),
        "text": _in_hdf5(lambda f: _alone(f, data=np.array([[[[b"a"]]]], dtype="S1"))),
    },
    "hdf5-pdebench": {
        "2^40 times": _in_hdf5(lambda f: _replace(f, "t-coordinate", shape=(2**40,), dtype="f4", chunks=(1024,))),
        "coordinate of text": _in_hdf5(lambda f: _replace(f, "x-coordinate", data=np.array([b"a"] * 4))),
        "coordinate of three axes": _in_hdf5(lambda f: _replace(f, "x-coordinate", data=np.zeros((2, 2, 2)))),
    },
    "hdf5-own": {
        "metadata nested": _in_hdf5(lambda f: f.attrs.create("metadata", "[" * 30_000 + "gmvae_fast.snapshots")),
        "2^40 labels": _in_hdf5(lambda f: _replace(f, "labels/group", shape=(2**40,), dtype="i8", chunks=(1024,))),
        "mask of another grid": _in_hdf5(lambda f: _replace(f, "mask", data=np.ones((2, 2), bool))),
    },
    "hdf5-the-well": {
        "axes of no kind": _in_hdf5(lambda f: f["dimensions"].attrs.create("spatial_dims", [1, 2, 3, 4]), "a.hdf5"),
        "dims of another length": _in_hdf5(
            lambda f: f["t0_fields/density"].attrs.create("dim_varying", [True] * 5), "a.hdf5"
        ),
    },
    "zarr-2": {
        "pickle filter": _zarr_pickle("filters"),
        "pickle compressor": _zarr_pickle("compressor"),
        "name leaves the store": _zarr_name("../../outside/secret.zarr"),
        "2^50 samples of nothing": _zarr_metadata(lambda m: m.update(shape=[_HUGE, 3, 4, 5])),
        "chunks of 2^50": _zarr_metadata(lambda m: m.update(chunks=[_HUGE, 3, 4, 5], shape=[_HUGE, 3, 4, 5])),
        "objects": _zarr_metadata(lambda m: m.update(dtype="|O")),
        "metadata nested": _text(".zmetadata", _deep_json),
        "zlib chunks that inflate": _zarr_compressor("zlib", lambda: _zeros(2**31, 15)),
        "gzip chunks that inflate": _zarr_compressor("gzip", lambda: _zeros(2**31, 31)),
        "zstd chunks that inflate": _zarr_compressor("zstd", lambda: _zstd_zeros(2**31)),
    },
    "zarr-3": {
        "pickle codec": _zarr_pickle("codecs"),
        "name leaves the store": _zarr_name("../../outside/secret.zarr"),
        "2^50 samples of nothing": _zarr_metadata(lambda m: m.update(shape=[_HUGE, 3, 4, 5])),
        "metadata nested": _text("zarr.json", _deep_json),
        "gzip chunks that inflate": _zarr_compressor("gzip", lambda: _zeros(2**31, 31)),
        "zstd chunks that inflate": _zarr_compressor("zstd", lambda: _zstd_zeros(2**31)),
    },
    "netcdf-4": {
        "external link": _in_hdf5(_to_link, "a.nc"),
        "2^50 times of nothing": _in_hdf5(
            lambda f: _replace(f, "Re", shape=(_HUGE,), dtype="f8", chunks=(64,)), "a.nc"
        ),
    },
    "vtk-pvd": {
        "file elsewhere": _list_entry("relative"),
        "file elsewhere, absolute": _list_entry("absolute"),
        "block elsewhere": _vtm("relative"),
        "block elsewhere, absolute": _vtm("absolute"),
        "entities": _entities,
        "nested": _xml_deep,
        "counts claim 10^13": _vtu_claims,
    },
    "vtk-series": {
        "file elsewhere": _list_entry("relative"),
        "file elsewhere, absolute": _list_entry("absolute"),
        "nested": _text("*.series", _deep_json),
        "no list": _text("*.series", lambda: b"[1]"),
    },
    "vtk-vti": {
        "extents claim 10^18": _vtk_changed(r'Extent="0 3 0 2 0 1"', 'Extent="0 999999 0 999999 0 999999"'),
        "extents of 60 digits": _vtk_changed(r'Extent="0 3 0 2 0 1"', f'Extent="0 {"9" * 60} 0 2 0 1"'),
        "2^40 components": _vtk_changed(r'NumberOfComponents="3"', f'NumberOfComponents="{2**40}"'),
        "piece elsewhere": _vtk_parallel("../outside/f0.vti"),
        "piece elsewhere, absolute": _vtk_parallel("{outside}/f0.vti"),
        "piece of itself": _vtk_parallel("f0.pvti"),
        "entities": _vtk_entities,
        "nested": lambda folder: (folder / "f0.vti").write_text("<a>" * DEEP + "</a>" * DEEP) and None,
    },
    "vtk-vtr": {
        "extents claim 10^18": _vtk_changed(r'Extent="0 3 0 2 0 1"', 'Extent="0 999999 0 999999 0 999999"'),
    },
    "vtk-vts": {
        "extents claim 10^18": _vtk_changed(r'Extent="0 3 0 2 0 1"', 'Extent="0 999999 0 999999 0 999999"'),
    },
    "vtk-vtu": {
        "counts claim 10^13": _vtk_changed(r'NumberOf(Points|Cells)="\d+"', r'NumberOf\1="9999999999999"'),
    },
    "vtk-vtk": {
        "dimensions claim 10^18": _vtk_changed("DIMENSIONS 4 3 2", "DIMENSIONS 999999 999999 999999"),
        "counts claim 10^13": _vtk_changed(r"(POINT|CELL)_DATA \d+", r"\1_DATA 9999999999999"),
        "a field of 10^13": _vtk_changed(r"\bp 1 \d+ float", "p 1 9999999999999 float"),
    },
    "png-folder": {
        "claims 2^31 x 2^31": _png(2**31 - 1, 2**31 - 1, zlib.compress(bytes(100))),
        "20000 x 20000 zeros": _png(20_000, 20_000, zlib.compress(bytes(20_001 * 20_000), 1)),
        "text that inflates": _png(4, 4, zlib.compress(bytes(20)), b"zTXt"),
    },
    "tiff-folder": {"claims 2^20 x 2^20": _tiff_claims, "a bomb": _tiff_bomb},
    "tiff-pages": {"claims 2^20 x 2^20": _tiff_claims, "a bomb": _tiff_bomb},
    "csv-table": {
        "a field of 300 kB": _table("trajectory,Re\n0," + "9" * 300_000 + "\n"),
        "a quote that never ends": _table('trajectory,Re\n0,"' + "a,\n" * 100_000),
        "not UTF-8": _table(b"trajectory,Re\n0,\xff\xfe\n"),
        "rows of other lengths": _table("trajectory,Re\n0\n1,2,3\n"),
        "no number": _table("trajectory,trajectory\n0,0\n"),
    },
    "parquet-table": {"a pickle": _table(b"PAR1" + bytes(range(256)) + b"PAR1")},
    "run.toml": {
        "nested": _text("run.toml", lambda: b"a = " + b"[" * DEEP),
        "of 3 MB": _text("run.toml", lambda: b"a = '" + b"x" * 3_000_000 + b"'"),
        "integer of 10^5 digits": _text("run.toml", lambda: b"[train]\nepochs = " + b"9" * 100_000),
        "not UTF-8": _text("run.toml", lambda: b"a = '\xff'"),
    },
    "configurations": {
        "nested": _text("training.json", _deep_json),
        "integer of 10^5 digits": _text("training.json", lambda: b'{"epochs": ' + b"9" * 100_000 + b"}"),
        "held out nothing": _text("split.json", lambda: b'{"by": "condition", "quantity": "Re", "held_out": [[3]]}'),
        "quantity a list": _text("split.json", lambda: b'{"by": "condition", "quantity": ["Re"]}'),
        "by a list": _text("split.json", lambda: b'{"by": []}'),
    },
    "model": _MODEL_CONFIGS,
    "checkpoint": {
        **{k: _MODEL_CONFIGS[k] for k in ("header nested", "header claims 1 EiB", "tensor claims 4 PiB", "a pickle")},
        "history of nothing": _safetensors(lambda header: {**header, "history": {"epochs": [1], "events": None}}),
        "epoch true": _safetensors(lambda header: {**header, "epoch": True}),
        "another configuration": _config("training", epochs=10**9),
        "priors of text": _config("training", priors="x"),
    },
    "study": {
        "study nested": _text("study.json", _deep_json),
        "history nested": _text("history.json", _deep_json),
        "seeds of 10^400": _text("study.json", lambda: b'{"title": "", "seeds": [1e400]}'),
        "an array for an archive": _text("embedding.npz", lambda: _npy_bytes("(2, 2)", "'<f4'", bytes(16))),
        "a bomb": _study_bomb,
    },
    "study-results": {
        "NUL": _text("results.csv", lambda: b"\x00" * 100),
        "a field of 300 kB": _text("results.csv", lambda: b"system," + b"x" * 300_000),
    },
    "cache-entry": {
        "a pickle": _member(lambda: _npy_bytes("(2, 2)", "'|O'", _pickled(Path("executed")))),
        "a bomb": _npz_bomb,
        "an array for an archive": _text("a.npz", lambda: _npy_bytes("(2, 2)", "'<f4'", bytes(16))),
    },
    "decoded-copy": {
        "a value changed": _copy_changed(-4 * 6 - 1),
        "a checksum changed": _copy_changed(-1),
        "rows claim 4 PiB": _text("copy.npy", lambda: _npy_bytes(f"({_HUGE}, 1, 4, 5)", "'<f4'")),
        "of other snapshots": _text("copy.npy", lambda: _npy_bytes("(5, 1, 4, 5)", "'<f4'", bytes(5 * 84))),
        "a pickle": _text("copy.npy", lambda: _npy_bytes("(2, 2)", "'|O'", _pickled(Path("executed")))),
    },
    "statistics": {
        "counts of text": _member(lambda: _npy_bytes("()", "'<U4'", bytes(16)), "count.npy"),
        "a count of -1": _member(lambda: _npy_bytes("()", "'<i8'", b"\xff" * 8), "count.npy"),
        "means of text": _member(lambda: _npy_bytes("(2, 4)", "'<U4'", bytes(128)), "mean.npy"),
        "means of NaN": _member(lambda: _npy_bytes("(2, 4)", "'<f8'", b"\xff" * 64), "mean.npy"),
        "a bomb": _npz_bomb,
    },
}


def make_outside(folder: Path) -> None:
    """What no case may read or change."""
    import importlib.util

    folder.mkdir()
    np.full(120, 12345, dtype=np.float32).tofile(folder / "secret.bin")
    if importlib.util.find_spec("h5py"):
        import h5py

        with h5py.File(folder / "secret.h5", "w") as file:
            file["u"] = np.full((2, 3, 4, 5), 12345, dtype=np.float32)


__all__ = ["DAMAGES", "HARMS", "damage", "files_of", "lose", "make_outside", "numbers"]
