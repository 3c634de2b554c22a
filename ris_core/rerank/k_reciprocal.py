"""k-reciprocal encoding: two images are near where they share the neighbours that have them as neighbours too."""

import dataclasses

import numpy as np
from scipy import sparse

from ris_core.engines.contract import range_faults
from ris_core.rerank.contract import Asked, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.neighbourhoods import nearest_others, pattern, size_bytes, squared_distances

_SCALE_ROWS = 1000  # vectors whose largest distance the others are divided by


@dataclasses.dataclass(frozen=True)
class KReciprocalParams(RerankParams):
    """The neighbourhoods, and how much they count; k1, k2 and weight are the paper's.

    Attributes:
        top: See `ris_core.rerank.contract.RerankParams`.
        k1: Neighbours among which reciprocal ones are sought.
        k2: Neighbourhoods that are averaged, the own one included; 1: none but that.
        weight: Share of the original distance in the final one (lambda of the paper).
    """

    top: int = 200
    k1: int = 20
    k2: int = 6
    weight: float = 0.3

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        most = max(1, n - 1)
        return super().faults(n, d) + range_faults(self, k1=(1, most), k2=(1, most), weight=(0, 1))


class KReciprocal(Reranker):
    """Orders by weight * distance + (1 - weight) * Jaccard distance of the weighted reciprocal neighbourhoods.

    Source: Zhong et al. 2017, arXiv:1701.08398: reciprocal neighbours R(p, k1), joined with R(g, k1 / 2) of each of
    them that shares more than two thirds of its own with them; weights exp(-distance), averaged over the k2 nearest;
    Jaccard distance by sums of minima and maxima. Differs: the indexed images' neighbourhoods are made offline, so that
    they do not hold the query; a query's is made of indexed images alone. Distances are squared Euclidean, divided
    by the largest one between up to 1,000 of the vectors, where the authors' code divides by that to any image.
    Neighbours are the engine's own. Making it asks the engine once for each indexed vector; for n vectors it keeps up
    to n k1 k2 weights of 8 bytes (400,000 vectors by default: 0.4 GB) and needs three times as much meanwhile.
    """

    def __init__(self, searched: Searched, params: KReciprocalParams) -> None:
        self._vectors, self._params = searched.vectors, params
        near = nearest_others(searched, max(params.k1, params.k2))
        self._scale = largest_distance(searched.vectors)
        self._reach = self._distances_to_last(near[:, : params.k1])
        self._half = reciprocal(near[:, : round(params.k1 / 2)])
        weighted = self._weighted(expanded(reciprocal(near[:, : params.k1]), self._half))
        self._codes = _averaged(weighted, near[:, : params.k2 - 1])

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        distances = np.square(self._vectors[rows] - asked.vectors[number]).sum(axis=1) / self._scale
        code = self._encode(asked.vectors[number], rows[: max(self._params.k1, self._params.k2)], distances)
        jaccard = jaccard_distances(code, self._codes[rows])
        weight = self._params.weight
        return rows[np.argsort(weight * distances + (1 - weight) * jaccard, kind="stable")]

    def size_bytes(self) -> int:
        """Bytes of the neighbourhoods."""
        return size_bytes(self._codes) + size_bytes(self._half) + self._reach.nbytes

    def _encode(self, query: np.ndarray, near: np.ndarray, distances: np.ndarray) -> sparse.csr_array:
        """(1, n) the query's weighted neighbourhood, averaged with those of its nearest."""
        first, others = near[: self._params.k1], near[: self._params.k2 - 1]
        mutual = first[distances[: len(first)] <= self._reach[first]]  # the query would be among their neighbours
        members = expanded(pattern(mutual[None], len(self._vectors)), self._half).indices
        weights = np.exp(-np.square(self._vectors[members] - query).sum(axis=1) / self._scale)
        code = sparse.csr_array(
            (weights / max(weights.sum(), 1e-12), members, [0, len(members)]), shape=(1, len(self._reach))
        )
        total = code + sparse.csr_array(np.ones((1, len(others)), np.float32)) @ self._codes[others]
        return sparse.csr_array(total / (1 + len(others)))

    def _distances_to_last(self, near: np.ndarray) -> np.ndarray:
        """(n,) distance of each vector to the last of its neighbours."""
        last = np.maximum(0, (near >= 0).sum(axis=1) - 1)
        rows = np.arange(len(near))
        return squared_distances(self._vectors, rows, near[rows, last]) / self._scale

    def _weighted(self, members: sparse.csr_array) -> sparse.csr_array:
        """The pattern with weights exp(-distance), each row summing to 1."""
        pairs = members.tocoo()
        weights = np.exp(-squared_distances(self._vectors, *pairs.coords) / self._scale)
        weighted = sparse.csr_array((weights, pairs.coords), shape=members.shape)
        return sparse.csr_array(sparse.diags_array(1 / weighted.sum(axis=1)) @ weighted)


def reciprocal(near: np.ndarray) -> sparse.csr_array:
    """(n, n) float32, symmetric: 1 where two rows are among each other's neighbours, and between each row and itself.

    Args:
        near: (n, k) int64 neighbours of each row, itself left out, padded with -1.
    """
    named = pattern(near, len(near))
    return sparse.csr_array(named * named.T + sparse.eye_array(len(near), dtype=np.float32))


def expanded(members: sparse.csr_array, half: sparse.csr_array) -> sparse.csr_array:
    """(m, n): members joined with the smaller neighbourhood of each one that has over two thirds of it among them.

    Args:
        members: (m, n) pattern R(p, k1).
        half: (n, n) symmetric pattern R(g, k1 / 2), as `reciprocal` makes it.
    """
    shared = (members @ half) * members
    pairs = shared.tocoo()
    sizes = np.diff(half.indptr)  # of the smaller neighbourhoods, whose values are all 1
    joins = pairs.data > 2 / 3 * sizes[pairs.coords[1]] + 1e-6  # whole numbers: rounding must add none
    chosen = sparse.csr_array((joins.astype(np.float32), pairs.coords), shape=shared.shape)
    joined = sparse.csr_array(members + chosen @ half)
    joined.eliminate_zeros()
    joined.data[:] = 1
    joined.sort_indices()
    return joined


def jaccard_distances(code: sparse.csr_array, others: sparse.csr_array) -> np.ndarray:
    """(m,) 1 - sum of minima / sum of maxima, of one code with each other.

    Args:
        code: (1, n) weights.
        others: (m, n) weights.
    """
    pairs = others.tocoo()
    columns, own = pairs.coords[1], np.zeros(len(pairs.data))
    if code.nnz:
        code.sort_indices()
        place = np.minimum(np.searchsorted(code.indices, columns), code.nnz - 1)
        own = np.where(code.indices[place] == columns, code.data[place], 0)
    minima = np.bincount(pairs.coords[0], np.minimum(pairs.data, own), minlength=others.shape[0])
    return 1 - minima / (code.sum() + others.sum(axis=1) - minima)


def largest_distance(vectors: np.ndarray) -> float:
    """The largest squared distance between some of the vectors, at even steps; 1 where all are one."""
    some = vectors[:: max(1, len(vectors) // _SCALE_ROWS)][:_SCALE_ROWS].astype(np.float64)
    lengths = np.square(some).sum(axis=1)
    return float((lengths[:, None] + lengths - 2 * some @ some.T).max()) or 1.0


def _averaged(weighted: sparse.csr_array, near: np.ndarray) -> sparse.csr_array:
    """Each row averaged with those of its neighbours."""
    joined = pattern(near, len(near)) + sparse.eye_array(len(near), dtype=np.float32)
    means = sparse.csr_array(sparse.diags_array(1 / joined.sum(axis=1)) @ joined @ weighted)
    means.sort_indices()
    return means


K_RECIPROCAL = RerankKind(KReciprocalParams, KReciprocal)
