"""Precision of whole systems over the time from a picture to its answer."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from bench.figures.style import FAINT, INK, RC, RIGHT, WRONG, Sheet, draw_sheet, plain, read_rows, scale_times, span
from bench.tables.systems_table import ALL, LABELS

_MOST_COLUMNS = 3
_LOOKS = {True: (WRONG, "s"), False: (RIGHT, "o")}  # by whether it saw labels
_GAP = 0.085  # of a panel's width, between two numbers
_NUMBERS = 1.05  # their height, in panels
_LEGEND_IN, _LINE_IN = 0.35, 0.19


@mpl.rc_context(RC)
def draw_systems(tables: Path) -> Figure | None:
    """A panel a stratum, a numbered point a system, its name below; None where the suite names no system."""
    systems = read_rows(tables, "systems")
    systems = systems[systems["answer_ms"].notna() & systems["precision"].notna()] if len(systems) else systems
    if systems.empty:
        return None
    numbers = {name: number for number, name in enumerate(dict.fromkeys(systems["system"]), 1)}
    strata = [stratum for stratum in dict.fromkeys(systems["stratum"]) if stratum != ALL][:_MOST_COLUMNS]
    lines = -(-len(numbers) // 2)
    sheet = Sheet(
        "Systems: what they find, and how long they take",
        f"n = {span(systems['n'])} tiles. Precision of the judged queries with its 95 % interval, over the time from a "
        "picture in memory to its answer: description, search, and re-ranking or regions. Orange squares saw labels, "
        "blue circles none. Each panel has a scale of its own.",
        columns=len(strata),
        height_in=3.3 + _LEGEND_IN + _LINE_IN * lines,
    )
    figure, axes = draw_sheet(sheet)
    for ax, stratum in zip(axes[0], strata, strict=True):
        _draw_stratum(ax, systems[systems["stratum"] == stratum], numbers)
    axes[0, 0].set_ylabel("precision")
    titles = systems.drop_duplicates("system").set_index("system")
    handles = [
        _handle(f"{number}  {titles.loc[name, 'title']}", titles.loc[name, "taught_by"] == LABELS)
        for name, number in numbers.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=8, handletextpad=0.3)
    return figure


def _draw_stratum(ax: Axes, systems: pd.DataFrame, numbers: dict[str, int]) -> None:
    systems = systems.sort_values("answer_ms", kind="stable")
    for row in systems.to_dict("records"):
        colour, marker = _LOOKS[row["taught_by"] == LABELS]
        x, y = row["answer_ms"], row["precision"]
        ax.plot([x, x], [row["ci_low"], row["ci_high"]], color=colour, linewidth=1.2, alpha=0.7, zorder=2)
        ax.plot([x], [y], marker=marker, color=colour, markersize=6, markeredgecolor="white", zorder=3)
    first = systems.iloc[0]
    title = f"{first['stratum']}, {first['queries']:.0f} queries to rank {first['depth']:.0f}"
    ax.set_title(plain(title), fontsize=9, color=INK, pad=24)
    ax.set_ylim(0, 1.05 * float(systems[["precision", "ci_high"]].to_numpy(np.float64).max()))
    ax.margins(x=0.1)
    ax.set_xscale("log")
    scale_times(ax, "picture to answer")
    _number(ax, systems, [str(numbers[name]) for name in systems["system"]])


def _number(ax: Axes, systems: pd.DataFrame, words: list[str]) -> None:
    """Numbers above the panel, pushed apart, each joined to its point by a thin line; ``systems`` by rising time."""
    points = ax.transLimits.transform(ax.transScale.transform(systems[["answer_ms", "precision"]].to_numpy()))
    for word, (x, y), place in zip(words, points, spread(points[:, 0], _GAP), strict=True):
        ax.plot([place, x], [1.0, y], transform=ax.transAxes, color=FAINT, linewidth=0.8, zorder=1)
        ax.text(place, _NUMBERS, word, transform=ax.transAxes, ha="center", va="center", size=8, color=INK)


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Ascending places in [0, 1], moved by the least squares that leave none nearer than ``gap`` to the next."""
    steps = np.arange(len(places)) * min(gap, 1 / max(1, len(places) - 1))
    return np.clip(isotonic_regression(places - steps).x, 0, 1 - steps[-1]) + steps


def _handle(label: str, saw_labels: bool) -> Line2D:
    colour, marker = _LOOKS[saw_labels]
    return Line2D([], [], linestyle="", marker=marker, color=colour, markersize=6, label=plain(label))
