"""The files of a study: where they lie, and how they are read and written. `gmvae_fast.report` reads the same files.

study.json, coordinates.npz, summary.json, validation.json, report.html, and for every seed a folder seed_<n> with
config.json, split.npz, checkpoint.safetensors, model.safetensors, history.json, embedding.npz, mixture.npz,
reconstructions.npz, samples.npz, scores.json and metrics.json.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from gmvae_fast._io import write_json, write_npz
from gmvae_fast._locks import file_lock, folder_lock
from gmvae_fast._reading import Arrays, read_json, read_npz


class StudyError(ValueError):
    """A study folder that lacks a file, or holds one that cannot be read."""


class StudyFolder:
    """Paths and files of one study.

    Parameters
    ----------
    path : path
        Made when the first file is written.
    writes : bool
        False in all processes of a distributed run but the first: they read the folder, and leave it alone.
    """

    def __init__(self, path: str | os.PathLike[str], *, writes: bool = True) -> None:
        self.path, self.writes = Path(path), writes

    def seed(self, seed: int) -> Path:
        """Folder of one seed."""
        return self.path / f"seed_{seed}"

    def study(self) -> dict[str, Any]:
        """Contents of study.json."""
        return self.read_json("study.json")

    def seeds(self) -> list[int]:
        """Seeds trained so far, ascending."""
        return sorted(int(s) for s in self.study().get("seeds", []))

    def update_study(self, *, add_seed: int | None = None, **changes: Any) -> dict[str, Any]:
        """Write study.json with these entries changed and a seed added; it is made if missing.

        Seeds may be trained by several processes at a time: none of their changes is lost.
        """
        path = self.path / "study.json"
        with file_lock(path, wait=True) if self.writes else nullcontext():
            stored = self.study() if path.exists() else {}
            stored.update(changes)
            if add_seed is not None:
                stored["seeds"] = sorted({*stored.get("seeds", []), add_seed})
            self.write_json("study.json", stored)
        return stored

    def data_places(self, path: str) -> dict[str, str]:
        """Entries of study.json about the data at ``path``, a file or pattern: from everywhere, and from the study.

        The second is good where both were moved together.
        """
        if not path:
            return {"data_path": ""}
        here = os.getcwd() if os.path.exists(path) else glob.escape(os.getcwd())
        absolute = os.path.normpath(os.path.join(here, path))
        try:
            beside = os.path.relpath(path, self.path)
        except ValueError:  # on another drive
            return {"data_path": absolute}
        return {"data_path": absolute, "data_path_from_study": beside}

    def data_paths(self) -> list[str]:
        """Where the data of this study may be, the likeliest first: files or patterns, see `data_places`."""
        stored = self.study()
        found = [str(stored.get("data_path") or "")]
        if beside := stored.get("data_path_from_study"):
            path = os.path.normpath(os.path.join(self.path, str(beside)))
            pattern = os.path.normpath(os.path.join(glob.escape(os.fspath(self.path)), str(beside)))
            found.append(path if os.path.exists(path) else pattern)
        return [path for path in dict.fromkeys(found) if path]

    def lock(self) -> AbstractContextManager[None]:
        """Keep other runs out of the study as a whole; InUseError names the one that is in it."""
        return folder_lock(self.path) if self.writes else nullcontext()

    def lock_seed(self, seed: int, *, new: bool = False) -> AbstractContextManager[None]:
        """Keep other runs out of a seed's folder, which must exist unless ``new``; InUseError names the one in it."""
        if not new and not self.seed(seed).is_dir():
            raise StudyError(f"{self.seed(seed)}: no such folder; `gmvae-fast train` makes it")
        return folder_lock(self.seed(seed)) if self.writes else nullcontext()

    def read_json(self, name: str) -> dict[str, Any]:
        """One JSON object; StudyError says which file is missing or damaged."""
        path = self._existing(name)
        try:
            value: dict[str, Any] = read_json(path, dict)
        except (ValueError, OSError) as err:
            raise StudyError(f"{path}: {err}") from err
        return value

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write one JSON object, atomically."""
        if self.writes:
            write_json(self.path / name, value)

    def read_npz(self, name: str) -> Arrays:
        """All arrays of one file; no pickled objects are loaded."""
        path = self._existing(name)
        try:
            return read_npz(path)
        except (ValueError, OSError) as err:
            raise StudyError(f"{path}: {err}") from err

    def write_npz(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write named arrays, atomically."""
        if self.writes:
            write_npz(self.path / name, {k: np.asarray(v) for k, v in arrays.items()})

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise StudyError(f"{path}: no such file; `gmvae-fast train` makes a study folder, embed and score fill it")
        return path
