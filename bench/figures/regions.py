"""What queries by regions gain over whole pictures, and what they cost by number of crops."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.figures.style import DASHES, FAINT, INK, RC, RIGHT, SOFT, WRONG, Sheet, draw_sheet, plain, read_rows
from bench.tables.paired_scores import GAINS, LOSES, NOT_SHOWN
from bench.tables.region_table import ALL, WHOLE

_FACES = {GAINS: RIGHT, LOSES: WRONG, NOT_SHOWN: "white", "": INK}
_EDGES = {GAINS: RIGHT, LOSES: WRONG, NOT_SHOWN: SOFT, "": INK}
_MARKS = {GAINS: "^", LOSES: "v", NOT_SHOWN: "o", "": "s"}  # shapes tell them apart in grey
_ENDS = ["precision", "precision_ci_high"]
_WORDS = {"": "whole pictures", GAINS: "gains", LOSES: "loses", NOT_SHOWN: "no difference shown"}
_STEPS = {
    "describe_ms": ("describing", INK),
    "search_ms": ("search", RIGHT),
    "merge_ms": ("merging", WRONG),
    "find_ms": ("finding", SOFT),
}


@mpl.rc_context(RC)
def draw_regions(tables: Path) -> Figure | None:
    """Precision by stratum, a row of panels a backbone and index: whole pictures above, every setting of regions below.

    None where no query was asked by regions.
    """
    rows = read_rows(tables, "regions")
    rows = rows[(rows["status"] == "ok") & rows["precision"].notna()] if len(rows) else rows
    if rows.empty:
        return None
    strata = [stratum for stratum in dict.fromkeys(rows["stratum"]) if stratum != ALL]
    rows = rows.assign(index=[" ".join(pair).strip() for pair in zip(rows["engine"], rows["setting"], strict=True)])
    groups = list(dict.fromkeys(zip(rows["backbone"], rows["index"], strict=True)))
    sheet = Sheet(
        "Queries by regions and by whole pictures",
        "Precision of the merged ranking of a whole picture and its crops; lines: 95 % bootstrap intervals over the "
        "queries; dashed: whole pictures alone. A gain or a loss is named where the paired difference is shown, "
        "corrected for all that was tested; a setting without a region in any of the queries is left out.",
        rows=len(groups),
        columns=len(strata),
        height_in=0.8 + 0.45 / len(groups) + 0.22 * rows.groupby(["backbone", "index", "stratum"]).size().max(),
    )
    figure, axes = draw_sheet(sheet, sharex=True)
    for row, group in enumerate(groups):
        for column, stratum in enumerate(strata):
            of_group = (rows["backbone"] == group[0]) & (rows["index"] == group[1])
            here = rows[of_group & (rows["stratum"] == stratum)].reset_index(drop=True)
            _draw_panel(axes[row, column], here, named=column == 0)
            axes[row, column].set_title(f"{here['queries'].max():.0f} {stratum} queries")
        if len(groups) > 1:
            backbone, index = group
            axes[row, 0].set_ylabel(plain(f"{backbone}\n{index.partition(' ')[0]}"))  # its parameters are in the table
    axes[0, 0].set_xlim(0, 1.05 * np.nanmax(rows[_ENDS].to_numpy(np.float64)))  # shared by all
    for ax in axes[-1]:
        ax.set_xlabel("precision")
    marks = [
        Line2D([], [], marker=_MARKS[v], color=_EDGES[v], markerfacecolor=_FACES[v], linestyle="none", label=words)
        for v, words in _WORDS.items()
    ]
    figure.legend(handles=marks, loc="outside lower left", ncols=4)
    return figure


def _draw_panel(ax: Axes, here: pd.DataFrame, *, named: bool) -> None:
    whole = here.loc[here["regions"] == WHOLE, "precision"]
    for value in whole:
        ax.axvline(value, color=FAINT, linestyle=DASHES[1], linewidth=1.2, zorder=1)
    shown = here[(here["crops"] > 0) | (here["regions"] == WHOLE)]  # others have no region in this stratum
    for place, row in zip(shown.index, shown.to_dict("records"), strict=True):
        verdict = row["precision_verdict"]
        ax.hlines(place, row["precision_ci_low"], row["precision_ci_high"], color=_EDGES[verdict], linewidth=1.2)
        look: dict[str, Any] = {"marker": _MARKS[verdict], "color": _EDGES[verdict], "markerfacecolor": _FACES[verdict]}
        ax.plot(row["precision"], place, markersize=5.5, **look)
    ax.set_yticks(range(len(here)), _setting_words(here) if named else [])
    ax.set_ylim(len(here) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(4))


def _setting_words(here: pd.DataFrame) -> list[str]:
    """Names of the settings, with those parameters that tell the settings of one name apart."""
    words = []
    for _, part in here.groupby("regions", sort=False):
        told = [text.split(" ") for text in part["parameters"]]
        varying = [[word for word in own if not all(word in other for other in told)] for own in told]
        words += [plain(" ".join([name, *own])) for name, own in zip(part["regions"], varying, strict=True)]
    return words


@mpl.rc_context(RC)
def draw_region_times(tables: Path) -> Figure | None:
    """Median time of a query by number of crops and step, a panel a backbone.

    None where nothing was asked by regions.
    """
    rows = read_rows(tables, "region_times")
    if rows.empty or rows["crops"].nunique() < 2:
        return None
    backbones = list(dict.fromkeys(rows["backbone"]))
    sheet = Sheet(
        "What a query costs by number of crops",
        "Median time of each step of one query, its picture in memory; all settings, engines and processes together. "
        f"Whole pictures alone have no crop. {_corpus_words(rows)}",
        columns=len(backbones),
        height_in=2.9,
    )
    figure, axes = draw_sheet(sheet, sharey=True)
    for ax, backbone in zip(axes[0], backbones, strict=True):
        here = rows[rows["backbone"] == backbone]
        for (step, (words, colour)), dash in zip(_STEPS.items(), DASHES, strict=False):
            means = here.groupby("crops")[step].median()
            ax.plot(means.index, means, color=colour, linestyle=dash, marker="o", markersize=3.5, label=words)
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_xlabel("crops of a query")
        ax.set_title(plain(backbone))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0, 0].set_ylabel("ms (log scale)")
    figure.legend(handles=axes[0, 0].get_lines(), loc="outside lower left", ncols=4)
    return figure


def _corpus_words(rows: pd.DataFrame) -> str:
    """What describing the corpus took, and the bytes of it, for each backbone."""
    parts = []
    for backbone, part in rows.groupby("backbone", sort=False):
        first = part.iloc[0]
        seconds = "" if np.isnan(first["corpus_s"]) else f" described in {first['corpus_s']:.3g} s,"
        parts.append(f"{backbone}{seconds} {first['descriptor_bytes'] / 1e6:.3g} MB")
    return f"The whole corpus: {'; '.join(parts)}."
