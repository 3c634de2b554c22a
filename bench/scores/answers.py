"""Answers checked after the clock, in one way for every engine.

Rows become tile ids, the query's own tile and repeated tiles go, distances are computed again: nothing that an
engine says about distances is believed.
"""

import dataclasses

import numpy as np

from bench.scores.places import countable
from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Features, Hits

_BLOCK_VALUES = 2**22  # float64 differences held at once: 32 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What an engine answered, checked.

    Attributes:
        hits: (q, k) ids and recomputed distances, in the engine's order, padded where it gave fewer.
        shorter_than_k_frac: Share of queries with fewer than k different tiles other than their own.
        self_first_frac: Share of the queries whose tile is in the base to which it came first; NaN for none such.
        self_missed_frac: Share of the same queries to which it did not come at all.
    """

    hits: Hits
    shorter_than_k_frac: float
    self_first_frac: float
    self_missed_frac: float


def squared_distances(base: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Squared Euclidean distance of each query to the base rows that stand in its line.

    Args:
        base: (n, d) float32.
        queries: (q, d) float32.
        rows: (q, m) int64 rows of ``base``, -1 where padded.

    Returns:
        (q, m) float32, +inf where padded. Summed in float64, so it is the same for a pair wherever it stands.
    """
    out = np.full(rows.shape, np.inf, np.float32)
    block = max(1, _BLOCK_VALUES // max(1, rows.shape[1] * base.shape[1]))
    for start in range(0, len(rows), block):
        part = slice(start, start + block)
        differences = base[rows[part]].astype(np.float64) - queries[part, None, :]  # (b, m, d); row -1 is masked below
        out[part] = np.square(differences).sum(axis=2)
    out[rows < 0] = np.inf
    return out


def checked_rows(rows: np.ndarray, n: int, q: int, k: int) -> np.ndarray:
    """The rows that an engine answered to q queries, if they can be.

    Raises:
        SearchError: If the answer is of another shape than (q, at least k), or names rows other than -1 to n - 1.
    """
    if type(rows) is not np.ndarray or rows.dtype.kind not in "iu":
        kind = getattr(rows, "dtype", type(rows).__name__)
        raise SearchError(f"the engine answered rows that are {kind}; allowed is an array of whole numbers.")
    if rows.ndim != 2 or len(rows) != q or rows.shape[1] < k:
        raise SearchError(f"the engine answered {q} queries at k = {k} by rows of shape {rows.shape}.")
    if rows.size and (rows.min() < PADDING_ID or rows.max() >= n):
        raise SearchError(f"the engine answered rows from {rows.min()} to {rows.max()}; the base has {n}.")
    return rows


def check_answers(rows: np.ndarray, base: Features, queries: np.ndarray, query_rows: np.ndarray, k: int) -> Answers:
    """Hits of the rows that an engine answered.

    Args:
        rows: (q, at least k) int64 rows of the base, nearest first, padded with -1.
        base: The indexed features.
        queries: (q, d) float32 queries in the base's space.
        query_rows: (q,) the queries' own rows in the base, which are dropped; -1 for a query that is not in it.
        k: Length of the answer lists.

    Raises:
        SearchError: If the engine's answer is of another shape, or names rows that do not exist.
    """
    rows = checked_rows(rows, len(base), len(queries), k)
    is_tile = query_rows >= 0
    own = rows[is_tile] == query_rows[is_tile, None]
    first, missed = (own[:, 0].mean(), 1 - own.any(axis=1).mean()) if is_tile.any() else (np.nan, np.nan)
    good = countable(rows, query_rows)
    order = np.argsort(~good, axis=1, kind="stable")
    kept = np.take_along_axis(np.where(good, rows, PADDING_ID), order, axis=1)[:, :k].astype(np.int64)
    distances = squared_distances(base.values, queries, kept)
    ids = np.where(kept >= 0, base.ids[kept], PADDING_ID)
    short = (kept < 0).any(axis=1)
    return Answers(Hits(ids, distances), float(short.mean()), float(first), float(missed))
