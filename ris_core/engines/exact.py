"""Exact neighbours by faiss: the truth that every other engine is measured against."""

import contextlib
import dataclasses
from collections.abc import Iterator

import faiss
import numpy as np

from ris_core.engines.contract import EngineKind, check_build, check_search

_BLOCK_QUERIES = 1024  # Ctrl-C gets through between two blocks; larger ones are no faster
_SPARE = 16  # faiss ranks batches by |x|^2 + |y|^2 - 2xy, whose rounding may swap neighbours around rank k


@dataclasses.dataclass(frozen=True)
class ExactParams:
    """Exact search has nothing to build."""

    def faults(self, n: int, d: int) -> list[str]:  # noqa: ARG002 - the shape that all parameters share
        """None: any base can be searched."""
        return []


@dataclasses.dataclass(frozen=True)
class ExactQuery:
    """Exact search has nothing to choose."""

    def faults(self, n: int, d: int) -> list[str]:  # noqa: ARG002 - the shape that all parameters share
        """None: any base can be searched."""
        return []


class Exact:
    """Compares each query with every vector, without a copy of them.

    The search is that of faiss' ``IndexFlatL2``, which would copy the base; its function ``knn`` does not.
    Distances are then computed once more as sums of squared differences, which do not lose digits as faiss'
    expanded form does; the answer is sorted by them, equal distances by row. Which of several tiles tied at
    rank k are left out is faiss' choice.
    """

    def __init__(self, base: np.ndarray) -> None:
        self._base = base

    def search(
        self, queries: np.ndarray, k: int, query: ExactQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`. Memory beyond the answer: some ten megabytes."""
        n, d = self._base.shape
        check_search("exact", queries, k, (n, d), threads)
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        with faiss_threads(threads):
            for start in range(0, len(queries), _BLOCK_QUERIES):
                block = slice(start, start + _BLOCK_QUERIES)
                _, found = faiss.knn(queries[block], self._base, min(n, k + _SPARE))
                exact = squared_distances(queries[block], self._base, found)
                order = np.lexsort((found, exact))[:, :k]
                rows[block] = np.take_along_axis(found, order, axis=1)
                distances[block] = np.take_along_axis(exact, order, axis=1)
        return rows, distances

    def size_bytes(self) -> int:
        """0: there is nothing beside the vectors."""
        return 0

    def derived(self) -> dict[str, int | float | str]:
        """Nothing is derived."""
        return {}

    def candidates(self, queries: np.ndarray, query: ExactQuery) -> np.ndarray:
        """All rows, for every query."""
        return np.full(len(queries), len(self._base), np.int64)


def squared_distances(queries: np.ndarray, base: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(q, k) float32 squared Euclidean distances of each query to its rows of the base, by faiss' SIMD kernel.

    Args:
        queries: (q, d) float32, C-contiguous.
        base: (n, d) float32, C-contiguous.
        rows: (q, k) int64 rows of the base, 0 to n - 1.
    """
    distances = np.empty(rows.shape, np.float32)
    faiss.fvec_L2sqr_by_idx(
        *(faiss.swig_ptr(array) for array in (distances, queries, base, rows)), queries.shape[1], *rows.shape
    )
    return distances


@contextlib.contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let faiss use that many threads within the block, and as many as before after it."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def build_exact(base: np.ndarray, params: ExactParams, threads: int = 1) -> Exact:
    """Index of exact search over the base, which is neither copied nor read."""
    check_build("exact", base, params, threads)
    return Exact(base)


EXACT = EngineKind(ExactParams, ExactQuery, build_exact, lambda: None)
