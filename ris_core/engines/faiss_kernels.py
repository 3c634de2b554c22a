"""What the engines share of faiss: distances, threads, matrix products, and the order of answers."""

import contextlib
from collections.abc import Iterator

import faiss
import numpy as np

_NEVER = 2**31 - 1


@contextlib.contextmanager
def faiss_threads(threads: int) -> Iterator[None]:
    """Let faiss use that many threads within the block, and as many as before after it."""
    before = faiss.omp_get_max_threads()
    if before == threads:  # each call of faiss' settings takes microseconds, which short searches would feel
        yield
        return
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


@contextlib.contextmanager
def faiss_products(wanted: bool) -> Iterator[None]:
    """Let faiss compare by matrix products within the block, or never.

    Left alone, faiss compares directly below a threshold on the number of queries; since 1.15 that is one on their
    number times their dimension, so high that 600 queries of 192 dimensions take four times as long as by a product.
    """
    before = faiss.cvar.distance_compute_blas_threshold
    faiss.cvar.distance_compute_blas_threshold = 1 if wanted else _NEVER
    try:
        yield
    finally:
        faiss.cvar.distance_compute_blas_threshold = before


def squared_distances(queries: np.ndarray, base: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(q, k) float32 squared Euclidean distances of each query to its rows of the base, by faiss' SIMD kernel.

    Args:
        queries: (q, d) float32, C-contiguous.
        base: (n, d) float32, C-contiguous.
        rows: (q, k) int64 rows of the base, 0 to n - 1.
    """
    distances = np.empty(rows.shape, np.float32)
    pointers = (faiss.swig_ptr(array) for array in (distances, queries, base, rows))
    faiss.fvec_L2sqr_by_idx(*pointers, queries.shape[1], *rows.shape)
    return distances


def take_nearest(rows: np.ndarray, distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each query's (q, m) rows and their distances, both (q, k): by distance, equal ones by row."""
    order = np.lexsort((rows, distances))[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def pad(rows: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Faiss' answer, whose missing rows are -1 already, with their distances set to +inf in place."""
    distances[rows < 0] = np.inf
    return rows, distances
