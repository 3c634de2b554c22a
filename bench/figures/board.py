"""A sheet of thumbnails: tiles put into one image, framed by what they are, with words beside and below them."""

import functools
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Rectangle
from PIL import Image

from bench.figures.style import DPI, FAINT, INK, QUERY, RC, RIGHT, SOFT, WIDTH_IN, WRONG, Sheet, draw_sheet, plain
from ris_core.records import PADDING_ID, Tiles

LEGEND = "Blue with a tick: relevant. Orange, dashed, with a cross: not."
UNJUDGED = "Grey: nobody judged this query."
STEP = 1.1  # a thumbnail's pitch, in thumbnails
WORDS_PT, HEAD_PT = 7.5, 9.0
_MARK = {True: (RIGHT, "-", "✓"), False: (WRONG, (0, (2.2, 1.4)), "✗")}
_FINER = 1.2  # pixels of a thumbnail for each that a screen shows: half a zoom more
_LINE = 1.3
_FONT_PT = 64.0  # at which letters are measured: large, so that rounding to pixels does not matter


class Board:
    """Axes measured in thumbnails, and one image that all thumbnails are put into: many images draw slowly.

    Attributes:
        ax: The axes, x to the right and y downwards.
        tiles: What is shown.
        thumbnail_in: Side of a thumbnail, in inches.
        thumbnail_px: The same in pixels of the image.
    """

    def __init__(self, ax: Axes, tiles: Tiles, width: float, height: float, left: float = 0.0) -> None:
        self.ax, self.tiles = ax, tiles
        self.thumbnail_in = side_in(width, left)
        self.thumbnail_px = round(self.thumbnail_in * DPI * _FINER)
        self._places = {int(tile_id): place for place, tile_id in enumerate(tiles.ids)}
        self._extent = (0.0, width, height, 0.0)
        shape = round(height * self.thumbnail_px), round(width * self.thumbnail_px), 3
        self.canvas = np.full(shape, 255, np.uint8)
        ax.set(xlim=(-left, width), ylim=(height, 0), aspect="equal")
        ax.axis("off")
        ax.set_anchor("NW")

    def put(self, tile_id: int, x: float, y: float, side: float = 1.0) -> None:
        """Draw a tile with its upper left corner at (x, y); an empty frame for one that the corpus lacks."""
        place = self._places.get(int(tile_id))
        if place is None:
            self.frame(x, y, side, edgecolor=FAINT, facecolor="#f4f4f4", linewidth=0.8)
        else:
            self.put_pixels(np.asarray(self.tiles.pixels[place]), x, y, side)

    def put_pixels(self, pixels: np.ndarray, x: float, y: float, side: float = 1.0) -> None:
        """Draw (s, s, 3) uint8 pixels with their upper left corner at (x, y)."""
        size = round(side * self.thumbnail_px)
        drawn = np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
        row, col = round(y * self.thumbnail_px), round(x * self.thumbnail_px)
        target = self.canvas[row : row + size, col : col + size]
        target[:] = drawn[: target.shape[0], : target.shape[1]]

    def frame(self, x: float, y: float, side: float = 1.0, **look: Any) -> None:
        """Draw the edge of a thumbnail."""
        look = {"facecolor": "none", "clip_on": False, **look}  # clipped, a line at the axes' edge loses its outer half
        self.ax.add_patch(Rectangle((x, y), side, side, **look))

    def put_query(self, tile_id: int, x: float, y: float, side: float = 1.0) -> None:
        """A tile that is asked for, in ink."""
        self.put(tile_id, x, y, side)
        self.frame(x, y, side, edgecolor=QUERY, linewidth=2.2)

    def put_hit(self, tile_id: int, x: float, y: float, relevant: bool | None) -> None:
        """A tile that was found, framed by colour, line and sign; grey where nobody knows (None)."""
        self.put(tile_id, x, y)
        if tile_id == PADDING_ID:
            self.ax.text(x + 0.5, y + 0.5, "no\nanswer", size=7, color=SOFT, ha="center", va="center")
        elif relevant is None:
            self.frame(x, y, edgecolor=SOFT, linewidth=1.2)
        else:
            colour, dashes, sign = _MARK[bool(relevant)]
            self.frame(x, y, edgecolor=colour, linewidth=2.4, linestyle=dashes)
            self.ax.add_patch(Rectangle((x + 0.74, y + 0.74), 0.26, 0.26, color=colour, linewidth=0))
            self.ax.text(x + 0.87, y + 0.875, sign, size=7.5, color="white", ha="center", va="center", weight="bold")

    def number(self, rank: int, x: float, y: float) -> None:
        """A hit's rank, in the thumbnail's upper left corner."""
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85}
        self.ax.text(x + 0.06, y + 0.07, str(rank), size=WORDS_PT, color=INK, ha="left", va="top", bbox=box)

    def head(self, text: str, x: float, y: float) -> None:
        """A heading, its middle at y."""
        self.ax.text(x, y, plain(text), size=HEAD_PT, weight="bold", va="center")

    def write(self, lines: Sequence[str], x: float, y: float, size_pt: float = WORDS_PT, **look: Any) -> None:
        """Lines below y, letter by letter as they are; those of neighbours stand on one level."""
        step = line_height(self.thumbnail_in, size_pt)
        for place, line in enumerate(lines):
            self.ax.text(x, y + (place + 0.85) * step, plain(line), size=size_pt, va="baseline", **look)

    def finish(self) -> None:
        """Draw the thumbnails below what was drawn so far."""
        self.ax.imshow(self.canvas, extent=self._extent, interpolation="antialiased", zorder=0)


def open_board(
    title: str, subtitle: str, tiles: Tiles, size: tuple[float, float], left: float = 0.0
) -> tuple[Figure, Board]:
    """A sheet that holds a board of (width, height) thumbnails, with room for ``left`` more beside them."""
    width, height = size
    figure, axes = draw_sheet(Sheet(title, subtitle, height_in=side_in(width, left) * height))
    return figure, Board(axes[0, 0], tiles, width, height, left)


def line_height(thumbnail_in: float, size_pt: float = WORDS_PT) -> float:
    """A line of text, in thumbnails of so many inches."""
    return size_pt * _LINE / 72 / thumbnail_in


def side_in(width: float, left: float = 0.0) -> float:
    """Side of a thumbnail of a board, in inches."""
    return WIDTH_IN / (left + width)


def shortened(lines: list[str], most: int) -> list[str]:
    """At most so many lines; the last one shows that words are missing."""
    return lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1][:-1]}…"]


def wrapped(text: str, width_in: float, size_pt: float = WORDS_PT, weight: str = "normal") -> list[str]:
    """Lines of a text, none wider than ``width_in`` inches; a longer word is broken."""
    most = max(1, int(width_in * 72 / size_pt / 0.6))
    while True:
        lines = textwrap.wrap(text, most) or [""]
        if most == 1 or max(_width_in(line, size_pt, weight) for line in lines) <= width_in:
            return lines
        most -= 1


def _width_in(text: str, size_pt: float, weight: str) -> float:
    return sum(_advance(letter, weight) for letter in text) * size_pt / 72


@functools.cache
def _advance(letter: str, weight: str) -> float:
    """How far a letter moves the pen, in sizes of its font."""
    font = get_font(findfont(FontProperties(family=RC["font.family"], weight=weight)))
    font.set_size(_FONT_PT, 72)
    return float(font.load_char(ord(letter)).linearHoriAdvance) / 2**16 / _FONT_PT
