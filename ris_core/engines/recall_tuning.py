"""The cheapest way to ask an index so that it reaches a wanted recall, found on rows of the base itself."""

import dataclasses
from collections.abc import Callable

import numpy as np
import threadpoolctl

_SAMPLED_ROWS = 512
_BLOCK_ROWS = 16_384  # compared with the sample at once: some tens of megabytes
_STEP = 1.2  # from one number of probes to the next
_RERANK_FACTORS = (1, 1.1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 15, 25, 50)  # times k


@dataclasses.dataclass(frozen=True)
class HeldOutSample:
    """Rows of the base that ask for their neighbours, each without itself.

    Attributes:
        rows: (s,) int64 rows at even distances.
        queries: (s, d) float32, their vectors.
        truth: (s, k) int64, their nearest other rows.
    """

    rows: np.ndarray
    queries: np.ndarray
    truth: np.ndarray

    def recalls(self, found: np.ndarray) -> np.ndarray:
        """(s,) shares of the truth in the found rows (s, k + 1), of which each query's own row does not count."""
        is_hit = (found[:, :, None] == self.truth[:, None, :]).any(axis=1)
        return is_hit.mean(axis=1)


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

    Args:
        base: (n, d) float32, n > k.
        k: Neighbours of each row.
        distance: ``"euclidean_squared"``, ``"cosine"`` or ``"inner_product"``.
        threads: Of the matrix product.
    """
    rows = np.unique(np.linspace(0, len(base) - 1, min(len(base), _SAMPLED_ROWS)).astype(np.int64))
    queries = np.ascontiguousarray(base[rows])
    best: np.ndarray = np.empty((len(rows), 0), np.float32)
    found: np.ndarray = np.empty((len(rows), 0), np.int64)
    with threadpoolctl.threadpool_limits(threads):
        for start in range(0, len(base), _BLOCK_ROWS):
            values = _ranked_by(queries, base[start : start + _BLOCK_ROWS], distance)
            is_own = (rows >= start) & (rows < start + values.shape[1])
            values[is_own, rows[is_own] - start] = np.inf
            here = np.broadcast_to(np.arange(start, start + values.shape[1]), values.shape)
            best, found = np.column_stack([best, values]), np.column_stack([found, here])
            if best.shape[1] > k:
                nearest = np.argpartition(best, k - 1, axis=1)[:, :k]
                best, found = (np.take_along_axis(array, nearest, axis=1) for array in (best, found))
    return HeldOutSample(rows, queries, found)


def _ranked_by(queries: np.ndarray, block: np.ndarray, distance: str) -> np.ndarray:
    """What candidates are ranked by, the smaller the better, up to a term of the query alone."""
    products = queries @ block.T
    squared = np.einsum("nd,nd->n", block, block)
    if distance == "euclidean_squared":
        return squared - 2 * products
    return -products / np.sqrt(squared) if distance == "cosine" else -products


def choose_cheapest(
    wanted: float,
    k: int,
    most: tuple[int, int],
    recalls: Callable[[int, int], np.ndarray],
    cost: Callable[[int, int], float],
) -> Choice | None:
    """The cheapest probes and rerank budget whose recall on the sample is as wanted, with a margin; None if none is.

    The mean must exceed what is wanted by its own standard error, so that fresh queries keep to it too.

    Args:
        wanted: Mean recall, 0 to 1.
        k: Length of the lists.
        most: Largest number of probes, and of candidates to re-rank; both together must be the most exact search.
        recalls: From probes and rerank budget to each sampled row's recall. It is taken to rise with both.
        cost: From probes and rerank budget to a time, in any unit.
    """
    steps = _ladder(most[0])
    reranks = sorted({min(most[1], int(np.ceil(factor * k))) for factor in _RERANK_FACTORS} | {most[1]})
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
    recall = _sure_recall(recalls(steps[-1], rerank), wanted)
    if recall is None:
        return None
    low, high = -1, len(steps) - 1
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


def _ladder(most: int) -> list[int]:
    steps = [1]
    while steps[-1] < most:
        steps.append(min(most, max(steps[-1] + 1, int(steps[-1] * _STEP))))
    return steps
