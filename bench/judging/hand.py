"""Queries that a person chose, to be judged by hand: which tiles, what each shows in words, how hard it is."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bench.judging.judgments import EASY, HARD, MEDIUM, NOT_SEARCHED, QUERY_COLUMNS, STRATA, Judgments
from bench.judging.spreadsheet import listed, read_rows, whole_number
from ris_core.errors import CorpusError

DIFFICULTIES = (EASY, MEDIUM, HARD)
COLUMNS = ("tile", "concept", "difficulty")


def hand_judgments(
    ids: np.ndarray, path: Path, depths: Mapping[str, int], held_out: np.ndarray | None = None
) -> Judgments:
    """The queries of a file, with nothing decided about any tile yet.

    Args:
        ids: (n,) tile ids of the corpus that is searched.
        path: CSV with the columns `COLUMNS`: the id of a query's tile, what it shows, and one of `DIFFICULTIES`.
        depths: For each difficulty the length of the answer lists that are judged.
        held_out: Ids of tiles that are queries and not searched.

    Raises:
        CorpusError: With all faults of the file, or if there is no query in it.
        ArtifactError: If it is missing, no text, or lacks a column.
    """
    places = {int(tile): row for row, tile in enumerate(ids)}
    places |= {} if held_out is None else {int(tile): NOT_SEARCHED for tile in held_out}
    records: dict[int, tuple[int, int, str, str, int, int]] = {}
    faults = []
    for line, (tile, concept, difficulty) in read_rows(path, COLUMNS):
        number = whole_number(tile)
        if number is None or number not in places:
            faults.append(f"line {line}: tile {tile!r} is not the id of one of the {len(places)} tiles that can ask.")
        elif number in records:
            faults.append(f"line {line}: tile {number} stands there again; a tile is one query.")
        elif not concept or difficulty not in DIFFICULTIES:
            faults.append(
                f"line {line}: concept {concept!r}, difficulty {difficulty!r}; a concept is what the tile shows, in "
                f"words, and a difficulty one of {', '.join(DIFFICULTIES)}."
            )
        else:
            records[number] = (number, places[number], difficulty, concept, depths[difficulty], 0)
    if faults or not records:
        raise CorpusError(listed(path, faults or ["no query stands in it. Name a tile a line."]))
    ordered = sorted(records.values(), key=lambda record: STRATA.index(record[2]))
    queries = pd.DataFrame(ordered, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS)
    note = (
        f"{len(queries)} queries are to be judged by hand, so that this run has no precision of its own: "
        "`python -m bench pool RUN --out FOLDER` asks for judgments and scores by them."
    )
    return Judgments(queries, np.zeros((len(queries), len(ids)), bool), (note,), is_decided=False)
