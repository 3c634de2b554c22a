"""How similar a query's local descriptors are to those of other tiles, and its vector to theirs."""

from collections.abc import Callable

import numpy as np

from ris_core.errors import SearchError
from ris_core.local_sets import LocalSets


def set_similarity(query: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """(m, a, b) products of a (a, c) query's descriptors with those of m sets (m, b, c), as one matrix product."""
    m, b, c = sets.shape
    products = query @ sets.reshape(m * b, c).T  # (a, m * b)
    return products.reshape(len(query), m, b).transpose(1, 0, 2)


def chamfer(similarity: np.ndarray) -> np.ndarray:
    """(m,) mean over the query's descriptors of the similarity to their nearest in each of m sets.

    Args:
        similarity: (m, a, b) of a descriptors of the query to b of each set.

    Source:
        The chamfer similarity of ViSiL (Kordopatis-Zilos et al. 2019, arXiv:1908.07410), from the query's side.
    """
    return similarity.max(axis=2).mean(axis=1)


def mutual(similarity: np.ndarray) -> np.ndarray:
    """(m,) the same over pairs that are each other's nearest, divided by all a; negative similarities count 0.

    Args:
        similarity: See `chamfer`.
    """
    nearest = similarity.argmax(axis=2)  # (m, a)
    back = np.take_along_axis(similarity.argmax(axis=1), nearest, axis=1)
    is_mutual = back == np.arange(similarity.shape[1])
    best = similarity.max(axis=2).clip(min=0)
    return np.where(is_mutual, best, 0).mean(axis=1)


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"chamfer": chamfer, "mutual": mutual}


def cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(m,) float32 cosines of a query (d,) and vectors (m, d); 0 to a vector of length 0."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    return np.divide(vectors @ query, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def given(sets: LocalSets | None) -> LocalSets:
    """The descriptors that a kind with ``needs = (LOCAL,)`` was given.

    Raises:
        SearchError: If it was given none.
    """
    if sets is None:
        raise SearchError("no local descriptors were given. Make them by ris_core.local_extraction.extract_local.")
    return sets
