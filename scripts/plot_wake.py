"""Draw docs/pictures/wake.png: snapshots of the two geometries of the cylinder wake, and quantities over Re.

Takes two minutes on two processors; finished runs are kept in the cache.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gmvae_fast.data import Snapshots
from gmvae_fast.data.systems import wake

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "wake.png"
COLOURS = ("#0072B2", "#E69F00", "#D55E00")
CHANNEL_RE, STREAM_RE = (250, 750, 1500), (98, 400, 2000)


def vorticity(data: Snapshots, index: int) -> np.ma.MaskedArray:
    """dv/dx - du/dy, hidden in and beside the cylinder."""
    u, v = data.fields[index, :2].astype(np.float64)
    x, y = data.coordinates["x"], data.coordinates["y"]
    # Of each cell the neighbours across the wall are no fluid.
    inside = np.pad(~data.mask, 1, mode="edge")
    near = inside[1:-1, 1:-1] | inside[:-2, 1:-1] | inside[2:, 1:-1] | inside[1:-1, :-2] | inside[1:-1, 2:]
    return np.ma.masked_array(np.gradient(v, x, axis=1) - np.gradient(u, y, axis=0), near)


def draw_snapshot(ax: Axes, data: Snapshots, index: int, scale: float, title: str) -> None:
    """Vorticity with the cylinder in grey."""
    x, y = data.coordinates["x"], data.coordinates["y"]
    extent = (x[0], x[-1], y[0], y[-1])
    ax.imshow(vorticity(data, index), cmap="RdBu_r", vmin=-scale, vmax=scale, origin="lower", extent=extent)
    ax.contourf(x, y, ~data.mask, levels=[0.5, 1.5], colors=["#777777"])
    ax.set_title(title, fontsize=8, pad=3)
    ax.tick_params(labelsize=7)


def nearest(values: np.ndarray, wanted: float) -> int:
    """Index of the value nearest to ``wanted`` on a logarithmic scale."""
    return int(np.abs(np.log(values / wanted)).argmin())


def draw_quantities(left: Axes, right: Axes, channel: Snapshots, stream: Snapshots) -> None:
    """Drag of the channel by group, and lift of a run of the free stream over time."""
    group, names = channel.labels["re_group"], channel.attributes["label_names"]["re_group"]
    for k, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        mine = group == k
        left.plot(channel.quantities["Re"][mine], channel.quantities["drag"][mine], ".", color=colour, label=name)
    left.set(xlabel='"Re" = 1 / nu', ylabel="drag at t = 5", title="channel, clustered")
    left.legend(frameon=False, fontsize=7)
    for wanted, colour in zip(STREAM_RE, COLOURS, strict=True):
        run = stream.trajectory[nearest(stream.quantities["Re"], wanted)]
        mine = stream.trajectory == run
        label = f"Re {stream.quantities['Re'][mine][0]:.0f}, St {stream.quantities['Strouhal'][mine][0]:.3f}"
        right.plot(stream.time[mine], stream.quantities["lift"][mine], color=colour, lw=1, label=label)
    right.set(xlabel="t U / D", ylabel="lift", title="free stream, uniform", xlim=(90, 108), ylim=(-1.3, 2.2))
    right.legend(frameon=False, fontsize=7, loc="upper right")


def main() -> None:
    """Simulate what is not in the cache, and draw."""
    channel = wake.simulate("channel", "clustered", n_runs=60)
    stream = wake.simulate("free_stream", "uniform", n_runs=12)
    figure, axes = plt.subplots(3, 3, figsize=(11, 6.6), height_ratios=[0.62, 1.5, 1.7], layout="constrained")
    for ax, wanted in zip(axes[0], CHANNEL_RE, strict=True):
        index = nearest(channel.quantities["Re"], wanted)
        re, re_d = channel.quantities["Re"][index], channel.quantities["Re_D"][index]
        draw_snapshot(ax, channel, index, 40.0, f'channel, "Re" {re:.0f} (on the diameter {re_d:.0f}), t = 5')
    for ax, wanted in zip(axes[1], STREAM_RE, strict=True):
        index = nearest(stream.quantities["Re"], wanted)
        draw_snapshot(ax, stream, index, 4.0, f"free stream, Re {stream.quantities['Re'][index]:.0f}")
    draw_quantities(axes[2, 0], axes[2, 1], channel, stream)
    phase, log_re = stream.quantities["phase"], stream.quantities["log_Re"]
    points = axes[2, 2].scatter(np.cos(phase), stream.quantities["lift"], c=log_re, s=5, cmap="viridis")
    axes[2, 2].set(xlabel="cosine of the phase", ylabel="lift", title="free stream, all frames")
    figure.colorbar(points, ax=axes[2, 2], label="log Re")
    for ax in axes[2]:
        ax.title.set_fontsize(8)
        ax.tick_params(labelsize=7)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=90)


if __name__ == "__main__":
    main()
