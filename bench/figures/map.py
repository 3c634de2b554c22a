"""Where the tiles lie on the earth: by class, and as a picture put together from the tiles."""

import dataclasses

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from bench.figures.style import INK, RC, SOFT, Sheet, count, draw_sheet, plain
from ris_core.records import Tiles

_MOST_TILES = 50_000  # beyond, an even sample is drawn: a map of a country has more tiles than pixels
_MOST_CLASSES = 9
_OTHER = "#d9d9d9"
_EXPECTED = {("water", "river", "lake", "sea"): (0, 9), ("wood", "forest"): (2,), ("field", "meadow", "grass"): (8, 1)}
_CANVAS_PX = 1300
_MOST_METRES = 2000  # a longer side is labelled in kilometres


@dataclasses.dataclass(frozen=True)
class Frame:
    """Coordinates of a map: where they start, how long their unit is, and both in words."""

    origin: tuple[float, float]
    unit: float
    word: str
    crs: str


@mpl.rc_context(RC)
def draw_map(tiles: Tiles, query_ids: np.ndarray | None = None) -> Figure | None:
    """Footprint of each tile, coloured by its label or its largest class; None where footprints are unknown.

    Args:
        tiles: The corpus.
        query_ids: Tile ids of judged queries, marked by rings.
    """
    bounds = _bounds(tiles)
    if bounds is None:
        return None
    drawn = _sample(len(tiles))
    names = _class_names(tiles)
    colours = _class_colours(names)
    more = "" if len(drawn) == len(tiles) else f" An even sample of {count(len(drawn))} is drawn."
    kind = "label" if tiles.labels is not None else "largest class"
    rings = f" Rings: the {count(len(query_ids))} judged queries." if query_ids is not None and len(query_ids) else ""
    by = f", coloured by {kind}" if names is not None else ""
    figure, axes = draw_sheet(
        Sheet("Where the tiles lie", f"{count(len(tiles))} tiles{by}.{rings}{more}", height_in=_height_in(bounds))
    )
    ax = axes[0, 0]
    frame = _frame(tiles, bounds)
    bounds = (bounds - np.tile(frame.origin, 2)) / frame.unit
    x0, y0, x1, y1 = bounds[drawn].T
    corners = np.stack([np.stack([x0, y0], 1), np.stack([x1, y0], 1), np.stack([x1, y1], 1), np.stack([x0, y1], 1)], 1)
    faces = [colours.get(name, _OTHER) for name in names.iloc[drawn]] if names is not None else SOFT
    ax.add_collection(PolyCollection(list(corners), facecolors=faces, edgecolors="white", linewidths=0.15))
    if query_ids is not None and len(query_ids):
        judged = bounds[np.isin(tiles.ids, query_ids)]
        centre = (judged[:, 0] + judged[:, 2]) / 2, (judged[:, 1] + judged[:, 3]) / 2
        ax.plot(*centre, "o", markerfacecolor="none", markeredgecolor="white", markersize=8, markeredgewidth=2.6)
        ax.plot(*centre, "o", markerfacecolor="none", markeredgecolor=INK, markersize=8, markeredgewidth=1.2)
    _finish(ax, frame, bounds)
    if names is not None:
        others = [Patch(color=_OTHER, label="other")] if len(set(names)) > len(colours) else []
        handles = [Patch(color=c, label=plain(n.replace("_", " "))) for n, c in colours.items()] + others
        figure.legend(handles=handles, loc="outside lower left", ncols=5)
    return figure


@mpl.rc_context(RC)
def draw_mosaic(tiles: Tiles) -> Figure | None:
    """The corpus seen from above, put together from its tiles; None where footprints are unknown."""
    bounds = _bounds(tiles)
    if bounds is None:
        return None
    drawn = _sample(len(tiles))
    frame = _frame(tiles, bounds)
    bounds = (bounds - np.tile(frame.origin, 2)) / frame.unit
    left, bottom, right, top = _extent(bounds)
    scale = _CANVAS_PX / max(right - left, top - bottom)
    shape = (max(1, round((top - bottom) * scale)), max(1, round((right - left) * scale)), 3)
    canvas = np.full(shape, 245, np.uint8)
    edges = np.empty((len(drawn), 4), int)
    for column, (values, origin, sign) in enumerate(((0, left, 1), (3, top, -1), (2, left, 1), (1, top, -1))):
        edges[:, column] = np.round((bounds[drawn, values] - origin) * sign * scale)
    for place, (x0, y0, x1, y1) in zip(drawn, edges, strict=True):
        size = x1 - x0 + 1, y1 - y0 + 1  # a pixel more than its share, so that rounding leaves no seams
        step = max(1, tiles.size_px // (2 * max(size)))
        thumbnail = Image.fromarray(np.ascontiguousarray(tiles.pixels[place][::step, ::step]))
        pixels = np.asarray(thumbnail.resize(size, Image.Resampling.BOX))
        target = canvas[y0 : y0 + size[1], x0 : x0 + size[0]]
        target[:] = pixels[: target.shape[0], : target.shape[1]]
    more = "" if len(drawn) == len(tiles) else f" An even sample of {count(len(drawn))} is drawn."
    words = f"{count(len(tiles))} tiles put where they lie. Grey: no tile, by the coverage rule or the sample.{more}"
    figure, axes = draw_sheet(Sheet("The corpus", words, height_in=_height_in(bounds)))
    axes[0, 0].imshow(canvas, extent=(left, right, bottom, top), interpolation="antialiased")
    _finish(axes[0, 0], frame, bounds)
    return figure


def _bounds(tiles: Tiles) -> np.ndarray | None:
    """(n, 4) left, bottom, right, top of each footprint, in units of the CRS."""
    if len(tiles) == 0 or "footprint" not in tiles.table:
        return None
    return np.asarray(tiles.table["footprint"].bounds, dtype=float)


def _extent(bounds: np.ndarray) -> tuple[float, float, float, float]:
    left, bottom = bounds[:, :2].min(axis=0)
    right, top = bounds[:, 2:].max(axis=0)
    return float(left), float(bottom), float(right), float(top)


def _height_in(bounds: np.ndarray) -> float:
    left, bottom, right, top = _extent(bounds)
    return float(np.clip(6.8 * (top - bottom) / (right - left), 2.5, 8.0)) + 0.5


def _sample(n: int) -> np.ndarray:
    return np.arange(n) if n <= _MOST_TILES else np.linspace(0, n - 1, _MOST_TILES).round().astype(int)


def _class_names(tiles: Tiles) -> pd.Series | None:
    """(n,) label of each tile, or the class that covers most of it."""
    if tiles.labels is not None:
        return pd.Series(tiles.labels)
    fractions = tiles.class_fractions
    return None if fractions is None else fractions.idxmax(axis=1).reset_index(drop=True)


def _class_colours(names: pd.Series | None) -> dict[str, str]:
    """A colour for each of the most frequent classes."""
    if names is None:
        return {}
    most = [str(name) for name in names.value_counts().index[:_MOST_CLASSES]]
    palette = sns.color_palette("colorblind", 10).as_hex()
    free = [palette[i] for i in (8, 1, 4, 5, 3, 6, 9, 2, 0)]
    colours = {}
    # Who may take the colour that a reader expects comes first; the others take what is left, by frequency.
    for name in sorted(most, key=lambda name: _expected(name) is None):
        wish = _expected(name)
        wished = [palette[i] for i in wish or () if palette[i] in free]
        colours[name] = wished[0] if wished else free[0]
        free.remove(colours[name])
    return {name: colours[name] for name in most}


def _expected(name: str) -> tuple[int, ...] | None:
    """Places in the palette that suit a class by its name: water is blue, what grows is green or yellow."""
    return next((wish for words, wish in _EXPECTED.items() if any(word in name.lower() for word in words)), None)


def _frame(tiles: Tiles, bounds: np.ndarray) -> Frame:
    """Kilometres or metres from the lower left corner: they read better than seven-digit coordinates."""
    left, bottom, right, top = _extent(bounds)
    crs = getattr(tiles.table, "crs", None)
    unit = crs.axis_info[0].unit_name if crs is not None and crs.axis_info else "unit"
    authority = crs.to_authority() if crs is not None else None
    name = ":".join(authority) if authority else "CRS"
    if unit in ("metre", "meter"):
        large = max(right - left, top - bottom) > _MOST_METRES
        return Frame((left, bottom), 1000.0 if large else 1.0, "km" if large else "m", name)
    return Frame((left, bottom), 1.0, unit, name)


def _finish(ax: Axes, frame: Frame, bounds: np.ndarray) -> None:
    left, bottom, right, top = _extent(bounds)
    margin = 0.01 * max(right - left, top - bottom)
    ax.set(xlim=(left - margin, right + margin), ylim=(bottom - margin, top + margin), aspect="equal")
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.set_xlabel(f"{frame.word} east of x = {frame.origin[0]:.8g} ({frame.crs})")
    ax.set_ylabel(f"{frame.word} north of y = {frame.origin[1]:.8g}")
    ax.grid(visible=False)
    ax.set_anchor("W")
