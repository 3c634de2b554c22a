"""Scores of ranked answers: NumPy formulas under their published names.

Every measure treats an answer list as an engine may really return it: short (padded with -1), with an id twice,
with the query among its own answers. Padding is wrong, an id counts once, and a tile is never its own neighbour.
`docs/measures.md` has each formula with an example worked by hand.
"""

from collections.abc import Callable

import numpy as np

from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Hits

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
        truth: (q, >=k) exact neighbours in the same space as ``hits``.
        k: Cut-off, in tiles.
        query_ids: (q,) tile ids of the queries where these are tiles of the corpus, so that a self hit is wrong.
        tolerance: Relative slack of the comparison, for the rounding of float32 sums.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the number of queries differs, or ``truth`` holds fewer than k neighbours of a query.

    Source:
        Aumüller et al. 2020, ANN-Benchmarks, arXiv:1807.05614. Differs: the slack is relative and as small as float32
        allows (there: 1e-3, absolute), repeated ids count once (there: an error), self hits are wrong.
    """
    _check_truth(hits, truth, k)
    cutoff = truth.distances[:, k - 1 : k].astype(np.float64) * (1 + tolerance)
    near = hits.distances[:, :k] <= cutoff
    return (near & countable(hits.ids[:, :k], query_ids)).sum(axis=1) / k


def id_recall_at_k(hits: Hits, truth: Hits, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Share of each query's k nearest tiles whose very ids its hits contain.

    At most `recall_at_k`, apart from rounding; the gap between the two is the share of ties at rank k.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        truth: (q, >=k) exact neighbours.
        k: Cut-off, in tiles.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: As `recall_at_k`.

    Source:
        The usual recall of the nearest-neighbour literature, "k-recall@k" in the big-ann benchmarks. Differs: none.
    """
    _check_truth(hits, truth, k)
    ids = np.where(countable(hits.ids[:, :k], query_ids), hits.ids[:, :k], PADDING_ID)
    right = [len(np.intersect1d(found, true)) for found, true in zip(ids, truth.ids[:, :k], strict=True)]
    return np.asarray(right, dtype=np.float64) / k


def precision_at_k(hits: Hits, relevance: np.ndarray, k: int, query_ids: np.ndarray | None = None) -> np.ndarray:
    """Share of the first k places that hold a relevant tile; k is always the divisor.

    Args:
        hits: (q, any) ids; a list shorter than k leaves places empty, which count against it.
        relevance: (q, any) bool, of the same shape as the hits: is the tile in this place relevant?
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong.

    Returns:
        (q,) float64 in [0, 1].

    Raises:
        SearchError: If the shapes differ.

    Source:
        Buckley and Voorhees 2000, "P@k" in trec_eval and ir_measures. Differs: an id counts once.
    """
    return _gain(hits, relevance, k, query_ids).sum(axis=1) / k


def average_precision(
    hits: Hits, relevance: np.ndarray, relevant: np.ndarray, k: int, query_ids: np.ndarray | None = None
) -> np.ndarray:
    """Mean over all relevant tiles of the precision at the place where each is found; 0 for those not found.

    Args:
        hits: (q, any) ids; only the first k columns are looked at.
        relevance: (q, any) bool, of the same shape as the hits.
        relevant: (q,) number of relevant tiles in the corpus, the query itself left out.
        k: Depth, in places.
        query_ids: (q,) tile ids of the queries, so that a self hit is wrong.

    Returns:
        (q,) float64 in [0, 1]; NaN for a query without any relevant tile.

    Raises:
        SearchError: If the shapes differ.

    Source:
        "AP@k" in ir_measures, "map_cut_k" in trec_eval: the divisor is the number of relevant tiles even where it
        exceeds k. Differs: an id counts once (its second mention is a wrong answer in its place), and a query without
        relevant tiles is NaN (there: 0). Not the trapezoidal AP of the revisited Oxford and Paris benchmarks.
    """
    gain = _gain(hits, relevance, k, query_ids)
    precision = np.cumsum(gain, axis=1) / np.arange(1, gain.shape[1] + 1)
    total = np.asarray(relevant, dtype=np.float64)
    return np.divide((precision * gain).sum(axis=1), total, out=np.full(len(total), np.nan), where=total > 0)


def knn_accuracy(values: np.ndarray, labels: np.ndarray, k: int = 20, temperature: float = 0.07) -> float:
    """Share of tiles whose label a weighted vote of their k nearest other tiles gets right.

    A neighbour of cosine similarity s votes with weight exp(s / temperature).

    Args:
        values: (n, d) features; they are normalised to length 1 here.
        labels: (n,) label of each tile, of any type that can be sorted.
        k: Number of voters; all others where fewer exist.
        temperature: Sharpness of the weights.

    Returns:
        Accuracy in [0, 1]; NaN for fewer than two tiles.

    Source:
        Caron et al. 2021, DINO, arXiv:2104.14294 (eval_knn.py; k = 20 is its best there). Differs: each tile is
        classified by all others (leave one out), where DINO has a training and a validation set.
    """
    n = len(values)
    k = min(k, n - 1)
    if k < 1:
        return float("nan")
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    unit = np.ascontiguousarray(values / np.where(norms > 0, norms, 1), dtype=np.float32)
    names, codes = np.unique(labels, return_inverse=True)
    right, block = 0, max(1, _BLOCK_VALUES // n)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        similarity = unit[rows] @ unit.T  # (block, n)
        similarity[np.arange(len(rows)), rows] = -np.inf
        voters = np.argpartition(similarity, n - k, axis=1)[:, n - k :]
        weights = np.exp(np.take_along_axis(similarity, voters, axis=1).astype(np.float64) / temperature)
        votes = np.zeros((len(rows), len(names)))
        np.add.at(votes, (np.arange(len(rows))[:, None], codes[voters]), weights)
        right += int((votes.argmax(axis=1) == codes[rows]).sum())
    return right / n


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
        values: (q,) one score a query.
        confidence: Share of the resampled means inside the interval.
        resamples: Number of times that q queries are drawn with replacement.
        seed: Seed of the draws.

    Returns:
        Lower and upper bound; NaN for fewer than two queries.

    Source:
        Efron and Tibshirani 1993, percentile bootstrap. Differs: none. For ten queries it is a little too narrow, and
        it knows nothing of queries that show the same concept.
    """
    scores = np.asarray(values, dtype=np.float64)
    q = len(scores)
    if q < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
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
    "knn_accuracy": knn_accuracy,
    "latency_summary": latency_summary,
    "bootstrap_interval": bootstrap_interval,
}


def countable(ids: np.ndarray, query_ids: np.ndarray | None = None) -> np.ndarray:
    """(q, k) bool: which answers may count: not padding, not named earlier in the list, not the query itself."""
    order = np.argsort(ids, axis=1, kind="stable")  # equal ids keep their order, so the first stays first
    ranked = np.take_along_axis(ids, order, axis=1)
    again = np.zeros(ids.shape, dtype=bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = np.empty_like(again)
    np.put_along_axis(repeated, order, again, axis=1)
    allowed = (ids != PADDING_ID) & ~repeated
    if query_ids is not None:
        if len(query_ids) != len(ids):
            raise SearchError(f"{len(ids)} answer lists have {len(query_ids)} query ids.")
        allowed &= ids != np.asarray(query_ids)[:, None]
    return allowed


def _gain(hits: Hits, relevance: np.ndarray, k: int, query_ids: np.ndarray | None) -> np.ndarray:
    """(q, <=k) bool: places that hold a relevant tile for the first time."""
    if relevance.shape != hits.ids.shape:
        raise SearchError(f"hits of shape {hits.ids.shape} have relevance of shape {relevance.shape}.")
    return relevance[:, :k].astype(bool) & countable(hits.ids[:, :k], query_ids)


def _check_truth(hits: Hits, truth: Hits, k: int) -> None:
    if len(hits) != len(truth):
        raise SearchError(f"{len(hits)} answer lists are to be scored against the truth of {len(truth)} queries.")
    if k < 1 or k > truth.k or (truth.ids[:, k - 1] == PADDING_ID).any():
        raise SearchError(
            f"recall at k = {k} needs {k} true neighbours of each query; the truth holds {truth.k} at most. "
            "Lower k, or compute the exact neighbours to a greater depth."
        )
