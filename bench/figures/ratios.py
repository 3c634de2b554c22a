"""How far the times of two runs lie apart, cell by cell."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bench.figures.style import FAINT, RC, RIGHT, SOFT, WRONG, Sheet, count, draw_sheet

BAND_FRAC = 0.05  # ratios inside this grey band are what one calls equal
_PANELS = {"time": "time of a query", "build": "time of a build", "pace": "time of a tile"}
_LOOKS = {"same": (RIGHT, "no difference"), "noisy": (SOFT, "beside other work")}
_DIFFERENT = (WRONG, "different")
_TICKS, _WIDE_TICKS = (0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2), (0.1, 0.2, 0.5, 1, 2, 5, 10)
_WIDE = 2.5  # a greatest ratio so many times the smallest leaves room for few ticks


@mpl.rc_context(RC)
def draw_ratios(table: Path) -> Figure | None:
    """Ratio of both runs' medians with its 95 % interval, a panel for queries and one for builds, cells sorted by it.

    Args:
        table: CSV of verdicts, as `bench.comparing.gate.Gate.table` has them; of several pairs of runs in one.

    Returns:
        The figure; None when no time was compared.
    """
    every = pd.read_csv(table, keep_default_na=False, na_values={"change": "", "low": "", "high": "", "threshold": ""})
    times = every[every["metric"].isin(_PANELS) & every["change"].notna()]
    panels = [metric for metric in _PANELS if (times["metric"] == metric).any()]
    if not panels:
        return None
    inside = ((times["change"] - 1).abs() <= BAND_FRAC).mean()
    rows = max((times["metric"] == metric).sum() for metric in panels)
    sheet = Sheet(
        "Times of the same cells in two runs",
        f"Runs {_pairs(times)}: {count(len(times))} times, {inside:.0%} of the ratios in the grey band of "
        f"{BAND_FRAC:.0%}. Points: ratio of medians, later run to earlier; bars: 95 % intervals over processes and "
        "rounds; dashed: thresholds, beyond which a whole bar must lie to be a difference.",
        columns=len(panels),
        height_in=float(np.clip(0.9 + 0.05 * rows, 2.6, 7.0)),
    )
    figure, axes = draw_sheet(sheet, sharex=True)
    ticks = _WIDE_TICKS if times["high"].max() / times["low"].min() > _WIDE else _TICKS
    for ax, metric in zip(axes[0], panels, strict=True):
        _draw_panel(ax, times[times["metric"] == metric].sort_values("change", ignore_index=True), ticks)
        ax.set_title(f"{_PANELS[metric]} ({(times['metric'] == metric).sum()} cells)")
    axes[0, 0].set_ylabel("cells, sorted by ratio")
    looks = dict.fromkeys(_LOOKS.get(state, _DIFFERENT) for state in times["state"])
    points = [Line2D([], [], color=c, marker="o", markersize=4, linewidth=1, label=name) for c, name in looks]
    band = Patch(color=FAINT, alpha=0.5, label=f"equal within {BAND_FRAC:.0%}")
    figure.legend(handles=[*points, band], loc="outside lower left", ncols=4)
    return figure


def _pairs(times: pd.DataFrame) -> str:
    pairs = times[["base_run", "other_run"]].drop_duplicates().itertuples(index=False, name=None)
    return ", ".join(f"{base} and {other}" for base, other in pairs)


def _draw_panel(ax: Axes, times: pd.DataFrame, ticks: tuple[float, ...]) -> None:
    ax.axvspan(1 / (1 + BAND_FRAC), 1 + BAND_FRAC, color=FAINT, alpha=0.5, linewidth=0, zorder=0)
    ax.axvline(1, color=SOFT, linewidth=0.8)
    for threshold in times["threshold"].unique():
        for bound in (1 / (1 + threshold), 1 + threshold):
            ax.axvline(bound, color=SOFT, linewidth=0.9, linestyle="--")
    colours = [_LOOKS.get(state, _DIFFERENT)[0] for state in times["state"]]
    ax.hlines(times.index, times["low"], times["high"], colors=colours, linewidth=1, alpha=0.7)
    ax.scatter(times["change"], times.index, c=colours, s=7, zorder=3)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("later run / earlier run (log scale)")
    ax.set_ylim(-1, len(times))
    ax.set_yticks([])
    ax.grid(axis="y", visible=False)
