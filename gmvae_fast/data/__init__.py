"""Data for the models: labelled snapshots, files, splits, and simulated systems."""

from __future__ import annotations

from . import systems
from .basics import SnapshotFileError
from .cache import cache_directory
from .condition_splits import split_by_condition
from .converting import convert_snapshots
from .copies import CopiedSnapshots, copied
from .formats import FrameOptions
from .inspection import inspect_snapshots
from .lazy import LazySnapshots
from .leakage import LeakageError, check_leakage
from .opening import open_snapshots
from .snapshots import Snapshots
from .source import SnapshotSource
from .split_config import SplitConfig
from .splits import Split, split_by_frame, split_by_trajectory
from .time_splits import split_by_time
from .weights import balanced_weights
from .windows import WindowedSnapshots, window

__all__ = [
    "CopiedSnapshots",
    "FrameOptions",
    "LazySnapshots",
    "LeakageError",
    "SnapshotFileError",
    "SnapshotSource",
    "Snapshots",
    "Split",
    "SplitConfig",
    "WindowedSnapshots",
    "balanced_weights",
    "cache_directory",
    "check_leakage",
    "convert_snapshots",
    "copied",
    "inspect_snapshots",
    "open_snapshots",
    "split_by_condition",
    "split_by_frame",
    "split_by_time",
    "split_by_trajectory",
    "systems",
    "window",
]
