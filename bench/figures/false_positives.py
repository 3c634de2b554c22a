"""Irrelevant tiles that came out on top: what the query asked for, and what was found instead."""

import math
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.figures.board import STEP, line_height, open_board, shortened, side_in, wrapped
from bench.figures.style import RC
from bench.finished.run_answers import Answers
from ris_core.records import PADDING_ID, Tiles

_COLUMNS = 4
_PAIR, _GAP = 1 + STEP, 0.42
_WIDTH = _COLUMNS * (_PAIR + _GAP) - _GAP
_LEAST_FRAC = 0.05  # a class that covers less of a tile is not what it shows
_MOST_CLASSES, _MOST_LINES = 3, 4


class FalsePositive(NamedTuple):
    """An irrelevant hit: the query's place among the answers, and the hit's rank from 1."""

    query: int
    rank: int


@mpl.rc_context(RC)
def draw_false_positives(tiles: Tiles, answers: Answers, most: int, each: int = 1) -> Figure | None:
    """Pairs of a query and an irrelevant hit of it; None where every hit is relevant or nothing was judged.

    Args:
        tiles: The corpus.
        answers: The answers to judged queries.
        most: Pairs, at most.
        each: Pairs of one query, at most.
    """
    chosen = choose_false_positives(answers, most, each)
    if not chosen:
        return None
    words = [_words(tiles, answers, pair) for pair in chosen]
    height = 1.3 + line_height(side_in(_WIDTH)) * max(map(len, words))
    subtitle = (
        f"Irrelevant tiles near the top, the difficulties taking turns; {answers.name}. In ink the query, in orange "
        "and dashed what was found, in its corner the rank."
    )
    rows = math.ceil(len(chosen) / _COLUMNS)
    figure, board = open_board("False positives", subtitle, tiles, (_WIDTH, rows * height))
    for place, (pair, own) in enumerate(zip(chosen, words, strict=True)):
        row, column = divmod(place, _COLUMNS)
        x, y = column * (_PAIR + _GAP), row * height + 0.03
        board.put_query(int(answers.query_ids[pair.query]), x, y)
        board.put_hit(int(answers.ids[pair.query, pair.rank - 1]), x + STEP, y, relevant=False)
        board.number(pair.rank, x + STEP, y)
        board.write(own, x, y + 1.06)
    board.finish()
    return figure


def choose_false_positives(answers: Answers, most: int, each: int = 1) -> list[FalsePositive]:
    """The irrelevant hits of the highest rank within the judged depths, difficulties taking turns."""
    turns: list[tuple[int, int, FalsePositive]] = []
    taken: dict[str, int] = {}
    counted = np.arange(answers.ids.shape[1]) < answers.depths[:, None]
    wrong = ~answers.relevant & counted & (answers.ids != PADDING_ID) & answers.is_judged[:, None]
    found = [
        FalsePositive(query, int(hit) + 1) for query, row in enumerate(wrong) for hit in np.flatnonzero(row)[:each]
    ]
    for pair in sorted(found, key=lambda pair: pair.rank):
        stratum = str(answers.strata[pair.query])
        taken[stratum] = taken.get(stratum, 0) + 1
        turns.append((taken[stratum], pair.rank, pair))
    first = [pair for _, _, pair in sorted(turns)[:most]]
    return sorted(first, key=lambda pair: pair.query)


def shown_classes(tiles: Tiles, place: int) -> str:
    """What a tile shows by its label or its largest classes; empty where nobody knows."""
    if tiles.labels is not None:
        return str(tiles.labels[place]).replace("_", " ")
    fractions = tiles.class_fractions
    if fractions is None:
        return ""
    shares = pd.Series(fractions.iloc[place]).sort_values(ascending=False, kind="stable").head(_MOST_CLASSES)
    named = [(str(name).replace("_", " "), share * 100) for name, share in shares.items() if share >= _LEAST_FRAC]
    return ", ".join(f"{name} {percent:.0f}\N{NO-BREAK SPACE}%" for name, percent in named)


def _words(tiles: Tiles, answers: Answers, pair: FalsePositive) -> list[str]:
    """Lines below a pair."""
    query, found = int(answers.query_ids[pair.query]), int(answers.ids[pair.query, pair.rank - 1])
    shows = shown_classes(tiles, int(np.flatnonzero(tiles.ids == found)[0]))
    asked = f"tile {query}, {answers.strata[pair.query]}: {answers.concepts[pair.query].replace('_', ' ')}"
    told = [asked, f"tile {found}: {shows}" if shows else f"tile {found}"]
    return [line for text in told for line in shortened(wrapped(text, _PAIR * side_in(_WIDTH)), _MOST_LINES)]
