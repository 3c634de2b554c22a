"""Exact neighbours by faiss, or by torch on a GPU: the truth that every other engine is measured against."""

import dataclasses
from typing import Protocol

import faiss
import numpy as np

from ris_core.engines.contract import Engine, EngineKind, check_build, check_search
from ris_core.engines.faiss_kernels import faiss_products, faiss_threads, squared_distances, take_nearest

DEVICES = ("cpu", "cuda")

_BLOCK_QUERIES = 1024  # Ctrl-C gets through between two blocks; larger ones are no faster
_SPARE = 16  # neighbours asked for beyond k, so that small errors of the first distances do not matter
_DIRECT_QUERIES = 8  # so few queries at once are compared faster by plain differences than by a matrix product
_SPARE_DEVICE_BYTES = 2**30  # more than torch's blocks take beside the vectors


@dataclasses.dataclass(frozen=True)
class ExactParams:
    """Exact search has nothing to build.

    Attributes:
        device: ``"cpu"``, where faiss reads the vectors in place, or ``"cuda"``: torch, with a copy of them on the GPU.
    """

    device: str = "cpu"

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`. Any base can be searched on the CPU."""
        if self.device not in DEVICES:
            return [f"device = {self.device!r}; allowed: {', '.join(DEVICES)}."]
        return [] if self.device == "cpu" else _cuda_faults(n, d)


@dataclasses.dataclass(frozen=True)
class ExactQuery:
    """Exact search has nothing to choose."""

    def faults(self, n: int, d: int) -> list[str]:
        """None: any base can be searched."""
        return []


class Vectors(Protocol):
    """The base as exact search reads it."""

    def __len__(self) -> int:
        """Number of vectors."""
        ...

    def nearest(self, queries: np.ndarray, k: int, *, is_direct: bool) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest rows, (q, k) int64, and their squared Euclidean distances, (q, k) float32.

        Args:
            queries: (q, d) float32; few when ``is_direct``.
            k: 1 to n.
            is_direct: By sums of squared differences; else in the fastest way, which may lose digits.
        """
        ...

    def squared_distances(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(q, k) float32 distances of each query to its rows, as sums of squared differences."""
        ...


class FaissVectors:
    """The base in place: faiss' ``IndexFlatL2`` would copy it, its function ``knn`` does not."""

    def __init__(self, base: np.ndarray) -> None:
        self._base = base

    def __len__(self) -> int:
        return len(self._base)

    def nearest(self, queries: np.ndarray, k: int, *, is_direct: bool) -> tuple[np.ndarray, np.ndarray]:
        """See `Vectors`."""
        with faiss_products(not is_direct):
            distances, rows = faiss.knn(queries, self._base, k)
        return rows, distances

    def squared_distances(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Vectors`."""
        return squared_distances(queries, self._base, rows)


class Exact(Engine):
    """Compares each query with every vector.

    For batches faiss computes |x|^2 + |y|^2 - 2xy by a matrix product: fast, but the digits that vectors far from
    the origin share are lost. So some neighbours more than k are asked for and their distances computed again as
    sums of squared differences. A query whose k-th distance then lies within the product's error of the last one that
    it returned is searched once more without the product. The answer is sorted by distance, equal ones by row;
    which of several vectors tied at rank k are left out is the library's choice. Torch on a GPU goes the same way.
    """

    def __init__(self, vectors: Vectors, d: int) -> None:
        self._vectors = vectors
        self._shape = (len(vectors), d)

    def search(self, queries: np.ndarray, k: int, query: ExactQuery, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`. Memory beyond the answer: some ten megabytes on the CPU."""
        check_search("exact", queries, k, self._shape, threads)
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
        """Rows and distances, both (q, k), and for each query whether lost digits cannot have cost it a row."""
        n, is_direct = len(self._vectors), len(queries) <= _DIRECT_QUERIES
        found, approximate = self._vectors.nearest(queries, min(n, k + _SPARE), is_direct=is_direct)
        exact = self._vectors.squared_distances(queries, found)
        rows, distances = take_nearest(found, exact, k)
        if found.shape[1] == n or is_direct:
            return rows, distances, np.ones(len(queries), bool)
        error = 2 * np.abs(approximate - exact).max()  # twice the largest of many: what was not returned had no more
        return rows, distances, approximate[:, -1] - error >= distances[:, -1]

    def size_bytes(self) -> int:
        """0: there is nothing beside the vectors."""
        return 0

    def candidates(self, queries: np.ndarray, k: int, query: ExactQuery) -> np.ndarray:
        """All rows, for every query."""
        return np.full(len(queries), len(self._vectors), np.int64)


def build_exact(base: np.ndarray, params: ExactParams, threads: int = 1) -> Exact:
    """Index of exact search over the base, which on the CPU is neither copied nor read.

    Raises:
        SearchError: If the base or the parameters are impossible, or there is no GPU that holds the vectors.
    """
    check_build("exact", base, params, threads)
    return Exact(FaissVectors(base) if params.device == "cpu" else _on_device(base, params.device), base.shape[1])


def _on_device(base: np.ndarray, device: str) -> Vectors:
    from ris_core.engines.torch_vectors import TorchVectors  # here: who searches on the CPU need not load torch

    return TorchVectors(base, device)


def _cuda_faults(n: int, d: int) -> list[str]:
    import torch  # here: see above

    if not torch.cuda.is_available():
        return ["device = 'cuda': PyTorch sees no CUDA device here. Set device to 'cpu'."]
    need, free = 4 * n * (d + 1) + _SPARE_DEVICE_BYTES, torch.cuda.mem_get_info()[0]
    if need <= free:
        return []
    return [
        f"device = 'cuda': {n} vectors of {d} dimensions need {need / 2**30:.1f} GiB on the GPU; "
        f"{free / 2**30:.1f} GiB are free. Set device to 'cpu', or index fewer."
    ]


def theoretical_bytes(n: int, d: int, params: ExactParams) -> int:
    """0: exact search needs the vectors and nothing else."""
    return 0


EXACT = EngineKind(ExactParams, ExactQuery, build_exact, theoretical_bytes, lambda: None)
