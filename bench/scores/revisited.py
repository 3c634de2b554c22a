"""Scores of the revisited Oxford and Paris benchmarks, for answer lists as an engine may really return them.

A pair of query and tile is labelled easy, hard, junk or, by default, negative; a set-up says which labels are right and
which are ignored. The protocol was made for rankings of the whole database. Here lists are cut off, so tiles that were
not returned count as not found, padding and second mentions are wrong answers in their places, and an empty list is 0.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bench.scores.places import first_relevant, share_of
from bench.scores.score import precision_at_k
from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Hits

DEPTHS = (1, 5, 10)
SETUPS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # name: labels that are right, labels that are ignored
    "easy": (("easy",), ("hard", "junk")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("easy", "junk")),
}


@dataclasses.dataclass(frozen=True, eq=False)
class PairLabels:
    """What the tiles are to one query; those that are not named are negative.

    Attributes:
        easy: Ids of the tiles that show the query's subject clearly.
        hard: Ids of those that show it under difficult conditions.
        junk: Ids of those that cannot be decided; the query's own id, where it is a tile of the corpus.
    """

    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray

    def __post_init__(self) -> None:
        named = np.concatenate([self.easy, self.hard, self.junk])
        ids, mentions = np.unique(named, return_counts=True)
        if (mentions > 1).any():
            raise SearchError(f"tile {ids[mentions > 1][0]} is labelled twice for one query. Keep one label a tile.")

    def of(self, labels: Sequence[str]) -> np.ndarray:
        """Ids of the tiles with any of these labels."""
        return np.concatenate([getattr(self, label) for label in labels])


@dataclasses.dataclass(frozen=True, eq=False)
class JudgedHits:
    """Answers under one set-up, for the measures here and for those of `bench.scores.score`.

    Attributes:
        hits: (q, k) answers without the ignored tiles; later ones moved up, the end padded.
        relevance: (q, k) bool: is the tile in this place right?
        relevant: (q,) int64 number of right tiles in the corpus.
    """

    hits: Hits
    relevance: np.ndarray
    relevant: np.ndarray


def judge_setup(hits: Hits, labels: Sequence[PairLabels], setup: str) -> JudgedHits:
    """Answers as one set-up sees them.

    Args:
        hits: (q, k) answers, deep enough that ignored tiles may go.
        labels: The labels of each query, in the order of the hits.
        setup: A key of `SETUPS`.

    Raises:
        SearchError: If the set-up is unknown or the numbers of queries differ.
    """
    if setup not in SETUPS:
        raise SearchError(f"set-up {setup!r} is unknown; there are {', '.join(SETUPS)}.")
    if len(labels) != len(hits):
        raise SearchError(f"{len(hits)} answer lists have the labels of {len(labels)} queries.")
    right, ignored = SETUPS[setup]
    ids = np.full(hits.ids.shape, PADDING_ID, np.int64)
    distances = np.full(hits.ids.shape, np.inf, np.float32)
    relevance = np.zeros(hits.ids.shape, bool)
    for query, of_query in enumerate(labels):
        kept = np.flatnonzero(~np.isin(hits.ids[query], of_query.of(ignored)))
        ids[query, : len(kept)], distances[query, : len(kept)] = hits.ids[query, kept], hits.distances[query, kept]
        relevance[query] = np.isin(ids[query], of_query.of(right))
    counts = np.array([len(of_query.of(right)) for of_query in labels], np.int64)
    return JudgedHits(Hits(ids, distances), relevance, counts)


def revisited_average_precision(judged: JudgedHits) -> np.ndarray:
    """Area under precision over recall, by trapezoids.

    With r_j the zero-based place of the j-th right tile found and R right tiles in the corpus: the sum over j of
    (a_j + b_j) / 2R with a_j = j / r_j (1 where r_j = 0) and b_j = (j + 1) / (r_j + 1).

    Returns:
        (q,) float64 in [0, 1]; NaN for a query without any right tile.

    Raises:
        SearchError: If more right tiles are found than there are.

    Source:
        Radenović et al. 2018, Revisiting Oxford and Paris, arXiv:1803.11285, and its compute_ap. Differs: a second
        mention of a tile is wrong in its place (there: right again, so that the score may exceed 1).
    """
    gain = _gain(judged)
    found, place = np.cumsum(gain, axis=1), np.arange(gain.shape[1])
    before = np.where(place == 0, 1, (found - 1) / np.maximum(place, 1))
    return share_of((gain * (before + found / (place + 1)) / 2).sum(axis=1), judged.relevant)


def revisited_precision_at_k(judged: JudgedHits, k: int) -> np.ndarray:
    """Precision at k, or at the place of the last right tile found where that is earlier: the published figure.

    For comparison with published tables alone: a list with one right answer and nothing else scores 1 at every k.
    `bench.scores.score.precision_at_k` of the same judged hits divides by k.

    Returns:
        (q,) float64 in [0, 1]; 0 where no right tile is found, NaN for a query without any.

    Raises:
        SearchError: As `revisited_average_precision`; or if k is below 1.

    Source:
        As `revisited_average_precision`, its compute_map. Differs: as there; no right tile found is 0 (there: a crash).
    """
    found = first_relevant(judged.hits, judged.relevance, k).sum(axis=1)
    gain = _gain(judged)
    last = np.max(gain * np.arange(1, gain.shape[1] + 1), axis=1, initial=1)
    return np.where(judged.relevant > 0, found / np.minimum(k, last), np.nan)


def revisited_scores(judged: JudgedHits) -> pd.DataFrame:
    """Every score of some answers, one row a query.

    The mean of a column is the published mean: pandas skips the queries without right tiles, whose scores are missing.

    Returns:
        Columns ``relevant`` (int64), ``average_precision``, and for k = 1, 5, 10 ``precision_at_<k>`` (divisor k) and
        ``revisited_precision_at_<k>`` (as published).

    Raises:
        SearchError: As `revisited_average_precision`.
    """
    scores = {"relevant": judged.relevant, "average_precision": revisited_average_precision(judged)}
    for k in DEPTHS:
        precision = precision_at_k(judged.hits, judged.relevance, k)
        scores[f"precision_at_{k}"] = np.where(judged.relevant > 0, precision, np.nan)
        scores[f"revisited_precision_at_{k}"] = revisited_precision_at_k(judged, k)
    return pd.DataFrame(scores)


def _gain(judged: JudgedHits) -> np.ndarray:
    """(q, k) bool: places that hold a right tile for the first time, at most as many as there are."""
    gain = first_relevant(judged.hits, judged.relevance, max(1, judged.hits.k))
    share_of(gain.sum(axis=1), judged.relevant)
    return gain
