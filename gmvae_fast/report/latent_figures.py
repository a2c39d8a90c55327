"""The latent space in two axes: components, their ellipses, physical quantities and labels."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse

from gmvae_fast.report.drawing import (
    PAGE_WIDTH,
    Image,
    as_png,
    color,
    enumerate_words,
    ink_on,
    limits,
    new_figure,
    plain,
    quantity_scale,
)
from gmvae_fast.report.reading import Array
from gmvae_fast.report.study import Latents, Mixture

MAX_POINTS = 20_000  # beyond this a scatter plot shows no more, only costs more
MAX_LABELS = 10
NEGLIGIBLE_WEIGHT = 1e-3
BOX_RATIO = 1.2  # width over height of a map with equal axes
LEFT_OUT_GREY = "#bbbbbb"


@dataclass(frozen=True)
class LatentMap:
    """Latent means and mixture in two axes; ``shown`` are the rows drawn, shuffled."""

    points: Array  # [N, 2]
    centres: Array  # [K, 2]
    covariances: Array  # [K, 2, 2]
    axis_labels: tuple[str, str]
    note: str
    shown: Array  # [<= MAX_POINTS]
    equal_aspect: bool


def latent_map(latents: Latents, mixture: Mixture) -> LatentMap:
    """Two axes for any D: the dimension and its posterior spread, both dimensions, or principal axes."""
    dim = latents.mean.shape[1]
    if dim == 1:
        spread = np.exp(0.5 * np.asarray(latents.log_var, dtype=np.float64))
        points = np.concatenate([latents.mean, spread], axis=1)
        middle = float(np.mean(limits(spread)))
        centres = np.concatenate([mixture.means, np.full_like(mixture.means, middle)], axis=1)
        covariances = np.zeros((len(centres), 2, 2))
        covariances[:, 0, 0] = mixture.covariances[:, 0, 0]
        labels, note = (
            ("latent mean z", "posterior standard deviation"),
            (
                "One latent dimension: the vertical axis is each snapshot's posterior standard deviation; "
                "the components are intervals, drawn at mid-height."
            ),
        )
        return _finish(points, centres, covariances, labels, note)
    axes, labels, note = _axes(np.asarray(latents.mean, dtype=np.float64))
    covariances = axes.T @ mixture.covariances @ axes
    return _finish(latents.mean @ axes, mixture.means @ axes, covariances, labels, note)


def _axes(mean: Array) -> tuple[Array, tuple[str, str], str]:
    """Projection [D, 2] with the labels of its axes and a sentence that says what it is."""
    dim = mean.shape[1]
    if dim == 2:
        return np.eye(2), ("latent mean z₀", "latent mean z₁"), "Both latent dimensions are shown."
    kept = mean[np.all(np.isfinite(mean), axis=1)]
    centred = kept - kept.mean(axis=0) if len(kept) else np.zeros((1, dim))
    _, singular, rows = np.linalg.svd(centred, full_matrices=True)
    axes = rows[:2].T
    axes = axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), [0, 1]])
    power = np.zeros(dim)
    power[: len(singular)] = singular**2
    share = power[:2] / max(power.sum(), np.finfo(float).tiny)
    labels = tuple(f"principal axis {i + 1} ({share[i]:.1%} of variance)" for i in range(2))
    note = (
        f"The latent space has {dim} dimensions: what is shown is its projection on the first two principal "
        f"axes of the posterior means, which hold {share.sum():.1%} of their variance. Components that "
        "overlap here may be apart in the other dimensions."
    )
    return axes, (labels[0], labels[1]), note


def _finish(points: Array, centres: Array, covariances: Array, labels: tuple[str, str], note: str) -> LatentMap:
    visible = np.flatnonzero(np.all(np.isfinite(points), axis=1))
    shown = np.random.default_rng(0).permutation(visible)[:MAX_POINTS]
    if len(shown) < len(points):
        note += f" {len(shown):,} of {len(points):,} snapshots are drawn"
        hidden = len(points) - len(visible)
        note += f" ({hidden:,} have a non-finite position)." if hidden else " (a random subset)."
    spans = [high - low for low, high in (limits(points[visible, j]) for j in range(2))]
    equal = not labels[1].startswith("posterior") and max(spans) < 6 * min(spans)
    return LatentMap(points, centres, covariances, labels, note, shown, equal)


def component_figure(view: LatentMap, latents: Latents, mixture: Mixture) -> Image:
    """The latent map coloured by component, with centres and 1- and 2-sigma ellipses."""
    figure = new_figure(7.0, 5.2)
    ax = figure.add_subplot()
    colors = to_rgba_array([color(int(k)) for k in latents.component])
    _scatter(ax, view, latents.is_test, colors=colors)
    for k in range(len(view.centres)):
        _draw_component(ax, view, k, dead=bool(mixture.weights[k] < NEGLIGIBLE_WEIGHT))
    _frame(ax, view, with_components=mixture.weights >= NEGLIGIBLE_WEIGHT)
    handles = [
        Line2D([], [], ls="", marker="o", color=color(k), label=f"component {k}") for k in range(len(view.centres))
    ]
    dot = {"ls": "", "color": "#777777"}
    handles += [
        Line2D([], [], marker="o", ms=4, label="training", **dot),  # type: ignore[arg-type]
        Line2D([], [], marker="^", ms=6, mec="black", mew=0.7, label="held out", **dot),  # type: ignore[arg-type]
        Line2D([], [], color="#333333", lw=1.6, label="1 sigma"),
        Line2D([], [], color="#333333", lw=1.0, ls="--", label="2 sigma"),
    ]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return as_png(
        figure,
        f"Scatter plot of {len(view.shown)} snapshots in the latent space, coloured by mixture component, "
        f"with the centres and the 1- and 2-sigma ellipses of {len(view.centres)} components; held-out "
        "snapshots are outlined triangles.",
    )


def _draw_component(ax: Axes, view: LatentMap, k: int, dead: bool) -> None:
    """Ellipses and numbered centre; a component without weight is drawn hollow."""
    centre, covariance = view.centres[k], view.covariances[k]
    if not (np.all(np.isfinite(centre)) and np.all(np.isfinite(covariance))):
        return
    values, vectors = np.linalg.eigh(covariance)
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    length, breadth = 2 * np.sqrt(np.maximum(values[::-1], 0.0))
    for sigmas, style, width in ((1, "-", 1.6), (2, "--", 1.0)):
        ellipse = Ellipse((centre[0], centre[1]), sigmas * length, sigmas * breadth, angle=angle, fill=False)
        ellipse.set(edgecolor=color(k), linestyle=style, linewidth=width, zorder=4, alpha=0.4 if dead else 1.0)
        ax.add_patch(ellipse)
    face = "white" if dead else color(k)
    ax.plot(*centre, marker="o", ms=13, mfc=face, mec="white" if not dead else color(k), mew=1.4, zorder=5)
    ink = color(k) if dead else ink_on(color(k))
    number = ax.text(centre[0], centre[1], str(k), color=ink, zorder=6, clip_on=True)
    number.set(ha="center", va="center_baseline", weight="bold", size=8)


def quantity_figure(view: LatentMap, latents: Latents) -> Image | None:
    """The latent map once per physical quantity, each with its colour bar."""
    names = list(latents.quantities)
    if not names:
        return None
    figure, panels = _panels(len(names))
    for ax, name in zip(panels, names, strict=False):
        values = np.asarray(latents.quantities[name], dtype=np.float64)
        norm, cmap = quantity_scale(name, values)
        _scatter(ax, view, latents.is_test, colors=cmap(norm(np.ma.masked_invalid(values))), size=0.7)
        _frame(ax, view)
        low, high = limits(values)
        extend = {(True, False): "min", (False, True): "max", (True, True): "both"}.get(
            (low < (norm.vmin or 0.0) - 1e-12, high > (norm.vmax or 0.0) + 1e-12), "neither"
        )
        bar = figure.colorbar(ScalarMappable(norm, cmap), ax=ax, extend=extend, pad=0.02, aspect=18)
        bar.outline.set_visible(False)
        ax.set_title(plain(name) + (" (log scale)" if isinstance(norm, LogNorm) else ""))
    _label_outer(panels, view)
    return as_png(
        figure,
        f"The same latent map coloured by {enumerate_words(names)}, one panel each, with colour bars.",
    )


def label_figure(view: LatentMap, latents: Latents) -> Image | None:
    """The latent map once per label, with a legend; rare values beyond ten are grey."""
    names = list(latents.labels)
    if not names:
        return None
    figure, panels = _panels(len(names))
    for ax, name in zip(panels, names, strict=False):
        classes, which = label_classes(latents.labels[name])
        counts = np.bincount(which, minlength=len(classes))
        kept = np.sort(np.argsort(-counts, kind="stable")[:MAX_LABELS])
        palette = {int(c): color(i) for i, c in enumerate(kept)}
        colors = to_rgba_array([palette.get(int(c), LEFT_OUT_GREY) for c in which])
        _scatter(ax, view, latents.is_test, colors=colors, size=0.7)
        _frame(ax, view)
        handles = [Line2D([], [], ls="", marker="o", ms=5, color=c, label=plain(classes[i], 22))
                   for i, c in palette.items()]  # fmt: skip
        if len(classes) > len(kept):
            handles.append(Line2D([], [], ls="", marker="o", ms=5, color=LEFT_OUT_GREY, label="other"))
        ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, handletextpad=0.1)
        ax.set_title(plain(name))
    _label_outer(panels, view)
    return as_png(
        figure,
        f"The same latent map coloured by the known labels {enumerate_words(names)}, with legends.",
    )


def label_classes(labels: Array) -> tuple[tuple[str, ...], Array]:
    """The values of a label, numbers in them ordered as numbers, and each snapshot's position among them."""
    classes, which = np.unique(labels, return_inverse=True)
    names = [str(name) for name in classes]
    order = sorted(range(len(names)), key=lambda i: [(p.isdigit(), int(p) if p.isdecimal() else 0, p)
                                                     for p in re.split(r"(\d+)", names[i])])  # fmt: skip
    rank = np.argsort(order)
    return tuple(names[i] for i in order), rank[which]


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, three to a row of page width; only the outer ones carry axis labels."""
    columns = min(count, 3)
    rows = -(-count // columns)
    figure = new_figure(PAGE_WIDTH * columns / 3, 2.7 * rows + 0.3)
    panels = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    return figure, panels


def _label_outer(panels: list[Axes], view: LatentMap) -> None:
    """Short axis labels on the left and at the foot of each column."""
    x, y = (label.split(" (")[0] for label in view.axis_labels)
    for i, ax in enumerate(panels):
        ax.set_xlabel(x if i + 3 >= len(panels) else "")
        ax.set_ylabel(y if i % 3 == 0 else "")


def _scatter(ax: Axes, view: LatentMap, is_test: Array, *, colors: Array, size: float = 1.0) -> None:
    """Training points as dots, held-out points as outlined triangles above them."""
    area = size * float(np.clip(9000 / max(len(view.shown), 1), 3.0, 20.0))
    test = is_test[view.shown]
    train_rows, test_rows = view.shown[~test], view.shown[test]
    x, y = view.points.T
    ax.scatter(x[train_rows], y[train_rows], c=colors[train_rows], s=area, lw=0.0, alpha=0.75, zorder=2)
    marks = ax.scatter(x[test_rows], y[test_rows], c=colors[test_rows], s=1.5 * area, marker="^", zorder=3)
    marks.set(linewidth=0.4, edgecolor="black")


def _frame(ax: Axes, view: LatentMap, with_components: Array | None = None) -> None:
    """Limits that hold every point and, if asked, the 2-sigma ellipses of the live components."""
    spans = []
    for j in range(2):
        low, high = limits(view.points[view.shown, j])
        if with_components is not None and np.any(with_components):
            reach = 2 * np.sqrt(view.covariances[with_components, j, j])
            centre = view.centres[with_components, j]
            # A component far wider than the data must not shrink the data to a dot.
            room = high - low
            low = max(min(low, limits(centre - reach)[0]), low - 0.6 * room)
            high = min(max(high, limits(centre + reach)[1]), high + 0.6 * room)
        spans.append(((low + high) / 2, 0.55 * (high - low)))
    (x, half_x), (y, half_y) = spans
    if view.equal_aspect:  # widen the narrower direction, so that every panel has the same shape
        half_x, half_y = max(half_x, BOX_RATIO * half_y), max(half_y, half_x / BOX_RATIO)
        ax.set_aspect("equal", adjustable="box")
    ax.set(xlim=(x - half_x, x + half_x), ylim=(y - half_y, y + half_y))
    ax.set(xlabel=view.axis_labels[0], ylabel=view.axis_labels[1])
