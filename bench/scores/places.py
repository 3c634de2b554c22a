"""Which places of an answer list may count: the rules that all measures share.

Padding does not count, an id counts at its first mention, and a tile is never an answer to itself.
"""

import numpy as np

from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Hits


def countable(ids: np.ndarray, query_ids: np.ndarray | None = None) -> np.ndarray:
    """(q, k) bool: which answers may count: not padding, not named earlier in the list, not the query itself.

    Args:
        ids: (q, k) int64 tile ids.
        query_ids: (q,) tile ids of the queries; -1 for queries that are no tiles.

    Raises:
        SearchError: If there is not one whole number a query.
    """
    order = np.argsort(ids, axis=1, kind="stable")  # equal ids keep their order, so the first stays first
    ranked = np.take_along_axis(ids, order, axis=1)
    again = np.zeros(ids.shape, dtype=bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    allowed = (ids != PADDING_ID) & ~repeated
    if query_ids is not None:
        own = np.asarray(query_ids)
        if own.shape != (len(ids),) or own.dtype.kind not in "iu":
            raise SearchError(
                f"{len(ids)} answer lists have query ids of shape {own.shape} and type {own.dtype}; "
                "one whole number a list is needed."
            )
        allowed &= ids != own[:, None]
    return allowed


def first_relevant(hits: Hits, relevance: np.ndarray, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """(q, at most k) bool: which of the first k places hold a relevant tile for the first time.

    Args:
        hits: (q, any) ids.
        relevance: (q, any) bool, of the same shape as the hits: is the tile in this place relevant?
        k: Depth, in places.
        query_ids: As for `countable`.

    Raises:
        SearchError: If the shapes differ, the relevance is not bool, or k is below 1.
    """
    if relevance.shape != hits.ids.shape or relevance.dtype != bool:
        raise SearchError(
            f"hits of shape {hits.ids.shape} have relevance of shape {relevance.shape} and type {relevance.dtype}; "
            "one bool a hit is needed. Where there are grades, say which are relevant: grades > 0."
        )
    if k < 1:
        raise SearchError(f"k = {k}; a list is scored to a depth of at least 1.")
    return relevance[:, :k] & countable(hits.ids[:, :k], query_ids)


def share_of(found: np.ndarray, total: np.ndarray) -> np.ndarray:
    """(q,) float64 in [0, 1]: what was found of what there is; NaN where there is nothing.

    Raises:
        SearchError: If the shapes differ, or more was found than there is.
    """
    found, total = np.asarray(found, np.float64), np.asarray(total, np.float64)
    if total.shape != found.shape:
        raise SearchError(f"{len(found)} answer lists have totals of shape {total.shape}; one a query is needed.")
    fits = found <= total * (1 + 1e-9)  # sums of the same terms may round differently
    if not fits.all():
        query = int(np.argmin(fits))
        raise SearchError(
            f"query {query} has found {found[query]:g} of {total[query]:g}, which is all that is relevant in the "
            "corpus. Count the relevant tiles of the same judgments."
        )
    return np.divide(np.minimum(found, total), total, out=np.full(len(found), np.nan), where=total > 0)
