"""HNSW by hnswlib, the paper's authors' own implementation (Apache-2.0); optional, as it compiles on installation.

Source: https://github.com/nmslib/hnswlib. Differs: where the graph leads to
fewer than k vectors, hnswlib refuses to answer; here what it finds is padded.
"""

import bisect
import dataclasses

import numpy as np

from ris_core.engines.contract import (
    Engine,
    EngineKind,
    check_build,
    check_package,
    check_search,
    missing_package,
    range_faults,
    refuse,
)
from ris_core.engines.hnsw import HnswParams, HnswQuery, expected_graph_bytes

_MAX_SEED = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class HnswlibParams(HnswParams):
    """See `HnswParams`.

    Attributes:
        seed: Of the layers.
    """

    seed: int = 100

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return super().faults(n, d) + range_faults(self, seed=(0, _MAX_SEED))


class Hnswlib(Engine):
    """A graph over a copy of the vectors; the base is needed no longer.

    ``ef`` is a property of hnswlib's index, so queries with different ones must not run at once.
    """

    def __init__(self, base: np.ndarray, params: HnswlibParams, threads: int) -> None:
        import hnswlib  # here: optional

        self._shape = (len(base), base.shape[1])
        self._index = hnswlib.Index("l2", base.shape[1])
        self._index.init_index(len(base), params.links, params.ef_construction, params.seed)
        self._index.add_items(base, num_threads=threads)

    def search(self, queries: np.ndarray, k: int, query: HnswQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        check_search("hnswlib", queries, k, self._shape, threads)
        refuse("hnswlib", query.faults(*self._shape))
        self._index.set_ef(min(max(query.ef, k), self._shape[0]))
        answer = self._answer(queries, k, threads)
        return self._padded(queries, k) if answer is None else answer

    def size_bytes(self) -> int:
        """Bytes of the index as a file, without the vectors; in memory hnswlib has a lock a vector beside."""
        n, d = self._shape
        return int(self._index.index_file_size()) - 4 * n * d

    def _answer(self, queries: np.ndarray, k: int, threads: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Rows and distances; None where some query's list would be shorter than k."""
        try:
            rows, distances = self._index.knn_query(queries, k, threads)
        except RuntimeError:  # its one error for checked arguments
            return None
        return rows.view(np.int64), distances

    def _padded(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Of each query the longest list that hnswlib gives; lists of several lengths hold the same vectors."""
        rows = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        for place in range(len(queries)):
            one = queries[place : place + 1]
            found = bisect.bisect_left(range(1, k + 1), True, key=lambda m: self._answer(one, m, 1) is None)
            answer = self._answer(one, found, 1) if found else None
            if answer is not None:
                rows[place, :found], distances[place, :found] = answer[0][0], answer[1][0]
        return rows, distances


def build_hnswlib(base: np.ndarray, params: HnswlibParams, threads: int = 1) -> Hnswlib:
    """Index over a copy of the base; one thread builds the same graph each time, several need not.

    Raises:
        SearchError: If hnswlib is not installed, or the base or the parameters are impossible.
    """
    check_package("hnswlib")
    check_build("hnswlib", base, params, threads)
    return Hnswlib(base, params, threads)


def theoretical_bytes(n: int, d: int, params: HnswlibParams) -> int:
    """Expected bytes of the graph.

    Lists hold their length, 4 bytes; beside a vector are its label, 8 bytes, and the length of its upper lists, 4.
    """
    return expected_graph_bytes(n, params.links, list_bytes=4, vector_bytes=8 + 4)


def unavailable() -> str | None:
    """See `ris_core.engines.contract.EngineKind`."""
    return missing_package("hnswlib")


HNSWLIB = EngineKind(HnswlibParams, HnswQuery, build_hnswlib, theoretical_bytes, unavailable)
