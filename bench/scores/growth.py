"""How cost grows with the number of vectors, what a recall costs between two settings, and when an index pays.

`docs/measures.md` has each formula with an example worked by hand.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

ROUNDING = 1e-9  # mean recalls of equal shares differ in their last bits
DIRECT_FRAC = 0.005  # a setting whose recall lies so little above the target counts as one that reaches it exactly
SETTING, BETWEEN, FLOOR, NOT_REACHED = "setting", "interpolated", "floor", "not reached"


@dataclasses.dataclass(frozen=True)
class PowerLaw:
    """A cost as factor * n ** exponent.

    Attributes:
        exponent: Slope of ln cost over ln n.
        stderr: Its standard error; NaN for two points, which every line passes through.
        ci_low: Lower bound of the 95 % interval of the exponent, by Student's t of points - 2 degrees of freedom.
        ci_high: Upper bound.
        factor: Cost at n = 1, in the unit of the costs.
        points: Number of points.
    """

    exponent: float
    stderr: float
    ci_low: float
    ci_high: float
    factor: float
    points: int


def fit_power_law(n: Sequence[float] | np.ndarray, costs: Sequence[float] | np.ndarray) -> PowerLaw | None:
    """The power law of least squared error in the logarithms.

    Args:
        n: (m,) numbers of vectors.
        costs: (m,) seconds, milliseconds or bytes; those that are not above 0 or not finite are left out.

    Returns:
        The law; None for fewer than two different n.

    Source:
        Ordinary least squares on logarithms, as `scipy.stats.linregress` computes it. The error is that of the points
        around the line: it knows nothing of how well each point was measured, and a curve that is no line widens it.
    """
    sizes, values = (np.asarray(numbers, np.float64) for numbers in (n, costs))
    kept = np.isfinite(values) & (values > 0)
    x, y = np.log(sizes[kept]), np.log(values[kept])
    if len(np.unique(x)) < 2:
        return None
    fit = stats.linregress(x, y)
    points = len(x)
    stderr = float(fit.stderr) if points > 2 else math.nan
    half = stderr * float(stats.t.ppf(0.975, points - 2)) if points > 2 else math.nan
    exponent = float(fit.slope)
    return PowerLaw(exponent, stderr, exponent - half, exponent + half, math.exp(fit.intercept), points)


@dataclasses.dataclass(frozen=True)
class AtRecall:
    """What a recall costs.

    Attributes:
        cost: In the unit of the costs; NaN where no setting reaches the recall.
        how: `SETTING`, `BETWEEN`, `FLOOR` or `NOT_REACHED`.
        rows: The settings that it rests on: one, or the two on either side, or none.
    """

    cost: float
    how: str
    rows: tuple[int, ...] = ()


def cost_at_recall(
    recalls: Sequence[float] | np.ndarray, costs: Sequence[float] | np.ndarray, target: float
) -> AtRecall:
    """The cost of a recall on the front of some settings: those that no other beats in cost and recall at once.

    A setting on the front whose recall is at most `DIRECT_FRAC` above the target counts as it is. Else the logarithm of
    the cost is interpolated linearly in recall between the two neighbours on the front. Nothing is extrapolated: where
    even the cheapest setting exceeds the target, its cost stands, as that of at least the recall (`FLOOR`).

    Args:
        recalls: (m,) mean recalls of the settings.
        costs: (m,) their costs, above 0.
        target: The recall wanted, in [0, 1].
    """
    found, cost = (np.asarray(numbers, np.float64) for numbers in (recalls, costs))
    front: list[int] = []
    for row in np.lexsort((-found, cost)):
        if not front or found[row] > found[front[-1]]:
            front.append(int(row))
    above = next((place for place, row in enumerate(front) if found[row] >= target - ROUNDING), None)
    if above is None:
        return AtRecall(math.nan, NOT_REACHED)
    upper = front[above]
    if found[upper] <= target + DIRECT_FRAC + ROUNDING:
        return AtRecall(float(cost[upper]), SETTING, (upper,))
    if above == 0:
        return AtRecall(float(cost[upper]), FLOOR, (upper,))
    lower = front[above - 1]
    share = (target - found[lower]) / (found[upper] - found[lower])
    value = math.exp((1 - share) * math.log(cost[lower]) + share * math.log(cost[upper]))
    return AtRecall(value, BETWEEN, (lower, upper))


def break_even_queries(build_s: float, query_s: float, other_build_s: float, other_query_s: float) -> float:
    """After how many queries an index has saved, against another one, what it took longer to build.

    With the first index' build and query seconds b, t and the other's b', t' it is (b - b') / (t' - t).

    Returns:
        Queries, not rounded; 0 where the first is not slower to build, infinity where it is but answers no faster.
    """
    if build_s <= other_build_s:
        return 0.0
    saved_s = other_query_s - query_s
    return (build_s - other_build_s) / saved_s if saved_s > 0 else math.inf
