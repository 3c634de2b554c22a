"""Classification by weighted nearest neighbours: how well features tell labels apart, without training anything."""

import numpy as np

from ris_core.errors import SearchError

TEMPERATURE = 0.07
_BLOCK_VALUES = 2**22  # similarities that are held at once


def knn_predict(
    base: np.ndarray, base_labels: np.ndarray, queries: np.ndarray, k: int, temperature: float = TEMPERATURE
) -> np.ndarray:
    """Label of each query by a weighted vote of its k nearest vectors.

    A neighbour of cosine similarity s votes with weight exp(s / temperature). Of vectors that are tied for the last
    seat the first rows vote, of labels with equal votes the lowest code wins, so that the answer does not hang on the
    order of computing.

    Args:
        base: (n, d) vectors of known label; they are brought to length 1 here.
        base_labels: (n,) their labels as whole numbers from 0.
        queries: (q, d) vectors that are none of the base.
        k: Voters; all of the base where it has fewer.
        temperature: Sharpness of the weights.

    Returns:
        (q,) int64 codes of labels.

    Raises:
        SearchError: If the base is empty, shapes do not go together, a vector is not finite, or ``k`` or
            ``temperature`` is not above 0.

    Source:
        Wu et al. 2018, arXiv:1805.01978, section 3.4; Caron et al. 2021, DINO, arXiv:2104.14294, ``eval_knn.py``
        (k = 10, 20, 100, 200; temperature 0.07). Differs: ties are settled as above; the weights are divided by the
        nearest one's, which changes no vote and cannot overflow.
    """
    known, places = np.unique(_checked_codes(base, base_labels, queries, k, temperature), return_inverse=True)
    unit, asked = _of_length_one(base), _of_length_one(queries)
    k, block = min(k, len(base)), max(1, _BLOCK_VALUES // len(base))
    predicted = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), block):
        similarity = asked[start : start + block] @ unit.T  # (block, n)
        query, voter = _is_voter(similarity, k).nonzero()
        behind = similarity[query, voter].astype(np.float64) - similarity.max(axis=1)[query]
        seats = query * len(known) + places[voter]  # of each vote, in the table (block, labels)
        votes = np.bincount(seats, np.exp(behind / temperature), minlength=len(similarity) * len(known))
        predicted[start : start + block] = known[votes.reshape(len(similarity), -1).argmax(axis=1)]
    return predicted


def knn_accuracy(
    base: np.ndarray,
    base_labels: np.ndarray,
    queries: np.ndarray,
    query_labels: np.ndarray,
    k: int,
    temperature: float = TEMPERATURE,
) -> float:
    """Share of the queries whose label `knn_predict` finds (top-1), in [0, 1]; NaN without queries.

    Args:
        base: As there, like ``base_labels``, ``queries``, ``k`` and ``temperature``.
        base_labels: As there.
        queries: As there.
        query_labels: (q,) true labels, in the codes of ``base_labels``.
        k: As there.
        temperature: As there.

    Raises:
        SearchError: As there.
    """
    if np.shape(query_labels) != (len(queries),):
        raise SearchError(f"{len(queries)} queries have labels of shape {np.shape(query_labels)}; each needs one.")
    predicted = knn_predict(base, base_labels, queries, k, temperature)
    return float((predicted == query_labels).mean()) if len(queries) else float("nan")


def _checked_codes(
    base: np.ndarray, base_labels: np.ndarray, queries: np.ndarray, k: int, temperature: float
) -> np.ndarray:
    """The base's labels as int64."""
    labels = np.asarray(base_labels)
    if k < 1 or not temperature > 0:
        raise SearchError(f"k = {k} must be at least 1, and temperature = {temperature} above 0.")
    if base.ndim != 2 or queries.ndim != 2 or not len(base) or base.shape[1] != queries.shape[1]:
        raise SearchError(
            f"a vote needs a base (n, d) with n > 0 and queries (q, d); got {base.shape} and {queries.shape}."
        )
    if not (np.isfinite(base).all() and np.isfinite(queries).all()):
        raise SearchError("the vectors hold NaN or infinity, which are near nothing. Extract the features again.")
    if labels.shape != (len(base),) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise SearchError(
            f"the {len(base)} vectors of the base need one label each, a whole number from 0; got {labels.dtype} "
            f"of shape {labels.shape}. `np.unique(labels, return_inverse=True)` makes such codes."
        )
    return labels.astype(np.int64)


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    """The vectors at length 1 as contiguous float32; zeros stay zeros."""
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)  # float32 squares may overflow
    return np.ascontiguousarray(vectors / np.where(norms > 0, norms, 1), dtype=np.float32)


def _is_voter(similarity: np.ndarray, k: int) -> np.ndarray:
    """(q, n) bool: the k nearest vectors of each query; of those tied at rank k the first."""
    last = np.partition(similarity, -k, axis=1)[:, [-k]]  # (q, 1)
    nearer, tied = similarity > last, similarity == last
    seats = k - nearer.sum(axis=1, keepdims=True)
    return nearer | (tied & (tied.cumsum(axis=1) <= seats))
