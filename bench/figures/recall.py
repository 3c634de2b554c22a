"""Recall over query time."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import BboxBase

from bench.figures.style import (
    AS_PUBLISHED,
    CORRECTED,
    EXACT,
    RC,
    SOFT,
    Sheet,
    draw_sheet,
    look_handles,
    plain,
    read_cells,
    scale_times,
    span,
    variant_looks,
)
from bench.tables.names import largest_sizes

SETTING = ["tables", "hash_bits", "probes_per_table", "other_params"]
_LABELS_A_PANEL, _LABELLED_ENGINES = 6, 3  # more lines leave no room to write beside their points
_RAW_LINE = (0, (4, 2))
_RECALL_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.99, 1)
_STRETCH = 0.006  # from the top of the axis to its infinity


@mpl.rc_context(RC)
def draw_recall(tables: Path) -> Figure | None:
    """Recall at k over the time of a query: a row of panels a backbone, a column a way of asking.

    Lines join the settings that no other of their engine beats in both; exact search is a star. Queries asked as
    published have hollow markers and pale, dashed lines. None when no approximate engine was measured.
    """
    cells = read_cells(tables)
    if cells.empty or (cells["variant"] == EXACT).all():
        return None
    looks = variant_looks(cells["variant"])
    cells = largest_sizes(cells)
    ways = list(dict.fromkeys(zip(cells["mode"], cells["threads"], strict=True)))
    backbones = list(dict.fromkeys(cells["backbone"]))
    labelled = varying_settings(cells) if cells["variant"].nunique() <= _LABELLED_ENGINES + 1 else []
    own = " Each backbone has its own exact neighbours: compare engines within a panel, not recall across backbones."
    compared = own if len(backbones) > 1 else ""
    sheet = Sheet(
        f"Recall over query time, k = {span(cells['k'])}",
        f"{span(cells['q'])} queries among {span(cells['n'])} vectors. Up and to the left is better. Lines are Pareto "
        "fronts; faint points are beaten by another setting of their engine in both time and recall. Vertical bars are "
        f"95 % bootstrap intervals. The axis of recall is stretched towards 1.{label_key(labelled)}{compared}",
        rows=len(backbones),
        columns=len(ways),
        height_in=3.6 if len(backbones) == 1 else 2.35 + 0.1 * max(0, len(looks) - _LABELLED_ENGINES),
    )
    figure, axes = draw_sheet(sheet, sharey="row", sharex="col")
    for row, backbone in enumerate(backbones):
        for column, (mode, threads) in enumerate(ways):
            ax = axes[row, column]
            here = cells[(cells["backbone"] == backbone) & (cells["mode"] == mode) & (cells["threads"] == threads)]
            _draw_panel(ax, here, looks, labelled)
            ax.set_title(plain(f"{backbone} · {_way_words(mode, threads)}"))
            if column == 0:
                ax.set_ylabel(f"recall@{span(cells['k'])}")
    for ax in axes[-1]:
        scale_times(ax, "time per query")
    figure.legend(handles=_legend(cells, looks), loc="outside lower left", ncols=4)
    _place_labels(figure, axes)
    return figure


def pareto_front(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells that no other beats in time and recall at once, fastest first."""
    ordered = cells.sort_values(["query_ms_median", "recall"], ascending=[True, False])
    best = ordered["recall"].cummax().shift(fill_value=-np.inf)
    return ordered[ordered["recall"] > best]


def varying_settings(cells: pd.DataFrame) -> list[str]:
    """The parameters that tell approximate settings apart."""
    approximate = cells[cells["variant"] != EXACT]
    varying = [name for name in SETTING if approximate[name].nunique(dropna=True) > 1]
    return varying or ["probes_per_table"]


def setting_label(cell: pd.Series, names: list[str]) -> str:
    """A setting's values, short: ``10/20``; a missing value is left out."""
    values = [_value(cell[name]) for name in names if not pd.isna(cell[name]) and cell[name] != ""]
    return "/".join(values) or str(cell["variant"])


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.number) else str(value)


def label_key(names: list[str]) -> str:
    """What the labels of settings hold, in a sentence after a blank; empty where nothing varies."""
    words = {"tables": "tables", "hash_bits": "hash bits", "probes_per_table": "probes per table"}
    return f" Labels: {' / '.join(words.get(name, 'other parameters') for name in names)}." if names else ""


def _way_words(mode: str, threads: int) -> str:
    return f"{'single queries' if mode == 'single' else 'one batch'}, {threads} thread{'s' if threads > 1 else ''}"


def _draw_panel(ax: Axes, cells: pd.DataFrame, looks: dict[str, dict[str, Any]], labelled: list[str]) -> None:
    ax.set_xscale("log")
    _scale_recall(ax)
    for _, cell in cells[(cells["variant"] == EXACT) & (cells["space"] == CORRECTED)].iterrows():
        ax.axvline(cell["query_ms_median"], color=looks[EXACT]["color"], linestyle=":", linewidth=1.2, zorder=1)
        ax.plot(cell["query_ms_median"], cell["recall"], **looks[EXACT], markersize=9, linestyle="none", zorder=4)
    approximate = cells[cells["variant"] != EXACT]
    for (variant, space), group in approximate.groupby(["variant", "space"], sort=False):
        if space == CORRECTED:
            _draw_front(ax, group, looks[str(variant)])
            for _, cell in pareto_front(group).iterrows() if labelled else ():
                _ask_label(ax, cell, setting_label(cell, labelled))
        else:
            front = pareto_front(group)
            hollow: dict[str, Any] = {"markerfacecolor": "white", "markersize": 4.5, "alpha": 0.7, "linewidth": 1.0}
            where = front["query_ms_median"], front["recall"]
            ax.plot(*where, **looks[str(variant)], **hollow, linestyle=_RAW_LINE, zorder=2)


def _scale_recall(ax: Axes) -> None:
    """Stretch the y axis so that each halving of what is missed takes about as much room, up to a recall of 1."""

    def stretched(recall: np.ndarray) -> np.ndarray:
        return -np.log(1 + _STRETCH - np.minimum(recall, 1 + 0.5 * _STRETCH))

    ax.set_yscale("function", functions=(stretched, lambda place: 1 + _STRETCH - np.exp(-place)))
    ax.yaxis.set_major_locator(FixedLocator(_RECALL_TICKS))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda recall, _: f"{recall:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_ylim(-0.05, 1 + 0.35 * _STRETCH)


def _draw_front(ax: Axes, group: pd.DataFrame, look: dict[str, Any]) -> None:
    """One engine's settings: those on its front joined, with their intervals; the others faint."""
    front = pareto_front(group)
    where = front["query_ms_median"], front["recall"]
    low_high = np.abs(front[["recall_ci_low", "recall_ci_high"]].to_numpy().T - front["recall"].to_numpy())
    ax.plot(group["query_ms_median"], group["recall"], **look, markersize=2.6, alpha=0.3, mew=0, linestyle="none")
    ax.errorbar(*where, low_high, fmt="none", ecolor=look["color"], alpha=0.5, zorder=2)
    ax.plot(*where, **look, markersize=5.5, markeredgecolor="white", mew=0.5, linewidth=1.4, zorder=3)


def _ask_label(ax: Axes, cell: pd.Series, text: str) -> None:
    """A label beside a point; `_place_labels` keeps it where there is room."""
    if text:
        ax.annotate(
            plain(text),
            (cell["query_ms_median"], cell["recall"]),
            xytext=(5, -8),
            textcoords="offset points",
            size=7,
            color=SOFT,
            gid="point-label",
            in_layout=False,
        )


def _place_labels(figure: Figure, axes: np.ndarray) -> None:
    """Remove the labels that would cover a point, another label or the panel's edge; keep a few a panel."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the labels were measured in this layout; another pass could move the axes
    for ax in axes.flat:
        points = np.concatenate(
            [
                ax.transData.transform(np.column_stack(line.get_data()))
                for line in ax.lines
                if line.get_marker() != "None"
            ]
            or [np.empty((0, 2))]
        )
        frame = ax.get_window_extent()
        taken: list[BboxBase] = []
        for text in [t for t in ax.texts if t.get_gid() == "point-label"]:
            box = text.get_window_extent()
            free = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and len(taken) < _LABELS_A_PANEL
            grown = box.padded(2)
            if free and not grown.count_contains(points) and not any(grown.overlaps(other) for other in taken):
                taken.append(box)
            else:
                text.remove()


def _legend(cells: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> list[Line2D]:
    handles = look_handles({variant: looks[variant] for variant in dict.fromkeys(cells["variant"])}, linestyle="-")
    if (cells["space"] == AS_PUBLISHED).any():
        mark: dict[str, Any] = {"color": SOFT, "marker": "o", "markersize": 5}
        handles += [
            Line2D([], [], **mark, linestyle="-", label="corrected queries"),
            Line2D([], [], **mark, linestyle=_RAW_LINE, markerfacecolor="white", label="raw, as published"),
        ]
    return handles
