"""What re-ranking gains over what it costs."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures.style import RC, SOFT, Sheet, draw_sheet, look_handles, plain, read_rows, scale_times, variant_looks
from bench.tables.paired_scores import NOT_SHOWN
from bench.tables.reranking_table import ALL

_GAIN = "average_precision_difference"
_LEAST_SPAN = 10.0  # longest over shortest time of an axis


@mpl.rc_context(RC)
def draw_reranking(tables: Path) -> Figure | None:
    """Gain in average precision over the time of re-ranking: a row of panels a stratum, a column a backbone.

    Of each re-ranker the setting of highest gain is large and has its interval, hollow where no difference is shown;
    its other settings are faint. None where nothing was re-ranked.
    """
    rows = read_rows(tables, "reranking")
    rows = rows[rows["status"] == "ok"].dropna(subset=[_GAIN]) if len(rows) else rows
    if rows.empty:
        return None
    strata = [stratum for stratum in dict.fromkeys(rows["stratum"]) if stratum != ALL] or [ALL]
    backbones = list(dict.fromkeys(rows["backbone"]))
    looks = variant_looks(rows["rerank"])
    sheet = Sheet(
        "What re-ranking gains, and what it costs",
        "Average precision after re-ranking minus before, of the same answers to the judged queries, over the time "
        "that it adds to a query. Large: the setting of highest gain of each re-ranker, with its 95 % bootstrap "
        "interval; hollow where no difference is shown, corrected for all that was tested; faint: its other settings.",
        rows=len(strata),
        columns=len(backbones),
        height_in=3.3 if len(strata) == 1 else 2.3,
    )
    figure, axes = draw_sheet(sheet, sharey="row", sharex="col")
    for row, stratum in enumerate(strata):
        for column, backbone in enumerate(backbones):
            ax, here = axes[row, column], rows[(rows["stratum"] == stratum) & (rows["backbone"] == backbone)]
            ax.set_xscale("log")
            ax.axhline(0, color=SOFT, linewidth=1.0, zorder=1)
            for name, group in here.groupby("rerank", sort=False):
                _draw_settings(ax, group, looks[str(name)])
            ax.set_title(plain(f"{backbone} · {int(here['queries'].max()) if len(here) else 0} {stratum} queries"))
            if column == 0:
                ax.set_ylabel("gain in average precision")
            ax.margins(x=0.12)
    for ax in axes[-1]:
        low, high = ax.get_xlim()
        room = max(1.0, (_LEAST_SPAN * low / high) ** 0.5)  # near times would leave the axis without a round number
        ax.set_xlim(low / room, high * room)
        scale_times(ax, "re-ranking, per query")
    hollow = Line2D([], [], marker="o", color=SOFT, markerfacecolor="white", linestyle="none", label="none shown")
    figure.legend(handles=[*look_handles(looks, linestyle="none"), hollow], loc="outside lower left", ncols=5)
    return figure


def _draw_settings(ax: Axes, settings: pd.DataFrame, look: dict[str, Any]) -> None:
    """One re-ranker's settings: the best one with its interval, the others faint."""
    ranked = settings.sort_values(_GAIN, ascending=False, kind="stable")
    best, others = ranked.iloc[0], ranked.iloc[1:]
    ax.plot(others["rerank_ms"], others[_GAIN], **look, markersize=3, alpha=0.35, mew=0, linestyle="none")
    ends = [[best[_GAIN] - best[f"{_GAIN}_ci_low"]], [best[f"{_GAIN}_ci_high"] - best[_GAIN]]]
    ax.errorbar(best["rerank_ms"], best[_GAIN], ends, fmt="none", ecolor=look["color"], alpha=0.6, zorder=2)
    face = "white" if best["average_precision_verdict"] == NOT_SHOWN else look["color"]
    ax.plot(best["rerank_ms"], best[_GAIN], **look, markersize=6.5, markerfacecolor=face, linestyle="none", zorder=3)
