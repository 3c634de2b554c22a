"""Diffusion: similarity to the query flows along a graph of neighbours, and brings together what one manifold holds."""

import dataclasses

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

from ris_core.engines.contract import range_faults
from ris_core.rerank.contract import Asked, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.neighbourhoods import cosines, nearest_others, pattern, size_bytes, unit_length

_ITERATIONS, _TOLERANCE = 20, 1e-6  # of conjugate gradients, as in the paper and its code


@dataclasses.dataclass(frozen=True)
class DiffusionParams(RerankParams):
    """The graph, and how far similarity flows in it.

    Attributes:
        top: The graph is truncated to so many answers; see `ris_core.rerank.contract.RerankParams`.
        neighbours: Of each node of the graph; two are joined where each is among those of the other.
        query_neighbours: First answers from which similarity flows.
        alpha: Share that flows on at each step, below 1.
        gamma: An edge weighs the similarity of its ends to this power.
    """

    top: int = 400
    neighbours: int = 20
    query_neighbours: int = 10
    alpha: float = 0.9
    gamma: float = 3.0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        ranges = range_faults(self, neighbours=(1, max(1, n - 1)), query_neighbours=(1, n), gamma=(0, 100))
        return super().faults(n, d) + ranges + range_faults(self, alpha=(0, 0.9999))


class Diffusion(Reranker):
    """Orders by the solution f of (I - alpha S) f = y over the answers.

    S is the graph's affinity, similarity ** gamma between reciprocal neighbours, normalised by the square roots of both
    ends' sums; y is similarity ** gamma to the query at its first answers, 0 elsewhere.

    Source: Iscen et al. 2017, Efficient Diffusion on Region Manifolds, arXiv:1611.05113: reciprocal graph made offline,
    truncated to the query's nearest images, solved by conjugate gradients. Differs: whole images instead of
    regions, the neighbours are the engine's own, S is normalised before it is truncated (as Yang et al. 2019,
    arXiv:1811.10907, do), and similarity is the cosine, where the space does not normalise as well; below 0 it is 0.

    Making it asks the engine once for each indexed vector; for n vectors it keeps at most n ``neighbours`` edges of 8
    bytes (400,000 vectors by default: 64 MB) and needs some ten times as much meanwhile.
    """

    def __init__(self, searched: Searched, params: DiffusionParams) -> None:
        self._vectors, self._params = searched.vectors, params
        self._affinity = affinity(searched, params.neighbours, params.gamma)

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        first = rows[: self._params.query_neighbours]
        similarity = unit_length(self._vectors[first]) @ unit_length(asked.vectors[number])
        start = np.zeros(len(rows))
        start[: len(first)] = np.clip(similarity, 0, 1) ** self._params.gamma
        inside = self._affinity[rows][:, rows]
        system = sparse.eye_array(len(rows)) - self._params.alpha * inside
        flowed, _ = cg(system, start, rtol=_TOLERANCE, maxiter=_ITERATIONS)
        return rows[np.argsort(-flowed, kind="stable")]

    def size_bytes(self) -> int:
        """Bytes of the graph."""
        return size_bytes(self._affinity)


def affinity(searched: Searched, neighbours: int, gamma: float) -> sparse.csr_array:
    """(n, n) float32, symmetric: S of `Diffusion`; rows that no one shares a neighbourhood with are empty."""
    n = len(searched.vectors)
    near = pattern(nearest_others(searched, neighbours), n)
    joined = (near * near.T).tocoo()
    similarity = cosines(searched.vectors, *joined.coords)
    edges = sparse.csr_array((np.clip(similarity, 0, 1) ** gamma, joined.coords), shape=(n, n))
    sums = edges.sum(axis=1)
    scale = sparse.diags_array(np.divide(1, np.sqrt(sums), out=np.zeros_like(sums), where=sums > 0))
    return sparse.csr_array(scale @ edges @ scale)


DIFFUSION = RerankKind(DiffusionParams, Diffusion)
