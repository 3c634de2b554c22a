"""Answers to a whole picture and to its crops, merged into one ranking."""

from collections.abc import Callable

import numpy as np

from ris_core.records import PADDING_ID


def merge_by_distance(rows: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The rows by their least distance to any of the vectors, each once.

    The first k of it are exact where each list holds its k nearest: a row among them is among the k nearest to the
    vector that it is nearest to. Equal distances keep the order of the vectors, the whole picture first.

    Args:
        rows: (c, k) int64 answers to each of c vectors, nearest first, padded with -1.
        distances: (c, k) their distances, +inf where padded.

    Returns:
        (m,) int64, m <= c * k.
    """
    flat = rows.ravel()[np.argsort(distances.ravel(), kind="stable")]
    return _first_mentions(flat)


def merge_by_turns(rows: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The rows by turns: the nearest to each vector, then the second nearest to each, and so on; each once.

    Takes and returns the same as `merge_by_distance`; distances are not looked at, so that lists whose distances
    differ in scale count alike.
    """
    return _first_mentions(rows.T.ravel())


MERGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "min": merge_by_distance,
    "round_robin": merge_by_turns,
}


def _first_mentions(rows: np.ndarray) -> np.ndarray:
    found = rows[rows != PADDING_ID]
    return found[np.sort(np.unique(found, return_index=True)[1])]
