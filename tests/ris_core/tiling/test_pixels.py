import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import RasterError
from ris_core.tiling.pixels import Scaling, empty_values, holds_information, resize_by_area


def test_empty_values_are_both_ends_of_the_type() -> None:
    assert empty_values(np.array([[[0, 1, 254, 255]]], np.uint8)).tolist() == [[[True, False, False, True]]]
    assert empty_values(np.array([[[0, 255, 65534, 65535]]], np.uint16)).tolist() == [[[True, False, False, True]]]
    assert empty_values(np.array([[[0, -3, np.nan, np.inf]]], np.float32)).tolist() == [[[True, False, True, True]]]


def test_empty_values_knows_the_nodata_of_each_band() -> None:
    values = np.array([[[7, 8]], [[7, 8]], [[7, 8]]], np.uint8)
    assert empty_values(values, [7, None, 8]).tolist() == [[[True, False]], [[False, False]], [[False, True]]]
    assert not empty_values(values, [-9999.0, np.nan, 0]).any()


@pytest.mark.parametrize(("empty", "kept"), [(119, True), (120, False), (121, False)])
def test_coverage_rule_is_strictly_fewer_than_a_tenth(empty: int, kept: bool) -> None:
    assert holds_information(empty, 3 * 20 * 20, 0.9) is kept


@given(st.integers(1, 99), st.integers(1, 100))
def test_coverage_rule_is_exact_where_a_float_is_not(percent: int, hundreds: int) -> None:
    values = 100 * hundreds
    limit = (100 - percent) * hundreds
    assert not holds_information(limit, values, percent / 100)
    assert holds_information(limit - 1, values, percent / 100)


def test_coverage_of_nothing_is_kept_only_when_asked() -> None:
    assert holds_information(1200, 1200, 0.0)
    assert not holds_information(1200, 1200, 0.01)


def test_resize_by_an_integer_factor_gives_block_means() -> None:
    values = np.array([[[0, 1, 10, 20], [1, 0, 30, 41], [5, 5, 255, 255], [5, 5, 255, 254]]], np.uint8)
    assert resize_by_area(values, 2).tolist() == [[[1, 25], [5, 255]]]  # 0.5 -> 1, 25.25, 5, 254.75


def test_resize_by_a_fraction_splits_pixels_between_areas() -> None:
    row = np.array([[0, 90, 240]], np.uint8)
    values = np.repeat(row[None], 3, axis=1)
    # the first area covers pixel 0 and half of pixel 1: (0 + 45) / 1.5; the second the rest: (45 + 240) / 1.5
    assert resize_by_area(values, 2).tolist() == [[[30, 190], [30, 190]]]


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**31))
def test_resize_agrees_with_area_weights(size: int, side: int, seed: int) -> None:
    size, side = min(size, side), max(size, side)
    values = np.random.default_rng(seed).integers(0, 256, (3, side, side)).astype(np.uint8)
    edges = np.arange(size + 1) * side / size
    weights = np.clip(
        np.minimum(edges[1:, None], np.arange(1, side + 1)) - np.maximum(edges[:-1, None], np.arange(side)), 0, None
    ) * (size / side)
    expected = weights @ values.astype(np.float64) @ weights.T
    assert np.abs(resize_by_area(values, size) - expected).max() <= 0.5 + 1e-6


def test_scaling_takes_percentiles_of_valid_values_only() -> None:
    values = np.tile(np.arange(101, dtype=np.uint16) * 100, (3, 1))
    empty = np.zeros(values.shape, bool)
    values[:, 50] = 65535
    empty[:, 50] = True
    scaling = Scaling.fit(values, empty, (0.0, 100.0))
    assert (scaling.low, scaling.high) == ((0.0,) * 3, (10_000.0,) * 3)
    image = np.broadcast_to(np.array([[0, 2_000, 5_000, 10_000, 60_000]], np.uint16), (3, 1, 5))
    assert scaling.apply(image)[1].tolist() == [[0, 51, 128, 255, 255]]  # 2,000 of 10,000 = a fifth of 255


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.float32])
def test_scaling_is_the_same_line_for_every_type(dtype: type) -> None:
    scaling = Scaling((10.0, 0.0, 5.0), (1_010.0, 500.0, 6.0), (2.0, 98.0))
    values = np.arange(0, 1_200).reshape(3, 20, 20)
    line = (values - np.array(scaling.low)[:, None, None]) / (np.array(scaling.high) - scaling.low)[:, None, None]
    assert np.abs(scaling.apply(values.astype(dtype)) - np.clip(line, 0, 1) * 255).max() <= 0.5 + 1e-4


def test_scaling_of_an_empty_band_says_so() -> None:
    with pytest.raises(RasterError, match="no valid value"):
        Scaling.fit(np.zeros((3, 9), np.uint16), np.ones((3, 9), bool), (2.0, 98.0))
