"""How the cost of one recall grows with the number of vectors."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.figures.costs import scale_costs
from bench.figures.style import EXACT, RC, Sheet, draw_sheet, plain, read_cells, read_rows, span, variant_looks
from bench.scores.growth import FLOOR
from bench.tables.growth_table import METRIC_WORDS

_UNITS = {"single_ms": "ms", "batch_ms": "ms", "build_s": "s", "size_bytes": "MiB"}
_MOST_TICKS = 5


@mpl.rc_context(RC)
def draw_growth(tables: Path) -> Figure | None:
    """Cost over n, both logarithmic: a panel a metric, a line an engine with its fitted exponent in the legend.

    None when no corpus was measured at several sizes.
    """
    points, growth = read_rows(tables, "growth_points"), read_rows(tables, "growth")
    points = points[points["cost"] > 0] if len(points) else points
    if points.empty or growth.empty:
        return None
    points = points.assign(cost=points["cost"].where(points["metric"] != "size_bytes", points["cost"] / 2**20))
    looks = variant_looks(read_cells(tables)["variant"])
    panels = list(dict.fromkeys(zip(points["corpus"], points["metric"], strict=True)))
    sheet = Sheet(
        f"Growth with n at recall@{span(points['k'])} of {points['recall_target'].iloc[0]:g}",
        f"n = {span(points['n'])}. Lines are power laws fitted to the marks; legends have the exponent of n with its "
        "standard error, cheapest engine at the largest n on top. Times at the recall are read off each engine's own "
        "front, between two settings where none hits it; hollow: the fastest setting exceeds it. Build time, "
        "choosing included, and memory are those of the setting that reaches it.",
        rows=-(-len(panels) // 2),
        columns=min(2, len(panels)),
        height_in=3.1,
    )
    figure, axes = draw_sheet(sheet)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    several = points["corpus"].nunique() > 1
    for ax, (corpus, metric) in zip(axes.flat, panels, strict=False):
        here = (points["corpus"] == corpus) & (points["metric"] == metric)
        laws = growth[(growth["corpus"] == corpus) & (growth["metric"] == metric)].set_index("variant")
        _draw_panel(ax, points[here], laws, looks)
        ax.set_title(plain(f"{corpus} · {METRIC_WORDS[metric]}" if several else METRIC_WORDS[metric]))
        ax.set_ylabel(f"{_UNITS[metric]} (log scale)")
    return figure


def _draw_panel(ax: Axes, points: pd.DataFrame, laws: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    largest = points.sort_values("n").groupby("variant")["cost"].last().sort_values()
    handles = []
    for variant in (str(name) for name in largest.index):
        own, look = points[points["variant"] == variant].sort_values("n"), looks[variant]
        size = 8.0 if variant == EXACT else 5.5
        edge: dict[str, Any] = {"linestyle": "none", "zorder": 3}
        is_hollow = (own["how"] == FLOOR) & (variant != EXACT)
        solid, hollow = own[~is_hollow], own[is_hollow]
        ax.plot(solid["n"], solid["cost"], **look, **edge, markersize=size, markeredgecolor="white", mew=0.5)
        ax.plot(hollow["n"], hollow["cost"], **look, **edge, markersize=size, markerfacecolor="white")
        words = variant
        if variant in laws.index:
            law = laws.loc[variant]
            ends = np.array([own["n"].min(), own["n"].max()], np.float64)
            scale = 1 / 2**20 if law["metric"] == "size_bytes" else 1.0
            ax.plot(ends, scale * law["factor"] * ends ** law["exponent"], color=look["color"], linewidth=1.2)
            words += f"  {law['exponent']:.2f}" + ("" if np.isnan(law["stderr"]) else f" ± {law['stderr']:.2f}")
        handles.append(Line2D([], [], **look, linewidth=1.2, markersize=size, label=plain(words)))
    _scale_sizes(ax, sorted(set(points["n"])))
    scale_costs(ax)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.0, 1.03), fontsize=7.5, handlelength=1.6)


def _scale_sizes(ax: Axes, sizes: list[int]) -> None:
    """Make the x axis logarithmic, ticked at measured sizes."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(sizes[:: -(-len(sizes) // _MOST_TICKS)]))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value / 1000:,.4g}k" if value >= 1000 else f"{value:g}")
    )
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("vectors n (log scale)")
