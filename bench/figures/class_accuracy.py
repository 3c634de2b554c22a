"""Accuracy by class and system, as a chart of numbers."""

import textwrap
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench.figures.precision import with_variants
from bench.figures.style import RC, Sheet, draw_sheet, milliseconds, plain, read_rows, span
from bench.tables.class_table import ALL

_MOST_SYSTEMS = 10  # columns that a page's width can label ...
_MOST_LETTERS = 13  # ... by lines of so many letters


@mpl.rc_context(RC)
def draw_classes(tables: Path) -> Figure | None:
    """Share of neighbours of the query's class: a row a class, a column a system; None where labels judge nothing."""
    found = read_rows(tables, "class_accuracy")
    if found.empty:
        return None
    whole = _best(with_variants(found[found["class"] == ALL], tables))
    shown = whole.iloc[:_MOST_SYSTEMS]
    classes = found[(found["class"] != ALL) & found["cell"].isin(shown["cell"])]
    chart = classes.pivot_table(index="class", columns="cell", values="accuracy", sort=False)[shown["cell"].tolist()]
    chart = pd.concat([shown.set_index("cell")["accuracy"].to_frame("all classes").T, chart])
    dropped = len(whole) - len(shown)
    sheet = Sheet(
        f"Accuracy of the {shown['depth'].iloc[0]} nearest neighbours by class",
        f"Share of the neighbours that bear the query's label; {span(classes['queries'])} queries a class, "
        f"{shown['queries'].iloc[0]:,} in all. Each engine in its setting of highest accuracy; below its name the "
        "median time of a single query. Dark is 0, light is 1. Intervals stand in class_accuracy.csv."
        + (f" {dropped} further systems stand there too." if dropped else ""),
        height_in=1.0 + 0.235 * len(chart),
        width_in=min(9.0, 3.0 + 1.0 * len(shown)),
    )
    figure, axes = draw_sheet(sheet)
    ax = axes[0, 0]
    sns.heatmap(
        chart, ax=ax, vmin=0, vmax=1, cmap="cividis", annot=True, fmt=".2f", annot_kws={"size": 7.5},
        linewidths=0.6, linecolor="white", cbar=False,
    )  # fmt: skip
    ax.axhline(1, color="white", linewidth=4)  # all classes stand apart
    ax.set_yticks(np.arange(len(chart)) + 0.5, [plain(str(name).replace("_", " ")) for name in chart.index], rotation=0)
    ax.set_xticks(np.arange(len(shown)) + 0.5, [_system(row) for _, row in shown.iterrows()], rotation=0)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="")
    return figure


def _best(whole: pd.DataFrame) -> pd.DataFrame:
    """Of each backbone and variant its setting of highest accuracy, in the suite's order."""
    best = whole.sort_values("accuracy", ascending=False, kind="stable")
    return best.drop_duplicates(["backbone", "variant"]).sort_index().reset_index(drop=True)


def _system(row: pd.Series) -> str:
    """Backbone, engine and time of a query, a line each."""
    lines = [line for name in (row["backbone"], row["variant"]) for line in textwrap.wrap(name, _MOST_LETTERS)]
    time = [] if np.isnan(row["query_ms_median"]) else [milliseconds(row["query_ms_median"])]
    return plain("\n".join([*lines, *time]))
