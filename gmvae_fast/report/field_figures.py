"""Fields in physical space: originals beside reconstructions beside differences, and generated fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gmvae_fast.report.drawing import (
    PAGE_WIDTH,
    SOLID_GREY,
    Image,
    as_png,
    color,
    enumerate_words,
    field_scale,
    limits,
    new_figure,
    plain,
    symmetric_scale,
)
from gmvae_fast.report.reading import Array
from gmvae_fast.report.study import Coordinates, Reconstructions, Samples

Masked = np.ma.MaskedArray[tuple[Any, ...], np.dtype[np.float64]]
MAX_SAMPLES = 12


def relative_error(original: Array, reconstruction: Array, solid: Array | None) -> float:
    """||reconstruction - original|| / ||original|| over the finite fluid cells; NaN where undefined."""
    a, b = np.asarray(original, np.float64), np.asarray(reconstruction, np.float64)
    kept = np.isfinite(a) & np.isfinite(b)
    if solid is not None:
        kept &= ~solid
    norm = float(np.linalg.norm(a[kept]))
    return float(np.linalg.norm(b[kept] - a[kept])) / norm if norm > 0 else float("nan")


def reconstruction_figure(
    data: Reconstructions, row: int, names: Sequence[str], coordinates: Coordinates | None
) -> Image:
    """One held-out snapshot: per field the original, the reconstruction and their difference."""
    original, reconstruction = data.original[row], data.reconstruction[row]
    draw = _reconstruction_lines if original.ndim == 2 else _reconstruction_maps
    figure = draw(original, reconstruction, names, coordinates)
    title = f" ({data.titles[row]})" if data.titles[row] else ""
    return as_png(
        figure,
        f"Held-out snapshot {int(data.index[row])}{title}: original, reconstruction and difference of "
        f"{enumerate_words(list(names))}.",
    )


def _reconstruction_maps(
    original: Array, reconstruction: Array, names: Sequence[str], coordinates: Coordinates | None
) -> Figure:
    panel = _panel_height(original.shape, PAGE_WIDTH / 3 - 0.75, coordinates)
    figure = new_figure(PAGE_WIDTH, (panel + 0.42) * len(names) + 0.35, "compressed")
    grid = figure.subplots(len(names), 3, squeeze=False, sharex=True, sharey=True)
    for c, name in enumerate(names):
        truth, guess = _masked(original[c], coordinates), _masked(reconstruction[c], coordinates)
        norm, cmap = field_scale(_visible([truth, guess]))
        difference = guess - truth
        norm_d, cmap_d = symmetric_scale(difference.compressed())
        for ax, field in zip(grid[c, :2], (truth, guess), strict=True):
            _draw_map(ax, field, (norm, cmap), coordinates)
        _draw_map(grid[c, 2], difference, (norm_d, cmap_d), coordinates)
        error = relative_error(original[c], reconstruction[c], None if coordinates is None else coordinates.solid)
        label = plain(name, 24)
        for ax, text in zip(grid[c], ("original", "reconstruction", "difference" + _percent(error)), strict=True):
            ax.set_title(f"{label}: {text}")
        _color_bar(figure, ScalarMappable(norm, cmap), list(grid[c, :2]))
        _color_bar(figure, ScalarMappable(norm_d, cmap_d), [grid[c, 2]])
    _label_outer(grid, coordinates)
    return figure


def _reconstruction_lines(
    original: Array, reconstruction: Array, names: Sequence[str], coordinates: Coordinates | None
) -> Figure:
    figure = new_figure(PAGE_WIDTH, 1.9 * len(names) + 0.4)
    grid = figure.subplots(len(names), 2, squeeze=False, sharex=True)
    x, label = _line_axis(original.shape[-1], coordinates)
    for c, name in enumerate(names):
        truth, guess = _masked(original[c], coordinates), _masked(reconstruction[c], coordinates)
        left, right = grid[c]
        left.plot(x, truth, color="#333333", label="original")
        left.plot(x, guess, "--", color=color(5), label="reconstruction")
        right.axhline(0, color="#999999", lw=0.7)
        right.plot(x, guess - truth, color=color(0))
        error = relative_error(original[c], reconstruction[c], None if coordinates is None else coordinates.solid)
        left.set_title(f"{plain(name, 24)}: original and reconstruction")
        right.set_title(f"{plain(name, 24)}: difference{_percent(error)}")
    grid[0, 0].legend(frameon=False)
    for ax in grid[-1]:
        ax.set_xlabel(label)
    return figure


def samples_figure(data: Samples, names: Sequence[str], coordinates: Coordinates | None) -> Image | None:
    """One generated field per component: a row per component, a column per field, one scale per column."""
    fields, components = data.fields[:MAX_SAMPLES], data.component[:MAX_SAMPLES]
    if not len(fields):
        return None
    columns = fields.shape[1]
    one_dimensional = fields.ndim == 3
    width = min(PAGE_WIDTH, 3.6 * columns)
    panel = 1.5 if one_dimensional else _panel_height(fields.shape[1:], width / columns - 0.3, coordinates)
    figure = new_figure(width, (panel + 0.32) * len(fields) + 0.9, "constrained" if one_dimensional else "compressed")
    grid = figure.subplots(len(fields), columns, squeeze=False, sharex=True, sharey=not one_dimensional)
    for c, name in enumerate(names):
        column = [_masked(field[c], coordinates) for field in fields]
        if one_dimensional:
            _sample_lines(list(grid[:, c]), column, components, coordinates)
        else:
            norm, cmap = field_scale(_visible(column))
            for ax, field in zip(grid[:, c], column, strict=True):
                _draw_map(ax, field, (norm, cmap), coordinates)
            _color_bar(figure, ScalarMappable(norm, cmap), list(grid[:, c]), location="bottom")
        for ax, k in zip(grid[:, c], components, strict=True):
            ax.set_title(f"component {int(k)}: {plain(name, 24)}")
    if one_dimensional:
        for ax in grid[-1]:
            ax.set_xlabel(_line_axis(fields.shape[-1], coordinates)[1])
    else:
        _label_outer(grid, coordinates)
    return as_png(
        figure,
        f"Generated fields {enumerate_words(list(names))}, one row for each of components "
        f"{enumerate_words([str(int(k)) for k in components])}.",
    )


def _sample_lines(
    axes: Sequence[Axes], column: Sequence[Masked], components: Array, coordinates: Coordinates | None
) -> None:
    low, high = limits(_visible(column))
    pad = 0.06 * (high - low)
    for ax, values, k in zip(axes, column, components, strict=True):
        ax.plot(_line_axis(len(values), coordinates)[0], values, color=color(int(k)))
        ax.set_ylim(low - pad, high + pad)


def _visible(fields: Sequence[Masked]) -> Array:
    """All values that are drawn, flat: what a colour scale is made from."""
    return np.concatenate([field.compressed() for field in fields])


def _masked(field: Array, coordinates: Coordinates | None) -> Masked:
    """The field with solid and non-finite cells masked."""
    values = np.asarray(field, dtype=np.float64)
    hidden = ~np.isfinite(values)
    if coordinates is not None and coordinates.solid is not None:
        hidden = hidden | coordinates.solid
    return np.ma.masked_array(values, mask=hidden)


def _draw_map(ax: Axes, field: Array, scale: tuple[Normalize, Colormap], coordinates: Coordinates | None) -> None:
    """An image on a uniform grid, quadrilaterals on a stretched one; true aspect, row 0 at the bottom."""
    norm, cmap = scale
    x, y = (_edges(axis, n) for axis, n in zip(_xy(coordinates), field.shape[::-1], strict=True))
    if _uniform(x) and _uniform(y):
        extent = (float(x[0]), float(x[-1]), float(y[0]), float(y[-1]))
        ax.imshow(field, norm=norm, cmap=cmap, origin="lower", extent=extent, interpolation="nearest")
    else:
        ax.pcolormesh(x, y, field, norm=norm, cmap=cmap)
        ax.set_facecolor(SOLID_GREY)
    ax.set_aspect("equal")
    ax.xaxis.set_major_locator(MaxNLocator(6))
    ax.yaxis.set_major_locator(MaxNLocator(3))


def _xy(coordinates: Coordinates | None) -> tuple[Array | None, Array | None]:
    return (None, None) if coordinates is None else (coordinates.x, coordinates.y)


def _edges(centres: Array | None, n: int) -> Array:
    """Cell edges [n + 1] half-way between the points, or pixel numbers without coordinates."""
    if centres is None or n < 2 or not np.all(np.isfinite(centres)):
        return np.arange(n + 1) - 0.5
    c = np.asarray(centres, dtype=np.float64)
    middle = (c[1:] + c[:-1]) / 2
    return np.concatenate([[2 * c[0] - middle[0]], middle, [2 * c[-1] - middle[-1]]])


def _uniform(edges: Array) -> bool:
    steps = np.diff(edges)
    return bool(np.allclose(steps, steps[0], rtol=1e-3, atol=0.0))


def _panel_height(shape: tuple[int, ...], width: float, coordinates: Coordinates | None) -> float:
    """Height in inches of a panel of physical aspect and given width, within what a page bears."""
    x, y = (_edges(axis, n) for axis, n in zip(_xy(coordinates), shape[:-3:-1], strict=True))
    ratio = abs(y[-1] - y[0]) / max(abs(x[-1] - x[0]), np.finfo(float).tiny)
    return float(np.clip(width * ratio, 0.3, 6.0))


def _label_outer(grid: Array, coordinates: Coordinates | None) -> None:
    x, y = _xy(coordinates)
    for ax in grid[-1]:
        ax.set_xlabel("column" if x is None else "x")
    for ax in grid[:, 0]:
        ax.set_ylabel("row" if y is None else "y")


def _line_axis(n: int, coordinates: Coordinates | None) -> tuple[Array, str]:
    x = _xy(coordinates)[0]
    return (np.arange(n), "column") if x is None else (x, "x")


def _color_bar(figure: Figure, mappable: ScalarMappable, axes: list[Axes], location: str = "right") -> None:
    thickness = {"aspect": 12, "pad": 0.015} if location == "right" else {"aspect": 40, "pad": 0.02}
    bar = figure.colorbar(mappable, ax=axes, location=location, **thickness)  # type: ignore[arg-type]
    bar.ax.tick_params(labelsize=7.5)
    bar.locator = MaxNLocator(3 if location == "right" else 5)
    bar.update_ticks()
    bar.outline.set_visible(False)


def _percent(error: float) -> str:
    return f", error {error:.2%}" if np.isfinite(error) else ""
