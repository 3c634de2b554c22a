"""Build time and memory against recall: what an index costs before its first query."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.figures.style import (
    EXACT,
    RC,
    Sheet,
    draw_sheet,
    look_handles,
    plain,
    read_cells,
    read_rows,
    span,
    variant_looks,
)
from bench.tables.building import with_choosing
from bench.tables.names import largest_sizes

_PANELS = {"build_s": ("build time", "s"), "size_mib": ("memory beside the vectors", "MiB")}
_WIDTH = 0.56  # of the distance between two recalls, over which the engines are spread
_LEAST_DECADES = 1.0


@mpl.rc_context(RC)
def draw_costs(tables: Path) -> Figure | None:
    """Build seconds and index bytes of each engine's fastest setting that reaches each recall; a row a backbone.

    None when no approximate engine reaches any recall, or no build was measured.
    """
    cheapest = read_rows(tables, "cheapest_settings")
    cheapest = cheapest[cheapest["variant"] != EXACT] if len(cheapest) else cheapest
    if cheapest.empty or (cheapest["cell"] == "").all():
        return None
    looks = variant_looks(read_cells(tables)["variant"])
    costs = setting_costs(largest_sizes(cheapest))
    panels = {cost: words for cost, words in _PANELS.items() if (costs[cost] > 0).any()}
    if not panels:  # a run of query cells alone knows no costs of builds
        return None
    backbones = list(dict.fromkeys(costs["backbone"]))
    recalls = sorted(set(costs["recall_target"]))
    sheet = Sheet(
        "Build time and memory against recall",
        f"n = {span(costs['n'])}. Each engine in the setting that answers {_asked(costs)} fastest among those that "
        f"reach the recall@{span(costs['k'])}; a line ends where no measured setting reaches it. Medians. Building "
        "includes choosing. Exact search builds nothing. Marks at one recall stand side by side.",
        rows=len(backbones),
        columns=len(panels),
        height_in=3.4 if len(backbones) == 1 else 2.5,
    )
    figure, axes = draw_sheet(sheet, sharex=True, sharey="col")
    for row, backbone in enumerate(backbones):
        here = costs[costs["backbone"] == backbone]
        for ax, (cost, (words, unit)) in zip(axes[row], panels.items(), strict=True):
            _draw_panel(ax, here, cost, recalls, looks)
            ax.set_title(plain(f"{backbone} · {words}"))
            ax.set_ylabel(f"{unit} (log scale)")
            if row == len(backbones) - 1:
                ax.set_xlabel(f"recall@{span(costs['k'])} of at least")
    shown = {variant: looks[variant] for variant in dict.fromkeys(costs["variant"])}
    figure.legend(handles=look_handles(shown, linestyle="-"), loc="outside lower left", ncols=4)
    return figure


def setting_costs(cheapest: pd.DataFrame) -> pd.DataFrame:
    """One row a backbone, engine and recall: of the settings for single queries where there are any, fewest threads.

    ``build_s`` includes choosing.
    """
    asked = cheapest[cheapest["threads"] == cheapest["threads"].min()]
    modes = "single" if (asked["mode"] == "single").any() else asked["mode"].iloc[0]
    return with_choosing(asked[asked["mode"] == modes]).assign(size_mib=lambda table: table["size_bytes"] / 2**20)


def _asked(costs: pd.DataFrame) -> str:
    return "single queries" if costs["mode"].iloc[0] == "single" else "a batch"


def _draw_panel(
    ax: Axes, costs: pd.DataFrame, cost: str, recalls: list[float], looks: dict[str, dict[str, Any]]
) -> None:
    variants = list(dict.fromkeys(costs["variant"]))
    offsets = np.linspace(-_WIDTH / 2, _WIDTH / 2, len(variants)) if len(variants) > 1 else np.zeros(1)
    for variant, offset in zip(variants, offsets, strict=True):
        own = costs[costs["variant"] == variant].set_index("recall_target")[cost].reindex(recalls)
        values = own.where(own > 0).to_numpy(np.float64)
        places = np.arange(len(recalls)) + offset
        ax.plot(places, values, **looks[variant], markersize=5.5, linewidth=1.1, markeredgecolor="white", mew=0.5)
    ax.set_xticks(range(len(recalls)), [f"{recall:g}" for recall in recalls])
    ax.set_xlim(-0.5, len(recalls) - 0.5)
    ax.grid(axis="x", visible=False)
    for border in range(len(recalls) - 1):
        ax.axvline(border + 0.5, color="#eeeeee", linewidth=0.8, zorder=0)
    scale_costs(ax)


def scale_costs(ax: Axes) -> None:
    """Make the y axis logarithmic, ticked at powers of ten and, over few of them, at 2 and 5 times these."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    decades = np.log10(high / low)
    if decades < _LEAST_DECADES:
        middle = np.sqrt(low * high)
        low, high = middle / 10 ** (_LEAST_DECADES / 2), middle * 10 ** (_LEAST_DECADES / 2)
        ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(LogLocator(subs=(1.0,) if decades > 2.5 else (1.0, 2.0, 5.0)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    ax.yaxis.set_minor_locator(NullLocator())
