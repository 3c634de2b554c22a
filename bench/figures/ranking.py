"""Engines ranked over data sets: the critical-difference diagram."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures.style import INK, RC, SOFT, Sheet, draw_sheet, plain, read_rows, span

_LEAST_ENGINES, _LEAST_DATA_SETS = 2, 3
_ROW, _BAR, _FOOT = 0.36, 0.3, 0.1  # heights below the axis, in inches: of a label, of a bar, of the rest


@mpl.rc_context(RC)
def draw_ranking(tables: Path) -> Figure | None:
    """Average ranks on an axis, a bar for each group of engines that cannot be told apart.

    None for fewer than two engines or three data sets.
    """
    ranking = read_rows(tables, "ranking")
    if ranking.empty or ranking["data_sets"].iloc[0] < _LEAST_DATA_SETS:
        return None
    engines = ranking.drop_duplicates("engine").reset_index(drop=True)
    groups = _groups(engines)
    left = -(-len(engines) // 2)
    depth_in = _BAR * (len(groups) + 1) + _ROW * (left - 1) + _FOOT
    sheet = Sheet("Engines over data sets: average rank in query time", _subtitle(ranking), height_in=0.8 + depth_in)
    figure, axes = draw_sheet(sheet)
    ax = axes[0, 0]
    _draw_axis(ax, len(engines), depth_in)
    for row, members in enumerate(groups):
        y = -_BAR * (row + 1)
        look: dict[str, Any] = {"color": INK, "linewidth": 3, "marker": "o", "markersize": 7}
        ax.plot(members, np.full(len(members), y), markerfacecolor="white", markeredgewidth=1.8, zorder=3, **look)
    for place, (_, engine) in enumerate(engines.iterrows()):
        on_left = place < left
        row = place if on_left else len(engines) - 1 - place
        end = (1 if on_left else len(engines)) + (-0.05 if on_left else 0.05) * (len(engines) - 1)
        _draw_engine(ax, engine, (end, -_BAR * (len(groups) + 1) - _ROW * row), on_left)
    return figure


def _subtitle(ranking: pd.DataFrame) -> str:
    first = ranking.iloc[0]
    text = (
        f"{first['data_sets']} data sets ({span(ranking['q'])} single queries among {span(ranking['n'])} tiles, k = "
        f"{span(ranking['k'])}). Rank 1 is fastest; each engine in its fastest setting of recall "
        f"{first['recall_target']:g} or more, and last without one. Bars join the engines (dots) that cannot be told "
        "apart: Wilcoxon's signed ranks, adjusted by Holm"
    )
    text += "" if pd.isna(first["friedman_p"]) else f", after Friedman's test (p = {first['friedman_p']:.2g})"
    if first["smallest_p"] >= 0.05:
        return f"{text}. So few data sets tell none apart: no adjusted p can be below {first['smallest_p']:.3g}."
    return f"{text}."


def _groups(engines: pd.DataFrame) -> list[list[float]]:
    """Average ranks of the members of each group of two or more."""
    letters = sorted(set("".join(engines["groups"])))
    members = [engines[engines["groups"].str.contains(letter)]["average_rank"].tolist() for letter in letters]
    return [ranks for ranks in members if len(ranks) > 1]


def _draw_axis(ax: Axes, engines: int, depth_in: float) -> None:
    """The ranks from 1 to the number of engines on top; nothing else of a frame."""
    ax.set_xlim(1 - 0.35 * (engines - 1), engines + 0.35 * (engines - 1))
    ax.set_ylim(-depth_in, 0.1)
    ax.hlines(0, 1, engines, color=INK, linewidth=1.2)
    for rank in range(1, engines + 1):
        ax.vlines(rank, 0, 0.08, color=INK, linewidth=1.2)
        ax.annotate(str(rank), (rank, 0.1), ha="center", va="bottom", size=9, annotation_clip=False)
    ax.set_axis_off()


def _draw_engine(ax: Axes, engine: pd.Series, end: tuple[float, float], on_left: bool) -> None:
    """A mark on the axis, and a line to the engine's name at the side."""
    rank = engine["average_rank"]
    ax.plot([rank, rank, end[0]], [0, end[1], end[1]], color=SOFT, linewidth=0.9, zorder=1)
    ax.plot(rank, 0, "o", color=INK, markersize=5, zorder=5, clip_on=False)
    words = f"{engine['engine']}  {rank:.2f}" if on_left else f"{rank:.2f}  {engine['engine']}"
    gap, side = (-4, "right") if on_left else (4, "left")
    ax.annotate(plain(words), end, xytext=(gap, 0), textcoords="offset points", ha=side, va="center", size=9)
