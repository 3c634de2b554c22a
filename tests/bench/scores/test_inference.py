import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bench.scores.inference import (
    EXACT_PAIRS,
    critical_difference,
    holm,
    median_time,
    nested_interval,
    paired_permutation_test,
    wilcoxon_test,
)

differences = st.lists(st.integers(-20, 20).map(float), min_size=1, max_size=10)  # whole: their sums do not round


def every_draw_of_two_rounds_in_two_processes(rounds: list[list[float]]) -> np.ndarray:
    """The medians of all 2 x 2 x 4 x 4 equally likely draws of the nested bootstrap, by brute force."""
    medians = []
    for first, second in itertools.product(rounds, repeat=2):
        for a, b in itertools.product(itertools.product(first, repeat=2), itertools.product(second, repeat=2)):
            medians.append(np.median([np.median(a), np.median(b)]))
    return np.array(medians)


def test_nested_interval_has_the_quantiles_of_every_possible_draw() -> None:
    rounds = [[1.0, 2.0], [7.0, 10.0]]
    possible = every_draw_of_two_rounds_in_two_processes(rounds)
    compared = 0
    for confidence in np.arange(0.05, 1, 0.05):
        ends = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
        expected = np.quantile(possible, ends)
        if all((np.quantile(possible, np.clip(ends + step, 0, 1)) == expected).all() for step in (-0.015, 0.015)):
            assert nested_interval(rounds, confidence=confidence, resamples=20_000) == tuple(expected)
            compared += 1  # elsewhere the quantile stands at a jump, where few draws more or less decide
    assert compared >= 4


def test_processes_that_disagree_widen_the_interval_that_rounds_alone_would_give() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(10, 0.1, 500), rng.normal(12, 0.1, 500)
    low, high = nested_interval([first, second])
    assert low < 10.1
    assert high > 11.9
    pooled_low, pooled_high = nested_interval([first])
    assert pooled_high - pooled_low < 0.05


def test_one_process_has_the_interval_of_its_rounds() -> None:
    times = np.random.default_rng(1).lognormal(size=200)
    reference = stats.bootstrap((times,), np.median, method="percentile", n_resamples=9_999, rng=0).confidence_interval
    assert nested_interval([times], resamples=9_999) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_median_time_is_the_median_of_the_processes_medians() -> None:
    assert median_time([[1.0, 2.0, 9.0], [4.0], []]) == 3.0


def test_nested_interval_by_hand() -> None:
    assert nested_interval([[1.0, 1.0], [5.0, 5.0]]) == (1.0, 5.0)
    assert nested_interval([[1.0, 1.0]]) == (1.0, 1.0)


def test_processes_may_have_different_numbers_of_rounds() -> None:
    assert nested_interval([[1.0], [3.0, 3.0, 3.0], []]) == (1.0, 3.0)


@pytest.mark.parametrize("rounds", [[], [[]], [[1.0]], [[], [1.0]]])
def test_one_time_has_no_interval(rounds: list[list[float]]) -> None:
    assert np.isnan(nested_interval(rounds)).all()


@given(st.lists(st.lists(st.floats(0.1, 100), min_size=1, max_size=8), min_size=1, max_size=4), st.floats(0.5, 8))
@settings(max_examples=40)
def test_nested_interval_stays_within_the_times_and_scales_with_them(rounds: list[list[float]], factor: float) -> None:
    low, high = nested_interval(rounds, resamples=200)
    if sum(map(len, rounds)) < 2:
        return
    every = np.concatenate(rounds)
    assert every.min() <= low <= high <= every.max()
    scaled = [[time * factor for time in times] for times in rounds]
    assert nested_interval(scaled, resamples=200) == pytest.approx((low * factor, high * factor))


def test_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    """200 measurements of 10 processes, each with a level of its own, 10 rounds each."""
    rng = np.random.default_rng(3)
    covered = 0
    for trial in range(200):
        levels = rng.normal(100, 5, (10, 1))
        low, high = nested_interval(list(levels + rng.normal(0, 1, (10, 10))), resamples=300, seed=trial)
        covered += low <= 100 <= high
    assert 0.88 <= covered / 200 <= 0.99


def test_permutation_p_by_hand() -> None:
    # 8 ways to set the signs of 1, 2, 3: the sums +6 and -6 are as far from 0 as the observed one.
    assert paired_permutation_test([1, 2, 3]) == 2 / 8
    # -1, 2, 3 sums to 4; so do its mirror, and +-6 lie farther.
    assert paired_permutation_test([-1, 2, 3]) == 4 / 8
    assert paired_permutation_test([0.3]) == 1.0


def test_zeros_change_no_p_and_nothing_but_zeros_shows_nothing() -> None:
    assert paired_permutation_test([0, 1, 2, 0, 3, 0]) == paired_permutation_test([1, 2, 3])
    assert paired_permutation_test([0.0, 0.0]) == 1.0
    assert math.isnan(paired_permutation_test([]))


def test_sums_that_differ_by_rounding_alone_are_equal() -> None:
    # 0.1 + 0.2 - 0.3 is no exact zero; every way of setting the signs is at least as far from 0.
    assert paired_permutation_test([0.1, 0.2, -0.3]) == 1.0
    assert paired_permutation_test([0.3, 0.3, 0.4, -0.4]) == paired_permutation_test([3, 3, 4, -4]) == 10 / 16


@given(differences)
@settings(max_examples=40)
def test_permutation_p_is_scipys(pairs: list[float]) -> None:
    if len(pairs) < 2 or not any(pairs):
        return
    reference = stats.permutation_test(
        (pairs,), lambda x, axis: x.mean(axis), permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert paired_permutation_test(pairs) == pytest.approx(reference.pvalue)


@given(differences)
@settings(max_examples=40)
def test_permutation_p_knows_no_sides_and_no_order(pairs: list[float]) -> None:
    p = paired_permutation_test(pairs)
    assert 0 < p <= 1
    assert paired_permutation_test([-pair for pair in pairs]) == p
    assert paired_permutation_test(sorted(pairs)) == p


def test_drawn_p_is_close_to_the_exact_one_and_never_zero() -> None:
    pairs = np.random.default_rng(5).normal(0.35, 1, EXACT_PAIRS + 1)
    ways = 1 - 2 * ((np.arange(2 ** len(pairs))[:, None] >> np.arange(len(pairs))) & 1)
    exact = (np.abs(ways @ pairs) >= abs(pairs.sum()) - 1e-9).mean()
    drawn = paired_permutation_test(pairs)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 9_999))
    assert drawn == paired_permutation_test(pairs)
    assert paired_permutation_test(np.ones(100)) == 1 / 10_000
    assert paired_permutation_test(np.ones(100), resamples=99) == 1 / 100


def test_p_of_no_difference_is_small_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(7)
    p_values = np.array([paired_permutation_test(rng.normal(size=12)) for _ in range(300)])
    assert (p_values < 0.05).mean() <= 0.09
    assert 0.4 <= p_values.mean() <= 0.6


def test_wilcoxon_by_hand() -> None:
    # Ranks 1, 2, 3 of one sign: 2 of 8 ways; the sizes do not matter.
    assert wilcoxon_test([0.1, 5, 900]) == 2 / 8
    assert wilcoxon_test([1, 2, math.inf]) == 2 / 8
    assert wilcoxon_test([0, 0]) == 1.0
    assert math.isnan(wilcoxon_test([]))


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12, unique_by=abs))
@settings(max_examples=40)
def test_wilcoxon_without_ties_is_scipys_exact_one(pairs: list[float]) -> None:
    if 0 in pairs:
        return
    assert wilcoxon_test(pairs) == pytest.approx(stats.wilcoxon(pairs, method="exact").pvalue)


def test_wilcoxon_with_ties_and_zeros_is_scipys_permutation() -> None:
    pairs = np.array([0, 1, 2, 2, -1, 3, 0, -2, 4])
    reference = stats.wilcoxon(pairs[pairs != 0], method=stats.PermutationMethod(n_resamples=np.inf))
    assert wilcoxon_test(pairs) == pytest.approx(reference.pvalue)


def test_holm_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 = 0.02, 0.03, 0.06, 0.04; the last may not fall below 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_holm_of_a_published_example() -> None:
    # R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm") and statsmodels' multipletests agree on these.
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])


def test_what_was_not_tested_does_not_count() -> None:
    adjusted = holm([np.nan, 0.02, 0.04])
    assert np.isnan(adjusted[0])
    assert adjusted[1:] == pytest.approx([0.04, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert (adjusted >= p_values).all()
    assert (adjusted <= np.minimum(1, np.array(p_values) * len(p_values)) + 1e-12).all()
    order = np.argsort(p_values)
    assert (np.diff(adjusted[order]) >= 0).all()


def scores(*columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame(dict(zip("abcdef", columns, strict=False)))


def test_average_ranks_by_hand() -> None:
    # Ranks of b, a: 1 2, 1 2, 2 1, and a tie.
    found = critical_difference(scores([2, 2, 1, 5], [1, 1, 2, 5]))
    assert found.average_ranks.to_dict() == {"b": 1.375, "a": 1.625}
    assert math.isnan(found.friedman_p)
    assert found.data_sets == 4


def test_demsars_example_of_friedmans_test() -> None:
    """Demšar 2006, table 6: four variants of C4.5 on 14 data sets; the average ranks are 3.143, 2.000, 2.893, 1.964."""
    auc = pd.DataFrame(
        [
            [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
            [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
            [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
            [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
            [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
        ],
        columns=["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"],
    )  # fmt: skip
    found = critical_difference(-auc)
    assert found.average_ranks.round(3).to_dict() == {
        "C4.5+m+cf": 1.964, "C4.5+m": 2.0, "C4.5+cf": 2.893, "C4.5": 3.143,
    }  # fmt: skip
    chi_square = 12 * 14 / (4 * 5) * ((found.average_ranks**2).sum() - 4 * 25 / 4)
    assert chi_square == pytest.approx(9.28, abs=0.005)
    # He leaves ties uncorrected, scipy corrects them, which makes p smaller.
    assert found.friedman_p == pytest.approx(stats.friedmanchisquare(*auc.to_numpy().T).pvalue)
    assert found.friedman_p < stats.chi2.sf(chi_square, 3)


def test_engines_that_always_differ_are_told_apart_where_there_are_enough_data_sets() -> None:
    base = np.arange(10.0)
    found = critical_difference(scores(base + 20, base, base + 10))
    assert found.groups == (("b",), ("c",), ("a",))
    assert found.p_holm.loc["a", "b"] == pytest.approx(3 * 2 / 2**10)
    assert found.smallest_p == pytest.approx(3 * 2 / 2**10)


def test_two_engines_need_six_data_sets_and_three_need_seven() -> None:
    def told_apart(data_sets: int, engines: int) -> bool:
        base = np.arange(float(data_sets))
        return len(critical_difference(scores(*(base + 10 * e for e in range(engines)))).groups) > 1

    assert [n for n in range(2, 10) if told_apart(n, 2)] == [6, 7, 8, 9]
    assert [n for n in range(2, 10) if told_apart(n, 3)] == [7, 8, 9]


@pytest.mark.parametrize("data_sets", [1, 2, 3, 4, 5])
def test_few_data_sets_tell_nothing_apart(data_sets: int) -> None:
    base = np.arange(float(data_sets))
    found = critical_difference(scores(base, base + 10))
    assert found.groups == (("a", "b"),)
    assert found.smallest_p == min(1, 2 / 2**data_sets) > 0.05


def test_groups_are_cliques_so_no_bar_joins_two_that_are_told_apart() -> None:
    """a wins by little on most data sets, c loses always; b scatters so widely that nobody can be told from it."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=12)
    found = critical_difference(scores(a.tolist(), (a + rng.normal(0.3, 1, 12)).tolist(), (a + 1).tolist()))
    assert found.p_holm.loc["a", "c"] < 0.05
    assert not any({"a", "c"} <= set(group) for group in found.groups)
    assert set(itertools.chain(*found.groups)) == {"a", "b", "c"}
    assert len(found.groups) == 2


def test_pairs_count_only_where_friedmans_test_sees_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    base = np.arange(10.0)
    monkeypatch.setattr("bench.scores.inference._friedman", lambda _: 0.2)
    assert critical_difference(scores(base, base + 1, base + 2)).groups == (("a", "b", "c"),)


def test_engines_without_a_score_are_last_together() -> None:
    base = np.arange(10.0)
    without = [math.inf] * 10
    found = critical_difference(scores(without, base, without))
    assert found.average_ranks.to_dict() == {"b": 1.0, "a": 2.5, "c": 2.5}
    assert found.p_holm.loc["a", "c"] == 1.0
    assert found.groups == (("b",), ("a", "c"))


def test_engines_tied_everywhere_are_one_group() -> None:
    found = critical_difference(scores([1, 2], [1, 2], [1, 2]))
    assert found.friedman_p == 1.0
    assert found.groups == (("a", "b", "c"),)
