"""Queries beside what was found for them: one with a square of neighbours, or many with those of some ranks."""

import math
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures.board import HEAD_PT, LEGEND, STEP, UNJUDGED, Board, open_board, shortened, wrapped
from bench.figures.style import RC
from bench.finished.run_answers import Answers
from ris_core.records import PADDING_ID, Tiles

_QUERY = 2.0  # side of a query beside its square, in thumbnails
_BESIDE = _QUERY + 0.35
_FIRST, _HEAD, _GAP = 1.35, 0.42, 0.5
_LEAST_WIDTH = 7.0  # fewer thumbnails in a row would be drawn larger than they are stored
_MOST_PAIRED = 4  # with more hits a query takes the whole width


@mpl.rc_context(RC)
def draw_neighbours(tiles: Tiles, answers: Answers) -> Figure:
    """A query, and its neighbours in a square: the nearest in the upper left corner, row by row.

    Args:
        tiles: The corpus.
        answers: The answer to one query.
    """
    k = answers.ids.shape[1]
    columns = math.ceil(math.sqrt(k))
    size = max(_LEAST_WIDTH, _BESIDE + STEP * columns), max(3.2, STEP * math.ceil(k / columns))
    subtitle = (
        f"Tile {answers.query_ids[0]} and its {k} nearest neighbours, row by row from the upper left; {answers.name}. "
        f"In the corner the rank. {_legend(answers)}"
    )
    figure, board = open_board(f"A query and its {k} neighbours", subtitle, tiles, size)
    board.put_query(int(answers.query_ids[0]), 0, 0.02, _QUERY)
    lines = [
        line
        for told in _told(answers, 0, range(k), True)
        for line in wrapped(told, _QUERY * board.thumbnail_in, HEAD_PT)
    ]
    board.write(lines, 0, _QUERY + 0.1, HEAD_PT)
    for place in range(k):
        row, column = divmod(place, columns)
        _put_hit(board, answers, (0, place), _BESIDE + column * STEP, row * STEP + 0.02)
    board.finish()
    return figure


@mpl.rc_context(RC)
def draw_rows(tiles: Tiles, answers: Answers, ranks: Sequence[int], title: str, words: Sequence[str] = ()) -> Figure:
    """Queries, each with its hits of some ranks; two queries a row where that leaves the tiles large enough.

    Args:
        tiles: The corpus.
        answers: The answers to the queries, at least as deep as the last rank.
        ranks: From 1.
        title: Of the figure.
        words: For each query what its heading says besides concept and tile.
    """
    paired = len(ranks) <= _MOST_PAIRED and len(answers) > 1 and not words  # words need the width
    width = _FIRST + STEP * len(ranks) - (STEP - 1)
    size_in = max(_LEAST_WIDTH, 2 * width + _GAP if paired else width)
    rows = math.ceil(len(answers) / (1 + paired))
    subtitle = f"Queries in ink, beside them neighbours, in the corner the rank; {answers.name}. {_legend(answers)}"
    figure, board = open_board(title, subtitle, tiles, (size_in, rows * (_HEAD + STEP)))
    for query in range(len(answers)):
        row, column = divmod(query, 1 + paired)
        x, y = column * (width + _GAP), row * (_HEAD + STEP)
        known = _told(answers, query, [rank - 1 for rank in ranks], len(set(answers.strata)) > 1)
        told = " · ".join([*known, *words[query : query + 1]])
        room_in = (width if paired else size_in) * board.thumbnail_in
        (line,) = shortened(wrapped(told, room_in, HEAD_PT, "bold"), 1)
        board.head(line, x, y + _HEAD * 0.45)
        board.put_query(int(answers.query_ids[query]), x, y + _HEAD)
        for place, rank in enumerate(ranks):
            _put_hit(board, answers, (query, rank - 1), x + _FIRST + place * STEP, y + _HEAD)
    board.finish()
    return figure


def _put_hit(board: Board, answers: Answers, place: tuple[int, int], x: float, y: float) -> None:
    query, hit = place
    relevant = bool(answers.relevant[place]) if answers.is_judged[query] else None
    board.put_hit(int(answers.ids[place]), x, y, relevant)
    if answers.ids[place] != PADDING_ID:
        board.number(hit + 1, x, y)


def _told(answers: Answers, query: int, shown: Sequence[int], stratum: bool) -> list[str]:
    """What is known of a query: concept, tile, difficulty if wanted, relevant hits."""
    parts = [answers.concepts[query].replace("_", " "), f"tile {answers.query_ids[query]}"]
    if stratum:
        parts.append(answers.strata[query])
    if answers.is_judged[query]:
        parts.append(f"{int(answers.relevant[query, list(shown)].sum())} of {len(shown)} relevant")
    return [part for part in parts if part]


def _legend(answers: Answers) -> str:
    legends = {LEGEND: answers.is_judged.any(), UNJUDGED: not answers.is_judged.all()}
    return " ".join(text for text, applies in legends.items() if applies)
