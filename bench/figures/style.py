"""One look for all figures: colours, markers, sheets with a title, and files that come out the same every time."""

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from bench.tables.names import EXACT, variant_of
from bench.tables.table import read_table
from ris_core.artifacts import written_whole

INK, SOFT, FAINT = "#222222", "#5f5f5f", "#c9c9c9"
RIGHT, WRONG, QUERY = "#0173b2", "#de8f05", "#222222"
RANDOM, CEILING = "random", "ceiling"  # with EXACT, the variants that are no approximate engine
CORRECTED, AS_PUBLISHED = "corrected", "as_published"  # what the tables call the queries' spaces
WIDTH_IN = 9.0  # fits a page's text column at two thirds, a phone by scaling
DPI = 150
ENDINGS: dict[str, dict[str, Any]] = {  # formats that a figure is written in, and the metadata that would tell the time
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

_PALETTE = sns.color_palette("colorblind", 10).as_hex()
# Disjoint, so that a colour never means an engine in one figure and a backbone in the next. No palette tells ten
# engines apart for every eye: markers do, in grey print too.
_ENGINE_COLOURS = [
    _PALETTE[0], _PALETTE[1], "#332288", _PALETTE[4], "#7a4b1e", "#b5a300", "#882255", "#44aaaa", "#117733", "#e8736b",
]  # fmt: skip
_BACKBONE_COLOURS = [_PALETTE[i] for i in (2, 3, 9, 6, 7)]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h", "<", ">", "p", "d")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_TITLE_PT, _SUBTITLE_PT, _LINE = 12.0, 9.0, 1.35
_MOST_NAMED = 5  # curves, before figures name some of them only
_MANY_POINTS = 30  # of a curve, which then goes without marks
_LABEL_GAP = 0.11  # of a panel's height, between two names at the ends of curves

RC: Any = {  # Any: the stubs want each key as a literal
    **sns.axes_style("ticks"),
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same letters on every machine
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e9e9e9",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "svg.hashsalt": "ris-bench",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
}


@dataclasses.dataclass(frozen=True)
class Sheet:
    """What stands above a figure's axes, and how large it is.

    Attributes:
        title: What the figure shows.
        subtitle: Counts and conventions: n, k, what bars and marks mean.
        rows: Rows of axes.
        columns: Columns of axes.
        height_in: Height of one row of axes, in inches.
        width_in: Width of the whole, in inches.
    """

    title: str
    subtitle: str
    rows: int = 1
    columns: int = 1
    height_in: float = 3.2
    width_in: float = WIDTH_IN


def draw_sheet(sheet: Sheet, **subplots: Any) -> tuple[Figure, np.ndarray]:
    """An empty figure under its title, and its axes as an array of (rows, columns).

    Args:
        sheet: Title and sizes.
        **subplots: Passed on to `matplotlib.figure.Figure.subplots`.
    """
    lines = textwrap.wrap(sheet.subtitle, width=int(sheet.width_in * 14.5))
    head_in = (_TITLE_PT * 1.7 + len(lines) * _SUBTITLE_PT * _LINE + 6) / 72
    height_in = sheet.rows * sheet.height_in + head_in
    with mpl.rc_context(RC):
        layout = ConstrainedLayoutEngine(rect=(0, 0, 1, 1 - head_in / height_in), w_pad=0.06, h_pad=0.06)
        figure = Figure(figsize=(sheet.width_in, height_in), layout=layout)
        top = 1 - 5 / 72 / height_in
        x = 8 / 72 / sheet.width_in
        figure.text(x, top, plain(sheet.title), size=_TITLE_PT, weight="bold", va="top")
        below = top - _TITLE_PT * 1.6 / 72 / height_in
        subtitle = plain("\n".join(lines))
        figure.text(x, below, subtitle, size=_SUBTITLE_PT, color=SOFT, va="top", linespacing=_LINE)
        axes = figure.subplots(sheet.rows, sheet.columns, squeeze=False, **subplots)
    return figure, axes


def save_figure(figure: Figure, stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure as ``stem.png`` (150 dpi) and ``stem.svg``, or other `ENDINGS`; same figure, same bytes.

    Raises:
        ArtifactError: If the disk cannot take them.
    """
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in endings]
    with mpl.rc_context(RC):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once, not once a file
        for path, ending in zip(paths, endings, strict=True):
            with written_whole(path) as unfinished:
                figure.savefig(unfinished, metadata=ENDINGS[ending])
    return paths


def read_rows(folder: Path, name: str) -> pd.DataFrame:
    """A table of a run, whole numbers as NumPy's own; empty where the run has none."""
    path = folder / f"{name}.csv"
    if not path.is_file():
        return pd.DataFrame()
    table = read_table(path)
    whole = {column: "float64" if table[column].hasnans else "int64" for column in table.select_dtypes("Int64")}
    return table.astype(whole)


def read_cells(folder: Path) -> pd.DataFrame:
    """The query cells that were measured, with the column ``variant``, and ``other_params`` cut to what varies.

    A variant is an engine with its family where it has one, and ``"exact"`` for exact search by whatever name.
    """
    cells = read_rows(folder, "lsh_parameters")
    if cells.empty:
        return cells
    cells = cells[cells["status"] == "ok"].reset_index(drop=True)
    names = cells[["engine", "kind", "family"]].itertuples(index=False)
    cells = cells.assign(variant=[variant_of(*name) for name in names])
    varying = cells.groupby("variant", sort=False)["other_params"].transform(_varying)
    return cells.assign(other_params=varying)


def _varying(params: pd.Series) -> list[str]:
    """Of texts such as ``seed=0; rotations=2``, the parts that do not stand in all of them."""
    parts = [text.split("; ") for text in params]
    return [", ".join(part for part in own if not all(part in other for other in parts)) for own in parts]


def variant_colours(variants: pd.Series) -> dict[str, str]:
    """A colour for each engine variant, in order of appearance; exact is ink, bounds are grey."""
    others = [v for v in dict.fromkeys(variants) if v not in (EXACT, RANDOM, CEILING)]
    colours = {v: _ENGINE_COLOURS[i % len(_ENGINE_COLOURS)] for i, v in enumerate(others)}
    return {**colours, EXACT: INK, RANDOM: SOFT, CEILING: FAINT}


def variant_looks(variants: pd.Series) -> dict[str, dict[str, Any]]:
    """Colour and marker of each engine variant, in order of appearance; no two share both. Exact is a star in ink."""
    colours = variant_colours(variants)
    others = [variant for variant in dict.fromkeys(variants) if variant != EXACT]
    markers = {variant: _MARKERS[i % len(_MARKERS)] for i, variant in enumerate(others)} | {EXACT: "*"}
    return {variant: {"color": colours[variant], "marker": markers[variant]} for variant in dict.fromkeys(variants)}


def look_handles(looks: dict[str, dict[str, Any]], **line: Any) -> list[Line2D]:
    """What a legend shows of looks: one entry each, exact search last."""
    names = sorted(looks, key=EXACT.__eq__)
    size = {name: 9.0 if name == EXACT else 5.5 for name in names}
    return [Line2D([], [], label=plain(name), markersize=size[name], **looks[name], **line) for name in names]


def backbone_looks(backbones: pd.Series) -> dict[str, dict[str, Any]]:
    """Colour, marker and line style of each backbone, in order of appearance."""
    return {
        name: {
            "color": _BACKBONE_COLOURS[i % len(_BACKBONE_COLOURS)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": DASHES[i % len(DASHES)],
        }
        for i, name in enumerate(dict.fromkeys(backbones))
    }


def trained_looks(models: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Looks of the trained backbones that a figure tells apart: all, or of many the first and the best by k-NN.

    Args:
        models: The table ``models``.
    """
    trained = models[models["train_epochs"].notna()]
    if len(trained) <= _MOST_NAMED:
        looks = backbone_looks(models["backbone"])
        return {name: looks[name] for name in trained["backbone"]}
    best = trained.iloc[1:].nlargest(_MOST_NAMED - 1, "knn_20", keep="first").index
    return backbone_looks(trained["backbone"][trained.index.isin([trained.index[0], *best])])


def trained_by(models: pd.DataFrame) -> list[str]:
    """By which methods backbones were trained, such as ``["dino"]``: the table's weights are ``dino from random``."""
    trained = models[models["train_epochs"].notna()] if len(models) else models
    return list(dict.fromkeys(str(words).partition(" from ")[0] for words in trained.get("weights", ())))


def draw_trained(ax: Axes, curves: pd.DataFrame, axes: tuple[str, str], looks: dict[str, dict[str, Any]]) -> pd.Series:
    """Draw one curve a backbone, thin and grey where it has no look; the last values of those that have one.

    Args:
        ax: The axes.
        curves: With the column ``backbone``.
        axes: The columns for x and y.
        looks: See `trained_looks`.
    """
    x, y = axes
    known = curves.dropna(subset=[y])
    for name in sorted(dict.fromkeys(known["backbone"]), key=looks.__contains__):
        curve = known[known["backbone"] == name]
        look: dict[str, Any] = {"linewidth": 0.9, "color": FAINT}
        if name in looks:
            size = 4 if len(curve) < _MANY_POINTS else 0
            look = {"linewidth": 1.6, "markersize": size, "label": plain(name), **looks[name]}
        ax.plot(curve[x], curve[y], **look)
    return known[known["backbone"].isin(list(looks))].groupby("backbone", sort=False)[y].last()


def label_ends(ax: Axes, ends: pd.Series, x: float) -> None:
    """Name curves, with their last values, to the right of the axes; pushed apart where ends meet.

    Args:
        ax: The axes, whose limits must be final.
        ends: Last value of each curve by its name.
        x: Where the longest of them ends.
    """
    ends = ends.sort_values()
    low, high = ax.get_ylim()
    gap, heights = (high - low) * _LABEL_GAP, ends.to_numpy(float).copy()
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    limit = high
    for i in reversed(range(len(heights))):  # back under the top, as far as needed
        heights[i] = min(heights[i], limit)
        limit = heights[i] - gap
    for (name, end), height in zip(ends.items(), heights, strict=True):
        ax.annotate(
            plain(f"{name}  {end:.2f}"), (x, height), xytext=(9, 0),
            textcoords="offset points", va="center", size=8.5, annotation_clip=False,
        )  # fmt: skip


def plain(text: str) -> str:
    """Text that matplotlib draws letter by letter: a name with dollar signs is no formula."""
    return text.replace("$", r"\$")


def count(number: float) -> str:
    """A whole number with thousands separated by commas."""
    return f"{int(number):,}"


def span(values: pd.Series) -> str:
    """The values of a column in words: ``500``, or ``100 to 500``."""
    low, high = values.min(), values.max()
    return count(low) if low == high else f"{count(low)} to {count(high)}"


def milliseconds(value: float) -> str:
    """A time for a label: three significant digits, in microseconds, milliseconds or seconds."""
    if value < 0.1:
        return f"{value * 1000:.3g} µs"
    return f"{value:.3g} ms" if value < 1000 else f"{value / 1000:.3g} s"


def scale_times(ax: Axes, label: str) -> None:
    """Make the x axis of milliseconds logarithmic, ticked at round numbers in a unit that keeps them short.

    Call it when everything is drawn: the ticks depend on the limits.
    """
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    unit, factor = next(((u, f) for limit, u, f in _TIME_UNITS if high < limit))
    decades = range(int(np.floor(np.log10(low * factor))), int(np.ceil(np.log10(high * factor))) + 1)
    for steps in _TIME_STEPS:
        values = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [value for value in values if low * factor <= value <= high * factor]
        if len(ticks) <= _MOST_TICKS:
            break
    else:
        ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)]
    if sum(len(f"{tick:,.10g}") for tick in ticks) > _MOST_LETTERS:
        ticks = ticks[::2]
    ax.xaxis.set_major_locator(FixedLocator([tick / factor for tick in ticks]))
    ax.xaxis.set_major_formatter(FixedFormatter([f"{tick:,.10g}" for tick in ticks]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(f"{label} ({unit}, log scale)")


_TIME_UNITS = ((0.5, "µs", 1000.0), (2000.0, "ms", 1.0), (np.inf, "s", 0.001))  # below how many ms, name, per ms
_TIME_STEPS = ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))  # from dense to sparse
_MOST_TICKS, _MOST_LETTERS = 6, 20
