"""Query expansion: the query joined with its first answers, and the index asked once more."""

import dataclasses

import numpy as np

from ris_core.engines.contract import range_faults
from ris_core.rerank.contract import Asked, Reranker, RerankKind, RerankParams, Searched


@dataclasses.dataclass(frozen=True)
class QueryExpansionParams(RerankParams):
    """Weights of the answers that join the query.

    Attributes:
        neighbours: How many first answers join it.
        alpha: An answer weighs its similarity to the query to this power; 0: all weigh 1, the average.
    """

    neighbours: int = 10
    alpha: float = 1.0

    def faults(self, n: int, d: int) -> list[str]:
        """See `ris_core.rerank.contract.RerankParams`."""
        return super().faults(n, d) + range_faults(self, neighbours=(1, n), alpha=(0, 100))


class QueryExpansion(Reranker):
    """Asks with the weighted sum of the query and its first answers.

    Source: Chum et al. 2007, Total Recall (average); Radenović, Tolias and Chum 2018, arXiv:1711.02512, section 5.3
    (weights similarity ** alpha). Differs: similarities below 0 weigh nothing; where the space does not
    normalise, similarity is the cosine all the same, and the sum keeps the query's own length.
    """

    def __init__(self, searched: Searched, params: QueryExpansionParams) -> None:
        self._searched, self._params = searched, params

    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        """See `ris_core.rerank.contract.Reranker`."""
        own = slice(number, number + 1)
        query = asked.vectors[number]
        expanded = expand_query(query, self._searched.vectors[rows[: self._params.neighbours]], self._params.alpha)
        found = self._searched.search(expanded[None], len(rows), asked.rows[own])[0]
        return found[found >= 0]


def expand_query(query: np.ndarray, neighbours: np.ndarray, alpha: float) -> np.ndarray:
    """(d,) float32 of the query's length: the query and its neighbours, weighted by their similarity to it.

    Args:
        query: (d,) float32.
        neighbours: (m, d) float32.
        alpha: Power of the similarity.
    """
    length = np.linalg.norm(query)
    lengths = np.linalg.norm(neighbours, axis=1) * length
    similarity = np.divide(neighbours @ query, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    weights = np.clip(similarity, 0, 1) ** alpha if alpha else np.ones_like(similarity)
    total = query + weights @ neighbours
    norm = np.linalg.norm(total)
    return (total * (length / norm) if norm > 0 else query).astype(np.float32)


QUERY_EXPANSION = RerankKind(QueryExpansionParams, QueryExpansion, searches=True)
