"""Query tiles with the neighbours that each backbone gave, right and wrong marked."""

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bench.figures.board import LEGEND, STEP, Board, open_board
from bench.figures.style import RC, plain
from bench.finished.run_answers import Answers
from ris_core.records import Tiles

_NEIGHBOURS = 9
_FIRST = 1.45  # where the neighbours start, in thumbnails
_ROW, _HEAD, _NAMES = 1.14, 0.42, 1.9  # heights of a row and a heading, width of the names
_WIDTH = _FIRST + STEP * _NEIGHBOURS


@mpl.rc_context(RC)
def draw_gallery(tiles: Tiles, answers: Sequence[Answers], stratum: str) -> Figure | None:
    """The best, the middle and the worst query of a stratum, and the first neighbours that each index gave.

    The queries are chosen by the precision of the first of ``answers``, so that nothing is picked by hand.
    None when the stratum has no queries.

    Args:
        tiles: The corpus, with the queries and all hits.
        answers: Indexes to compare on the same queries, the reference first.
        stratum: Difficulty, one of the answers' strata.
    """
    chosen = choose_queries(answers[0], stratum) if answers else []
    if not chosen:
        return None
    depth = int(answers[0].depths[chosen[0][0]])
    group_height = _HEAD + _ROW * len(answers)
    height = group_height * len(chosen)
    subtitle = (
        f"The first {min(_NEIGHBOURS, depth)} of {depth} judged neighbours, nearest from the left. {LEGEND} "
        f"At the left, precision@{depth}. Queries chosen by rank of precision with {answers[0].name}, not by hand."
    )
    figure, board = open_board(f"Neighbours of {stratum} queries", subtitle, tiles, (_WIDTH, height), _NAMES)
    for group, (query, words) in enumerate(chosen):
        top, first = group * group_height, answers[0]
        heading = f"{first.concepts[query].replace('_', ' ')} · tile {first.query_ids[query]} · {words}"
        board.head(heading, -_NAMES, top + _HEAD * 0.45)
        for row, answer in enumerate(answers):
            _draw_row(board, answer, query, top + _HEAD + row * _ROW)
    board.finish()
    return figure


def choose_queries(answers: Answers, stratum: str) -> list[tuple[int, str]]:
    """Rows of the best, middle and worst query of a stratum by precision, each with words that say so."""
    rows = np.flatnonzero(answers.strata == stratum)
    if len(rows) == 0:
        return []
    ranked = rows[np.argsort(-answers.precision[rows], kind="stable")]
    wanted = {0: "best", len(rows) // 2: "middle", len(rows) - 1: "worst"} if len(rows) > 2 else {0: "best"}
    return [(int(ranked[place]), f"{word} of {len(rows)} queries") for place, word in wanted.items()]


def _draw_row(board: Board, answers: Answers, query: int, top: float) -> None:
    """One index' answer to one query: name and precision, the query tile, its neighbours."""
    label = f"{answers.name.replace(' · ', chr(10))}\n{answers.precision[query]:.2f}"
    board.ax.text(-0.12, top + 0.5, plain(label), size=8, va="center", ha="right", linespacing=1.35)
    board.put_query(int(answers.query_ids[query]), 0.0, top)
    for i in range(min(_NEIGHBOURS, int(answers.depths[query]), answers.ids.shape[1])):
        board.put_hit(int(answers.ids[query, i]), _FIRST + i * STEP, top, bool(answers.relevant[query, i]))
