"""Answers checked after the clock, in one way for every engine.

Rows become tile ids, the query's own tile and repeated tiles go, distances are computed again: nothing that an
engine says about distances is believed.
"""

import dataclasses

import numpy as np

from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Features, Hits

_BLOCK_VALUES = 2**22  # float64 differences held at once: 32 MiB


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What an engine answered, checked.

    Attributes:
        hits: (q, k) ids and recomputed distances, in the engine's order, padded where it gave fewer.
        shorter_than_k_frac: Share of queries with fewer than k different tiles other than their own.
        self_first_frac: Share of queries whose own tile came first.
    """

    hits: Hits
    shorter_than_k_frac: float
    self_first_frac: float


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


def check_answers(rows: np.ndarray, base: Features, queries: np.ndarray, query_rows: np.ndarray, k: int) -> Answers:
    """Hits of the rows that an engine answered.

    Args:
        rows: (q, at least k) int64 rows of the base, nearest first, padded with -1.
        base: The indexed features.
        queries: (q, d) float32 queries in the base's space.
        query_rows: (q,) the queries' own rows in the base, which are dropped.
        k: Length of the answer lists.

    Raises:
        SearchError: If the engine's answer is of another shape, or names rows that do not exist.
    """
    if rows.ndim != 2 or len(rows) != len(queries) or rows.shape[1] < k:
        raise SearchError(f"the engine answered {len(queries)} queries at k = {k} by rows of shape {rows.shape}.")
    if rows.size and (rows.min() < PADDING_ID or rows.max() >= len(base)):
        raise SearchError(f"the engine answered rows from {rows.min()} to {rows.max()}; the base has {len(base)}.")
    self_first = rows[:, 0] == query_rows
    good = (rows >= 0) & (rows != query_rows[:, None]) & _first_mentions(rows)
    order = np.argsort(~good, axis=1, kind="stable")
    kept = np.take_along_axis(np.where(good, rows, PADDING_ID), order, axis=1)[:, :k].astype(np.int64)
    distances = squared_distances(base.values, queries, kept)
    ids = np.where(kept >= 0, base.ids[kept], PADDING_ID)
    short = (kept < 0).any(axis=1)
    return Answers(Hits(ids, distances), float(short.mean()), float(self_first.mean()))


def _first_mentions(rows: np.ndarray) -> np.ndarray:
    """(q, m) bool: is this the first place at which its line names this row?"""
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    fresh = np.ones(rows.shape, bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty(rows.shape, bool)
    np.put_along_axis(first, order, fresh, axis=1)
    return first
