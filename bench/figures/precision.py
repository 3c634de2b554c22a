"""How many of the neighbours are right: by difficulty and backbone, and by concept."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures.style import (
    CEILING,
    CORRECTED,
    EXACT,
    FAINT,
    INK,
    RANDOM,
    RC,
    SOFT,
    Sheet,
    count,
    draw_sheet,
    plain,
    read_cells,
    read_rows,
    span,
    variant_colours,
)
from bench.judging.judgments import STRATA

BOUNDS: dict[str, Any] = {RANDOM: ":", CEILING: "--"}  # rows of the tables that are no engine, and their line styles
_PUBLISHED = "published_"
_MOST_CONCEPTS = 45


@mpl.rc_context(RC)
def draw_precision(tables: Path) -> Figure | None:
    """Precision at each difficulty's depth: one row a backbone, one panel a difficulty; None without judgments."""
    averages = read_averages(tables)
    backbones = list(dict.fromkeys(averages["backbone"][~averages["variant"].isin(BOUNDS)])) if len(averages) else []
    if not backbones:
        return None
    strata = [stratum for stratum in STRATA if stratum in set(averages["stratum"])]
    thesis = _published(averages)
    colours = variant_colours(averages["variant"])
    sheet = Sheet(
        "Precision by difficulty and backbone",
        f"Share of the neighbours that are relevant, over {span(averages['queries'])} judged queries a difficulty; "
        "bars are 95 % bootstrap intervals over the queries. Approximate engines: their setting of highest precision."
        + (" The thesis' models were judged by hand on another corpus: a landmark, no rival." if len(thesis) else ""),
        columns=len(strata),
        height_in=1.1 + (0.2 + 0.11 * averages["variant"].nunique()) * len(backbones) + 0.21 * len(thesis),
    )
    figure, axes = draw_sheet(sheet, sharey=True, sharex=True)
    for ax, stratum in zip(axes[0], strata, strict=True):
        here = averages[averages["stratum"] == stratum]
        _draw_backbones(ax, here, backbones, colours)
        if len(thesis):
            _draw_thesis(ax, thesis[stratum], len(backbones))
        ax.set_title(plain(f"{stratum} · {count(here['queries'].max())} queries"))
        ax.set_xlabel(f"precision@{here['depth'].iloc[0]}")
        ax.set_xlim(-0.02, 1.02)
        ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    rows = [plain(name) for name in backbones] + [f"thesis, {name}" for name in thesis.index]
    ticks = list(range(len(backbones))) + [len(backbones) - 0.1 + 0.5 * i for i in range(len(thesis))]
    axes[0, 0].set_yticks(ticks, rows)
    axes[0, 0].set_ylim(max(ticks) + 0.6, -0.6)
    figure.legend(handles=_legend(averages, colours, len(thesis) > 0), loc="outside lower left", ncols=5)
    return figure


@mpl.rc_context(RC)
def draw_concepts(tables: Path) -> Figure | None:
    """Precision of exact search for each concept and backbone, as a chart of numbers; None without judgments."""
    found = read_rows(tables, "nn_precision")
    if found.empty:
        return None
    found = with_variants(found, tables)
    found = found[(found["variant"] == EXACT) & (found["space"] == CORRECTED)]
    if found.empty:
        return None
    found = found.assign(concept=found["stratum"] + " · " + found["concept"].str.replace("_", " "))
    backbones = list(dict.fromkeys(found["backbone"]))
    chart = found.pivot_table(index="concept", columns="backbone", values="precision", sort=False)[backbones]
    queries = found.drop_duplicates(["concept", "query_id"]).groupby("concept").size()
    shown = chart.iloc[:_MOST_CONCEPTS]
    more = f" {len(chart) - len(shown)} further concepts stand in nn_precision.csv." if len(chart) > len(shown) else ""
    names = [f"{concept} ({queries[concept]})" for concept in shown.index]
    sheet = Sheet(
        "Precision by concept",
        f"Mean precision of exact neighbours; number of judged queries in brackets: few queries, wide doubt. "
        f"Dark is 0, light is 1.{more}",
        height_in=0.7 + 0.235 * len(shown),
        width_in=min(9.0, 4.6 + 0.95 * len(backbones)),
    )
    figure, axes = draw_sheet(sheet)
    ax = axes[0, 0]
    sns.heatmap(
        shown, ax=ax, vmin=0, vmax=1, cmap="cividis", annot=True, fmt=".2f", annot_kws={"size": 7.5},
        linewidths=0.6, linecolor="white", cbar=False,
    )  # fmt: skip
    ax.set_yticks(np.arange(len(shown)) + 0.5, [plain(name) for name in names], rotation=0)
    ax.set_xticks(np.arange(len(backbones)) + 0.5, [plain(name) for name in backbones], rotation=0)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="")
    return figure


def read_averages(tables: Path) -> pd.DataFrame:
    """Average precisions in corrected space, one row a stratum, backbone and variant: its best setting."""
    averages = read_rows(tables, "nn_precision_averages")
    if averages.empty:
        return averages
    averages = with_variants(averages[averages["space"].isin([CORRECTED, ""])], tables)
    best = averages.sort_values("precision", ascending=False, kind="stable")
    return best.drop_duplicates(["stratum", "backbone", "variant"]).sort_index().reset_index(drop=True)


def with_variants(table: pd.DataFrame, tables: Path) -> pd.DataFrame:
    """The table with the column ``variant``, looked up by cell; bounds have no cell and keep their name."""
    cells = read_cells(tables)
    known = dict(zip(cells["cell"], cells["variant"], strict=True)) if len(cells) else {}
    names = [known.get(cell, engine) for cell, engine in zip(table["cell"], table["engine"], strict=True)]
    return table.assign(variant=names)


def _published(averages: pd.DataFrame) -> pd.DataFrame:
    """The thesis' precision, one row a model, one column a stratum; empty where it has none for these."""
    columns = [column for column in map(str, averages) if column.startswith(_PUBLISHED)]
    table = averages.groupby("stratum")[columns].first().T.dropna(how="all")
    return table.rename(index=lambda name: name.removeprefix(_PUBLISHED).replace("_", " "))


def _draw_backbones(ax: Axes, rows: pd.DataFrame, backbones: list[str], colours: dict[str, str]) -> None:
    variants = [v for v in dict.fromkeys(rows["variant"]) if v not in BOUNDS]
    offsets = dict(zip(variants, np.linspace(-0.2, 0.2, len(variants)) if len(variants) > 1 else [0.0], strict=True))
    for bound, dashes in BOUNDS.items():
        for value in rows.loc[rows["variant"] == bound, "precision"]:
            ax.vlines(value, -0.6, len(backbones) - 0.5, color=SOFT, linestyle=dashes, linewidth=1.2, zorder=1)
    for _, row in rows[~rows["variant"].isin(BOUNDS)].iterrows():
        y = backbones.index(row["backbone"]) + offsets[row["variant"]]
        colour = colours[row["variant"]]
        ax.hlines(y, row["ci_low"], row["ci_high"], color=colour, linewidth=1.8, alpha=0.7)
        ax.plot(row["precision"], y, "o", color=colour, markersize=5)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)


def _draw_thesis(ax: Axes, published: pd.Series, first: int) -> None:
    ax.axhline(first - 0.5, color=FAINT, linewidth=0.8)
    heights = [first - 0.1 + 0.5 * i for i in range(len(published))]
    ax.plot(published.to_numpy(), heights, "D", color=SOFT, markerfacecolor="white", markersize=4.5)


def _legend(averages: pd.DataFrame, colours: dict[str, str], thesis: bool) -> list[Line2D]:
    present = dict.fromkeys(averages["variant"])
    handles = [
        Line2D([], [], color=colours[v], marker="o", linestyle="-", label=plain(v)) for v in present if v not in BOUNDS
    ]
    words = {RANDOM: "random answers", CEILING: "best possible"}
    handles += [
        Line2D([], [], color=SOFT, linestyle=dashes, label=words[bound])
        for bound, dashes in BOUNDS.items()
        if bound in present
    ]
    if thesis:
        look: dict[str, Any] = {"color": SOFT, "marker": "D", "linestyle": "none", "markerfacecolor": "white"}
        handles.append(Line2D([], [], label="published in the thesis", **look))
    return handles
