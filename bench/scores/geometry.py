"""How hard a query is by geometry alone: local intrinsic dimension, and the contrast of near and far.

Neither knows what a tile shows. `docs/measures.md` has each formula with an example worked by hand.
"""

import numpy as np

SAMPLE_ROWS = 10_000  # tiles that a mean distance is taken over, at most
_BLOCK_VALUES = 2**22  # float64 distances held at once: 32 MiB


def local_intrinsic_dimension(distances: np.ndarray) -> np.ndarray:
    """Dimension of the space that the neighbours of each query seem to fill, by maximum likelihood.

    With distances r_1 <= ... <= r_k it is -1 / mean(ln(r_i / r_k)). High values are hard: many tiles are almost as far
    as the k-th.

    Args:
        distances: (q, k) squared Euclidean distances of the k nearest other tiles, ascending. Zeros (duplicates of
            the query) are left out of the mean, for their logarithm has no value.

    Returns:
        (q,) float64, positive. NaN where no estimate exists: fewer than two distances above zero, or all such
        distances equal, which no dimension explains.

    Source:
        Amsaleg et al. 2015, Estimating Local Intrinsic Dimensionality, KDD, the maximum-likelihood (Hill) estimate.
        Differs: distances of 0 are left out. Levina and Bickel 2004, NIPS, divide the same sum by k - 1 in place of
        k, so that their value is (k - 1) / k of this one.
    """
    squared = np.asarray(distances, np.float64)
    positive = squared > 0
    farthest = squared[:, -1:]
    # ln of a root is half the ln of its square.
    logs = 0.5 * np.log(np.divide(squared, farthest, out=np.ones_like(squared), where=positive))  # (q, k), <= 0
    total = -logs.sum(axis=1)
    return np.divide(positive.sum(axis=1), total, out=np.full(len(squared), np.nan), where=total > 0)


def relative_contrast(mean_distance: np.ndarray, kth_distance: np.ndarray) -> np.ndarray:
    """How much farther than the k-th neighbour a tile lies on average: d_mean / d_k. Values near 1 are hard.

    Args:
        mean_distance: (q,) mean Euclidean distance of each query to the other tiles.
        kth_distance: (q,) Euclidean distance of its k-th neighbour.

    Returns:
        (q,) float64; NaN where the k-th neighbour is a duplicate of the query, at distance 0.

    Source:
        He, Kumar and Chang 2012, On the Difficulty of Nearest Neighbor Search, ICML, for the nearest neighbour of a
        data set; Aumüller and Ceccarello 2019, CEUR 2436, for each query and its k-th neighbour. Differs: none.
    """
    mean, kth = (np.asarray(values, np.float64) for values in (mean_distance, kth_distance))
    return np.divide(mean, kth, out=np.full(len(mean), np.nan), where=kth > 0)


def mean_distances(
    base: np.ndarray, queries: np.ndarray, rows: np.ndarray, sample: int = SAMPLE_ROWS, seed: int = 0
) -> np.ndarray:
    """Mean Euclidean distance of each query to the other tiles.

    Args:
        base: (n, d) float32.
        queries: (q, d) float32, in the same space.
        rows: (q,) int64 the queries' own rows in the base, which do not count; -1 where a query has none.
        sample: Over how many rows at most the mean is taken; more are drawn from by seed. The standard error is that
            of a mean of so many distances: below 1 % of their spread for 10,000.
        seed: Of the draw.

    Returns:
        (q,) float64; NaN where there is no other tile. Memory: 32 MiB beside a float64 copy of the sample.
    """
    n = len(base)
    drawn = np.arange(n) if n <= sample else np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))
    points = base[drawn].astype(np.float64)
    lengths = np.square(points).sum(axis=1)
    means = np.full(len(queries), np.nan)
    block = max(1, _BLOCK_VALUES // max(1, len(drawn)))
    for start in range(0, len(queries), block):
        part = slice(start, start + block)
        asked = queries[part].astype(np.float64)
        squared = np.square(asked).sum(axis=1)[:, None] + lengths - 2 * asked @ points.T  # (block, sample)
        others = drawn != np.asarray(rows)[part, None]
        sums = np.sqrt(np.maximum(squared, 0)).sum(axis=1, where=others)
        count = others.sum(axis=1)
        means[part] = np.divide(sums, count, out=np.full(len(count), np.nan), where=count > 0)
    return means
