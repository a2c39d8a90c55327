"""Data for the models: labelled snapshots, files, splits, and simulated systems."""

from __future__ import annotations

from . import systems
from .cache import cache_directory
from .converting import convert_snapshots
from .formats import FrameOptions
from .inspection import inspect_snapshots
from .lazy import LazySnapshots
from .opening import open_snapshots
from .snapshots import SnapshotFileError, Snapshots
from .source import SnapshotSource
from .splits import split_by_trajectory

__all__ = [
    "FrameOptions",
    "LazySnapshots",
    "SnapshotFileError",
    "SnapshotSource",
    "Snapshots",
    "cache_directory",
    "convert_snapshots",
    "inspect_snapshots",
    "open_snapshots",
    "split_by_trajectory",
    "systems",
]
