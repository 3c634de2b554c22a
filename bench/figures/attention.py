"""Where the heads of a transformer's last block look on one tile: raw, and as the patches that hold a share of it."""

import math
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_erosion

from bench.figures.board import STEP, Board, open_board, shortened, wrapped
from bench.figures.style import RC
from ris_core.attention import attention_mask
from ris_core.records import Tiles

COLOURS = "cividis"  # even steps to the eye, to the colour-blind and in grey
_FIRST, _NAMES, _ROW = 1.3, 1.25, 1.36
_LEAST_WIDTH, _MOST_HEADS = 5.6, 6  # heads in a row
_BAR = 0.55  # height of the colour bar below
_PALE_FRAC = 0.72  # of white in what lies outside of a mask
_OUTLINE_PX = 2


class Heads(NamedTuple):
    """One backbone's attention on a tile.

    Attributes:
        backbone: Its name.
        attention: (heads, rows, cols) float32 of the last block's class token.
        seen_frac: Share of the tile's side that the network sees, in the middle.
    """

    backbone: str
    attention: np.ndarray
    seen_frac: float


@mpl.rc_context(RC)
def draw_attention(tiles: Tiles, place: int, all_heads: list[Heads], mass: float) -> Figure:
    """For each backbone a row of maps, a column a head, and below it the same heads' masks drawn over the tile.

    Args:
        tiles: The corpus.
        place: Position of the tile.
        all_heads: At least one backbone's attention.
        mass: Share of a head's attention to all patches that its mask keeps.
    """
    most = min(_MOST_HEADS, max(len(heads.attention) for heads in all_heads))
    width = max(_LEAST_WIDTH, _FIRST + STEP * most - (STEP - 1))
    heights = [2 * _ROW * math.ceil(len(heads.attention) / _MOST_HEADS) for heads in all_heads]
    crops = " A network sees the tile without its rim." if any(heads.seen_frac < 1 for heads in all_heads) else ""
    tile = int(tiles.ids[place])
    subtitle = (
        f"Attention of the class token to the patches of tile {tile} in the last block, head by head, and below it the "
        f"fewest patches that hold {mass * 100:g} % of it, the others paled. Each head has its own scale, from its "
        f"least to its largest share of a patch.{crops}"
    )
    size = width, sum(heights) + _BAR
    figure, board = open_board(f"Attention on tile {tile}", subtitle, tiles, size, _NAMES)
    for heads, top in zip(all_heads, np.cumsum([0.0, *heights]), strict=False):
        _draw_backbone(board, np.asarray(tiles.pixels[place]), heads, mass, float(top))
    board.finish()
    _draw_bar(figure, board, sum(heights))
    return figure


def _draw_backbone(board: Board, tile: np.ndarray, heads: Heads, mass: float, top: float) -> None:
    seen = seen_part(tile, heads.seen_frac)
    name = shortened(wrapped(heads.backbone, (_NAMES - 0.15) * board.thumbnail_in, 9, "bold"), 5)
    board.write(name, -_NAMES, top, 9, weight="bold")
    board.put_pixels(seen, 0, top)
    masks = attention_mask(heads.attention, mass)
    n = masks[0].size
    board.write([f"{n} patches,", f"evenly {100 / n:.2g} % each"], 0, top + 1.02)
    for head, (attention, mask) in enumerate(zip(heads.attention, masks, strict=True)):
        x, y = _FIRST + head % _MOST_HEADS * STEP, top + head // _MOST_HEADS * 2 * _ROW
        board.put_pixels(coloured(attention, board.thumbnail_px), x, y)
        shares = f"{attention.min() * 100:.3g} to {attention.max() * 100:.3g} %"
        board.write([f"head {head + 1}:", shares], x, y + 1.02)
        board.put_pixels(masked(seen, mask, board.thumbnail_px), x, y + _ROW)
        board.write([f"{mask.sum()} of {n} patches"], x, y + _ROW + 1.02)


def _draw_bar(figure: Figure, board: Board, top: float) -> None:
    """The scale of all maps, below them."""
    place = board.ax.inset_axes((_FIRST, top + 0.1, STEP * 3, 0.1), transform=board.ax.transData)
    bar = figure.colorbar(ScalarMappable(cmap=COLOURS), cax=place, orientation="horizontal")
    bar.set_ticks([0, 0.5, 1], labels=["the head's least", "", "largest"])
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
    board.write(["share of a patch"], 0, top + 0.06)


def seen_part(tile: np.ndarray, seen_frac: float) -> np.ndarray:
    """The middle of an (s, s, 3) tile."""
    side = round(len(tile) * seen_frac)
    start = (len(tile) - side) // 2
    return tile[start : start + side, start : start + side]


def coloured(attention: np.ndarray, size_px: int) -> np.ndarray:
    """(size_px, size_px, 3) uint8 of (rows, cols) attention, from the least to the largest, each patch a square."""
    low, high = float(attention.min()), float(attention.max())
    patches = Image.fromarray((attention - low) / (high - low or 1.0))
    values = np.asarray(patches.resize((size_px, size_px), Image.Resampling.NEAREST))
    return np.asarray(mpl.colormaps[COLOURS](values, bytes=True))[..., :3]


def masked(seen: np.ndarray, mask: np.ndarray, size_px: int) -> np.ndarray:
    """(size_px, size_px, 3) uint8: a tile as it is inside of a (rows, cols) mask, which is outlined, pale outside."""
    pixels = np.asarray(Image.fromarray(seen).resize((size_px, size_px), Image.Resampling.LANCZOS)).astype(np.float32)
    inside = np.asarray(Image.fromarray(mask).resize((size_px, size_px), Image.Resampling.NEAREST))
    outline = inside & ~binary_erosion(inside, iterations=_OUTLINE_PX, border_value=1)
    pixels[~inside] = (1 - _PALE_FRAC) * pixels[~inside] + _PALE_FRAC * 255
    pixels[outline] = 0
    return pixels.round().astype(np.uint8)
