"""The judged queries themselves: a tile each, by difficulty, with what it shows."""

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from bench.figures.board import STEP, Board, line_height, open_board, shortened, side_in, wrapped
from bench.figures.style import RC, count
from ris_core.records import Tiles

_COLUMNS, _MOST_ROWS, _MOST_LINES = 10, 4, 4
_WIDTH = STEP * _COLUMNS
_HEAD = 0.42


@mpl.rc_context(RC)
def draw_queries(tiles: Tiles, queries: pd.DataFrame) -> Figure | None:
    """Every query tile under its difficulty, of each at most the first forty; None without queries.

    Args:
        tiles: The corpus.
        queries: As in `bench.judging.judgments.Judgments`.
    """
    if queries.empty:
        return None
    rows: list[tuple[str, pd.DataFrame]] = []  # a heading, or none, and the queries of one row
    for stratum, part in queries.groupby("stratum", sort=False):
        shown = part.head(_COLUMNS * _MOST_ROWS)
        more = "" if len(shown) == len(part) else f", the first {len(shown)} shown"
        heading = f"{stratum} · {count(len(part))} queries{more} · judged to rank {part['depth'].iloc[0]}"
        parts = [shown.iloc[start : start + _COLUMNS] for start in range(0, len(shown), _COLUMNS)]
        rows += [(heading if place == 0 else "", row) for place, row in enumerate(parts)]
    names = [_names(row) for _, row in rows]
    line = line_height(side_in(_WIDTH))
    heights = [
        (_HEAD if head else 0) + 1.2 + line * max(map(len, own)) for (head, _), own in zip(rows, names, strict=True)
    ]
    subtitle = (
        f"{count(len(queries))} judged queries. Below each tile its concept, which a relevant tile shows as well."
    )
    figure, board = open_board("Query tiles", subtitle, tiles, (_WIDTH, sum(heights)))
    top = 0.0
    for (heading, row), own, height in zip(rows, names, heights, strict=True):
        _draw_row(board, heading, row, own, top)
        top += height
    board.finish()
    return figure


def _names(row: pd.DataFrame) -> list[list[str]]:
    """For each query the lines below it."""
    pairs = zip(row["concept"], row["query_id"], strict=True)
    lines = [(wrapped(concept.replace("_", " "), side_in(_WIDTH)), tile) for concept, tile in pairs]
    return [[*shortened(own, _MOST_LINES), f"tile {tile}"] for own, tile in lines]


def _draw_row(board: Board, heading: str, row: pd.DataFrame, names: list[list[str]], top: float) -> None:
    if heading:
        board.head(heading, 0, top + _HEAD * 0.45)
        top += _HEAD
    for place, (tile, lines) in enumerate(zip(row["query_id"], names, strict=True)):
        board.put_query(int(tile), place * STEP, top)
        board.write(lines, place * STEP, top + 1.06)
