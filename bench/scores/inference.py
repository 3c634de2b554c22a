"""What numbers can carry: intervals of repeated times, paired tests, corrections for many of them, groups of engines.

All functions are deterministic: the same numbers and seed give the same answer. `docs/measures.md` has each one with an
example worked by hand.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

ALPHA = 0.05  # a difference is called where the p value, adjusted for all that was tested beside it, is below
EXACT_PAIRS = 16  # up to 2^16 ways to set the signs, all are tried
_RATIO_RESAMPLES = 1_000
_ROUNDING = 1e-12  # relative; sums of the same numbers in another order differ in their last bits
_BLOCK_VALUES = 2**18  # draws at a time: what stays in the processor's cache is several times as fast


def nested_interval(
    rounds: Sequence[Sequence[float] | np.ndarray],
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a time that was measured in several processes: of the median over them of each one's median.

    Two levels are drawn anew, because rounds of one process share its memory layout and are no independent times:
    processes with replacement, and within each drawn process its rounds with replacement.

    Args:
        rounds: For each process its rounds, or one time a query; any unit. Processes without a round are left out.
        confidence: Share of the resampled medians inside the interval.
        resamples: Number of times that the processes are drawn.
        seed: Seed of the draws.

    Returns:
        Lower and upper bound in the unit of ``rounds``; NaN for fewer than two rounds altogether. One process alone
        has the interval of its rounds, which says nothing of other processes.

    Source:
        Kalibera and Jones 2013, Rigorous Benchmarking in Reasonable Time (resampling at each level of repetition);
        Davison and Hinkley 1997, section 3.8. Differs: the median instead of the mean over processes. With
        two processes the outer level knows two times only, so that the interval is a little too narrow.
    """
    processes = [np.asarray(times, dtype=np.float64) for times in rounds if len(times)]
    if sum(len(times) for times in processes) < 2:
        return float("nan"), float("nan")
    return _nested(tuple(times.tobytes() for times in processes), confidence, resamples, seed)


@functools.lru_cache(maxsize=4096)  # the same times stand in several tables
def _nested(stored: tuple[bytes, ...], confidence: float, resamples: int, seed: int) -> tuple[float, float]:
    processes = [np.frombuffer(times) for times in stored]
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(processes), size=(resamples, len(processes)))
    drawn = np.empty(chosen.shape)
    for number, times in enumerate(processes):
        here = chosen == number
        drawn[here] = _resampled_medians(times, int(here.sum()), rng)
    low, high = np.quantile(np.median(drawn, axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def median_time(rounds: Sequence[Sequence[float] | np.ndarray]) -> float:
    """Median over the processes of each one's median, in the unit of ``rounds``: what `nested_interval` surrounds."""
    return float(np.median([np.median(process) for process in rounds if len(process)]))


def ratio_interval(
    base: Sequence[Sequence[float]], run: Sequence[Sequence[float]], *, paired: bool = False
) -> tuple[float, float, float]:
    """How many times as long something took as before, with the 95 % interval of that ratio.

    The median of each process is taken, and the median of these. For the interval, processes are drawn with
    replacement, and within each one its times.

    Args:
        base: For each process of the earlier run its times, at least one.
        run: The same of the run.
        paired: Whether the i-th time of every process belongs to the same query. It is then drawn or left out in all
            of them at once: that some queries are harder than others is no uncertainty of the ratio.

    Returns:
        The ratio and the bounds. One process each has the interval of its rounds, which says nothing of other
        processes; one time each has none, and all three are equal.

    Source:
        Kalibera and Jones 2013, Rigorous Benchmarking in Reasonable Time (ratios with intervals, resampling at each
        level of repetition). Differs: medians instead of means, and queries paired between the runs.
    """
    rng = np.random.default_rng(0)
    shared = rng.integers(len(base[0]), size=(_RATIO_RESAMPLES, len(base[0])))
    drawn = []
    for side in (base, run):
        draws = [shared if paired else rng.integers(len(times), size=(_RATIO_RESAMPLES, len(times))) for times in side]
        medians = [np.median(np.asarray(times)[draw], axis=1) for times, draw in zip(side, draws, strict=True)]
        chosen = rng.integers(len(side), size=(_RATIO_RESAMPLES, len(side)))
        drawn.append(np.median(np.take_along_axis(np.stack(medians, axis=1), chosen, axis=1), axis=1))
    low, high = np.quantile(drawn[1] / drawn[0], [0.025, 0.975])
    return median_time(run) / median_time(base), float(low), float(high)


def paired_permutation_test(differences: Sequence[float] | np.ndarray, resamples: int = 9_999, seed: int = 0) -> float:
    """Probability of a mean difference as far from 0 as this one, if each pair's two values were interchangeable.

    Two-sided: the sign of every difference is set at random. Up to `EXACT_PAIRS` differences all ways are tried;
    beyond, ``resamples`` of them are drawn, the observed way counted among them, so that p is never 0.

    Args:
        differences: (n,) one difference a pair, such as a query answered by two systems. A difference of 0 keeps its
            place in neither the sum nor the count of ways: turning its sign changes nothing.
        resamples: Ways that are drawn where there are too many. The smallest p is 1 / (resamples + 1).
        seed: Seed of the draws.

    Returns:
        p in (0, 1]; 1 where all differences are 0, NaN where there is none.

    Source:
        Fisher 1935, The Design of Experiments, section 21; Smucker, Allan and Carterette 2007 for its use on retrieval
        scores; Phipson and Smyth 2010 for (b + 1) / (m + 1). Differs: none. `scipy.stats.permutation_test` with
        ``permutation_type="samples"`` is the test's reference.
    """
    pairs = np.asarray(differences, dtype=np.float64)
    if not len(pairs):
        return float("nan")
    moved = pairs[pairs != 0]
    n = len(moved)
    least = abs(moved.sum()) - _ROUNDING * np.abs(moved).sum()
    if n <= EXACT_PAIRS:
        ways = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((1 - 2 * ways) @ moved) >= least).mean())
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_VALUES // n)
    extreme = 1
    for start in range(0, resamples, block):
        ways = rng.integers(2, size=(min(block, resamples - start), n), dtype=np.int8)
        extreme += int((np.abs((1.0 - 2.0 * ways) @ moved) >= least).sum())
    return extreme / (resamples + 1)


def wilcoxon_test(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of the signed-rank test: `paired_permutation_test` of the ranks of the differences, with their signs.

    Args:
        differences: (n,) one difference a pair; infinite ones rank last. Zeros are left out, ties share a rank.

    Returns:
        p in (0, 1]; 1 where all differences are 0, NaN where there is none.

    Source:
        Wilcoxon 1945. Differs: exact with ties too, where `scipy.stats.wilcoxon` falls back on a normal approximation.
    """
    pairs = np.asarray(differences, dtype=np.float64)
    ranks = stats.rankdata(np.where(pairs == 0, -1, np.abs(pairs))) - (pairs == 0).sum()
    return paired_permutation_test(np.sign(pairs) * ranks)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """P values adjusted so that all that fall below alpha may be believed together, with an error of alpha at most.

    Args:
        p_values: (m,) all p values of one family: everything that was tested to answer one question. NaN was not
            tested and does not count.

    Returns:
        (m,) float64, in the order given: the i-th smallest of m times m - i + 1, never below the one before, at most 1.

    Source:
        Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure. Differs: none. It needs no independence.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p, kind="stable")[: int(np.isfinite(p).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


@dataclasses.dataclass(frozen=True, eq=False)
class CriticalDifference:
    """Engines ranked over data sets, and which of them the data tell apart.

    Attributes:
        average_ranks: Mean rank of each engine, best (1) first.
        p_holm: (k, k) adjusted p of each pair of engines, in the same order; NaN on the diagonal.
        friedman_p: P of the hypothesis that no engine differs from another; NaN for two engines, who have their pair.
        groups: Largest sets of engines of which no two are told apart, best first; each engine is in at least one.
        data_sets: Number of data sets.
    """

    average_ranks: pd.Series
    p_holm: pd.DataFrame
    friedman_p: float
    groups: tuple[tuple[str, ...], ...]
    data_sets: int

    @property
    def smallest_p(self) -> float:
        """The smallest adjusted p that n data sets can give: 2 / 2^n, times the number of pairs; n up to 16."""
        return min(1.0, math.comb(len(self.average_ranks), 2) * 2.0 ** (1 - self.data_sets))


def critical_difference(scores: pd.DataFrame, alpha: float = ALPHA) -> CriticalDifference:
    """Average ranks of engines, and the groups within which the data show no difference.

    First Friedman's test asks whether any engine differs; only then is each pair tested by Wilcoxon's signed ranks,
    adjusted by Holm. A few data sets tell nothing apart, see `CriticalDifference.smallest_p`.

    Args:
        scores: A row a data set, a column an engine, at least one of each; smaller is better, infinite is last.
            Differences are ranked across data sets, so pass values whose differences compare: logarithms of times.
        alpha: Engines are told apart where both p values are below.

    Source:
        Demšar 2006, Statistical Comparisons of Classifiers over Multiple Data Sets: average ranks, Friedman's test, the
        diagram. Benavoli, Corani and Mangili 2016, Should We Really Use Post-Hoc Tests Based on Mean-Ranks?:
        signed ranks instead of Nemenyi's test, whose verdict on two engines depends on which others were measured.
        Differs: groups are cliques of the relation "not told apart", so a bar never joins two engines that are.
    """
    average = scores.rank(axis=1).mean().sort_values(kind="stable")
    engines = [str(engine) for engine in average.index]
    pairs = list(itertools.combinations(engines, 2))
    adjusted = holm([wilcoxon_test(_differences(scores[a], scores[b])) for a, b in pairs])
    p_holm = pd.DataFrame(np.nan, index=engines, columns=engines)
    for (a, b), p in zip(pairs, adjusted, strict=True):
        p_holm.loc[a, b] = p_holm.loc[b, a] = p
    friedman_p = _friedman(scores) if len(engines) > 2 else float("nan")
    some_differ = math.isnan(friedman_p) or friedman_p < alpha
    apart = (p_holm < alpha) & some_differ
    alike = {a: {b for b in engines if b != a and not apart.loc[a, b]} for a in engines}
    groups = sorted(sorted(engines.index(name) for name in group) for group in _cliques(alike))
    named = tuple(tuple(engines[place] for place in group) for group in groups)
    return CriticalDifference(average, p_holm, friedman_p, named, len(scores))


def _resampled_medians(times: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) the median of as many times, drawn with replacement ``count`` times."""
    block = max(1, _BLOCK_VALUES // len(times))
    drawn = [
        np.median(times[rng.integers(len(times), size=(min(block, count - start), len(times)), dtype=np.int32)], axis=1)
        for start in range(0, count, block)
    ]
    return np.concatenate(drawn) if drawn else np.empty(0)


def _differences(first: pd.Series, second: pd.Series) -> np.ndarray:
    """Paired differences; two engines that are both last do not differ."""
    a, b = first.to_numpy(np.float64), second.to_numpy(np.float64)
    return np.subtract(a, b, out=np.zeros(len(a)), where=a != b)


def _friedman(scores: pd.DataFrame) -> float:
    """P of Friedman's test; 1 where the engines are tied on every data set."""
    ranks = scores.rank(axis=1).to_numpy()
    return float(stats.friedmanchisquare(*ranks.T).pvalue) if np.ptp(ranks, axis=1).any() else 1.0


def _cliques(alike: dict[str, set[str]]) -> list[set[str]]:
    """All maximal sets whose members are pairwise alike. Source: Bron and Kerbosch 1973, without pivoting."""
    found: list[set[str]] = []

    def extend(clique: set[str], candidates: set[str], seen: set[str]) -> None:
        if not candidates and not seen:
            found.append(clique)
        for name in sorted(candidates):
            extend(clique | {name}, candidates & alike[name], seen & alike[name])
            candidates, seen = candidates - {name}, seen | {name}

    extend(set(), set(alike), set())
    return found
