"""One query with its regions, and the first answers to each of them."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bench.figures.board import HEAD_PT, LEGEND, STEP, Board, open_board, wrapped
from bench.figures.style import INK, QUERY, RC
from bench.finished.region_answers import RegionAnswers
from ris_core.records import Tiles
from ris_core.regions.crops import cut_crops, square_boxes

_QUERY = 3.0  # side of the query, in thumbnails
_NAME, _CROP = _QUERY + 0.4, _QUERY + 1.15  # where the rows' names, their crops and their answers begin
_FIRST = _CROP + 1.35
_MOST_ROWS = 10


@mpl.rc_context(RC)
def draw_region_query(tiles: Tiles, answers: RegionAnswers) -> Figure:
    """The query with its regions outlined; beside it a row for the merged ranking, the whole picture and each crop.

    Args:
        tiles: The corpus.
        answers: Of one query.
    """
    per_crop, shown = answers.ids.shape[1], min(len(answers.boxes), _MOST_ROWS)
    query = int(answers.merged.query_ids[0])
    stored = np.asarray(tiles.pixels[int(np.flatnonzero(tiles.ids == query)[0])])
    boxes = _in_stored(tiles, query, answers, len(stored))
    left_out = f" {shown - 1} of {len(boxes) - 1} regions are shown." if shown < len(boxes) else ""
    subtitle = (
        f"Tile {query}, asked by its whole picture and its regions ({len(boxes) - 1}); {answers.merged.name}. "
        f"To the right the {per_crop} nearest tiles to each, and the first of the merged ranking.{left_out} {LEGEND}"
    )
    size = _FIRST + STEP * per_crop - (STEP - 1), max(_QUERY + 1.0, STEP * (shown + 1))
    figure, board = open_board("A query by regions", subtitle, tiles, size)
    board.put_query(query, 0, 0.02, _QUERY)
    told = f"{answers.merged.concepts[0].replace('_', ' ')} · {answers.merged.strata[0]} · tile {query}"
    board.write(wrapped(told, _QUERY * board.thumbnail_in, HEAD_PT), 0, _QUERY + 0.1, HEAD_PT)
    squares = square_boxes(boxes, (len(stored), len(stored)), answers.context)
    for number in range(1, shown):
        _outline(board, squares[number] / len(stored) * _QUERY, number)
    crops = cut_crops(stored, boxes[:shown], board.thumbnail_px, answers.context)
    _draw_row(board, "merged", (answers.merged.ids[0, :per_crop], answers.merged.relevant[0, :per_crop]), 0.02)
    for number in range(shown):
        y = (number + 1) * STEP + 0.02
        board.put_pixels(crops[number], _CROP, y)
        board.frame(_CROP, y, edgecolor=QUERY, linewidth=1.2)
        _draw_row(board, str(number) if number else "whole", (answers.ids[number], answers.relevant[number]), y)
    board.finish()
    return figure


def _draw_row(board: Board, name: str, hits: tuple[np.ndarray, np.ndarray], y: float) -> None:
    board.ax.text(_NAME, y + 0.5, name, size=8, va="center")
    for place, (tile, relevant) in enumerate(zip(*hits, strict=True)):
        board.put_hit(int(tile), _FIRST + place * STEP, y, bool(relevant))


def _outline(board: Board, square: np.ndarray, number: int) -> None:
    """The square that was cut around a region, numbered in its upper left corner."""
    x, y, side = square[0], square[1] + 0.02, square[2] - square[0]
    for colour, width in (("white", 2.4), (INK, 1.0)):  # to be seen on any ground
        board.ax.add_patch(Rectangle((x, y), side, side, facecolor="none", edgecolor=colour, linewidth=width))
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
    board.ax.text(x + 0.03, y + 0.03, str(number), size=6.5, ha="left", va="top", bbox=box)


def _in_stored(tiles: Tiles, query: int, answers: RegionAnswers, stored_px: int) -> np.ndarray:
    """The boxes in pixels of the stored tile, cut to it: of an image it is the middle square."""
    width, height = answers.boxes[0, 2:]
    tile = tiles.table.iloc[int(np.flatnonzero(tiles.ids == query)[0])]
    corner = (0, 0) if "footprint" in tiles.table else (tile["col_px"], tile["row_px"])
    moved = (answers.boxes - np.tile(corner, 2)) * (stored_px / min(width, height))
    inside = np.clip(moved, 0, stored_px)
    inside[:, 2:] = np.maximum(inside[:, 2:], np.minimum(inside[:, :2] + 1, stored_px))
    inside[:, :2] = np.minimum(inside[:, :2], inside[:, 2:] - 1)
    return inside
