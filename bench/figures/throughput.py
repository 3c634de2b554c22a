"""How fast each stage is by each way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures.style import FAINT, INK, RC, RIGHT, SOFT, Sheet, draw_sheet, plain, read_rows
from bench.pace.work import LIGHTLY, OURS, PUBLISHED
from bench.tables.throughput_table import STAGE_WORDS

_LOOKS = {OURS: (RIGHT, ""), PUBLISHED: (FAINT, "//"), LIGHTLY: ("white", "..")}  # lightness tells them apart in grey
_ROOM = 1.8  # of the longest bar, for the words beside it


@mpl.rc_context(RC)
def draw_throughput(tables: Path) -> Figure | None:
    """Tiles a second with their 95 % intervals: a panel for each stage, a bar for each backbone and way.

    Beside each bar stands how many times as fast as the published way it is. None when no rate was measured.
    """
    rates = read_rows(tables, "throughput")
    rates = rates[rates["status"] == "ok"] if len(rates) else rates
    if rates.empty:
        return None
    stages = [stage for stage in STAGE_WORDS if (rates["stage"] == stage).any()]
    bars = max((rates["stage"] == stage).sum() for stage in stages)
    sheet = Sheet(
        "Tiles a second, by stage and way",
        f"Medians over {_processes(rates['processes'])}, the ways taking turns; lines: 95 % intervals. x: times the "
        "rate of the published way with its interval. Each panel has its own scale.",
        columns=len(stages),
        height_in=0.7 + 0.34 * bars,
    )
    figure, axes = draw_sheet(sheet)
    for ax, stage in zip(axes[0], stages, strict=True):
        _draw_stage(ax, rates[rates["stage"] == stage].reset_index(drop=True))
        ax.set_title(f"{STAGE_WORDS[stage]}{_device_words(rates[rates['stage'] == stage])}")
    return figure


def _draw_stage(ax: Axes, rates: pd.DataFrame) -> None:
    places = np.arange(len(rates))
    for place, row in zip(places, rates.to_dict("records"), strict=True):
        colour, hatch = _LOOKS[row["way"]]
        rate, low, high = (float(row[name]) for name in ("tiles_per_s", "ci_low", "ci_high"))
        ax.barh(place, rate, height=0.72, color=colour, hatch=hatch, edgecolor="white" if not hatch else SOFT)
        ax.hlines(place, low, high, color=INK, linewidth=1.2)
        ax.annotate(_bar_words(row), (max(rate, high), place), (4, 0), textcoords="offset points", va="center", size=8)
    ax.set_yticks(places, [plain(_row_words(row, rates)) for row in rates.to_dict("records")])
    ax.invert_yaxis()
    ax.set_xlim(0, float(np.nanmax(rates[["tiles_per_s", "ci_high"]].to_numpy())) * _ROOM)
    ax.set_xlabel("tiles/s")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _bar_words(row: Mapping[Any, Any]) -> str:
    """``24.1``, and below ``x 1.3 [1.2, 1.4]``; of the published way its rate alone."""
    rate, (times, low, high) = row["tiles_per_s"], (row[f"times_{key}"] for key in ("as_fast", "ci_low", "ci_high"))
    if row["way"] == PUBLISHED or pd.isna(times):
        return f"{rate:.3g}"
    return f"{rate:.3g}\nx {times:.3g}" + ("" if pd.isna(low) else f" [{low:.3g}, {high:.3g}]")


def _row_words(row: Mapping[Any, Any], rates: pd.DataFrame) -> str:
    """The way, and what else tells the rows of its panel apart."""
    words = [str(row["way"])]
    words += [str(row["backbone"])] if rates["backbone"].nunique() > 1 else []
    words += [f"{row['threads']} threads"] if rates["threads"].nunique() > 1 else []
    return ", ".join(words)


def _device_words(rates: pd.DataFrame) -> str:
    named = sorted(set(rates["device"]))
    return f" ({'GPU' if named == ['cuda'] else 'CPU'})" if len(named) == 1 else ""


def _processes(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low if low == high else f'{low} to {high}'} process{'es' * (high > 1)}"
