"""Small latent maps side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.lines import Line2D

from gmvae_fast.report.drawing import Image, as_png, color, new_figure, plain, quantity_scale

_ACROSS = 5
_MOST_POINTS = 1500  # of one map


def latent_maps(
    maps: Mapping[str, npt.NDArray[Any]], values: npt.NDArray[Any], name: str, *, categorical: bool
) -> Image:
    """One panel for each of ``maps`` (arm -> [N, D]), coloured by ``values`` [N]."""
    down = math.ceil(len(maps) / _ACROSS)
    figure = new_figure(11.0, 2.15 * down + 0.4)
    panels = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    shown = np.random.default_rng(0).permutation(len(values))[:_MOST_POINTS]
    norm, cmap = quantity_scale(name, values.astype(np.float64))
    classes = np.unique(values)
    colours = (
        [color(int(np.searchsorted(classes, v))) for v in values[shown]]
        if categorical
        else cmap(norm(np.ma.masked_invalid(values[shown].astype(np.float64))))
    )
    for ax, (arm, latents) in zip(panels, maps.items(), strict=False):
        x, y = flat(latents)[shown].T
        ax.scatter(x, y, c=colours, s=4, linewidths=0)
        ax.set_title(plain(arm), fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in panels[len(maps) :]:
        ax.set_axis_off()
    if categorical:
        handles = [Line2D([], [], ls="", marker="o", color=color(i), label=str(c)) for i, c in enumerate(classes)]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, title=plain(name))
    else:
        bar = figure.colorbar(ScalarMappable(norm, cmap), ax=panels.tolist(), pad=0.01, aspect=40)
        bar.set_label(plain(name))
        bar.outline.set_visible(False)
    return as_png(figure, f"{len(maps)} scatter plots of latent maps, one for each arm, coloured by {name}.")


def flat(latents: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """[N, D] -> [N, 2]: as they are, the first two principal axes, or one coordinate over zeros."""
    points = latents.astype(np.float64)
    if points.shape[1] == 1:
        return np.column_stack([points, np.zeros(len(points))])
    if points.shape[1] == 2:
        return points
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    return np.asarray(centred @ axes.T)
