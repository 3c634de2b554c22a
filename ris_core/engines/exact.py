"""Exact neighbours by faiss: the truth that every other engine is measured against."""

import contextlib
import dataclasses
from collections.abc import Iterator

import faiss
import numpy as np

from ris_core.engines.contract import EngineKind, check_build, check_search

_BLOCK_QUERIES = 1024  # Ctrl-C gets through between two blocks; larger ones are no faster
_SPARE = 16  # neighbours asked for beyond k, so that small errors of faiss' distances do not matter
_DIRECT_QUERIES = 16  # so few queries at once faiss compares by plain differences


@dataclasses.dataclass(frozen=True)
class ExactParams:
    """Exact search has nothing to build."""

    def faults(self, n: int, d: int) -> list[str]:
        """None: any base can be searched."""
        return []


@dataclasses.dataclass(frozen=True)
class ExactQuery:
    """Exact search has nothing to choose."""

    def faults(self, n: int, d: int) -> list[str]:
        """None: any base can be searched."""
        return []


class Exact:
    """Compares each query with every vector, without a copy of them.

    The search is that of faiss' ``IndexFlatL2``, which would copy the base; its function ``knn`` does not.

    For batches faiss computes |x|^2 + |y|^2 - 2xy by a matrix product: fast, but the digits that vectors far from
    the origin share are lost. So some neighbours more than k are asked for and their distances computed again as
    sums of squared differences. A query whose k-th distance then lies within faiss' error of the last one that
    faiss returned is searched once more without the product. The answer is sorted by distance, equal ones by row;
    which of several vectors tied at rank k are left out is faiss' choice.
    """

    def __init__(self, base: np.ndarray) -> None:
        self._base = base

    def search(self, queries: np.ndarray, k: int, query: ExactQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`. Memory beyond the answer: some ten megabytes."""
        check_search("exact", queries, k, self._base.shape, threads)
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        with faiss_threads(threads):
            for start in range(0, len(queries), _BLOCK_QUERIES):
                block = slice(start, start + _BLOCK_QUERIES)
                rows[block], distances[block], is_sure = self._nearest(queries[block], k)
                unsure = start + np.flatnonzero(~is_sure)
                for few in np.split(unsure, range(_DIRECT_QUERIES, len(unsure), _DIRECT_QUERIES)):
                    rows[few], distances[few], _ = self._nearest(queries[few], k)
        return rows, distances

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows and distances, both (q, k), and for each query whether faiss' errors cannot have cost it a row."""
        n = len(self._base)
        approximate, found = faiss.knn(queries, self._base, min(n, k + _SPARE))
        exact = squared_distances(queries, self._base, found)
        order = np.lexsort((found, exact))[:, :k]
        rows, distances = (np.take_along_axis(values, order, axis=1) for values in (found, exact))
        if found.shape[1] == n or len(queries) <= _DIRECT_QUERIES:
            return rows, distances, np.ones(len(queries), bool)
        error = 2 * np.abs(approximate - exact).max()  # twice the largest of many: what was not returned had no more
        return rows, distances, approximate[:, -1] - error >= distances[:, -1]

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
    pointers = (faiss.swig_ptr(array) for array in (distances, queries, base, rows))
    faiss.fvec_L2sqr_by_idx(*pointers, queries.shape[1], *rows.shape)  # type: ignore[attr-defined, unused-ignore]
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


def theoretical_bytes(n: int, d: int, params: ExactParams) -> int:
    """0: exact search needs the vectors and nothing else."""
    return 0


EXACT = EngineKind(ExactParams, ExactQuery, build_exact, theoretical_bytes, lambda: None)
