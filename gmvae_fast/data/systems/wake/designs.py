"""Which Reynolds numbers are simulated, and the groups they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

#: Published mixture of the channel: N(centre, 50^2) with equal weights.
CHANNEL_CENTRES = (250.0, 750.0, 1500.0)
CHANNEL_SPREAD = 50.0
#: Free stream: log-normal about laminar, two-dimensional and (in reality) three-dimensional shedding.
FREE_STREAM_CENTRES = (100.0, 400.0, 1600.0)
FREE_STREAM_LOG_SPREAD = 0.08


@dataclass(frozen=True)
class Design:
    """Reynolds numbers of the runs [n] and their groups [n] with the groups' names."""

    reynolds: Floats
    group: Integers
    group_names: tuple[str, ...]


def _mixture(n_runs: int, seed: int, draw: Callable[[np.random.Generator, int], float]) -> tuple[Floats, Integers]:
    """Independent draws from an equal mixture of three.

    The first three runs take one group each (in random order), so that no group is ever absent.  Each run has
    its own generator, so a longer study contains the shorter one with the same seed, and reuses its cache.
    """
    order = np.random.default_rng([seed, 0]).permutation(3)
    reynolds, group = np.empty(n_runs), np.empty(n_runs, dtype=np.int64)
    for run in range(n_runs):
        rng = np.random.default_rng([seed, 1, run])
        drawn = int(rng.integers(3))
        group[run] = order[run] if run < 3 else drawn
        reynolds[run] = draw(rng, int(group[run]))
    return reynolds, group


def _nearest(reynolds: Floats, centres: tuple[float, ...]) -> Integers:
    distance = np.abs(reynolds[:, None] - np.asarray(centres))
    nearest: Integers = distance.argmin(axis=1).astype(np.int64)
    return nearest


def _names(centres: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(f"Re near {centre:g}" for centre in centres)


def channel_clustered(n_runs: int, seed: int) -> Design:
    """The published equal mixture of N(250, 50^2), N(750, 50^2), N(1500, 50^2), truncated at three spreads below
    the lowest centre (a normal draw can be negative; a Reynolds number cannot)."""
    lowest = CHANNEL_CENTRES[0] - 3 * CHANNEL_SPREAD

    def draw(rng: np.random.Generator, group: int) -> float:
        while True:
            value = float(rng.normal(CHANNEL_CENTRES[group], CHANNEL_SPREAD))
            if value >= lowest:
                return value

    reynolds, group = _mixture(n_runs, seed, draw)
    return Design(reynolds, group, _names(CHANNEL_CENTRES))


def channel_uniform(n_runs: int, seed: int) -> Design:
    """Uniform on 100..2000; the group is the nearest centre of the clustered design."""
    reynolds = np.array([np.random.default_rng([seed, 2, run]).uniform(100, 2000) for run in range(n_runs)])
    return Design(reynolds, _nearest(reynolds, CHANNEL_CENTRES), _names(CHANNEL_CENTRES))


def free_stream_clustered(n_runs: int, seed: int) -> Design:
    """Equal mixture of log-normals about 100, 400 and 1600 with a spread of 8%."""

    def draw(rng: np.random.Generator, group: int) -> float:
        return float(FREE_STREAM_CENTRES[group] * np.exp(FREE_STREAM_LOG_SPREAD * rng.standard_normal()))

    reynolds, group = _mixture(n_runs, seed, draw)
    return Design(reynolds, group, _names(FREE_STREAM_CENTRES))


def free_stream_uniform(n_runs: int, seed: int) -> Design:
    """Geometric series 98..2000 (no chance in it: ``seed`` has no effect); the group is the nearest centre."""
    del seed
    reynolds = np.geomspace(98.0, 2000.0, n_runs)
    group = _nearest(np.log(reynolds), tuple(np.log(FREE_STREAM_CENTRES)))
    return Design(reynolds, group, _names(FREE_STREAM_CENTRES))


def free_stream_onset(n_runs: int, seed: int) -> Design:
    """Geometric series 20..100 across the onset of shedding (Re about 47); groups: below 47, above."""
    del seed
    reynolds = np.geomspace(20.0, 100.0, n_runs)
    return Design(reynolds, (reynolds > 47.0).astype(np.int64), ("Re below 47", "Re above 47"))


DESIGNS: dict[str, dict[str, Callable[[int, int], Design]]] = {
    "channel": {"clustered": channel_clustered, "uniform": channel_uniform},
    "free_stream": {
        "clustered": free_stream_clustered,
        "uniform": free_stream_uniform,
        "onset": free_stream_onset,
    },
}
GEOMETRIES = tuple(DESIGNS)
