"""The cheapest way to ask an index so that it reaches a wanted recall, found on rows of the base itself."""

import dataclasses
from collections.abc import Callable

import numpy as np
import threadpoolctl

_SAMPLED_ROWS = 512
_BLOCK_ROWS = 16_384  # compared with the sample at once: some tens of megabytes
_SPARE_ROWS = 16  # beside a quarter of k, for the errors of products in float32
_FLOAT32_ERROR = 1e-6  # relative, of what an index ranks by: rows nearer to each other than this are tied
_STEP = 1.2  # from one number of probes to the next
_RERANK_FACTORS = (1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 15, 25, 50)  # times k


@dataclasses.dataclass(frozen=True)
class HeldOutSample:
    """Rows of the base that ask for their neighbours, each without itself.

    Attributes:
        base: (n, d) float32.
        distance: What neighbours are ranked by.
        rows: (s,) int64 rows at even distances.
        truth: (s, k) int64, their nearest other rows; which ones of equally near rows is chance.
        limits: (s,) float64, the largest value of a neighbour, by `_values`.
        is_tied: (s,) bool, whether a row beyond the truth is within the limit.
    """

    base: np.ndarray
    distance: str
    rows: np.ndarray
    truth: np.ndarray
    limits: np.ndarray
    is_tied: np.ndarray

    @property
    def queries(self) -> np.ndarray:
        """(s, d) float32, the vectors of the rows."""
        return np.ascontiguousarray(self.base[self.rows])

    def recalls(self, found: np.ndarray) -> np.ndarray:
        """(s,) shares of k neighbours in the found rows (s, k + 1), of which each query's own row does not count."""
        starts = np.arange(len(self.rows))[:, None] * (len(self.base) + 1)  # -1 has a place too
        is_other = (found >= 0) & (found != self.rows[:, None])
        is_hit = is_other & np.isin(found + starts, self.truth + starts, assume_unique=True)
        for i in np.flatnonzero(self.is_tied):
            tried = np.flatnonzero(is_other[i] & ~is_hit[i])
            is_hit[i, tried] = (
                _values(self.base[self.rows[i]], self.base[found[i, tried]], self.distance) <= self.limits[i]
            )
        k = self.truth.shape[1]
        return np.minimum(is_hit.sum(axis=1), k) / k


@dataclasses.dataclass(frozen=True)
class Choice:
    """A way to ask that reaches the recall.

    Attributes:
        probes: Buckets a table.
        rerank: Candidates that are scored exactly.
        recall: Mean recall on the sample.
    """

    probes: int
    rerank: int
    recall: float


def hold_out(base: np.ndarray, k: int, distance: str, threads: int) -> HeldOutSample:
    """A sample of up to 512 rows and the k nearest other rows of each, by exact search in blocks.

    Matrix products find some more rows than k, and sums of squared differences decide among them.

    Args:
        base: (n, d) float32, n > k.
        k: Neighbours of each row.
        distance: ``"euclidean_squared"``, ``"cosine"`` or ``"inner_product"``.
        threads: Of the matrix product.
    """
    rows = np.unique(np.linspace(0, len(base) - 1, min(len(base), _SAMPLED_ROWS)).astype(np.int64))
    found = _roughly_nearest(base, rows, min(len(base) - 1, k + k // 4 + _SPARE_ROWS), distance, threads)
    truth = np.empty((len(rows), k), np.int64)
    limits, is_tied = np.empty(len(rows)), np.zeros(len(rows), bool)
    for i, row in enumerate(rows):
        values = _values(base[row], base[found[i]], distance)
        order = np.argsort(values, kind="stable")
        truth[i] = found[i, order[:k]]
        limits[i] = values[order[k - 1]] + _FLOAT32_ERROR * abs(values[order[k - 1]])
        is_tied[i] = (values[order[k:]] <= limits[i]).any()
    return HeldOutSample(base, distance, rows, truth, limits, is_tied)


def _roughly_nearest(base: np.ndarray, rows: np.ndarray, count: int, distance: str, threads: int) -> np.ndarray:
    """(s, count) int64: other rows near each of the rows, by float32 matrix products."""
    centre = base[rows].mean(axis=0) if distance == "euclidean_squared" else np.float32(0)
    queries = base[rows] - centre  # products of long vectors would drown short distances
    best: np.ndarray = np.empty((len(rows), 0), np.float32)
    found: np.ndarray = np.empty((len(rows), 0), np.int64)
    with threadpoolctl.threadpool_limits(threads):
        for start in range(0, len(base), _BLOCK_ROWS):
            values = _ranked_by(queries, base[start : start + _BLOCK_ROWS] - centre, distance)
            is_own = (rows >= start) & (rows < start + values.shape[1])
            values[is_own, rows[is_own] - start] = np.inf
            here = np.broadcast_to(np.arange(start, start + values.shape[1]), values.shape)
            best, found = np.column_stack([best, values]), np.column_stack([found, here])
            if best.shape[1] > count:
                nearest = np.argpartition(best, count - 1, axis=1)[:, :count]
                best, found = (np.take_along_axis(array, nearest, axis=1) for array in (best, found))
    return found


def _ranked_by(queries: np.ndarray, block: np.ndarray, distance: str) -> np.ndarray:
    """What candidates are ranked by, the smaller the better, up to a term of the query alone."""
    products = queries @ block.T
    squared = np.einsum("nd,nd->n", block, block)
    if distance == "euclidean_squared":
        return squared - 2 * products
    return -products / np.sqrt(squared) if distance == "cosine" else -products


def _values(query: np.ndarray, vectors: np.ndarray, distance: str) -> np.ndarray:
    """The same of one query (d,) and a few vectors (m, d), in float64."""
    query, vectors = query.astype(np.float64), vectors.astype(np.float64)
    if distance == "euclidean_squared":
        return ((vectors - query) ** 2).sum(axis=1)
    products = -(vectors * query).sum(axis=1)
    return products / np.linalg.norm(vectors, axis=1) if distance == "cosine" else products


def choose_cheapest(
    wanted: float,
    k: int,
    steps: list[int],
    most: int,
    recalls: Callable[[int, int], np.ndarray],
    cost: Callable[[int, int], float],
) -> Choice | None:
    """The cheapest probes and rerank budget whose recall on the sample is as wanted, with a margin; None if none is.

    The mean must exceed what is wanted by its own standard error, so that fresh queries keep to it too.

    Args:
        wanted: Mean recall, 0 to 1.
        k: Length of the lists.
        steps: Numbers of probes to choose from, rising.
        most: Candidates to re-rank at most; with the last number of probes that must be the most exact search.
        recalls: From probes and rerank budget to each sampled row's recall. It is taken to rise with both.
        cost: From probes and rerank budget to a time, in any unit.
    """
    reranks = sorted({min(most, int(np.ceil(factor * k))) for factor in _RERANK_FACTORS} | {most})
    best: Choice | None = None
    for rerank in reranks:
        if best is not None and cost(1, rerank) >= cost(best.probes, best.rerank):
            break
        choice = _fewest_probes(steps, rerank, recalls, wanted)
        if choice is None:
            continue
        steps = steps[: steps.index(choice.probes) + 1]  # more candidates never need more probes
        if best is None or cost(choice.probes, rerank) < cost(best.probes, best.rerank):
            best = choice
    return best


def _fewest_probes(
    steps: list[int], rerank: int, recalls: Callable[[int, int], np.ndarray], wanted: float
) -> Choice | None:
    """The smallest of the numbers of probes that reaches the recall; None if not even the largest does."""
    low, high = -1, 0  # positions of numbers that do not reach it, and that may
    while (recall := _sure_recall(recalls(steps[high], rerank), wanted)) is None:
        if high == len(steps) - 1:
            return None
        low, high = high, min(2 * high + 1, len(steps) - 1)  # from below: many probes cost much
    while high - low > 1:
        middle = (low + high) // 2
        here = _sure_recall(recalls(steps[middle], rerank), wanted)
        if here is None:
            low = middle
        else:
            high, recall = middle, here
    return Choice(steps[high], rerank, recall)


def _sure_recall(recalls: np.ndarray, wanted: float) -> float | None:
    """The mean recall if it exceeds what is wanted by its standard error, or is 1; else None."""
    mean, error = recalls.mean(), recalls.std() / np.sqrt(len(recalls))
    return float(mean) if mean - error >= wanted or mean == 1 else None


def ladder(most: int) -> list[int]:
    """Numbers from 1 to the most, each about a fifth above the one before."""
    steps = [1]
    while steps[-1] < most:
        steps.append(min(most, max(steps[-1] + 1, int(steps[-1] * _STEP))))
    return steps
