"""Clusters of vectors, and an exact search over them that knows nothing of any engine."""

from collections.abc import Callable

import numpy as np
import pytest

from ris_core.records import PADDING_ID
from ris_core.rerank.contract import Searched

N, D, CLUSTERS = 120, 8, 6


def _search(vectors: np.ndarray, asked: np.ndarray, k: int, own: np.ndarray) -> np.ndarray:
    """(q, k) nearest rows but the own one, by sorting all squared distances."""
    answers = np.full((len(asked), k), PADDING_ID, np.int64)
    for number, (vector, row) in enumerate(zip(asked.astype(np.float64), own, strict=True)):
        order = np.argsort(np.square(vectors - vector).sum(axis=1), kind="stable")
        found = order[order != row][:k]
        answers[number, : len(found)] = found
    return answers


@pytest.fixture(scope="session")
def search_plainly() -> Callable[..., np.ndarray]:
    """From vectors, queries, k and the queries' own rows to the answers."""
    return _search


@pytest.fixture(scope="session")
def searched_over() -> Callable[[np.ndarray], Searched]:
    """Vectors that are searched so."""
    return lambda vectors: Searched(vectors, lambda asked, k, own: _search(vectors, asked, k, own))


@pytest.fixture(scope="session")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """(n, d) unit vectors round six centres, wide enough that clusters touch; and the cluster of each."""
    rng = np.random.default_rng(1)
    of = rng.integers(CLUSTERS, size=N)
    vectors = rng.normal(size=(CLUSTERS, D))[of] + rng.normal(size=(N, D)) * 0.75
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), of
