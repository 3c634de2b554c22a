"""Principal axes of a base: directions in the order of how much of the vectors lies along them."""

import numpy as np
import threadpoolctl

SAMPLED_ROWS = 16_384


def principal_axes(base: np.ndarray, distance: str) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes of the base as an engine sees it, by falling second moment, from up to 16,384 of its rows.

    For ``cosine`` rows are scaled to length 1. For ``inner_product`` they get a further coordinate that makes all of
    them equally long, so that the largest product is the smallest angle. Nothing is centred: what is searched for is a
    product with the vectors as they are.

    Args:
        base: (n, d) float32.
        distance: ``"euclidean_squared"``, ``"cosine"`` or ``"inner_product"``.

    Returns:
        (p, p) float32 axes in rows, the largest component of each positive, p being d or, for inner products, d + 1;
        and their (p,) float32 second moments.

    Source:
        The lifting: Neyshabur, Srebro 2015, On Symmetric and Asymmetric LSHs for Inner Product Search.
    """
    rows = np.linspace(0, len(base) - 1, min(len(base), SAMPLED_ROWS)).astype(np.int64)
    sample = base[rows].astype(np.float64)
    squared = np.einsum("nd,nd->n", sample, sample)
    if distance == "cosine":
        sample /= np.sqrt(squared)[:, None]
    if distance == "inner_product":
        sample = np.column_stack([sample, np.sqrt(squared.max() - squared)])
    with threadpoolctl.threadpool_limits(1):  # sums in one order: on one machine the same axes on any number of threads
        moments, axes = np.linalg.eigh(sample.T @ sample / len(sample))
    axes, moments = axes.T[::-1], moments[::-1]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.ascontiguousarray(axes * np.sign(largest), np.float32), np.maximum(moments, 0).astype(np.float32)
