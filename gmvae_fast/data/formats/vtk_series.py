"""VTK files in the order of their times: .vti, .vtr, .vts, .vtu, .vtk, and .pvd, .series, .vtm that list them."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gmvae_fast._reading import read_json

from .container import Container, StoredArray
from .first_states import FirstStates
from .hostile import inside
from .images import natural_key
from .vtk_frames import FRAME_SUFFIXES, Lattices, read_frame

LIST_SUFFIXES = (".pvd", ".series")
VTK_SUFFIXES = (*FRAME_SUFFIXES, ".vtm", *LIST_SUFFIXES)
#: Attribute that tells the layout apart.
MARK = "vtk"
_FRAMES_IN_MEMORY = 2


def is_listed(path: str) -> bool:
    """Whether the file lists others, rather than being one frame of a series."""
    return path.lower().endswith(LIST_SUFFIXES)


def _folder(path: str) -> list[str]:
    """What stands for a folder of VTK output: its list of times if it has one, else its files in natural order."""
    found = [str(p) for p in Path(path).iterdir() if p.suffix.lower() in VTK_SUFFIXES]
    lists = [p for p in found if is_listed(p)]
    if len(lists) > 1:
        raise ValueError(f"several series, pass one of {', '.join(sorted(Path(p).name for p in lists))}")
    if lists:
        return lists
    suffixes = {Path(p).suffix.lower() for p in found}
    if len(suffixes) > 1:
        raise ValueError(f"files of several kinds ({', '.join(sorted(suffixes))}), pass a pattern like *.vti")
    return sorted(found, key=natural_key)


def open_vtk(path: str, files: list[str] | None = None) -> Container:
    """A series as arrays "cell/NAME" and "point/NAME" [t, z, y, x] or [t, z, y, x, components].

    ``files`` are the frames of the folder ``path`` in their order; default: those that ``path`` lists, or itself.
    """
    frames, times = _frames(path) if files is None else (files, None)
    if times is None:
        times = _listed_beside(frames)
    series = _Series(frames)
    return series.container(times)


def vtk_parts(path: str) -> tuple[str, ...]:
    """All files that a folder, a list or a frame consists of."""
    files, _ = _frames(path)
    lists = _folder(path) if os.path.isdir(path) else [path]
    return tuple(dict.fromkeys([*lists, *files, *map(_block, files)]))


def _frames(path: str) -> tuple[list[str], list[float] | None]:
    if os.path.isdir(path):
        found = _folder(path)
        return _frames(found[0]) if len(found) == 1 else (found, None)
    if is_listed(path):
        pairs = _read_list(path)
        return [file for _, file in pairs], [time for time, _ in pairs]
    return [path], None


def _read_list(path: str) -> list[tuple[float, str]]:
    """Times and files of a .pvd or .series file, in the order of times."""
    folder = os.path.dirname(path)
    if path.lower().endswith(".series"):
        entries = [(entry["time"], entry["name"]) for entry in read_json(path, dict)["files"]]
    else:
        sets = ElementTree.parse(path).iter("DataSet")
        entries = [(item.attrib.get("timestep", i), item.attrib["file"]) for i, item in enumerate(sets)]
    pairs = sorted((float(time), inside(folder, name)) for time, name in entries)
    if not pairs:
        raise ValueError("lists no files")
    if len({time for time, _ in pairs}) < len(pairs):
        raise ValueError("lists several files for one time, the parts of a parallel run; merge them first")
    return pairs


def _listed_beside(frames: list[str]) -> list[float] | None:
    """Times from the one list in the frames' folder that names them all."""
    folder = Path(os.path.dirname(frames[0]) or ".")
    wanted = [os.path.realpath(file) for file in frames]
    for path in sorted(p for p in folder.iterdir() if is_listed(p.name)):
        try:
            known = {os.path.realpath(file): time for time, file in _read_list(str(path))}
        except (ValueError, KeyError, TypeError, ElementTree.ParseError):
            continue  # a list of something else
        if known.keys() >= set(wanted):
            return [known[file] for file in wanted]
    return None


def _block(path: str) -> str:
    """The grid in a .vtm file: its only block, or the one called internal (of foamToVTK)."""
    if not path.lower().endswith(".vtm"):
        return path
    sets = [s.attrib for s in ElementTree.parse(path).iter("DataSet") if "file" in s.attrib]
    chosen = sets if len(sets) == 1 else [s for s in sets if s.get("name") == "internal"]
    if len(chosen) != 1:
        names = ", ".join(s.get("name", s["file"]) for s in sets) or "none"
        raise ValueError(f"a file of several blocks ({names}), none called internal; pass the files of one block")
    return inside(os.path.dirname(path), chosen[0]["file"])


class _Series:
    """Frames that are read whole when they are asked for; the last few stay."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self._lattices = Lattices()
        self._states = FirstStates()
        self._recent: OrderedDict[int, dict[str, npt.NDArray[Any]]] = OrderedDict()
        self._time: dict[int, float | None] = {}
        self._axes: dict[str, tuple[npt.NDArray[np.float64], ...]] = {}

    def frame(self, index: int) -> dict[str, npt.NDArray[Any]]:
        """Arrays of one file by key."""
        if index not in self._recent:
            self._recent[index] = self._read(index)
            if len(self._recent) > _FRAMES_IN_MEMORY:
                self._recent.popitem(last=False)
        self._recent.move_to_end(index)
        return self._recent[index]

    def _read(self, index: int) -> dict[str, npt.NDArray[Any]]:
        path = _block(self.files[index])
        self._states.check(index, path)
        try:
            raw = read_frame(path)
            self._time[index] = raw.time
            found: dict[str, npt.NDArray[Any]] = {}
            for which in ("cell", "point"):
                if raw.values[which]:
                    arrays, self._axes[which] = self._lattices.arrays(raw, which)
                    found |= {f"{which}/{name}": values for name, values in arrays.items()}
        except (ImportError, OSError):
            raise
        except Exception as error:  # meshio and VTK raise their own kinds
            what = str(error) or f"damaged or cut short ({type(error).__name__})"  # meshio's errors may have no text
            raise ValueError(f"{os.path.basename(path)}: {what}") from error
        if not found:
            raise ValueError(f"{os.path.basename(path)}: no values at points or in cells")
        return found

    def container(self, times: list[float] | None) -> Container:
        first = self.frame(0)
        arrays: dict[str, StoredArray] = {}
        dims = {}
        for key, values in first.items():
            if values.dtype.kind in "fiub":
                arrays[key] = _Field(self, key, (len(self.files), *values.shape), values.dtype)
                dims[key] = ("t", "z", "y", "x", "c")[: values.ndim + 1]
        coordinates = {which: [along.tolist() for along in axes] for which, axes in self._axes.items()}
        # Times within the files cost reading all of them, so only whoever recognises the layout asks.
        mark = {"times": self._times if times is None else lambda: times, "axes": coordinates}
        return Container(arrays, {"": {}, MARK: mark}, dims)

    def _times(self) -> list[float] | None:
        """Of the files themselves; None where the first has none."""
        self.frame(0)
        if self._time[0] is None:
            return None
        for index in range(len(self.files)):
            if index not in self._time:
                self.frame(index)
        return [np.nan if self._time[i] is None else float(self._time[i] or 0) for i in range(len(self.files))]


class _Field:
    """One array of all frames."""

    def __init__(self, series: _Series, key: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._series, self._key, self.shape, self.dtype = series, key, shape, dtype

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        time, *rest = key if isinstance(key, tuple) else (key,)
        if not isinstance(time, slice):
            return np.asarray(self._one(int(time))[tuple(rest)])
        frames = [self._one(i)[tuple(rest)] for i in range(*time.indices(self.shape[0]))]
        return np.stack(frames) if frames else np.zeros((0, *self.shape[1:]), self.dtype)[(slice(None), *rest)]

    def _one(self, index: int) -> npt.NDArray[Any]:
        arrays = self._series.frame(index)
        name = os.path.basename(self._series.files[index])
        if self._key not in arrays:
            raise ValueError(f"{name}: no {self._key}; it has {', '.join(arrays)}")
        if arrays[self._key].shape != self.shape[1:]:
            raise ValueError(f"{name}: {self._key} is {arrays[self._key].shape}, in the first file {self.shape[1:]}")
        return arrays[self._key]


def open_openfoam(path: str) -> Container:
    """Only to say how such a case becomes readable."""
    folder = path if os.path.isdir(path) else os.path.dirname(path) or "."
    where = os.path.join(folder, "VTK")
    if os.path.isdir(where):
        raise ValueError(f"an OpenFOAM case; open its VTK output, {where}")
    raise ValueError(f"an OpenFOAM case; run foamToVTK in it and open {where} (blocks of hexahedra become grids)")


def is_openfoam(path: str) -> bool:
    """Whether the folder is a case."""
    return os.path.isfile(os.path.join(path, "system", "controlDict"))
