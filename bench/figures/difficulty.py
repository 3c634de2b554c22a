"""Recall against the geometry of the queries, and what spatial leakage adds to the scores."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.figures.precision import with_variants
from bench.figures.recall import SETTING, setting_label, varying_settings
from bench.figures.style import (
    CORRECTED,
    EXACT,
    INK,
    RC,
    SOFT,
    Sheet,
    draw_sheet,
    plain,
    read_cells,
    read_rows,
    span,
    variant_colours,
)
from bench.tables.difficulty_table import SELF

_MOST_SETTINGS = 6
_MARKERS = ("o", "s", "^", "D", "v", "P")
_PANELS_A_ROW = 3
_EXCLUSIONS: dict[str, tuple[str, str]] = {  # marker, and what it means
    SELF: ("o", "the query's own tile left out"),
    "overlap": ("s", "tiles that overlap it left out"),
    "block": ("D", "all of its block left out"),
}


@mpl.rc_context(RC)
def draw_lid(tables: Path) -> Figure | None:
    """Recall over local intrinsic dimension: a panel a backbone, a line a setting.

    None when no approximate engine was measured, or the geometry of the queries is not known.
    """
    found = read_settings(tables)
    if found.empty:
        return None
    shown = chosen_settings(found)
    palette = sns.color_palette("viridis_r", len(shown) + 1).as_hex()[1:]  # the palest is too pale for a line
    looks = {
        label: {"color": colour, "marker": marker}
        for label, colour, marker in zip(shown, palette, _MARKERS, strict=False)
    }
    backbones = list(dict.fromkeys(found["backbone"]))
    columns = 2 if len(backbones) == 4 else min(_PANELS_A_ROW, len(backbones))  # four make a square
    drawn = found.loc[found["label"].isin(shown), ["recall", "ci_low"]].to_numpy(np.float64)
    lowest = max(0.0, np.floor(np.nanmin(drawn) * 10) / 10)
    of = f" of {found['label'].nunique()}" if found["label"].nunique() > len(shown) else ""
    per_bin = "bins of equally many queries" if found["bin"].max() > 0 else "one bin: too few queries for more"
    sheet = Sheet(
        f"Recall over local intrinsic dimension, k = {span(found['k'])}",
        f"{span(found.groupby(['cell'])['queries'].sum())} queries; mean recall in {per_bin}, bands are 95 % bootstrap "
        f"intervals. To the right the k-th neighbour is hardly farther than the nearest: hard. {len(shown)}{of} "
        f"settings, in order of mean recall; {_setting_key(found)}. Exact search has recall 1 throughout.",
        rows=-(-len(backbones) // columns),
        columns=columns,
        height_in=3.2 if len(backbones) <= columns else 2.5,
    )
    figure, axes = draw_sheet(sheet, sharex=True, sharey=True)
    for ax in axes.flat[len(backbones) :]:
        ax.remove()
    for place, backbone in enumerate(backbones):
        ax = axes.flat[place]
        _draw_lines(ax, found[found["backbone"] == backbone], looks)
        ax.set_title(plain(backbone))
        ax.set_ylim(lowest - 0.02, 1.02)
        if place % columns == 0:
            ax.set_ylabel(f"recall@{span(found['k'])}")
        if place + columns >= len(backbones):
            ax.set_xlabel("local intrinsic dimension")
            ax.tick_params(labelbottom=True)
    handles = [Line2D([], [], label=plain(label), markersize=4.5, **look) for label, look in looks.items()]
    figure.legend(handles=handles, loc="outside lower left", ncols=3)
    return figure


@mpl.rc_context(RC)
def draw_leakage(tables: Path) -> Figure | None:
    """Each score with and without the tiles that show the query's own ground; None when the suite excludes none."""
    found = read_rows(tables, "spatial_leakage")
    found = found[found["space"] == CORRECTED] if len(found) else found
    if found.empty:
        return None
    found = _best_settings(with_variants(found, tables))
    scores, backbones = (list(dict.fromkeys(found[column])) for column in ("score", "backbone"))
    colours = variant_colours(found["variant"])
    hows = [how for how in _EXCLUSIONS if how in set(found["exclude"])]
    sheet = Sheet(
        "Spatial leakage: scores with and without tiles of the query's own ground",
        f"{span(found['queries'])} queries a score; bars are 95 % bootstrap intervals. Hollow marks leave out tiles "
        "that show the query's own ground: what is lost came from there, or from the smaller number of relevant tiles "
        "that are left. Paired differences stand in spatial_leakage.csv. Approximate engines: their setting of highest "
        "recall.",
        columns=len(scores),
        height_in=0.9 + 0.24 * found["variant"].nunique() * len(hows) * len(backbones) / 1.6,
    )
    figure, axes = draw_sheet(sheet, sharey=True)
    for ax, score in zip(axes[0], scores, strict=True):
        _draw_leaks(ax, found[found["score"] == score], backbones, colours)
        ax.set_xlabel(plain(score))
        ax.set_xlim(-0.03, 1.03)
        ax.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes[0, 0].set_yticks(range(len(backbones)), [plain(name) for name in backbones])
    axes[0, 0].set_ylim(len(backbones) - 0.5, -0.5)
    figure.legend(handles=_leakage_legend(found, colours, hows), loc="outside lower left", ncols=3)
    return figure


def read_settings(tables: Path) -> pd.DataFrame:
    """``recall_over_lid`` of the approximate cells, with the columns ``variant`` and ``label`` (setting in words)."""
    found, cells = read_rows(tables, "recall_over_lid"), read_cells(tables)
    if found.empty or cells.empty:
        return pd.DataFrame()
    known = cells.drop_duplicates("cell")[["cell", "variant", *SETTING]]
    found = found.merge(known, on="cell")
    found = found[found["variant"] != EXACT].reset_index(drop=True)
    if found.empty:
        return found
    several = found["variant"].nunique() > 1
    varying = varying_settings(found)
    labels = [
        " ".join([row["variant"]] * several + [setting_label(row, varying)]) for _, row in found.iterrows()
    ]  # fmt: skip
    return found.assign(label=labels)


def chosen_settings(found: pd.DataFrame) -> list[str]:
    """At most six labels, spread evenly over the order of mean recall, highest first."""
    ordered = found.groupby("label", sort=False)["recall"].mean().sort_values(ascending=False, kind="stable").index
    places = np.linspace(0, len(ordered) - 1, min(_MOST_SETTINGS, len(ordered))).round().astype(int)
    return [str(ordered[place]) for place in places]


def _setting_key(found: pd.DataFrame) -> str:
    words = {"tables": "tables", "hash_bits": "hash bits", "probes_per_table": "probes per table"}
    return "labels: " + " / ".join(words.get(name, "other parameters") for name in varying_settings(found))


def _draw_lines(ax: Axes, found: pd.DataFrame, looks: dict[str, dict[str, Any]]) -> None:
    for label, look in looks.items():
        line = found[found["label"] == label].sort_values("bin")
        if len(line):
            ax.fill_between(line["lid_mean"], line["ci_low"], line["ci_high"], color=look["color"], alpha=0.18, lw=0)
            ax.plot(line["lid_mean"], line["recall"], linewidth=1.4, markersize=4, **look)


def _best_settings(found: pd.DataFrame) -> pd.DataFrame:
    """The rows of one cell for each backbone and variant: the one of highest recall."""
    own = found[found["score"].str.startswith("recall") & (found["exclude"] == SELF)]
    best = own.sort_values("mean", ascending=False, kind="stable").drop_duplicates(["backbone", "variant"])
    return found[found["cell"].isin(best["cell"])].reset_index(drop=True)


def _draw_leaks(ax: Axes, found: pd.DataFrame, backbones: list[str], colours: dict[str, str]) -> None:
    shown = set(found["exclude"])
    rows = [(variant, how) for variant in dict.fromkeys(found["variant"]) for how in _EXCLUSIONS if how in shown]
    offsets = dict(zip(rows, np.linspace(-0.34, 0.34, len(rows)), strict=True))
    for row in found.to_dict("records"):
        y = backbones.index(row["backbone"]) + offsets[row["variant"], row["exclude"]]
        colour, marker = colours[row["variant"]], _EXCLUSIONS[row["exclude"]][0]
        face = colour if row["exclude"] == SELF else "white"
        ax.hlines(y, row["ci_low"], row["ci_high"], color=colour, linewidth=1.6, alpha=0.6)
        ax.plot(row["mean"], y, marker, color=colour, markerfacecolor=face, markersize=5)
    for y in range(1, len(backbones)):
        ax.axhline(y - 0.5, color="#e9e9e9", linewidth=0.8)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0, labelcolor=INK)


def _leakage_legend(found: pd.DataFrame, colours: dict[str, str], hows: list[str]) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colours[variant], linestyle="-", linewidth=3, label=plain(variant))
        for variant in dict.fromkeys(found["variant"])
    ]
    for how in hows:
        marker, words = _EXCLUSIONS[how]
        face = SOFT if how == SELF else "white"
        handles.append(Line2D([], [], color=SOFT, marker=marker, linestyle="none", markerfacecolor=face, label=words))
    return handles
