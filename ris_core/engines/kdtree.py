"""A k-d tree by scipy: boxes halved along their widest side; exact, unless asked to be quicker.

In hundreds of dimensions nearly every box may hold a neighbour, so that it is slower than comparing with all vectors:
that is what it is here to show. For vectors of unit length the Euclidean order is that of the cosine.

Source: Bentley 1975, Multidimensional binary search trees used for associative searching; Arya, Mount 1993,
Approximate nearest neighbor queries in fixed dimensions; ``scipy.spatial.KDTree`` (BSD-3-Clause), which at d = 192
built eight times and answered up to twice as fast as scikit-learn's.
"""

import dataclasses

import numpy as np
from scipy.spatial import KDTree

from ris_core.engines.contract import Engine, EngineKind, check_build, check_search, range_faults, refuse

_NODE_BYTES = 72  # nine numbers and pointers of 8 bytes
_ROW_BYTES = 8


@dataclasses.dataclass(frozen=True)
class KdTreeParams:
    """What shapes the tree.

    Attributes:
        leaf_size: Vectors in a leaf, at most; its vectors are compared one by one.
    """

    leaf_size: int = 16

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, leaf_size=(1, None))


@dataclasses.dataclass(frozen=True)
class KdTreeQuery:
    """How one index is asked.

    Attributes:
        eps: The k-th distance found is at most 1 + eps times the true one; 0 is exact.
    """

    eps: float = 0.0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.engines.contract.Params`."""
        return range_faults(self, eps=(0, None))


class KdTree(Engine):
    """A tree over a float64 copy of the vectors; the base is needed no longer."""

    def __init__(self, base: np.ndarray, params: KdTreeParams) -> None:
        self._shape = (len(base), base.shape[1])
        self._tree = KDTree(base, leafsize=params.leaf_size)

    def search(
        self, queries: np.ndarray, k: int, query: KdTreeQuery, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `ris_core.engines.contract.Engine`."""
        check_search("kdtree", queries, k, self._shape, threads)
        refuse("kdtree", query.faults(*self._shape))
        distances, rows = self._tree.query(queries, np.arange(1, k + 1), eps=query.eps, workers=threads)
        return rows.astype(np.int64, copy=False), np.square(distances).astype(np.float32)

    def size_bytes(self) -> int:
        """Bytes of the nodes, by scipy's count, of their rows, and of what float64 takes more than float32."""
        n, d = self._shape
        return int(self._tree.size) * _NODE_BYTES + n * (_ROW_BYTES + 4 * d)


def build_kdtree(base: np.ndarray, params: KdTreeParams, threads: int = 1) -> KdTree:
    """Index over a copy of the base; scipy builds with one thread.

    Raises:
        SearchError: If the base or the parameters are impossible.
    """
    check_build("kdtree", base, params, threads)
    return KdTree(base, params)


def theoretical_bytes(n: int, d: int, params: KdTreeParams) -> int:
    """Bytes of the nodes, of 8-byte rows, and of float64 vectors in place of float32 ones.

    Halving n until at most ``leaf_size`` are left makes 2^h leaves, h = ceil(log2(n / leaf_size)), and 2^h - 1 inner
    nodes. Where many coordinates are equal the halves are not, and the nodes some more.
    """
    leaves = 1 << max(0, (-(-n // params.leaf_size) - 1).bit_length())
    return (2 * leaves - 1) * _NODE_BYTES + n * (_ROW_BYTES + 4 * d)


KDTREE = EngineKind(KdTreeParams, KdTreeQuery, build_kdtree, theoretical_bytes, lambda: None)
