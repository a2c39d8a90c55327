"""The picture of a `SmoothnessResult`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gmvae_fast._io import atomic_writer

CURVE_POINTS = 120
LOWEST = 1e-3  # of lambda_max: where the logarithmic axis of the spectrum starts


class Scored(Protocol):
    """What is drawn of a `SmoothnessResult`, whose module imports this one."""

    @property
    def graph(self) -> Any: ...
    @property
    def n_components(self) -> int: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...
    @property
    def ranking(self) -> Sequence[str]: ...
    def __getitem__(self, name: str) -> Any: ...


def plot_result(result: Scored, path: Any = None) -> Any:
    """Scores with their bootstrap intervals (left) and cumulative energies with their error bands (right)."""
    try:
        figure_class = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise ImportError("plot needs matplotlib; install gmvae_fast[report]") from error
    figure = figure_class(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    names = [name for name in result.ranking if np.isfinite(result[name].score)]
    colors = {name: f"C{i % 10}" for i, name in enumerate(names)}
    _draw_scores(left, result, names, colors)
    _draw_energies(right, result, names, colors)
    plural = "s" if result.n_components > 1 else ""
    settings = ", ".join(f"{key}={value}" for key, value in result.settings.items())
    title = f"{result.graph.shape[0]} snapshots, {result.n_components} component{plural}"
    figure.suptitle(f"{title}, {settings}" if settings else title, fontsize=10)
    if path is not None:
        with atomic_writer(Path(path)) as stream:
            figure.savefig(stream, dpi=150, format=Path(path).suffix[1:] or "png")
    return figure


def _draw_scores(axes: Any, result: Scored, names: list[str], colors: dict[str, str]) -> None:
    for row, name in enumerate(reversed(names)):
        signal = result[name]
        if np.isfinite(signal.score_lower):
            axes.plot([signal.score_lower, signal.score_upper], [row, row], color=colors[name], linewidth=3, alpha=0.4)
        axes.plot(signal.score, row, "o", color=colors[name])
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set(xlabel="score: 1 is smooth, 0 is chance", xlim=(None, 1.02), ylim=(-0.6, max(len(names), 1) - 0.4))


def _draw_energies(axes: Any, result: Scored, names: list[str], colors: dict[str, str]) -> None:
    t = np.geomspace(2 * LOWEST, 2, CURVE_POINTS)
    for name in names:
        found = result[name].spectral_measure().cumulative(t)
        axes.fill_between(t, found.lower, found.upper, color=colors[name], alpha=0.2, linewidth=0)
        axes.plot(t, found.value, color=colors[name], label=name)
    axes.set(xscale="log", xlim=(t[0], t[-1]), ylim=(0, 1.02), ylabel="share of the signal's energy")
    axes.set_xlabel("up to eigenvalue λ of L_sym (bands: bounds of the quadrature)")
    if names:
        axes.legend(fontsize=8, loc="center left")
