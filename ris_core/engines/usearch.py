"""HNSW by usearch (Apache-2.0), optional. Source: https://github.com/unum-cloud/usearch."""

import dataclasses

import numpy as np

from ris_core.engines.contract import (
    Engine,
    EngineKind,
    check_build,
    check_package,
    check_search,
    missing_package,
    refuse,
)
from ris_core.engines.hnsw import HnswParams, HnswQuery, expected_graph_bytes


@dataclasses.dataclass(frozen=True)
class UsearchParams(HnswParams):
    """See `HnswParams`: usearch's connectivity and expansion_add. Its layers have one seed, always the same."""

    ef_construction: int = 128


class Usearch(Engine):
    """A graph over a copy of the vectors; the base is needed no longer.

    ``ef`` is a property of usearch's index, so queries with different ones must not run at once.
    """

    def __init__(self, base: np.ndarray, params: UsearchParams, threads: int) -> None:
        from usearch.index import Index  # here: optional

        self._shape = (len(base), base.shape[1])
        self._index = Index(
            ndim=base.shape[1],
            metric="l2sq",
            dtype="f32",
            connectivity=params.links,
            expansion_add=params.ef_construction,
        )
        self._index.add(np.arange(len(base), dtype=np.uint64), base, threads=threads)

    def search(self, queries: np.ndarray, k: int, query: HnswQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        check_search("usearch", queries, k, self._shape, threads)
        refuse("usearch", query.faults(*self._shape))
        rows = np.full((len(queries), k), -1, np.int64)
        distances = np.full((len(queries), k), np.inf, np.float32)
        if len(queries) == 0:
            return rows, distances
        self._index.expansion_search = min(max(query.ef, k), self._shape[0])
        found = self._index.search(queries, k, threads=threads)
        if len(queries) == 1:  # then usearch gives what it found and no padding
            rows[0, : len(found)], distances[0, : len(found)] = found.keys, found.distances
            return rows, distances
        is_found = np.arange(k) < found.counts[:, None]
        np.copyto(rows, found.keys.view(np.int64), where=is_found)
        np.copyto(distances, found.distances, where=is_found)
        return rows, distances

    def size_bytes(self) -> int:
        """Bytes of the index as a file, without the vectors; in memory usearch allots by powers of two."""
        n, d = self._shape
        return int(self._index.serialized_length) - 4 * n * d


def build_usearch(base: np.ndarray, params: UsearchParams, threads: int = 1) -> Usearch:
    """Index over a copy of the base; one thread builds the same graph each time, several need not.

    Raises:
        SearchError: If usearch is not installed, or the base or the parameters are impossible.
    """
    check_package("usearch")
    check_build("usearch", base, params, threads)
    return Usearch(base, params, threads)


def theoretical_bytes(n: int, d: int, params: UsearchParams) -> int:
    """Expected bytes of the graph.

    Lists hold their length, 4 bytes; beside a vector are its key, 8 bytes, and its layer, 2.
    """
    return expected_graph_bytes(n, params.links, list_bytes=4, vector_bytes=8 + 2)


def unavailable() -> str | None:
    """See `ris_core.engines.contract.EngineKind`."""
    return missing_package("usearch")


USEARCH = EngineKind(UsearchParams, HnswQuery, build_usearch, theoretical_bytes, unavailable)
