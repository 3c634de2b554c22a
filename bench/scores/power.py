"""How small a difference a paired test could show: what a sentence "no difference shown" leaves open."""

import math

import numpy as np
from scipy import stats

from bench.scores.inference import ALPHA


def least_difference(n: int, depth: int, alpha: float = ALPHA) -> float:
    """Smallest mean difference that `paired_permutation_test` can ever call, of shares counted in steps of 1 / depth.

    Of m differences that are not 0, all of one sign, p is 2 / 2^m, and no smaller p is possible. So m must reach
    1 + log2(1 / alpha), each difference is a step at least, and their mean over n queries is m / (n depth) at least.

    Args:
        n: Queries that both systems answered.
        depth: Length of the lists: a query's precision or recall moves in steps of 1 / depth. Of queries of several
            depths the greatest, whose step is the smallest.
        alpha: Level below which p must fall.

    Returns:
        The difference, above 0; NaN where n queries can give no p below alpha.

    Source:
        Fisher 1935, The Design of Experiments, section 21: the test has 2^m outcomes. The bound is elementary.
    """
    needed = math.floor(1 - math.log2(alpha)) + 1  # 2 / 2^needed < alpha
    return needed / (n * depth) if n >= needed else float("nan")


def detectable_difference(differences: np.ndarray, power: float = 0.8, alpha: float = ALPHA) -> float:
    """Mean difference that a paired test of as many queries, of the same spread, would show with a chance of ``power``.

    Args:
        differences: (n,) one difference a query; only their spread counts, not their mean.
        power: Share of repetitions, with other queries of the same kind, in which the test is to find it.
        alpha: Two-sided level of the test.

    Returns:
        (t_(1 - alpha / 2) + t_power) s / sqrt(n), with the quantiles of Student's t of n - 1 degrees and the standard
        deviation s of the differences; NaN for fewer than two. 0 where all are equal.

    Source:
        Cohen 1988, Statistical Power Analysis, chapter 2; for retrieval Sakai 2016, Statistical Significance, Power,
        and Sample Sizes, SIGIR. Differs: the quantile of the central t stands for that of the noncentral one, which ten
        queries tell apart by some percent; and the permutation test is taken to have the power of the t test.
    """
    n = len(differences)
    if n < 2:
        return float("nan")
    quantiles = stats.t.ppf([1 - alpha / 2, power], n - 1)
    return float(quantiles.sum() * np.std(differences, ddof=1) / math.sqrt(n))
