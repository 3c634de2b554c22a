"""Scores of ranked answers: NumPy formulas under their published names.

Every measure treats an answer list as an engine may really return it: short (padded with -1), with an id twice,
with the query among its own answers. Padding is wrong, an id counts once, and a tile is never its own neighbour.
What only a mistake of the caller can bring (a truth with the query in it, more relevant tiles found than exist) is
refused, so that no score leaves [0, 1]. `docs/measures.md` has each formula with an example worked by hand.
"""

import functools
from collections.abc import Callable

import numpy as np

from bench.scores.places import countable, first_relevant, share_of
from ris_core.errors import SearchError
from ris_core.records import Hits

# Two float32 sums of d squares that were added up in different orders differ by about sqrt(d) roundings.
# 32 roundings allow for d = 1,024; the distances themselves come from one function.
RELATIVE_TOLERANCE = 32 * float(np.finfo(np.float32).eps)
P95_MIN_QUERIES = 100  # at least five observations lie above the percentile
P99_MIN_QUERIES = 500
_BLOCK_VALUES = 2**22


def recall_at_k(
    hits: Hits,
    truth: Hits,
    k: int,
    query_ids: np.ndarray | None = None,
    tolerance: float = RELATIVE_TOLERANCE,
) -> np.ndarray:
    """Share of each query's k nearest tiles that its hits contain, ties at rank k counted as right.

    A hit counts when its distance is at most the k-th true distance, so a tile tied at rank k is a right answer.
    Padding, the second mention of an id and the query itself never count.

    Args:
        hits: (q, any) ids and distances; the harness recomputes the distances itself, the engine's are not believed.
            Only the first k columns are looked at; a list shorter than k is scored as if padded.
        truth: (q, >=k) exact neighbours in the same space as ``hits``, nearest first.
        k: Cut-off, in tiles.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong; -1 for queries that are no tiles.
        tolerance: Relative slack of the comparison, for the rounding of float32 sums.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the number of queries differs; if ``truth`` does not hold k different neighbours of each query,
            nearest first, the query itself left out; if a hit is nearer than the k-th true neighbour without being a
            true neighbour, because then hits and truth do not belong together or the distances lie.

    Source:
        Aumüller et al. 2020, ANN-Benchmarks, arXiv:1807.05614. Differs: the slack is relative and as small as float32
        allows (there: 1e-3, absolute), repeated ids count once (there: an error), self hits are wrong.
    """
    _check_truth(hits, truth, k, query_ids)
    true = truth.distances[:, :k].astype(np.float64)
    if not np.isfinite(true).all() or (true[:, 1:] < true[:, :-1]).any():
        raise SearchError(
            "the true neighbours are not in order of finite distances. Compute the exact neighbours again."
        )
    ids, distances, farthest = hits.ids[:, :k], hits.distances[:, :k].astype(np.float64), true[:, -1:]
    counts = countable(ids, query_ids)
    nearer = counts & (distances < farthest * (1 - tolerance))
    _refuse_unknown(nearer & ~_is_true(ids, truth, k), ids)
    return (counts & (distances <= farthest * (1 + tolerance))).sum(axis=1) / k


def id_recall_at_k(hits: Hits, truth: Hits, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Share of each query's k nearest tiles whose very ids its hits contain.

    At most `recall_at_k`, apart from rounding; the gap between the two is the share of ties at rank k.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        truth: (q, >=k) exact neighbours.
        k: Cut-off, in tiles.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong; -1 for queries that are no tiles.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the number of queries differs, or ``truth`` does not hold k different neighbours of each query.

    Source:
        The usual recall of the nearest-neighbour literature, "k-recall@k" in the big-ann benchmarks. Differs: a
        repeated id counts once.
    """
    _check_truth(hits, truth, k, query_ids)
    ids = hits.ids[:, :k]
    return (countable(ids, query_ids) & _is_true(ids, truth, k)).sum(axis=1) / k


def precision_at_k(hits: Hits, relevance: np.ndarray, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Share of the first k places that hold a relevant tile; k is always the divisor.

    Args:
        hits: (q, any) ids; a list shorter than k leaves places empty, which count against it.
        relevance: (q, any) bool, of the same shape as the hits: is the tile in this place relevant?
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong; -1 for queries that are no tiles.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the shapes differ, the relevance is not bool, or k is below 1.

    Source:
        Buckley and Voorhees 2000, "P@k" in trec_eval and ir_measures. Differs: an id counts once.
    """
    return first_relevant(hits, relevance, k, query_ids).sum(axis=1) / k


def average_precision(
    hits: Hits, relevance: np.ndarray, relevant: np.ndarray, k: int, query_ids: np.ndarray | None = None
) -> np.ndarray:
    """Mean over all relevant tiles of the precision at the place where each is found; 0 for those not found.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        relevance: (q, any) bool, of the same shape as the hits.
        relevant: (q,) number of relevant tiles in the corpus, the query itself left out.
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong; -1 for queries that are no tiles.

    Returns:
        (q,) float64 in [0, 1]; NaN for a query without any relevant tile.

    Raises:
        SearchError: As `precision_at_k`; or if more relevant tiles are found than there are.

    Source:
        "AP@k" in ir_measures, "map_cut_k" in trec_eval: the divisor is the number of relevant tiles even where it
        exceeds k. Differs: an id counts once (its second mention is a wrong answer in its place), and a query without
        relevant tiles is NaN (there: 0). Not the trapezoidal AP of the revisited Oxford and Paris benchmarks.
    """
    gain = first_relevant(hits, relevance, k, query_ids)
    precision = np.cumsum(gain, axis=1) / np.arange(1, gain.shape[1] + 1)
    share_of(gain.sum(axis=1), relevant)  # the sum of precisions alone would hide a tile too many
    return share_of((precision * gain).sum(axis=1), relevant)


def ndcg_at_k(
    hits: Hits, grades: np.ndarray, all_grades: np.ndarray, k: int, query_ids: np.ndarray | None = None
) -> np.ndarray:
    """Grades of the first k places, those further down discounted, as a share of what the best order of all tiles has.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        grades: (q, any) int, of the same shape as the hits: grade of the tile in each place, 0 or less for a wrong one.
        all_grades: (q, n) int grades of all tiles of the corpus in any order, the query itself left out or 0.
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong; -1 for queries that are no tiles.

    Returns:
        (q,) float64 in [0, 1]; NaN for a query without any tile of a grade above 0.

    Raises:
        SearchError: If the shapes differ, k is below 1, or the answers have a greater gain than the best order.

    Source:
        Järvelin and Kekäläinen 2002 with base 2 and the grade as gain; "ndcg_cut_k" in trec_eval, "nDCG@k" in
        ir_measures. Differs: an id counts once, and a query without relevant tiles is NaN (there: 0).
    """
    gain = first_relevant(hits, np.asarray(grades > 0), k, query_ids) * grades[:, :k]
    best = -np.sort(-np.maximum(all_grades, 0), axis=1)[:, :k]
    reached, ideal = (part @ (1 / np.log2(np.arange(2, part.shape[1] + 2))) for part in (gain, best))
    return share_of(reached, ideal)


def latency_summary(times_s: np.ndarray | list[float]) -> dict[str, float]:
    """Median, mean, 95th and 99th percentile and maximum of query times, in milliseconds.

    Args:
        times_s: (n,) seconds, one for each query answered alone.

    Returns:
        ``median_ms``, ``mean_ms``, ``p95_ms``, ``p99_ms``, ``max_ms``. NaN where a percentile would be a guess:
        p95 below 100 queries, p99 below 500, all for none.

    Source:
        Percentiles by linear interpolation, NumPy's default. Differs: tail percentiles of few queries are refused.
    """
    times_ms = np.asarray(times_s, dtype=np.float64) * 1000
    n = len(times_ms)
    return {
        "median_ms": float(np.median(times_ms)) if n else float("nan"),
        "mean_ms": float(times_ms.mean()) if n else float("nan"),
        "p95_ms": float(np.percentile(times_ms, 95)) if n >= P95_MIN_QUERIES else float("nan"),
        "p99_ms": float(np.percentile(times_ms, 99)) if n >= P99_MIN_QUERIES else float("nan"),
        "max_ms": float(times_ms.max()) if n else float("nan"),
    }


def bootstrap_interval(
    values: np.ndarray | list[float], confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Interval that the mean over queries would fall into, had other queries of the same kind been drawn.

    Args:
        values: (q,) one score a query; NaN, such as the average precision of nothing relevant, is left out.
        confidence: Share of the resampled means inside the interval.
        resamples: Number of times that q queries are drawn with replacement.
        seed: Seed of the draws.

    Returns:
        Lower and upper bound; NaN for fewer than two scores.

    Source:
        Efron and Tibshirani 1993, percentile bootstrap. Differs: none. For ten queries it is a little too narrow, and
        it knows nothing of queries that show the same concept.
    """
    scores = np.asarray(values, dtype=np.float64)
    scores = scores[~np.isnan(scores)]
    if len(scores) < 2:
        return float("nan"), float("nan")
    return _bootstrapped(scores.tobytes(), confidence, resamples, seed)


@functools.lru_cache(maxsize=4096)  # the same scores stand in several tables
def _bootstrapped(stored: bytes, confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    scores = np.frombuffer(stored)
    q, rng = len(scores), np.random.default_rng(seed)
    if scores.min() == scores.max():
        return float(scores[0]), float(scores[0])
    block = max(1, _BLOCK_VALUES // q)
    means = [
        scores[rng.integers(q, size=(min(block, resamples - start), q))].mean(axis=1)
        for start in range(0, resamples, block)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


MEASURES: dict[str, Callable[..., object]] = {
    "recall_at_k": recall_at_k,
    "id_recall_at_k": id_recall_at_k,
    "precision_at_k": precision_at_k,
    "average_precision": average_precision,
    "ndcg_at_k": ndcg_at_k,
    "latency_summary": latency_summary,
    "bootstrap_interval": bootstrap_interval,
}


def _is_true(ids: np.ndarray, truth: Hits, k: int) -> np.ndarray:
    """(q, any) bool: which ids are among their query's k true neighbours?"""
    right = np.zeros(ids.shape, bool)
    for query, true in enumerate(truth.ids[:, :k]):
        right[query] = np.isin(ids[query], true)
    return right


def _check_truth(hits: Hits, truth: Hits, k: int, query_ids: np.ndarray | None) -> None:
    if len(hits) != len(truth):
        raise SearchError(f"{len(hits)} answer lists are to be scored against the truth of {len(truth)} queries.")
    if k < 1 or k > truth.k or not countable(truth.ids[:, :k], query_ids).all():
        raise SearchError(
            f"recall at k = {k} needs {k} true neighbours of each query, all different and none the query itself; "
            f"the truth holds {truth.k} at most. Lower k, or compute the exact neighbours to a greater depth."
        )


def _refuse_unknown(unknown: np.ndarray, ids: np.ndarray) -> None:
    """Refuse answers nearer than the last true neighbour that are no true neighbours: no honest answer is."""
    if unknown.any():
        query, place = np.argwhere(unknown)[0]
        raise SearchError(
            f"query {query}: tile {ids[query, place]} is nearer than the last true neighbour and yet none of them. "
            "Give the ids of the queries, and recompute the distances in the space of the truth."
        )
