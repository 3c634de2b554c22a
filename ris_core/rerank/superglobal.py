"""SuperGlobal's re-ranking: the first answers' descriptors refined by each other, the query's by the best of them."""

import dataclasses

import numpy as np
from scipy import sparse

from ris_core.engines.contract import range_faults
from ris_core.rerank.contract import Asked, Reranker, RerankKind, RerankParams, Searched
from ris_core.rerank.neighbourhoods import unit_length


@dataclasses.dataclass(frozen=True)
class SuperGlobalParams(RerankParams):
    """How descriptors are refined.

    Attributes:
        top: See `ris_core.rerank.contract.RerankParams`; the paper takes 400.
        neighbours: Descriptors of the list that refine each other one, and answers that refine the query.
        beta: Weight of such a neighbour, times its similarity; the descriptor itself weighs 1.
    """

    top: int = 400
    neighbours: int = 9
    beta: float = 0.15

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        return super().faults(n, d) + range_faults(self, neighbours=(1, n), beta=(0, 1))


class SuperGlobal(Reranker):
    """Orders by the mean of two similarities to the refined descriptors: the query's, and the expanded query's.

    Each descriptor becomes the average of itself and its nearest ones in the list, weighted by beta times their
    similarity. The expanded query is the largest value, in each dimension, of the refined descriptors that are most
    similar to the query.

    Source: Shao et al. 2023, arXiv:2308.06954; formulas and constants as its authors' code has them,
    github.com/ShihaoShao-GH/SuperGlobal, ``modules/reranking``. Differs: descriptors are scaled to length 1 first, and
    similarities below 0 weigh nothing.
    """

    def __init__(self, searched: Searched, params: SuperGlobalParams) -> None:
        self._searched, self._params = searched, params

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        given = unit_length(self._searched.vectors[rows])
        refined = refine(given, self._params.neighbours, self._params.beta)
        plain = refined @ unit_length(asked.vectors[number])
        best = np.argsort(-plain, kind="stable")[: self._params.neighbours + 1]
        expanded = refined[best].max(axis=0)
        return rows[np.argsort(-(plain + refined @ expanded), kind="stable")]


def refine(vectors: np.ndarray, neighbours: int, beta: float) -> np.ndarray:
    """(m, d) float32: each vector averaged with its most similar ones, see `SuperGlobal`.

    Args:
        vectors: (m, d) float32 of length 1.
        neighbours: How many others.
        beta: Weight of another one, times its similarity.
    """
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, np.inf)  # each is its own first neighbour, whatever rounding says
    most = min(neighbours + 1, len(vectors))
    near = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    alike = np.take_along_axis(similarity, near, axis=1)
    weights = np.where(np.isinf(alike), 1, np.clip(alike, 0, 1) * np.float32(beta))
    weights /= weights.sum(axis=1, keepdims=True)
    blend = sparse.csr_array((weights.ravel(), near.ravel(), np.arange(0, near.size + 1, most)), similarity.shape)
    return blend @ vectors


SUPERGLOBAL = RerankKind(SuperGlobalParams, SuperGlobal)
