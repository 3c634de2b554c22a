"""HNSW by faiss' ``IndexHNSWFlat`` (MIT): a graph of neighbours in layers, which a query descends greedily."""

import dataclasses
import functools

import faiss
import numpy as np

from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, refuse
from ris_core.engines.faiss_kernels import faiss_threads, pad
from ris_core.engines.hnsw import HnswParams, HnswQuery, expected_graph_bytes


@dataclasses.dataclass(frozen=True)
class FaissHnswParams(HnswParams):
    """See `HnswParams`. Faiss draws the layers with a seed of its own, always the same."""

    links: int = 32
    ef_construction: int = 80


class FaissHnsw(Engine):
    """A graph over a copy of the vectors; the base is needed no longer.

    Vectors that the graph does not lead to, as happens among many equal ones, are never found: their places are padded.
    """

    def __init__(self, base: np.ndarray, params: FaissHnswParams) -> None:
        self._shape = (len(base), base.shape[1])
        self._index = faiss.IndexHNSWFlat(base.shape[1], params.links)
        self._index.hnsw.efConstruction = params.ef_construction
        self._index.add(base)

    def search(self, queries: np.ndarray, k: int, query: HnswQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        check_search("faiss_hnsw", queries, k, self._shape, threads)
        refuse("faiss_hnsw", query.faults(*self._shape))
        with faiss_threads(threads):
            distances, rows = self._index.search(queries, k, params=_search_params(min(query.ef, self._shape[0])))
        return pad(rows, distances)

    def size_bytes(self) -> int:
        """Bytes of the graph, by the lengths of faiss' arrays: neighbours, where they begin, and layers."""
        hnsw = self._index.hnsw
        return int(hnsw.neighbors.size() * 4 + hnsw.offsets.size() * 8 + hnsw.levels.size() * 4)


@functools.lru_cache
def _search_params(ef: int) -> faiss.SearchParametersHNSW:
    """Made once, as making them takes longer than a short search."""
    return faiss.SearchParametersHNSW(efSearch=ef)


def build_faiss_hnsw(base: np.ndarray, params: FaissHnswParams, threads: int = 1) -> FaissHnsw:
    """Index over a copy of the base; one thread builds the same graph each time, several need not.

    Raises:
        SearchError: If the base or the parameters are impossible.
    """
    check_build("faiss_hnsw", base, params, threads)
    with faiss_threads(threads):
        return FaissHnsw(base, params)


def theoretical_bytes(n: int, d: int, params: FaissHnswParams) -> int:
    """Expected bytes of the graph; an offset of 8 and a layer of 4 bytes are stored beside each vector."""
    return expected_graph_bytes(n, params.links, list_bytes=0, vector_bytes=8 + 4)


FAISS_HNSW = EngineKind(FaissHnswParams, HnswQuery, build_faiss_hnsw, theoretical_bytes, lambda: None)
