"""Figures that answer questions of the comparison, drawn from its rows alone. One entry a question."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from gmvae_fast.report.drawing import Image, as_png, as_svg, color, ink_on, line_style, new_figure, plain
from gmvae_fast.report.reading import Array
from gmvae_fast.studies.comparison.arms import REFERENCE
from gmvae_fast.studies.comparison.cases import StudyCase
from gmvae_fast.studies.comparison.questions import components, conditions, samples, smoothness
from gmvae_fast.studies.comparison.results import Results
from gmvae_fast.studies.comparison.statistics import spread

#: An image and what it shows.
Captioned = tuple[Image, str]
_METHODS = (conditions.OURS, conditions.NEIGHBOURS, conditions.POD, conditions.DECODED)
_MARKS = "osD^v"


def answer_figures(results: Results, case: StudyCase, question: str) -> list[Captioned]:
    """Those of one question on one data set; none where it was not asked."""
    return [found for draw in FIGURES.get(question, ()) if (found := draw(results, case)) is not None]


def scores_of_arms(results: Results, case: StudyCase) -> Captioned | None:
    """The main quantity's score: one mark a seed, a line an arm."""
    quantity = case.main_quantity
    values = {
        arm: np.array(list(found.values()))
        for arm in results.arms(case.name, smoothness.NAME)
        if (found := results.values(case.name, smoothness.NAME, "score", arm, detail=quantity))
    }
    if not values:
        return None
    order = sorted(values, key=lambda arm: float(values[arm].mean()))
    figure = new_figure(7.4, 0.7 + 0.22 * len(order))
    ax = figure.add_subplot()
    for y, arm in enumerate(order):
        ink = color(1) if arm == REFERENCE else color(0)
        ax.plot([values[arm].min(), values[arm].max()], [y, y], color="#b9c6d0", lw=3, solid_capstyle="round")
        ax.plot(values[arm], np.full(len(values[arm]), y), "o", color=ink, ms=4, mec="white", mew=0.5)
        ax.plot(values[arm].mean(), y, "|", color="#222222", ms=9, mew=1.4)
    ax.set_yticks(range(len(order)), [plain(arm) for arm in order])
    ax.set_ylim(-0.6, len(order) - 0.4)
    ax.set(xlabel=f"score of {plain(quantity)}: 1 is perfectly smooth, 0 is chance")
    ax.grid(axis="x", color="#e6e6e6", lw=0.7)
    ax.set_axisbelow(True)
    text = f"Score of {quantity}: a dot for each seed, a bar at their mean, the best arm on top; {REFERENCE} in orange."
    return as_svg(figure, f"Dot plot of {len(order)} arms. {text}"), text


def errors_and_spectra(results: Results, case: StudyCase) -> Captioned | None:
    """Error against the held-out condition, and energy against wave number, for both rules."""
    rules = [rule for rule in conditions.RULES
             if _curves(results, case, conditions.ERROR_AT, _setting(rule), _METHODS)]  # fmt: skip
    if not rules:
        return None
    figure = new_figure(10.6, 3.1 * len(rules))
    panels = figure.subplots(len(rules), 2, squeeze=False, width_ratios=[1.0, 1.0])
    for (left, right), rule in zip(panels, rules, strict=True):
        _draw_errors(left, results, case, rule)
        _draw_spectra(right, results, case, rule)
        left.set_title(f"held out {rule}", loc="left")
    handles, labels = panels[0, 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False)
    name = case.held_out_condition
    text = (
        f"Left: relative L2 error against {name}, a point for each held-out value (of many, a bin) and seed; "
        "grey ticks below are the training values, of all seeds, of which the held-out ranges between differ. Right: "
        "energy of the fluctuations by wave number, mean over channels, held-out fields and seeds, over that of the "
        "simulation."
    )
    return as_png(figure, f"{2 * len(rules)} panels. {text}"), text


def _setting(rule: str) -> str:
    return f"held out {rule}"


def _curves(
    results: Results, case: StudyCase, metric: str, setting: str, methods: Sequence[str]
) -> dict[str, dict[float, dict[int, float]]]:
    """Method -> number -> value by seed, of rows whose detail is a method and a number."""
    found: dict[str, dict[float, dict[int, float]]] = {}
    for detail in results.details(case.name, conditions.NAME, metric):
        method, _, text = detail.rpartition(conditions.OF)
        if method in methods:
            values = results.values(case.name, conditions.NAME, metric, REFERENCE, detail=detail, setting=setting)
            if values:
                found.setdefault(method, {})[float(text)] = values
    return {method: found[method] for method in methods if method in found}


def _draw_errors(ax: Axes, results: Results, case: StudyCase, rule: str) -> None:
    curves = _curves(results, case, conditions.ERROR_AT, _setting(rule), _METHODS)
    for i, (_, points) in enumerate(curves.items()):
        pairs = np.array([(at, value) for at, by_seed in points.items() for value in by_seed.values()])
        ax.plot(pairs[:, 0], pairs[:, 1], _MARKS[i], color=color(i), ms=4, mec="white", mew=0.4, alpha=0.85)
    seen = [float(part) for text in _texts(results, case, rule) for part in text.split()]
    ax.plot(seen, np.full(len(seen), 0.02), "|", color="#666666", ms=7, mew=0.7, transform=ax.get_xaxis_transform())
    ax.axhline(1.0, color="#999999", lw=0.8, ls=":")
    ax.set(xlabel=plain(case.held_out_condition), ylabel="relative error (1: the mean field)")
    ax.set_ylim(bottom=0)


def _texts(results: Results, case: StudyCase, rule: str) -> list[str]:
    return [
        row.detail
        for row in results.rows
        if (row.system, row.question, row.metric, row.setting)
        == (case.name, conditions.NAME, conditions.TRAINED_AT, _setting(rule))
    ]


def _draw_spectra(ax: Axes, results: Results, case: StudyCase, rule: str) -> None:
    curves = _curves(results, case, conditions.ENERGY, _setting(rule), (*_METHODS, conditions.SIMULATION))
    truth = _means(curves.pop(conditions.SIMULATION, {}))
    for i, (method, points) in enumerate(curves.items()):
        ratio = {k: energy / truth[k] for k, energy in _means(points).items() if truth.get(k, 0) > 0}
        where = sorted(ratio)
        ax.plot(where, [max(ratio[k], 1e-6) for k in where], line_style(i), color=color(i), marker=_MARKS[i], ms=3,
                label=method)  # fmt: skip
    ax.axhline(1.0, color="#333333", lw=1.0, label=conditions.SIMULATION)
    ax.set(xscale="log", yscale="log", xlabel="wave number, radians a unit of length",
           ylabel="energy over the simulation's")  # fmt: skip


def _means(points: Mapping[float, Mapping[int, float]]) -> dict[float, float]:
    return {k: float(np.mean(list(values.values()))) for k, values in points.items()}


def criteria(results: Results, case: StudyCase) -> Captioned | None:
    """Each criterion against K, a line a seed, about its best."""
    names = {"bic": "BIC", "icl": "ICL", "pruned_bic": "BIC, pruned path", "held_out_elbo": "held-out ELBO"}
    found = {key: _criterion(results, case, key) for key in names}
    found = {key: table for key, table in found.items() if table.size}
    if not found or case.n_regimes is None:
        return None
    figure = new_figure(10.6, 2.6)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for ax, (key, table) in zip(panels, found.items(), strict=True):
        sign = -1.0 if key == "held_out_elbo" else 1.0  # all read: lower is better
        for i, values in enumerate(sign * table):
            ax.plot(
                np.arange(1, table.shape[1] + 1),
                values - np.nanmin(values),
                line_style(i),
                color=color(i),
                marker="o",
                ms=3,
            )
        ax.axvline(case.n_regimes, color="#999999", lw=1, ls=":")
        ax.set_title(names[key])
        ax.set_xlabel("K")
        ax.set_xticks(range(1, table.shape[1] + 1))
    panels[0].set_ylabel("above the best of its seed")
    text = (
        "Criteria by number of components, each seed's own line above its lowest value (of the ELBO, its highest): "
        f"0 is the best. The dotted line is the right number, K = {case.n_regimes}."
    )
    return as_svg(figure, text), text


def _criterion(results: Results, case: StudyCase, key: str) -> Array:
    """[seeds, K], for K = 1, 2, ... as far as they were tried."""
    by_k = {}
    for detail in results.details(case.name, components.NAME, key):
        k = int(detail.rpartition("= ")[2])
        by_k[k] = results.values(case.name, components.NAME, key, REFERENCE, detail=detail, setting=components.SETTING)
    seeds = sorted({seed for values in by_k.values() for seed in values})
    return np.array([[by_k[k].get(seed, math.nan) for k in sorted(by_k)] for seed in seeds])


def confusion(results: Results, case: StudyCase) -> Captioned | None:
    """Of fields drawn from each component, the share that is classified as each: one panel an arm."""
    tables = {arm: table for arm in results.arms(case.name, samples.NAME)
              if (table := _confusion(results, case, arm)).size}  # fmt: skip
    if not tables:
        return None
    k = max(len(table) for table in tables.values())
    size = max(1.25, 0.3 * k)
    figure = new_figure(size * len(tables) + 0.8, size + 0.75)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for ax, (arm, table) in zip(panels, tables.items(), strict=True):
        picture = ax.imshow(table, vmin=0, vmax=1, cmap="Blues")
        for (i, j), share in np.ndenumerate(table):
            if share >= 0.005:
                ink = ink_on("#08306b" if share > 0.5 else "#ffffff")
                ax.text(j, i, f"{100 * share:.0f}", ha="center", va="center", color=ink, fontsize=7)
        ax.set_title(plain(arm), fontsize=8.5)
        ax.set_xticks(range(len(table)))
        ax.set_yticks(range(len(table)) if ax is panels[0] else [])
        ax.spines[:].set_visible(False)
    panels[0].set_ylabel("drawn from")
    figure.supxlabel("classified as", fontsize=9)
    bar = figure.colorbar(picture, ax=panels.tolist(), pad=0.01)
    bar.outline.set_visible(False)
    text = "Fields drawn from each component, and the component that they are classified as: percent, mean over seeds."
    return as_png(figure, f"{len(tables)} confusion matrices. {text}"), text


def _confusion(results: Results, case: StudyCase, arm: str) -> Array:
    shares = {}
    for detail in results.details(case.name, samples.NAME, samples.CONFUSION):
        values = results.values(case.name, samples.NAME, samples.CONFUSION, arm, detail=detail)
        if values:
            drawn, _, found = detail.partition(samples.TO)
            shares[int(drawn), int(found)] = float(np.mean(list(values.values())))
    table = np.full((max((i for i, _ in shares), default=-1) + 1,) * 2, 0.0)
    for (i, j), share in shares.items():
        table[i, j] = share
    return table


def physics(results: Results, case: StudyCase) -> Captioned | None:
    """The physical checks of new fields beside the simulated ones: a panel a check, a line an arm."""
    checks = [
        ("divergence", samples.SAMPLED, "relative divergence"),
        ("variation of the flux, %", samples.SAMPLED, "variation of the flux, %"),
        ("drag in range, %", "", "drag in range, %"),
        ("kinetic energy in range, %", "", "kinetic energy in range, %"),
        ("values out of range, %", "", "values out of range, %"),
    ]
    arms = list(reversed(results.arms(case.name, samples.NAME)))
    shown = [c for c in checks if any(results.values(case.name, samples.NAME, c[0], a, detail=c[1]) for a in arms)]
    if not shown:
        return None
    figure = new_figure(max(4.2, 0.9 + 1.95 * len(shown)), 0.9 + 0.2 * len(arms))
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for ax, (metric, detail, title) in zip(panels, shown, strict=True):
        for y, arm in enumerate(arms):
            values = list(results.values(case.name, samples.NAME, metric, arm, detail=detail).values())
            ax.plot(values, [y] * len(values), "o", color=color(1) if arm == REFERENCE else color(0), ms=4, mec="white",
                    mew=0.5)  # fmt: skip
        simulated = list(results.values(case.name, samples.NAME, metric, REFERENCE, detail=samples.SIMULATED).values())
        if simulated:
            ax.axvline(spread(simulated).mean, color="#333333", lw=1, ls=":")
        ax.set_title(title)
        ax.grid(axis="y", color="#eeeeee", lw=0.7)
        ax.set_axisbelow(True)
        ax.margins(x=0.12)
        ax.set_ylim(-0.6, len(arms) - 0.4)
        if metric.endswith("in range, %"):
            ax.set_xlim(min(90.0, ax.get_xlim()[0]), 101.5)
    panels[0].set_yticks(range(len(arms)), [plain(arm) for arm in arms])
    text = f"Physical checks of new fields, a dot for each seed; {REFERENCE} in orange. Dotted: the simulated fields."
    return as_svg(figure, f"{len(shown)} dot plots. {text}"), text


#: Question -> what is drawn of it, in this order.
FIGURES: Mapping[str, Sequence[Callable[[Results, StudyCase], Captioned | None]]] = {
    smoothness.NAME: (scores_of_arms,),
    conditions.NAME: (errors_and_spectra,),
    components.NAME: (criteria,),
    samples.NAME: (confusion, physics),
}
