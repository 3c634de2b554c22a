import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scores.inference import ALPHA, paired_permutation_test
from bench.scores.power import detectable_difference, least_difference
from bench.tables.published import published_precision


def test_least_difference_by_hand() -> None:
    """Six differences of one sign are the fewest whose p, 2/64, lies below 0.05: six tiles of the 10 x 20 judged."""
    assert least_difference(10, 20) == pytest.approx(0.03)
    assert np.isnan(least_difference(5, 20))
    assert least_difference(4, 10, alpha=0.25) == pytest.approx(4 / 40)  # three give 2/8, which is not below


@pytest.mark.parametrize("n", [6, 7, 8])
def test_no_smaller_difference_is_ever_called_and_this_one_is(n: int) -> None:
    """Every way to shift up to two tiles a query, by brute force."""
    called = [
        abs(sum(steps)) / (n * 20)
        for steps in itertools.combinations_with_replacement(range(-2, 3), n)
        if paired_permutation_test(np.array(steps, np.float64)) < ALPHA
    ]
    assert min(called) == pytest.approx(least_difference(n, 20))


def test_detectable_difference_by_hand() -> None:
    """Differences 1, 2, 3: s = 1; of two degrees of freedom t is 4.303 at 97.5 % and 1.061 at 80 %."""
    assert detectable_difference(np.array([1.0, 2.0, 3.0])) == pytest.approx((4.3027 + 1.0607) / np.sqrt(3), abs=1e-4)
    assert np.isnan(detectable_difference(np.array([0.3])))


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=12), st.integers(-50, 50))
@settings(deadline=None)
def test_detectable_difference_knows_the_spread_alone(values: list[int], shift: int) -> None:
    differences = np.array(values, np.float64)
    expected = detectable_difference(differences)
    assert detectable_difference(differences + shift) == pytest.approx(expected)
    assert detectable_difference(-2 * differences) == pytest.approx(2 * expected)


@pytest.mark.parametrize("n", [10, 14])
def test_permutation_test_finds_the_detectable_difference_four_times_in_five(n: int) -> None:
    rng = np.random.default_rng(n)
    differences = rng.normal(0, 1, n)
    spread = differences.std(ddof=1)
    least = detectable_difference(differences)
    found = [paired_permutation_test(rng.normal(least, spread, n)) < ALPHA for _ in range(400)]
    assert 0.74 <= np.mean(found) <= 0.88


def test_published_half_point_is_one_tile_and_far_below_what_ten_queries_show() -> None:
    hard = published_precision().query("stratum == 'hard'")
    differences = (hard["small_pretrained"] - hard["small"]).to_numpy()
    assert differences.mean() * 10 * 20 == pytest.approx(1)
    assert differences.mean() < least_difference(10, 20) / 5
    assert detectable_difference(differences) == pytest.approx(0.106, abs=5e-4)
