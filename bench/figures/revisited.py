"""Mean average precision of the revisited protocol, by set-up and system."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.figures.style import CORRECTED, RC, RIGHT, WRONG, Sheet, count, draw_sheet, plain, read_rows, span
from bench.scores.revisited import SETUPS

_LOOKS = {False: ("o", RIGHT, "the engine's own order"), True: ("s", WRONG, "re-ranked")}  # by whether it was


@mpl.rc_context(RC)
def draw_revisited(tables: Path) -> Figure | None:
    """A panel a set-up, a row a backbone, engine and re-ranker; None where nothing was judged by the protocol."""
    rows = read_rows(tables, "revisited")
    rows = rows[rows["space"] == CORRECTED] if len(rows) else rows
    if rows.empty:
        return None
    rows = _best_settings(rows.assign(system=_system_words(rows)))
    systems = list(dict.fromkeys(rows["system"]))
    setups = [setup for setup in SETUPS if (rows["setup"] == setup).any()]
    distractors = rows["distractors"].max()
    added = f", {count(distractors)} of them distractors" if distractors else ""
    sheet = Sheet(
        "The revisited protocol: mean average precision by set-up",
        f"n = {span(rows['n'])} images{added}. mAP by trapezoids over whole rankings, junk left out; lines: 95 % "
        "bootstrap intervals over the queries. The same queries in each row: intervals that overlap may still hide a "
        "difference. Of each engine and re-ranker its setting of highest mean over the set-ups.",
        columns=len(setups),
        height_in=1.25 + 0.22 * len(systems),
    )
    figure, axes = draw_sheet(sheet, sharex=True)
    for ax, setup in zip(axes[0], setups, strict=True):
        _draw_setup(ax, rows[rows["setup"] == setup].set_index("system").reindex(systems))
        ax.set_title(f"{setup}, {rows.loc[rows['setup'] == setup, 'queries'].max():.0f} queries")
    axes[0, 0].set_xlim(0, 1.05 * np.nanmax(rows[["map", "map_ci_high"]].to_numpy(np.float64)))  # shared by all
    for ax in axes[0, 1:]:
        ax.tick_params(labelleft=False)
    if rows["rerank"].any():
        marks = [Line2D([], [], marker=m, color=c, linestyle="none", label=words) for m, c, words in _LOOKS.values()]
        figure.legend(handles=marks, loc="outside lower left", ncols=2)
    return figure


def _system_words(rows: pd.DataFrame) -> list[str]:
    return [
        f"{backbone} · {engine}{f' + {rerank}' if rerank else ''}"
        for backbone, engine, rerank in zip(rows["backbone"], rows["engine"], rows["rerank"], strict=True)
    ]


def _best_settings(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each system the rows of the cell that has the highest mean over the set-ups, in the suite's order."""
    means = rows.groupby(["system", "cell"], sort=False)["map"].mean()
    best = means.groupby("system", sort=False).idxmax()
    return rows[rows["cell"].isin([cell for _, cell in best])]


def _draw_setup(ax: Axes, rows: pd.DataFrame) -> None:
    for place, row in enumerate(rows.to_dict("records")):
        marker, colour, _ = _LOOKS[bool(row["rerank"])]
        ax.hlines(place, row["map_ci_low"], row["map_ci_high"], color=colour, linewidth=1.2)
        ax.plot(row["map"], place, marker=marker, color=colour, markersize=5.5)
    ax.set_yticks(range(len(rows)), [plain(name) for name in rows.index])
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("mAP")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))
