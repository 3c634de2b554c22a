"""A tile and those that lie nearest to it, each with its distance and its place."""

import math

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bench.figures.board import HEAD_PT, LEGEND, STEP, UNJUDGED, Board, line_height, open_board, side_in, wrapped
from bench.figures.style import RC
from bench.finished.run_answers import Answers
from ris_core.records import PADDING_ID, Tiles

_COLUMNS = 5
_QUERY = 2.0  # side of the query, in thumbnails
_BESIDE = _QUERY + 0.35
_WIDTH = _BESIDE + _COLUMNS * STEP - (STEP - 1)
_WORDS_PT = 7.0
_DEGREE_DIGITS, _METRE_DIGITS = 6, 1  # about a decimetre either way


@mpl.rc_context(RC)
def draw_matches(tiles: Tiles, answers: Answers, stride_px: int) -> Figure:
    """A query, and its nearest tiles in rows of five, below each its Euclidean distance and its place.

    Args:
        tiles: The corpus.
        answers: The answer to one query.
        stride_px: See `place_words`.
    """
    query, k = int(answers.query_ids[0]), answers.ids.shape[1]
    thumbnail_in = side_in(_WIDTH)
    below = [_lines(tiles, answers, hit, stride_px, thumbnail_in) for hit in range(k)]
    row_height = 1.2 + max(map(len, below)) * line_height(thumbnail_in, _WORDS_PT)
    asked = [line for word in place_words(tiles, query, stride_px) for line in wrapped(word, _QUERY * thumbnail_in)]
    asked_height = _QUERY + 0.3 + (len(asked) + 1) * line_height(thumbnail_in, HEAD_PT)
    subtitle = (
        f"Tile {query} and its {k} nearest others; {answers.name}. In the corner the rank, below it the Euclidean "
        "distance, then file, cell, and middle in the file's coordinates; +: of a second grid, so many pixels on. "
        f"{LEGEND if answers.is_judged.any() else UNJUDGED}"
    )
    size = _WIDTH, max(asked_height, math.ceil(k / _COLUMNS) * row_height)
    figure, board = open_board(f"A tile and its {k} nearest", subtitle, tiles, size)
    board.put_query(query, 0, 0.02, _QUERY)
    board.head(f"tile {query}", 0, _QUERY + 0.2)
    board.write(asked, 0, _QUERY + 0.34)
    for hit, lines in enumerate(below):
        row, column = divmod(hit, _COLUMNS)
        _put_match(board, answers, hit, lines, (_BESIDE + column * STEP, row * row_height + 0.02))
    board.finish()
    return figure


def place_words(tiles: Tiles, tile_id: int, stride_px: int) -> list[str]:
    """File of a tile and, of one cut from a raster, row and column in its grid, and x and y of its middle in the CRS.

    Args:
        tiles: The corpus.
        tile_id: One of its tiles.
        stride_px: Distance of neighbouring cells of a grid, in pixels of the raster: tells how far a second grid is
            moved.
    """
    tile = tiles.table.iloc[int(np.flatnonzero(tiles.ids == tile_id)[0])]
    words = [str(tile["raster"])]
    if "footprint" not in tiles.table:
        return words
    offset_px = int(tile["row_px"] - tile["row"] * stride_px)
    moved = f" +{offset_px}" if offset_px else ""
    crs = getattr(tiles.table, "crs", None)
    digits = _DEGREE_DIGITS if crs is not None and crs.is_geographic else _METRE_DIGITS
    left, low, right, high = tile["footprint"].bounds
    x, y = (f"{value:,.{digits}f}" for value in ((left + right) / 2, (low + high) / 2))
    return [*words, f"row {tile['row']}, col {tile['col']}{moved}", f"x {x}", f"y {y}"]


def _lines(tiles: Tiles, answers: Answers, hit: int, stride_px: int, width_in: float) -> list[str]:
    """What stands below a hit: first its distance; nothing where there is no answer."""
    if answers.ids[0, hit] == PADDING_ID:
        return [""]
    words = place_words(tiles, int(answers.ids[0, hit]), stride_px)
    places = [line for word in words for line in wrapped(word, width_in, _WORDS_PT)]
    return [f"{math.sqrt(answers.distances[0, hit]):#.4g}", *places]


def _put_match(board: Board, answers: Answers, hit: int, lines: list[str], place: tuple[float, float]) -> None:
    x, y = place
    relevant = bool(answers.relevant[0, hit]) if answers.is_judged[0] else None
    board.put_hit(int(answers.ids[0, hit]), x, y, relevant)
    if answers.ids[0, hit] != PADDING_ID:
        board.number(hit + 1, x, y)
    board.write(lines[:1], x, y + 1.03, _WORDS_PT, weight="bold")
    board.write(["", *lines[1:]], x, y + 1.03, _WORDS_PT)
