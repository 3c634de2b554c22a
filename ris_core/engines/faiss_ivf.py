"""Faiss' IVF-Flat: vectors in the lists of their nearest centroids, of which a query looks into some.

Source: Sivic, Zisserman 2003, Video Google; Johnson, Douze, Jégou 2017, Billion-scale similarity search with GPUs,
arXiv:1702.08734; faiss' ``IndexIVFFlat`` (MIT).
"""

import dataclasses
import functools
import math

import faiss
import numpy as np

from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, range_faults, refuse
from ris_core.engines.faiss_kernels import faiss_products, faiss_threads, pad

_MAX_SEED = 2**31 - 1  # faiss' seed is an int
_DIRECT_QUERIES = 8  # so few queries find their lists faster without a matrix product
_ID_BYTES = 8


@dataclasses.dataclass(frozen=True)
class FaissIvfParams:
    """What shapes the lists.

    Attributes:
        lists: Number of centroids; 0 for 4 sqrt(n), the least that faiss advises below a million vectors.
        points_per_list: Vectors that k-means is trained on, a list: a random sample of lists times this number.
        seed: Of that sample and of the first centroids.
    """

    lists: int = 0
    points_per_list: int = 256
    seed: int = 0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, lists=(0, n), points_per_list=(1, None), seed=(0, _MAX_SEED))


@dataclasses.dataclass(frozen=True)
class FaissIvfQuery:
    """How one index is asked.

    Attributes:
        probes: Lists looked into, those of the nearest centroids; all of them where there are fewer: exact search.
    """

    probes: int = 16

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, probes=(1, None))


class FaissIvf(Engine):
    """Lists that hold copies of the vectors; the base is needed no longer."""

    def __init__(self, base: np.ndarray, params: FaissIvfParams) -> None:
        self._shape = (len(base), base.shape[1])
        self._lists = _number_of_lists(len(base), params)
        self._index = faiss.IndexIVFFlat(faiss.IndexFlatL2(base.shape[1]), base.shape[1], self._lists)
        self._index.cp.seed = params.seed
        self._index.cp.max_points_per_centroid = params.points_per_list
        self._index.cp.min_points_per_centroid = 1  # fewer are the user's choice: faiss need not warn on stderr
        self._index.train(base)
        self._index.add(base)

    def search(
        self, queries: np.ndarray, k: int, query: FaissIvfQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        self._check(queries, k, query, threads)
        with faiss_threads(threads), faiss_products(len(queries) > _DIRECT_QUERIES):
            distances, rows = self._index.search(queries, k, params=_search_params(query.probes))
        return pad(rows, distances)

    def size_bytes(self) -> int:
        """Bytes of centroids and row numbers, by faiss' counts of both; not the lists' spare room."""
        centroids, rows = self._index.quantizer.ntotal, self._index.invlists.compute_ntotal()
        return int(centroids * self._shape[1] * 4 + rows * _ID_BYTES)

    def derived(self) -> dict[str, int | float | str]:
        """Number of lists."""
        return {"lists": self._lists}

    def candidates(self, queries: np.ndarray, k: int, query: FaissIvfQuery) -> np.ndarray:
        """(q,) int64: vectors in the lists that are looked into."""
        self._check(queries, k, query, 1)
        lengths = np.array([self._index.invlists.list_size(i) for i in range(self._lists)], np.int64)
        _, probed = self._index.quantizer.search(queries, min(query.probes, self._lists))
        return lengths[probed].sum(axis=1)

    def _check(self, queries: np.ndarray, k: int, query: FaissIvfQuery, threads: int) -> None:
        check_search("faiss_ivf", queries, k, self._shape, threads)
        refuse("faiss_ivf", query.faults(*self._shape))


@functools.lru_cache
def _search_params(probes: int) -> faiss.SearchParametersIVF:
    """Made once, as making them takes longer than a short search."""
    return faiss.SearchParametersIVF(nprobe=probes)


def _number_of_lists(n: int, params: FaissIvfParams) -> int:
    return params.lists or min(n, round(4 * math.sqrt(n)))


def build_faiss_ivf(base: np.ndarray, params: FaissIvfParams, threads: int = 1) -> FaissIvf:
    """Index over a copy of the base.

    Raises:
        SearchError: If the base or the parameters are impossible.
    """
    check_build("faiss_ivf", base, params, threads)
    with faiss_threads(threads), faiss_products(True):
        return FaissIvf(base, params)


def theoretical_bytes(n: int, d: int, params: FaissIvfParams) -> int:
    """Bytes of the centroids, d float32 each, and of a row number of 8 bytes a vector."""
    return _number_of_lists(n, params) * d * 4 + n * _ID_BYTES


FAISS_IVF = EngineKind(FaissIvfParams, FaissIvfQuery, build_faiss_ivf, theoretical_bytes, lambda: None)
