"""What is lost between the best possible answers and those of the thesis: by the model, by its index, by a slip.

Both figures have a row of panels a backbone, a column a score, and in each panel a row a setting.
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.figures.recall import SETTING, label_key, setting_label, varying_settings
from bench.figures.style import (
    AS_PUBLISHED,
    CORRECTED,
    EXACT,
    FAINT,
    INK,
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
from bench.tables.names import largest_sizes

_BELOW_IN = 1.0  # legend and labels of x, below all axes
_LEAST_HEIGHT_IN = 0.55  # of a row of axes beside them
_MOST_ROWS = 12  # settings of a backbone; of more, those evenly spread over recall
_SAME = ["backbone", "variant", *SETTING, "mode", "threads"]
_ENDS = ("", "_ci_low", "_ci_high")
_LOST_BY_MODEL = "#e3e3e3"
_HATCH = "////"


@mpl.rc_context(RC)
def draw_slip(tables: Path) -> Figure | None:
    """Recall and precision of each setting with corrected queries and with raw ones, as published.

    None when the run did not ask in both ways.
    """
    cells = read_cells(tables)
    asked = slip_pairs(largest_sizes(cells)) if len(cells) else cells
    if asked.empty:
        return None
    pairs = _thinned(asked)
    scores = _slip_scores(pairs, read_rows(tables, "nn_precision_averages"))
    colours, varying = variant_colours(cells["variant"]), varying_settings(pairs)
    sheet = Sheet(
        "What raw queries cost: the published query slip",
        "The same index, asked with corrected queries (centred and scaled as the index is) and with raw ones, as "
        f"published. Recall of {span(pairs['q'])} timed queries; precision of the judged ones, each on a scale of its "
        f"own; grey bars are 95 % bootstrap intervals.{_shown(asked, pairs)}{label_key(varying)}",
        rows=pairs["backbone"].nunique(),
        columns=len(scores),
        height_in=_height_in(pairs, pairs["backbone"].nunique()),
    )
    figure, axes = draw_sheet(sheet, sharex="col", sharey="row")
    for row, (backbone, here) in enumerate(pairs.groupby("backbone", sort=False)):
        for ax, (name, values) in zip(axes[row], scores.items(), strict=True):
            _draw_pairs(ax, here, values, colours)
            ax.set_title(plain(f"{backbone} · {name}"))
        _label_settings(axes[row, 0], here, varying)
    for ax, name in zip(axes[-1], scores, strict=True):
        ax.set_xlabel(plain(name))
    handles = [_mark(SOFT, "corrected queries"), _mark(SOFT, "raw queries, as published", hollow=True)]
    handles += [_mark(colours[variant], variant) for variant in dict.fromkeys(pairs["variant"])]
    figure.legend(handles=handles, loc="outside lower left", ncols=5)
    return figure


@mpl.rc_context(RC)
def draw_exact_or_lsh(tables: Path) -> Figure | None:
    """What LSH finds, what exact search finds beyond, and what no answer of the model finds, for each difficulty.

    None without judgments, or where no approximate engine stands beside exact search.
    """
    losses, cells = read_rows(tables, "exact_or_lsh"), read_cells(tables)
    if losses.empty or cells.empty:
        return None
    measured = cells[cells["cell"].isin(losses["cell"])]
    settings = _thinned(measured)
    losses = losses.merge(settings[["cell", "variant"]], on="cell")
    strata = [stratum for stratum in STRATA if stratum in set(losses["stratum"])]
    ceilings = losses.groupby("stratum")[["ceiling", "lsh_ci_high"]].max().max(axis=1)
    colours, varying = variant_colours(cells["variant"]), varying_settings(settings)
    backbones = settings["backbone"].nunique()
    sheet = Sheet(
        "Who loses the neighbours: the model or its index?",
        f"Share of the neighbours that are relevant, {span(losses['queries'])} judged queries a difficulty. Filled: "
        "found by LSH. Hatched: exact search finds them with the same features, LSH does not. Grey: the model's "
        "features lead to none of them, though as many exist. The black mark is exact search, the line round the end "
        "of LSH its 95 % interval, the dotted line random answers. Each difficulty has a scale of its own."
        f"{_shown(measured, settings)}{label_key(varying)}",
        rows=backbones,
        columns=len(strata),
        height_in=_height_in(settings, backbones),
    )
    figure, axes = draw_sheet(sheet, sharex="col", sharey="row")
    for row, (backbone, here) in enumerate(settings.groupby("backbone", sort=False)):
        for ax, stratum in zip(axes[row], strata, strict=True):
            part = losses[losses["stratum"] == stratum].set_index("cell").loc[here["cell"]]
            _draw_steps(ax, part, colours, ceilings[stratum])
            ax.set_title(plain(f"{backbone} · {stratum} · {count(part['queries'].max())} queries"))
            ax.set_xlabel(f"precision@{part['depth'].iloc[0]}" if row == len(axes) - 1 else "")
        _label_settings(axes[row, 0], here, varying)
    figure.legend(handles=_step_legend(colours, settings["variant"]), loc="outside lower left", ncols=4)
    return figure


def _height_in(settings: pd.DataFrame, backbones: int) -> float:
    """Of a row of axes: for its settings, but never so little that legend and labels leave nothing to the axes."""
    return max(0.5 + 0.19 * _longest(settings), _LEAST_HEIGHT_IN + _BELOW_IN / backbones)


def slip_pairs(cells: pd.DataFrame) -> pd.DataFrame:
    """The settings that were asked in both ways: one row each, ``_raw`` marks the published way."""
    both = cells.drop_duplicates([*_SAME, "space"])
    corrected = both[both["space"] == CORRECTED]
    raw = both[both["space"] == AS_PUBLISHED][[*_SAME, "cell", *(f"recall{end}" for end in _ENDS)]]
    pairs = corrected.merge(raw, on=_SAME, suffixes=("", "_raw"))
    # One way of asking is enough: recall does not depend on the clock.
    return pairs.drop_duplicates(["backbone", "variant", *SETTING]).reset_index(drop=True)


def _slip_scores(pairs: pd.DataFrame, averages: pd.DataFrame) -> dict[str, dict[str, tuple[float, float, float]]]:
    """By the name of a score, for each cell its mean and interval: recall, and precision of each stratum judged."""
    recall = {
        row[f"cell{way}"]: tuple(row[f"recall{end}{way}"] for end in _ENDS)
        for row in pairs.to_dict("records")
        for way in ("", "_raw")
    }
    scores = {f"recall@{span(pairs['k'])}": recall}
    if averages.empty:
        return scores
    for stratum in STRATA:
        part = averages[(averages["stratum"] == stratum) & averages["cell"].isin(recall)]
        if len(part):
            values = part[["precision", "ci_low", "ci_high"]].itertuples(index=False, name=None)
            scores[f"{stratum}@{part['depth'].iloc[0]}"] = dict(zip(part["cell"], values, strict=True))
    return scores


def _draw_pairs(ax: Axes, pairs: pd.DataFrame, scores: dict[str, Any], colours: dict[str, str]) -> None:
    for y, pair in enumerate(pairs.to_dict("records")):
        colour = colours[pair["variant"]]
        ends = [scores.get(pair[name], (np.nan,) * 3) for name in ("cell", "cell_raw")]
        for _, low, high in ends:
            ax.hlines(y, low, high, color=FAINT, linewidth=4)
        (mean, *_), (raw, *_) = ends
        ax.hlines(y, min(raw, mean), max(raw, mean), color=colour, linewidth=1.2)
        ax.plot(mean, y, "o", color=colour, markersize=5.5)
        ax.plot(raw, y, "o", color=colour, markerfacecolor="white", markersize=4.5)
    _frame(ax, len(pairs), np.nanmax(list(scores.values())))


def _draw_steps(ax: Axes, rows: pd.DataFrame, colours: dict[str, str], largest: float) -> None:
    for y, row in enumerate(rows.to_dict("records")):
        colour = colours[row["variant"]]
        ax.barh(y, row["ceiling"], color=_LOST_BY_MODEL, height=0.7)
        if row["exact"] > row["lsh"]:
            lost: dict[str, Any] = {"left": row["lsh"], "height": 0.7, "facecolor": "white", "hatch": _HATCH}
            ax.barh(y, row["exact"] - row["lsh"], **lost, edgecolor=colour, linewidth=0)
        ax.barh(y, row["lsh"], color=colour, height=0.7)
        ax.hlines(y, row["lsh_ci_low"], row["lsh_ci_high"], color=INK, linewidth=1)
        ax.vlines(row["exact"], y - 0.42, y + 0.42, color=INK, linewidth=2)
    ax.axvline(rows["random"].iloc[0], color=INK, linestyle=":", linewidth=1.2)
    _frame(ax, len(rows), largest)


def _frame(ax: Axes, rows: int, largest: float) -> None:
    """Room for so many rows and for scores up to the largest, of all shares where every score is 0."""
    largest = largest or 1.0
    ax.set_ylim(rows - 0.4, -0.6)
    ax.set_xlim(-0.02 * largest, 1.04 * largest)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _label_settings(ax: Axes, settings: pd.DataFrame, varying: list[str]) -> None:
    labels = [row["setting"] if row["chosen"] else setting_label(row, varying) for _, row in settings.iterrows()]
    ax.set_yticks(range(len(settings)), [plain(label) for label in labels])


def _thinned(settings: pd.DataFrame) -> pd.DataFrame:
    """The settings of each backbone by variant and recall, highest first; at most so many, evenly spread."""
    parts: list[pd.DataFrame] = []
    for _, part in settings.groupby("backbone", sort=False):
        ordered = part.sort_values(["variant", "recall"], ascending=[True, False], kind="stable")
        kept = np.linspace(0, len(ordered) - 1, min(_MOST_ROWS, len(ordered))).round().astype(int)
        parts.append(ordered.iloc[kept])
    return pd.concat(parts, ignore_index=True)


def _shown(settings: pd.DataFrame, thinned: pd.DataFrame) -> str:
    return f" Of more settings {_MOST_ROWS} are drawn for a backbone." if len(thinned) < len(settings) else ""


def _longest(settings: pd.DataFrame) -> int:
    return int(settings.groupby("backbone").size().max())


def _step_legend(colours: dict[str, str], variants: pd.Series) -> list[Line2D | Patch]:
    found: list[Line2D | Patch] = [
        Patch(color=colours[variant], label=f"found by {plain(variant)}") for variant in dict.fromkeys(variants)
    ]
    return [
        *found,
        Patch(facecolor="white", edgecolor=SOFT, hatch=_HATCH, linewidth=0, label="lost by the index"),
        Patch(color=_LOST_BY_MODEL, label="lost by the model"),
        Line2D([], [], color=INK, marker="|", markersize=9, markeredgewidth=2, linestyle="none", label=EXACT),
        Line2D([], [], color=INK, linestyle=":", label="random answers"),
    ]


def _mark(colour: str, label: str, hollow: bool = False) -> Line2D:
    face = "white" if hollow else colour
    return Line2D([], [], color=colour, marker="o", linestyle="none", markerfacecolor=face, label=plain(label))
