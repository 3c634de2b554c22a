import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from bench.scores.geometry import local_intrinsic_dimension, mean_distances, relative_contrast


def plain_lid(distances: list[float]) -> float:
    """The estimate word for word as published, over distances and not their squares."""
    positive = [r for r in distances if r > 0]
    total = sum(math.log(r / distances[-1]) for r in positive)
    return -len(positive) / total if len(positive) > 1 and total < 0 else math.nan


def test_lid_by_hand() -> None:
    squared = np.array([[1.0, 4.0, 16.0]])  # distances 1, 2, 4: mean of ln 4, ln 2, ln 1 is ln 2
    assert local_intrinsic_dimension(squared) == pytest.approx(1 / math.log(2))


def test_lid_leaves_duplicates_of_the_query_out() -> None:
    squared = np.array([[0.0, 0.0, 1.0, 4.0, 16.0]])
    assert local_intrinsic_dimension(squared) == pytest.approx(1 / math.log(2))


@pytest.mark.parametrize("distances", [[0.0, 0.0, 0.0], [0.0, 0.0, 3.0], [2.0, 2.0, 2.0], [5.0]])
def test_lid_is_missing_where_no_dimension_explains_the_distances(distances: list[float]) -> None:
    assert np.isnan(local_intrinsic_dimension(np.array([distances]))).all()


@given(st.lists(st.floats(0, 1e3).map(lambda r: round(r, 3)), min_size=1, max_size=20))
def test_lid_agrees_with_the_published_formula(distances: list[float]) -> None:
    distances = sorted(distances)
    found = local_intrinsic_dimension(np.square([distances]))[0]
    assert found == pytest.approx(plain_lid(distances), rel=1e-6, nan_ok=True)


@given(st.floats(1e-3, 1e3))
def test_lid_does_not_depend_on_the_unit(scale: float) -> None:
    squared = np.array([[0.3, 0.5, 1.7, 2.0]])
    assert local_intrinsic_dimension(squared * scale) == pytest.approx(local_intrinsic_dimension(squared))


@pytest.mark.parametrize("dimension", [2, 5, 10])
def test_lid_of_a_flat_sheet_in_a_high_space_is_the_dimension_of_the_sheet(dimension: int) -> None:
    rng = np.random.default_rng(dimension)
    ball = rng.standard_normal((20_000, dimension))
    ball *= rng.random((20_000, 1)) ** (1 / dimension) / np.linalg.norm(ball, axis=1, keepdims=True)
    turn = np.linalg.qr(rng.standard_normal((64, dimension)))[0]
    points = ball @ turn.T  # (20,000, 64)
    centre = np.argsort(np.linalg.norm(ball, axis=1))[:50]  # away from the rim, where a ball has fewer neighbours
    squared = np.sort(cdist(points[centre], points, "sqeuclidean"), axis=1)[:, 1:101]
    found = local_intrinsic_dimension(squared)
    assert np.median(found) == pytest.approx(dimension, rel=0.1)


def test_relative_contrast_by_hand() -> None:
    contrast = relative_contrast(np.array([6.0, 6.0]), np.array([2.0, 0.0]))
    assert contrast[0] == 3
    assert np.isnan(contrast[1])


def test_mean_distance_leaves_the_querys_own_tile_out() -> None:
    base = np.array([[0, 0], [3, 4], [6, 8]], np.float32)
    queries = np.array([[0, 0], [0, 0], [3, 4]], np.float32)
    found = mean_distances(base, queries, np.array([0, -1, 1]))
    assert found == pytest.approx([7.5, 5, 5])


def test_mean_distance_of_the_only_tile_is_missing() -> None:
    base = np.ones((1, 2), np.float32)
    assert np.isnan(mean_distances(base, base, np.array([0]))).all()


def test_mean_distance_agrees_with_scipy_in_any_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((300, 7)).astype(np.float32) + 50
    rows = np.arange(0, 300, 7)
    full = cdist(base[rows].astype(float), base.astype(float))
    expected = full.sum(axis=1) / 299
    monkeypatch.setattr("bench.scores.geometry._BLOCK_VALUES", 1000)
    assert mean_distances(base, base[rows], rows) == pytest.approx(expected)


def test_mean_distance_over_a_sample_is_near_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    base = rng.standard_normal((5000, 4)).astype(np.float32)
    rows = np.arange(20)
    sampled = mean_distances(base, base[rows], rows, sample=2000)
    assert sampled == pytest.approx(mean_distances(base, base[rows], rows), rel=0.03)
    assert np.array_equal(sampled, mean_distances(base, base[rows], rows, sample=2000))
    assert not np.array_equal(sampled, mean_distances(base, base[rows], rows, sample=2000, seed=1))
