"""Scores of answers of which some were never judged: an unjudged answer is neither right nor wrong.

Grades stand beside the answers: above 0 relevant, 0 not, below 0 not judged. Places count as in `bench.scores.places`:
an empty place is wrong, an id counts once, the query's own tile is no answer.
"""

import numpy as np

from bench.scores.places import countable, share_of
from ris_core.errors import SearchError
from ris_core.records import Hits

UNJUDGED = -1  # grade of a tile that nobody judged, or on which judges are split evenly


def judged_at_k(hits: Hits, grades: np.ndarray, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Share of the answers among the first k that were judged; 1 where nothing was answered.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        grades: (q, any) int, of the same shape as the hits.
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is no answer; -1 for queries that are no tiles.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the shapes differ, the grades are no whole numbers, or k is below 1.

    Source:
        "Judged@k" of ir_measures. Differs: an id counts once, and an empty list is wholly judged.
    """
    given, grades = _places(hits, grades, k, query_ids)
    judged, answered = (given & (grades >= 0)).sum(axis=1), given.sum(axis=1)
    return np.divide(judged, answered, out=np.ones(len(given)), where=answered > 0)


def precision_bounds(
    hits: Hits, grades: np.ndarray, k: int, query_ids: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest `precision_at_k` that is possible: all unjudged answers wrong, or all right.

    Arguments and errors as of `judged_at_k`.

    Returns:
        Two (q,) float64 in [0, 1]; equal where all was judged.

    Source:
        "P@k" of trec_eval for the least; with the residual of Moffat and Zobel 2008, Rank-biased precision, for the
        greatest. Differs: an id counts once.
    """
    given, grades = _places(hits, grades, k, query_ids)
    right, unjudged = (given & (grades > 0)).sum(axis=1), (given & (grades < 0)).sum(axis=1)
    return right / k, (right + unjudged) / k


def condensed_precision(hits: Hits, grades: np.ndarray, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Precision of the first k places without those whose answer nobody judged.

    Arguments and errors as of `judged_at_k`.

    Returns:
        (q,) float64 in [0, 1]; NaN where there are answers and none of them was judged.

    Source:
        Sakai 2007, Alternatives to Bpref, SIGIR: measures on condensed lists. Differs: a list ends at k, so that what
        is left of it is the divisor, where there later answers move up.
    """
    given, grades = _places(hits, grades, k, query_ids)
    right, unjudged = (given & (grades > 0)).sum(axis=1), (given & (grades < 0)).sum(axis=1)
    nothing_known = (unjudged > 0) & (unjudged == given.sum(axis=1))
    return share_of(right, np.where(nothing_known, 0, k - unjudged))


def bpref(
    hits: Hits,
    grades: np.ndarray,
    totals: tuple[np.ndarray, np.ndarray],
    k: int,
    query_ids: np.ndarray | None = None,
) -> np.ndarray:
    """How seldom tiles that were judged wrong stand before relevant ones; unjudged ones do not count at all.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        grades: (q, any) int, of the same shape as the hits.
        totals: Two (q,): how many tiles were judged relevant, and how many wrong, the query itself left out.
        k: Depth, in places.
        query_ids: As for `judged_at_k`.

    Returns:
        (q,) float64 in [0, 1]; NaN for a query without a relevant tile.

    Raises:
        SearchError: As `judged_at_k`; or if more relevant or more wrong tiles are found than there are.

    Source:
        Buckley and Voorhees 2004, Retrieval Evaluation with Incomplete Information, as "bpref" of trec_eval has it.
        Differs: the list is cut at k, an id counts once, and a query without relevant tiles is NaN (there: 0).
    """
    given, grades = _places(hits, grades, k, query_ids)
    relevant, wrong = (np.asarray(total, np.int64) for total in totals)
    right, refused = given & (grades > 0), given & (grades == 0)
    for found, total in ((right, relevant), (refused, wrong)):
        share_of(found.sum(axis=1), total)  # a tile too many is a mistake of the caller
    before = np.minimum(np.cumsum(refused, axis=1), relevant[:, None])
    most = np.maximum(np.minimum(relevant, wrong), 1)[:, None]  # nothing stands before where nothing is wrong
    return share_of((right * (1 - before / most)).sum(axis=1), relevant)


def _places(hits: Hits, grades: np.ndarray, k: int, query_ids: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(q, at most k) bool: which of the first k places hold an answer; and their grades."""
    if grades.shape != hits.ids.shape or grades.dtype.kind not in "iu":
        raise SearchError(
            f"hits of shape {hits.ids.shape} have grades of shape {grades.shape} and type {grades.dtype}; one whole "
            "number a hit is needed."
        )
    if k < 1:
        raise SearchError(f"k = {k}; a list is scored to a depth of at least 1.")
    return countable(hits.ids[:, :k], query_ids), grades[:, :k]
