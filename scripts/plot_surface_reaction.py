"""Draw docs/pictures/surface_reaction.png: the three designs of the surface reaction beside their bifurcations."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from gmvae_fast.data.systems import surface_reaction
from gmvae_fast.data.systems.surface_reaction.oscillator import onset
from gmvae_fast.data.systems.surface_reaction.validation_cases import exact_share

LOW, HIGH, LINE = "#0072B2", "#D55E00", "#333333"
OUT = Path(__file__).parents[1] / "docs" / "pictures" / "surface_reaction.png"


def draw_fold(ax: Axes) -> None:
    """The bistable region of the parameters and the draws of the default design."""
    made = surface_reaction.simulate("bistable", 600)
    ax.plot(made.quantities["alpha"], made.quantities["gamma"], ".", ms=2, color="#999999")
    ax.plot(*surface_reaction.fold_curve(np.linspace(0.5, 0.9999, 500)), color=LINE)
    ax.plot(*surface_reaction.cusp(), "o", color=HIGH)
    ax.set_yscale("symlog", linthresh=0.02)
    ax.set(xlabel="alpha", ylabel="gamma", title="bistable: fold, cusp and draws", xlim=(0, 3.2), ylim=(0, 0.5))
    ax.set_yticks([0, 0.01, 0.02, 0.1, 0.3], ["0", "0.01", "0.02", "0.1", "0.3"])


def draw_trajectories(ax: Axes, design: str, n_runs: int) -> None:
    """Coverage over time, coloured by branch."""
    made = surface_reaction.simulate(design, n_runs)
    for rho, side in zip(made.fields[:, 0], made.labels["branch"], strict=True):
        ax.plot(made.coordinates["x"], rho, color=HIGH if side else LOW, lw=0.6, alpha=0.7)
    ax.set(xlabel="t", ylabel="rho", title=f"{design}: {n_runs} trajectories")


def draw_shares(ax: Axes) -> None:
    """Share of the published design that falls to the low branch."""
    fine, kappas = np.linspace(9.8, 11.2, 100), np.arange(10, 11.01, 0.2)
    shares = [(surface_reaction.simulate("published", 2000, kappa=k).labels["branch"] == 0).mean() for k in kappas]
    ax.plot(fine, [exact_share(k) for k in fine], color=LINE, label="quadrature")
    ax.plot(kappas, shares, "o", color=LOW, label="2,000 draws")
    ax.set(xlabel="kappa", title="published: share on the low branch")
    ax.legend(frameon=False)


def draw_cycles(ax: Axes) -> None:
    """One steady and two oscillating records."""
    made = surface_reaction.simulate("oscillating", 400)
    b, oscillates = made.quantities["b"], made.labels["regime"] == 1
    chosen = [np.flatnonzero(~oscillates)[0], *np.flatnonzero(oscillates)[np.argsort(b[oscillates])[[10, -10]]]]
    for i, style in zip(chosen, ("-", "-", "--"), strict=True):
        ax.plot(
            made.coordinates["x"],
            made.fields[i, 0],
            style,
            color=HIGH if oscillates[i] else LOW,
            label=f"b = {b[i]:.2f}",
        )
    ax.set(xlabel="t", ylabel="u", title="oscillating: three records", ylim=(0.07, 0.5))
    ax.legend(frameon=False, loc="upper right", fontsize=7)


def draw_amplitudes(ax: Axes) -> None:
    """Amplitude against b, and the onsets from the eigenvalues."""
    made = surface_reaction.simulate("oscillating", 400)
    regime = made.labels["regime"]
    ax.scatter(made.quantities["b"], made.quantities["amplitude"], s=5, c=np.where(regime == 1, HIGH, LOW))
    for low, high in ((20.0, 20.5), (21.0, 21.5)):
        ax.axvline(onset(low, high), color=LINE, ls=":", lw=1)
    ax.set(xlabel="b", ylabel="amplitude of u", title="oscillating: dotted, onsets by eigenvalues")


def main() -> None:
    """Write the picture."""
    plt.rcParams.update({"font.size": 8, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure, ((a, b, c), (d, e, f)) = plt.subplots(2, 3, figsize=(10, 5.4), layout="constrained")
    draw_fold(a)
    draw_trajectories(b, "bistable", 120)
    draw_trajectories(c, "published", 120)
    draw_shares(d)
    draw_cycles(e)
    draw_amplitudes(f)
    OUT.parent.mkdir(exist_ok=True)
    figure.savefig(OUT, dpi=80, pil_kwargs={"optimize": True})


if __name__ == "__main__":
    main()
