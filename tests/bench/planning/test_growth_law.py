import math

import pytest

from bench.planning.growth_law import MOOD, Law, Seconds, exponent_at, summed


def test_linear_law_keeps_its_fixed_part() -> None:
    law = Law((10, 20), (3.0, 4.0), is_linear=True)  # 2 + n / 10
    assert law.at(100).expected == pytest.approx(12)
    assert law.at(0).expected == pytest.approx(2)


def test_linear_law_of_one_size_is_proportional() -> None:
    assert Law((10,), (3.0,), is_linear=True).at(40).expected == pytest.approx(12)


def test_linear_law_has_no_part_below_zero() -> None:
    steep = Law((10, 20), (1.0, 4.0), is_linear=True)  # a line through both would be below 0 at n = 0
    assert steep.at(5).expected == pytest.approx(1)
    assert Law((10, 20), (4.0, 3.0), is_linear=True).at(1000).expected == pytest.approx(3)  # more cannot take less


def test_range_reaches_from_power_law_to_line() -> None:
    law = Law((100, 400), (1.0, 2.0))  # a root of n, or 2/3 + n / 300
    power, line = 2 * math.sqrt(10_000 / 400), 2 + (10_000 - 400) / 300
    assert law.at(10_000) == Seconds(
        pytest.approx(power / MOOD), pytest.approx(math.sqrt(power * line)), pytest.approx(line * MOOD)
    )


def test_what_was_measured_is_not_extrapolated() -> None:
    assert Law((100, 400), (1.0, 2.0)).at(400) == Seconds(2 / MOOD, 2.0, 2 * MOOD)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7])
def test_exponent_is_that_of_the_cost(exponent: float) -> None:
    assert exponent_at(lambda n: Seconds(0, n**exponent, 0), 1000) == pytest.approx(exponent)


def test_sum_of_forecasts_adds_their_ends() -> None:
    assert summed([Seconds(1, 2, 4), Seconds(1, 3, 5)]).times(2) == Seconds(4, 10, 18)
