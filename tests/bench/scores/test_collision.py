import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scores.collision import cross_polytope_exponent, hyperplane_exponent

DISTANCES = st.floats(0.05, 1.9)


def test_cross_polytope_exponent_by_hand() -> None:
    """r = 1, c r = sqrt 2: (1 / 2) (4 - 2) / (4 - 1) = 1 / 3, which is 1 / (2 c^2 - 1)."""
    assert cross_polytope_exponent(1.0, math.sqrt(2)) == pytest.approx(1 / 3)


@given(st.floats(1.05, 10))
def test_random_points_give_the_published_optimum(c: float) -> None:
    """Random unit vectors are sqrt 2 apart, where the paper states 1 / (2 c^2 - 1)."""
    assert cross_polytope_exponent(math.sqrt(2) / c, math.sqrt(2)) == pytest.approx(1 / (2 * c * c - 1))


def test_hyperplane_exponent_by_hand() -> None:
    """Distance 1 is an angle of 60 degrees, sqrt 2 one of 90: ln(2 / 3) / ln(1 / 2)."""
    assert hyperplane_exponent(1.0, math.sqrt(2)) == pytest.approx(math.log(2 / 3) / math.log(1 / 2))


@given(DISTANCES, DISTANCES)
def test_exponents_are_shares_and_cross_polytopes_are_never_worse(a: float, b: float) -> None:
    near, far = sorted((a, b))
    if far - near < 0.01:
        return
    polytope, plane = cross_polytope_exponent(near, far), hyperplane_exponent(near, far)
    assert 0 < polytope < 1
    assert 0 < plane < 1
    assert polytope <= plane + 1e-9


@pytest.mark.parametrize(("near", "far"), [(0.0, 1.0), (1.0, 1.0), (1.2, 1.0), (1.0, 2.0), (math.nan, 1.0)])
def test_distances_that_say_nothing_have_no_exponent(near: float, far: float) -> None:
    assert math.isnan(cross_polytope_exponent(near, far))
    assert math.isnan(hyperplane_exponent(near, far))
