import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.scores.growth import (
    BETWEEN,
    FLOOR,
    NOT_REACHED,
    ROUNDING,
    SETTING,
    AtRecall,
    break_even_queries,
    cost_at_recall,
    fit_power_law,
)

SIZES = [50_000, 100_000, 200_000, 400_000]


def test_power_law_of_two_points_is_the_line_through_them() -> None:
    law = fit_power_law([100, 400], [3.0, 6.0])  # four times as many cost twice as much
    assert law.exponent == pytest.approx(0.5)
    assert law.factor == pytest.approx(0.3)
    assert law.points == 2
    assert math.isnan(law.stderr)
    assert math.isnan(law.ci_low)


def test_error_of_three_points_by_hand() -> None:
    """Logarithms (0, 0), (1, 2), (2, 1): slope 0.5, residuals -0.5, 1, -0.5, so stderr = sqrt(1.5 / 1 / 2)."""
    law = fit_power_law(np.exp([0, 1, 2]), np.exp([0, 2, 1]))
    assert law.exponent == pytest.approx(0.5)
    assert law.stderr == pytest.approx(math.sqrt(0.75))
    assert law.factor == pytest.approx(math.exp(0.5))
    assert law.ci_high - law.exponent == pytest.approx(12.706 * math.sqrt(0.75), rel=1e-4)  # t of one degree
    assert law.exponent - law.ci_low == pytest.approx(law.ci_high - law.exponent)


@given(st.floats(-1, 2), st.floats(0.01, 100))
def test_power_law_finds_what_made_the_costs(exponent: float, factor: float) -> None:
    law = fit_power_law(SIZES, [factor * n**exponent for n in SIZES])
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.factor == pytest.approx(factor, rel=1e-6)


def test_interval_holds_the_true_exponent_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    noisy = [fit_power_law(SIZES, np.array(SIZES) ** 0.7 * rng.lognormal(0, 0.1, 4)) for _ in range(500)]
    inside = np.mean([law.ci_low <= 0.7 <= law.ci_high for law in noisy])
    assert 0.92 < inside < 0.98
    assert stats.t.ppf(0.975, 2) == pytest.approx((noisy[0].ci_high - noisy[0].exponent) / noisy[0].stderr)


def test_costs_without_a_logarithm_are_left_out() -> None:
    assert fit_power_law(SIZES, [0, 0, 0, 0]) is None  # exact search has no structure of its own
    assert fit_power_law(SIZES, [math.nan, 1.0, 0.0, math.nan]) is None
    assert fit_power_law([7, 7], [1.0, 2.0]) is None
    assert fit_power_law(SIZES, [1.0, math.nan, 4.0, 8.0]).points == 3


def test_cost_between_two_settings_by_hand() -> None:
    """0.9 lies half way from 0.8 to 1.0, so that the cost is the geometric mean of 1 and 4."""
    assert cost_at_recall([0.8, 1.0], [1.0, 4.0], 0.9) == AtRecall(pytest.approx(2.0), BETWEEN, (0, 1))
    assert cost_at_recall([1.0, 0.85], [16.0, 1.0], 0.9).cost == pytest.approx(16 ** (1 / 3))


def test_setting_hardly_above_the_target_counts_as_it_is() -> None:
    assert cost_at_recall([0.5, 0.904, 1.0], [1.0, 3.0, 9.0], 0.9) == AtRecall(3.0, SETTING, (1,))
    assert cost_at_recall([0.5, 0.9, 1.0], [1.0, 3.0, 9.0], 0.9) == AtRecall(3.0, SETTING, (1,))
    assert cost_at_recall([0.5, 0.906, 1.0], [1.0, 3.0, 9.0], 0.9).how == BETWEEN


def test_recall_a_rounding_below_the_target_reaches_it() -> None:
    below = 0.9 - 1e-12
    assert cost_at_recall([0.5, below, 1.0], [1.0, 3.0, 9.0], 0.9) == AtRecall(3.0, SETTING, (1,))
    assert cost_at_recall([0.5, below], [1.0, 3.0], 0.9).how == SETTING


def test_nothing_is_extrapolated() -> None:
    assert cost_at_recall([0.95, 0.99], [2.0, 3.0], 0.9) == AtRecall(2.0, FLOOR, (0,))
    below = cost_at_recall([0.5, 0.899], [2.0, 3.0], 0.9)
    assert (below.how, below.rows) == (NOT_REACHED, ())
    assert math.isnan(below.cost)
    assert cost_at_recall([], [], 0.9).how == NOT_REACHED


def test_beaten_settings_do_not_count() -> None:
    """The second is slower and worse than the first, the third as fast as the fourth and worse."""
    assert cost_at_recall([0.8, 0.8, 1.0], [1.0, 2.0, 4.0], 0.9) == AtRecall(pytest.approx(2.0), BETWEEN, (0, 2))
    assert cost_at_recall([0.8, 0.7, 0.85, 1.0], [1.0, 2.0, 4.0, 4.0], 0.9) == AtRecall(
        pytest.approx(2.0), BETWEEN, (0, 3)
    )


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 100)), min_size=1, max_size=20), st.floats(0.1, 0.99))
def test_cost_lies_between_those_of_the_settings_that_it_rests_on(
    points: list[tuple[float, float]], target: float
) -> None:
    recalls, costs = zip(*points, strict=True)
    found = cost_at_recall(recalls, costs, target)
    assert (found.how == NOT_REACHED) == (max(recalls) < target - ROUNDING)
    used = [costs[row] for row in found.rows]
    if used:
        assert min(used) * (1 - 1e-9) <= found.cost <= max(used) * (1 + 1e-9)
        reaching = min(cost for recall, cost in points if recall >= target - ROUNDING)
        assert max(used) == reaching  # the dearer end is the cheapest setting that reaches the target


def test_break_even_by_hand() -> None:
    """265 s against 3 s to build, 0.62 ms against 0.91 ms a query: 262 / 0.00029."""
    assert break_even_queries(265, 0.62e-3, 3, 0.91e-3) == pytest.approx(903_448, abs=1)
    assert break_even_queries(3, 0.91e-3, 265, 0.62e-3) == 0  # built sooner: from the first query on
    assert break_even_queries(10, 1e-3, 3, 1e-3) == math.inf
    assert break_even_queries(10, 2e-3, 3, 1e-3) == math.inf
