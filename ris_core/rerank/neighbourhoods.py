"""Each indexed vector's nearest others, found by the index itself: what graphs over a corpus are made of."""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from ris_core.rerank.contract import Searched

_BLOCK_ROWS = 1024
_BLOCK_VALUES = 2**24  # of vectors held at once: 64 MiB


def nearest_others(searched: Searched, k: int) -> np.ndarray:
    """(n, k) int64 rows nearest to each row, itself left out, padded with -1."""
    n = len(searched.vectors)
    starts = range(0, n, _BLOCK_ROWS)
    blocks = [np.arange(start, min(start + _BLOCK_ROWS, n)) for start in starts]
    return np.concatenate([searched.search(searched.vectors[block], k, block) for block in blocks])


def pattern(rows: np.ndarray, n: int) -> sparse.csr_array:
    """(len(rows), n) float32: 1 where a row is named, 0 elsewhere.

    Args:
        rows: (m, k) int64, padded with -1; each row at most once a line.
        n: Columns.
    """
    lines, places = np.nonzero(rows >= 0)
    ones = np.ones(len(lines), np.float32)
    return sparse.csr_array((ones, (lines, rows[lines, places])), shape=(len(rows), n))


def cosines(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(m,) float32 cosine of each pair of rows; 0 where one of them is zero."""
    lengths = np.linalg.norm(vectors, axis=1)
    products = _in_blocks(vectors, first, second, lambda a, b: np.einsum("ij,ij->i", a, b))
    both = lengths[first] * lengths[second]
    return np.divide(products, both, out=np.zeros_like(products), where=both > 0)


def squared_distances(vectors: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(m,) float32 squared Euclidean distance of each pair of rows."""
    return _in_blocks(vectors, first, second, lambda a, b: np.square(a - b).sum(axis=1))


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """The vectors, or one vector, scaled to length 1; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1)


def size_bytes(matrix: sparse.csr_array) -> int:
    """Bytes of a sparse matrix."""
    return matrix.data.nbytes + matrix.indices.nbytes + matrix.indptr.nbytes


def _in_blocks(
    vectors: np.ndarray, first: np.ndarray, second: np.ndarray, measure: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> np.ndarray:
    """(m,) float32 what is measured of each pair of rows; few pairs at a time."""
    step = max(1, _BLOCK_VALUES // vectors.shape[1])
    parts = [slice(start, start + step) for start in range(0, len(first), step)]
    found = [measure(vectors[first[part]], vectors[second[part]]) for part in parts]
    return np.concatenate(found).astype(np.float32) if found else np.empty(0, np.float32)
