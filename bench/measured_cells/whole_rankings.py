"""Scores of whole rankings, as the revisited protocol takes them: asked for after the clock, some queries at a time."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from bench.measured_cells.scoring import Scorer
from bench.scores.answers import checked_rows
from bench.scores.places import countable
from bench.scores.revisited import JudgedHits, revisited_scores
from bench.stages.base import Asked
from ris_core.records import PADDING_ID, Hits

_BLOCK_ROWS = 2**24  # answers held at once


def score_whole_rankings(
    scorer: Scorer, answer: Callable[[Asked, int], np.ndarray], heads: np.ndarray | None = None
) -> dict[str, list[float]]:
    """Scores of the revisited protocol, each of all judged queries in the judgments' order; none without pair labels.

    A query that is judged in several set-ups is asked once. Lists that an index cuts off stay as short as they are.

    Args:
        scorer: What the answers are held against.
        answer: The rows that the index answers to some queries, so many of them: (q, k), padded with -1.
        heads: (judged queries, any) rows that come first, such as those that were re-ranked; None: none do.

    Raises:
        SearchError: If the index names rows that do not exist.
    """
    judgments, base = scorer.judgments, scorer.base
    if judgments is None or judgments.ignored is None:
        return {}
    tiles, n = judgments.queries["query_id"].to_numpy(np.int64), len(base.corrected)
    (different, firsts), parts = np.unique(tiles, return_index=True), []
    for start in range(0, len(different), block := max(1, _BLOCK_ROWS // n)):
        some = different[start : start + block]
        asked = base.asked_by(some)
        rows = checked_rows(answer(asked, n), n, len(asked), n)
        if heads is not None:
            rows = np.concatenate([heads[firsts[start : start + block]], rows], axis=1)
        rows = _first_mentions(rows)
        places = np.flatnonzero(np.isin(tiles, some))
        found = rows[np.searchsorted(some, tiles[places])]
        ids = np.where(found >= 0, base.corrected.ids[found], PADDING_ID)
        part = judgments.part(places)
        hits = part.counted(Hits(ids, np.zeros(ids.shape, np.float32)), base.corrected.ids)  # distances are not read
        relevance, totals = part.relevance_of(hits, base.corrected.ids), part.queries["relevant"].to_numpy(np.int64)
        parts.append(revisited_scores(JudgedHits(hits, relevance, totals)).set_index(places))
    scores = pd.concat(parts).sort_index().drop(columns="relevant")
    return {str(name): scores[name].tolist() for name in scores}


def _first_mentions(rows: np.ndarray) -> np.ndarray:
    """The lists without what they named before, padded at the end: as `bench.scores.answers.check_answers` does it."""
    good = countable(rows)
    return np.take_along_axis(np.where(good, rows, PADDING_ID), np.argsort(~good, axis=1, kind="stable"), axis=1)
