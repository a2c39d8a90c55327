"""Small latent maps side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.lines import Line2D

from gmvae_fast.report.drawing import SOLID_GREY, Image, as_png, color, new_figure, plain, quantity_scale

_ACROSS = 5


def latent_maps(
    maps: Mapping[str, npt.NDArray[np.float64]],
    values: npt.NDArray[np.float64],
    name: str,
    classes: Sequence[str] | None = None,
) -> Image:
    """One panel for each of ``maps`` (arm -> [N, 2]), coloured by ``values`` [N]: numbers, or places in ``classes``."""
    down = math.ceil(len(maps) / _ACROSS)
    figure = new_figure(11.0, 2.15 * down + 0.4)
    panels = figure.subplots(down, _ACROSS, squeeze=False).ravel()
    norm, cmap = quantity_scale(name, values)
    numbers = [int(v) for v in np.unique(values[np.isfinite(values)])]
    colours = (
        cmap(norm(np.ma.masked_invalid(values)))
        if classes is None
        else [color(int(v)) if np.isfinite(v) else SOLID_GREY for v in values]
    )
    for ax, (arm, latents) in zip(panels, maps.items(), strict=False):
        x, y = latents.T
        ax.scatter(x, y, c=colours, s=4, linewidths=0)
        ax.set_title(plain(arm), fontsize=9)
        ax.set_xticks([])
        ax.set_yticks([])
    for ax in panels[len(maps) :]:
        ax.set_axis_off()
    if classes is not None:
        texts = [plain(classes[i]) if 0 <= i < len(classes) else str(i) for i in numbers]
        handles = [
            Line2D([], [], ls="", marker="o", color=color(i), label=t) for i, t in zip(numbers, texts, strict=True)
        ]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, title=plain(name))
    else:
        bar = figure.colorbar(ScalarMappable(norm, cmap), ax=panels.tolist(), pad=0.01, aspect=40)
        bar.set_label(plain(name))
        bar.outline.set_visible(False)
    return as_png(figure, f"{len(maps)} scatter plots of latent maps, one for each arm, coloured by {name}.")
