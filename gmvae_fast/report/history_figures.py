"""Training and scores as line figures: loss terms, occupancy, sweep over neighbours, scores over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullFormatter

from gmvae_fast.report.drawing import PAGE_WIDTH, Image, as_svg, color, finite, line_style, new_figure, plain
from gmvae_fast.report.reading import Array
from gmvae_fast.report.study import Epoch, Event, Run, Scores

FEW_EVENTS = 12  # up to here an event gets a line through the panel; beyond, a tick on its axis
PHASE_COLORS = {"warmup": "#fbe7c6", "block": "#e3eef6"}
OTHER_PHASE_COLORS = ("#e6f2e6", "#f3e3ee", "#eeeeee")
LOG_RANGE = 30.0

_PANELS = (
    (
        "loss terms",
        (("loss", "loss"), ("reconstruction", "reconstruction"), ("held_out_loss", "held-out loss")),
    ),
    ("KL to the mixture", (("kl", "KL"),)),
    ("held-out error", (("held_out_error", "held-out error"),)),
    ("component occupancy", ()),
    ("responsibility entropy", (("responsibility_entropy", "entropy"),)),
    ("active latent dimensions", (("active_dimensions", "active dimensions"),)),
)


def history_figure(epochs: Sequence[Epoch], events: Sequence[Event]) -> Image | None:
    """Six panels over epochs, phases shaded, M-steps and reseeds marked."""
    if not epochs:
        return None
    figure = new_figure(PAGE_WIDTH, 5.6)
    handles: dict[str, Artist] = {}
    x = np.array([epoch.epoch for epoch in epochs])
    for i, (title, terms) in enumerate(_PANELS):
        ax = figure.add_subplot(2, 3, i + 1)
        handles |= _shade_phases(ax, epochs)
        drawn = _occupancy(ax, x, epochs) if not terms else _terms(ax, x, epochs, terms)
        if not drawn:
            ax.text(0.5, 0.5, "not recorded", transform=ax.transAxes, ha="center", color="#555555")
        if "dimensions" in title:
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        handles |= _mark_events(ax, events)
        ax.set(title=title, xlabel="epoch", xlim=(x.min() - 0.5, x.max() + 0.5))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(
        handles=list(handles.values()),
        labels=list(handles),
        loc="outside lower center",
        ncols=6,
        frameon=False,
    )
    kinds = ", ".join(sorted({event.kind for event in events})) or "none"
    return as_svg(
        figure,
        f"Six panels over {len(epochs)} training epochs: loss terms, KL, held-out error, component "
        "occupancy, responsibility entropy and active latent dimensions. Phases are shaded; events marked: "
        f"{kinds}.",
    )


def _terms(ax: Axes, x: Array, epochs: Sequence[Epoch], terms: Sequence[tuple[str, str]]) -> bool:
    drawn = []
    for i, (key, label) in enumerate(terms):
        y = np.array([epoch.terms[key] for epoch in epochs])
        known = np.isfinite(y)
        if known.any():
            marker = "o" if known.sum() <= 12 else ""
            ax.plot(x[known], y[known], line_style(i), color=color(i), marker=marker, ms=3, label=label)
            drawn.append(y[known])
    if len(drawn) > 1:
        ax.legend(frameon=False)
    if drawn:
        values = np.concatenate(drawn)
        loss_like = terms[0][0] in ("loss", "kl", "held_out_error")
        if loss_like and values.min() > 0 and values.max() > LOG_RANGE * values.min():
            ax.set_yscale("log")
            ax.yaxis.set_minor_formatter(NullFormatter())
    return bool(drawn)


def _occupancy(ax: Axes, x: Array, epochs: Sequence[Epoch]) -> bool:
    """The share of the snapshots in each component; counts are turned into shares."""
    width = max((len(epoch.occupancy) for epoch in epochs), default=0)
    table = np.full((len(epochs), width), np.nan)
    for row, epoch in zip(table, epochs, strict=True):
        row[: len(epoch.occupancy)] = epoch.occupancy
    total = table.sum(axis=1)
    known = np.isfinite(total) & (total > 0)
    if not known.any():
        return False
    shares = table[known] / total[known, None]
    for k in range(width):
        ax.plot(x[known], shares[:, k], line_style(k), color=color(k), label=str(k))
    ax.axhline(1 / width, color="#555555", lw=0.7, ls=":")
    ax.set(ylabel="share of snapshots", ylim=(0.0, min(1.02, 1.15 * float(shares.max()))))
    ax.legend(
        title="component",
        ncols=min(width, 4),
        frameon=True,
        framealpha=0.7,
        edgecolor="none",
        columnspacing=1,
    )
    return True


def _shade_phases(ax: Axes, epochs: Sequence[Epoch]) -> dict[str, Artist]:
    handles: dict[str, Artist] = {}
    others = iter(OTHER_PHASE_COLORS * len(epochs))
    for phase, members in groupby(epochs, key=lambda epoch: epoch.phase):
        at = [epoch.epoch for epoch in members]
        name = f"phase: {plain(phase, 24) or 'unnamed'}"
        if name not in handles:
            handles[name] = Patch(color=PHASE_COLORS.get(phase) or next(others))
        shade = handles[name]
        assert isinstance(shade, Patch)
        ax.axvspan(at[0] - 0.5, at[-1] + 0.5, color=shade.get_facecolor(), lw=0, zorder=0)
    return handles


def _mark_events(ax: Axes, events: Sequence[Event]) -> dict[str, Artist]:
    """Ticks on the lower axis for M-steps and other frequent kinds, lines for the rare ones."""
    handles: dict[str, Artist] = {}
    kinds = sorted({event.kind for event in events})
    for i, kind in enumerate(kinds):
        at = finite(np.array([event.epoch for event in events if event.kind == kind]))
        plain_kind = plain(kind, 24)
        m_step = "mstep" in kind.lower().replace("_", "").replace("-", "").replace(" ", "")
        ink = "#444444" if m_step else "#D55E00" if "reseed" in kind.lower() else color(6 + i)
        if not m_step and len(at) <= FEW_EVENTS:
            for value in at:
                ax.axvline(value, color=ink, lw=1.1, ls=(0, (4, 2)), zorder=1)
            handles[plain_kind] = Line2D([], [], color=ink, lw=1.1, ls="--")
        else:
            ax.plot(at, np.full(len(at), 0.015), "|", color=ink, ms=6, mew=0.8, transform=ax.get_xaxis_transform())
            handles[plain_kind] = Line2D([], [], ls="", marker="|", color=ink, ms=8)
    return handles


def sweep_figure(scores: Scores) -> Image | None:
    """Scores and the number of graph components against the number of neighbours."""
    if not scores.sweep:
        return None
    points = sorted(scores.sweep, key=lambda point: point.n_neighbors)
    k = np.array([point.n_neighbors for point in points])
    signals = list(dict.fromkeys(name for point in points for name in point.scores))
    figure = new_figure(PAGE_WIDTH, 3.0)
    left, right = figure.subplots(1, 2, width_ratios=[1.7, 1.0])
    for i, name in enumerate(signals):
        y = np.array([point.scores.get(name, np.nan) for point in points])
        left.plot(k, y, line_style(i), color=color(i), marker="o", ms=3.5, label=plain(name, 28))
    left.set(xlabel="neighbours per snapshot", ylabel="score (1 smooth, 0 chance)")
    if signals:
        left.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02), frameon=False)
    right.plot(k, [point.n_components for point in points], color="#333333", marker="s", ms=4)
    right.set(xlabel="neighbours per snapshot", ylabel="connected components of the graph")
    right.set_ylim(bottom=0)
    right.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    for ax in (left, right):
        ax.set_xticks(k)
        ax.axvline(scores.n_neighbors, color="#999999", lw=0.8, ls=":")
    return as_svg(
        figure,
        f"Left: the smoothness score of {len(signals)} signals for {', '.join(map(str, k))} neighbours. "
        "Right: the number of connected components of the graph. The numbers are in the table below.",
    )


def scores_figure(runs: Sequence[Run]) -> Image | None:
    """Every signal's score, one mark per seed, best mean on top."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for row in run.scores.rows:
            found.setdefault(row.signal, []).append(row.values["score"])
    means = {
        name: float(finite(np.array(values)).mean()) for name, values in found.items() if len(finite(np.array(values)))
    }
    if not means:
        return None
    order = sorted(means, key=lambda name: means[name])
    figure = new_figure(7.4, 0.9 + 0.27 * len(order))
    ax = figure.add_subplot()
    for y, name in enumerate(order):
        values = finite(np.array(found[name]))
        ax.plot([values.min(), values.max()], [y, y], color="#b9c6d0", lw=4, solid_capstyle="round", zorder=1)
        ax.plot(values, np.full(len(values), y), "o", color=color(0), ms=5, mec="white", mew=0.6, zorder=2)
    ax.axvline(0, color="#555555", lw=0.8, ls=":")
    ax.set_yticks(range(len(order)), [plain(name, 40) for name in order])
    ax.set(xlabel="score: 1 is perfectly smooth over the latent map, 0 is chance", ylim=(-0.6, len(order) - 0.4))
    ax.set_xlim(right=max(1.02, ax.get_xlim()[1]))
    ax.grid(axis="x", color="#e6e6e6", lw=0.7)
    ax.set_axisbelow(True)
    best = order[-1]
    return as_svg(
        figure,
        f"Dot plot of the smoothness score of {len(order)} signals, one dot per seed; the highest mean is "
        f"{means[best]:.3f} for {best}.",
    )
