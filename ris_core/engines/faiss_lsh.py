"""Random hyperplane codes by faiss, all compared with the query's, the best ranked by their distances.

Source: Charikar 2002, Similarity estimation techniques from rounding algorithms; faiss' ``IndexLSH`` (MIT). Differs:
exact re-ranking follows, so that distances are true ones; faiss returns differing bits.
"""

import dataclasses

import faiss
import numpy as np

from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, range_faults, refuse
from ris_core.engines.faiss_kernels import faiss_threads, squared_distances, take_nearest

_MAX_BITS = 2048  # hyperplanes are made orthogonal in bits^3 steps: that many take two seconds
_MAX_SEED = 2**31 - 1  # faiss' seed is an int
_FAISS_SEED = 5
_BLOCK_QUERIES = 1024  # bounds the memory of candidates; Ctrl-C gets through between two blocks


@dataclasses.dataclass(frozen=True)
class FaissLshParams:
    """What shapes the codes.

    Attributes:
        bits: Hyperplanes, a bit of code each.
        seed: Of the hyperplanes' random rotation.
    """

    bits: int = 512
    seed: int = _FAISS_SEED

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, bits=(1, _MAX_BITS), seed=(0, _MAX_SEED))


@dataclasses.dataclass(frozen=True)
class FaissLshQuery:
    """How one index is asked.

    Attributes:
        rerank: Vectors of the fewest differing bits whose distances are computed; never fewer than k, so 0 leaves
            the choice of the k to the codes alone.
    """

    rerank: int = 1000

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, rerank=(0, None))


class FaissLsh(Engine):
    """Codes beside the base, which is neither copied nor to be changed. Hyperplanes pass through the origin."""

    def __init__(self, base: np.ndarray, params: FaissLshParams, threads: int) -> None:
        self._base = base
        with faiss_threads(1):  # several on so small a matrix may wait for each other for seconds on a busy machine
            self._index = faiss.IndexLSH(base.shape[1], params.bits)
            if params.seed != _FAISS_SEED:
                self._index.rrot.init(params.seed)
        with faiss_threads(threads):
            self._index.add(base)

    def search(
        self, queries: np.ndarray, k: int, query: FaissLshQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        self._check(queries, k, query, threads)
        best = min(len(self._base), max(k, query.rerank))
        rows = np.empty((len(queries), k), np.int64)
        distances = np.empty((len(queries), k), np.float32)
        with faiss_threads(threads):
            for start in range(0, len(queries), _BLOCK_QUERIES):
                block = slice(start, start + _BLOCK_QUERIES)
                _, found = self._index.search(queries[block], best)
                exact = squared_distances(queries[block], self._base, found)
                rows[block], distances[block] = take_nearest(found, exact, k)
        return rows, distances

    def size_bytes(self) -> int:
        """Bytes of codes and hyperplanes, by the lengths of faiss' arrays."""
        return int(self._index.codes.size() + self._index.rrot.A.size() * 4)

    def _check(self, queries: np.ndarray, k: int, query: FaissLshQuery, threads: int) -> None:
        check_search("faiss_lsh", queries, k, self._base.shape, threads)
        refuse("faiss_lsh", query.faults(*self._base.shape))


def build_faiss_lsh(base: np.ndarray, params: FaissLshParams, threads: int = 1) -> FaissLsh:
    """Codes of the base.

    Raises:
        SearchError: If the base or the parameters are impossible.
    """
    check_build("faiss_lsh", base, params, threads)
    return FaissLsh(base, params, threads)


def theoretical_bytes(n: int, d: int, params: FaissLshParams) -> int:
    """Bytes of a code of whole bytes a vector, and of the hyperplanes, d float32 each."""
    return n * -(-params.bits // 8) + params.bits * d * 4


FAISS_LSH = EngineKind(FaissLshParams, FaissLshQuery, build_faiss_lsh, theoretical_bytes, lambda: None)
