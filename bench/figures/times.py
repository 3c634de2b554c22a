"""What it takes to build each index and to ask it."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures.style import (
    CORRECTED,
    EXACT,
    INK,
    RC,
    SOFT,
    Sheet,
    backbone_looks,
    draw_sheet,
    plain,
    read_cells,
    scale_times,
    span,
    variant_colours,
)

_MOST_ROWS = 24


@mpl.rc_context(RC)
def draw_times(tables: Path) -> Figure | None:
    """Build time, and time of a query in each mode, of every index: one row an index, one marker a backbone.

    The panel of builds is left out where none was measured. None when no cell was.
    """
    cells = read_cells(tables)
    if cells.empty:
        return None
    cells = cells[cells["space"] == CORRECTED]
    cells = cells.assign(index=[_index_words(row) for _, row in cells.iterrows()])
    indexes, left_out = _chosen_rows(cells), cells["index"].nunique()
    left_out -= len(indexes)
    cells = cells[cells["index"].isin(indexes)]
    ways = list(dict.fromkeys(zip(cells["mode"], cells["threads"], strict=True)))
    builds = cells.drop_duplicates(["backbone", "index"]).assign(build_ms=lambda t: t["build_s"] * 1000)
    has_builds = bool(builds["build_ms"].notna().any())
    more = f" {left_out} further indexes stand in lsh_parameters.csv." if left_out else ""
    sheet = Sheet(
        "Build and query time",
        f"{span(cells['n'])} vectors; {span(cells['q'])} queries, k = {span(cells['k'])}. Medians. A line joins the "
        "query settings of one index. Building starts with the vectors in memory and leaves out choosing query "
        f"parameters.{more}",
        columns=has_builds + len(ways),
        height_in=0.9 + (0.16 + 0.075 * cells["backbone"].nunique()) * len(indexes),
    )
    figure, axes = draw_sheet(sheet, sharey=True)
    looks, colours = backbone_looks(cells["backbone"]), variant_colours(cells["variant"])
    if has_builds:
        _draw_rows(axes[0, 0], builds, "build_ms", indexes, colours)
        scale_times(axes[0, 0], "build time")
        axes[0, 0].set_title("build")
    axes[0, 0].set_yticks(range(len(indexes)), [plain(name) for name in indexes])
    axes[0, 0].invert_yaxis()
    for ax, (mode, threads) in zip(axes[0, has_builds:], ways, strict=True):
        _draw_rows(
            ax, cells[(cells["mode"] == mode) & (cells["threads"] == threads)], "query_ms_median", indexes, colours
        )
        scale_times(ax, "time per query")
        ax.set_title(f"{'single queries' if mode == 'single' else 'one batch'}, {threads} thread{'s' * (threads > 1)}")
    handles = [
        Line2D([], [], color=SOFT, marker=look["marker"], linestyle="none", label=plain(name))
        for name, look in looks.items()
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=5)
    return figure


def _index_words(cell: pd.Series) -> str:
    return ", ".join(filter(None, (str(cell["variant"]), str(cell["build_setting"]))))


def _chosen_rows(cells: pd.DataFrame) -> list[str]:
    """The indexes to draw, engine by engine, exact search last; of too many an even choice of each engine's."""
    variants = sorted(set(cells["variant"]), key=lambda variant: (variant == EXACT, variant))
    own = [list(dict.fromkeys(cells.loc[cells["variant"] == variant, "index"])) for variant in variants]
    share = next((most for most in range(_MOST_ROWS, 1, -1) if sum(min(most, len(o)) for o in own) <= _MOST_ROWS), 1)
    return [
        indexes[place]
        for indexes in own
        for place in np.unique(np.linspace(0, len(indexes) - 1, share).round().astype(int))
    ]


def _draw_rows(ax: Axes, cells: pd.DataFrame, column: str, indexes: list[str], colours: dict[str, str]) -> None:
    """Per index and backbone: the values of ``column`` as markers, joined where there are several."""
    names = list(backbone_looks(cells["backbone"]))
    offsets = dict(zip(names, np.linspace(-0.28, 0.28, len(names)) if len(names) > 1 else [0.0], strict=True))
    looks = backbone_looks(cells["backbone"])
    for _, group in cells.groupby(["index", "backbone"], sort=False):
        index, backbone, variant = (str(group[name].iloc[0]) for name in ("index", "backbone", "variant"))
        values = group[column].dropna().sort_values()
        y = np.full(len(values), indexes.index(index) + offsets[backbone])
        colour = colours[variant]
        marker = looks[backbone]["marker"]
        ax.plot(values, y, color=colour, marker=marker, markersize=4, linewidth=0.9, markeredgecolor="white", mew=0.4)
    for row in range(len(indexes) - 1):
        ax.axhline(row + 0.5, color="#f1f1f1", linewidth=0.8, zorder=0)
    ax.set_xscale("log")
    ax.set_ylim(len(indexes) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)
