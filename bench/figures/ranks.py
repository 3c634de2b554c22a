"""Engines ranked by what they cost at each recall: a heat-mapped table.

A radar was the other choice. Its area depends on the order of its axes, ten polygons cover each other, and a reader
cannot take a number from it; a table shaded by rank shows the same at one glance and can be read cell by cell, in grey
too.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from bench.figures.style import INK, RC, RIGHT, SOFT, Sheet, draw_sheet, plain, read_rows, span
from bench.tables.names import largest_sizes

_BLOCKS = {
    "single_rank": ("single_ms", "single query"),
    "batch_rank": ("batch_ms", "query in a batch"),
    "build_rank": ("build_s", "build time"),
    "memory_rank": ("size_bytes", "memory"),
    "mean_rank": ("query_ms", "mean of these ranks"),
}
_SHADES = LinearSegmentedColormap.from_list("ranks", [RIGHT, "#9cc4e0", "#f3f6f9"])
_ROW_IN, _HEAD_IN = 0.27, 0.75
_DASH = "\N{EN DASH}"


@mpl.rc_context(RC)
def draw_ranks(tables: Path) -> Figure | None:
    """A row an engine, best on top, a block of columns a criterion, a column a recall; panels for each backbone.

    None for fewer than two engines.
    """
    ranks = read_rows(tables, "engine_ranks")
    if ranks.empty:
        return None
    ranks = largest_sizes(ranks)
    ranks = ranks[ranks["threads"] == ranks["threads"].min()]
    ranks = ranks.assign(query_ms=ranks["single_ms"].fillna(ranks["batch_ms"]))  # in any way of asking
    blocks = [block for block in _BLOCKS if ranks[block].notna().any()]
    backbones = list(dict.fromkeys(ranks["backbone"]))
    engines = ranks["variant"].nunique()
    sheet = Sheet(
        "Engines ranked by what a recall costs",
        f"n = {span(ranks['n'])}, k = {span(ranks['k'])}. 1 is best and darkest; each engine in its fastest setting "
        "that reaches the recall in the column, a dash where none does or nothing was measured. Build time, choosing "
        "included, and memory beside the vectors are those of the setting for single queries. Best mean rank on top. "
        "Ranks hide distances: neighbours may be level.",
        rows=len(backbones),
        columns=len(blocks),
        height_in=_HEAD_IN + _ROW_IN * engines,
    )
    figure, axes = draw_sheet(sheet)
    for row, backbone in enumerate(backbones):
        here = ranks[ranks["backbone"] == backbone]
        order = list(here.groupby("variant", sort=False)["mean_rank"].mean().sort_values(kind="stable").index)
        for ax, block in zip(axes[row], blocks, strict=True):
            _draw_block(ax, here, block, order)
            ax.set_title(plain(_BLOCKS[block][1]), fontsize=8.5)
            ax.set_xlabel(f"recall@{span(ranks['k'])}" if row == len(backbones) - 1 else "")
        axes[row, 0].set_yticks(range(len(order)), [plain(variant) for variant in order])
        if len(backbones) > 1:
            axes[row, 0].set_ylabel(plain(backbone))
    return figure


def _draw_block(ax: Axes, ranks: pd.DataFrame, block: str, order: list[str]) -> None:
    """One criterion: ranks as shades and numbers."""
    cost, _ = _BLOCKS[block]
    recalls = sorted(set(ranks["recall_target"]))
    table = ranks.pivot_table(index="variant", columns="recall_target", values=block, dropna=False)
    values = table.reindex(index=order, columns=recalls).to_numpy(np.float64)
    costs = ranks.pivot_table(index="variant", columns="recall_target", values=cost, dropna=False)
    values = np.where(costs.reindex(index=order, columns=recalls).isna(), np.nan, values)
    ax.imshow(values, cmap=_SHADES, norm=Normalize(1, max(2, len(order))), aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        words = _DASH if np.isnan(value) else f"{value:.1f}" if value % 1 else f"{value:.0f}"
        is_dark = value < 1 + 0.3 * (len(order) - 1)
        colour = "white" if is_dark else SOFT if np.isnan(value) else INK
        ax.text(column, row, words, ha="center", va="center", size=7.5, color=colour)
    ax.set_xticks(range(len(recalls)), [f"{recall:g}".removeprefix("0") for recall in recalls], size=7.5)
    ax.set_yticks([])
    ax.tick_params(length=0)
    ax.grid(visible=False)
    for spine in ax.spines.values():
        spine.set_visible(False)
