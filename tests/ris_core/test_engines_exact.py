from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.engines import exact
from ris_core.engines.exact import (
    ExactParams,
    ExactQuery,
    build_exact,
    faiss_threads,
    squared_distances,
    theoretical_bytes,
)
from ris_core.errors import SearchError


def brute_force(queries: np.ndarray, base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows by (distance, row) and their distances, in float64."""
    differences = queries[:, None].astype(np.float64) - base[None].astype(np.float64)
    distances = (differences**2).sum(axis=2)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(distances, rows, axis=1)


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@pytest.mark.parametrize("q", [1, 19, 20, 64])  # faiss takes another way from 20 queries on
@pytest.mark.parametrize("k", [1, 10, 100, 300])  # and for k from 100 on
def test_exact_equals_brute_force(q: int, k: int) -> None:
    base, queries = normal(300, 16), normal(q, 16, seed=1)
    rows, distances = build_exact(base, ExactParams()).search(queries, k, ExactQuery())
    wanted_rows, wanted_distances = brute_force(queries, base, k)
    assert rows.dtype == np.int64
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(distances, wanted_distances, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), d=st.integers(1, 5), q=st.integers(1, 30), seed=st.integers(0, 10**6), data=st.data())
def test_exact_distances_are_right_whatever_is_tied(n: int, d: int, q: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(-2, 3, (n, d)).astype(np.float32)  # few different points: ties everywhere
    queries = rng.integers(-2, 3, (q, d)).astype(np.float32)
    k = data.draw(st.integers(1, n))
    rows, distances = build_exact(base, ExactParams()).search(queries, k, ExactQuery())
    np.testing.assert_array_equal(distances, brute_force(queries, base, k)[1])
    np.testing.assert_array_equal(distances, squared_distances(queries, base, rows))
    assert all(len(set(row)) == k for row in rows.tolist())
    ties = np.diff(distances, axis=1) == 0
    assert (np.diff(rows, axis=1)[ties] > 0).all()  # among equals, the lower row comes first


def test_exact_keeps_digits_far_from_the_origin() -> None:
    base, queries = normal(400, 192) + 300, normal(700, 192, seed=1) + 300
    rows, distances = build_exact(base, ExactParams()).search(queries, 5, ExactQuery())
    for start in range(0, 700, 100):  # in parts, for memory
        part = slice(start, start + 100)
        wanted_rows, wanted = brute_force(queries[part], base, 5)
        np.testing.assert_array_equal(rows[part], wanted_rows)
        np.testing.assert_allclose(distances[part], wanted, rtol=1e-5)
    _, by_faiss = faiss.knn(queries, base, 5)
    assert (by_faiss != rows).mean() > 0.1  # what the second look is for


def test_exact_does_not_depend_on_blocks_or_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    base, queries = normal(400, 12), normal(50, 12, seed=1)
    index = build_exact(base, ExactParams())
    whole = index.search(queries, 7, ExactQuery(), threads=2)
    monkeypatch.setattr(exact, "_BLOCK_QUERIES", 8)
    in_blocks = index.search(queries, 7, ExactQuery())
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_array_equal(whole[1], in_blocks[1])


def test_exact_restores_the_number_of_threads() -> None:
    before = faiss.omp_get_max_threads()
    with faiss_threads(before + 1):
        assert faiss.omp_get_max_threads() == before + 1
    assert faiss.omp_get_max_threads() == before
    index = build_exact(normal(9, 4), ExactParams())
    with pytest.raises(SearchError):
        index.search(normal(2, 4), 10, ExactQuery(), threads=before + 1)
    assert faiss.omp_get_max_threads() == before


def test_exact_searches_a_memory_mapped_base(tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", normal(100, 4))
    base = np.load(tmp_path / "base.npy", mmap_mode="r")
    rows, _ = build_exact(base, ExactParams()).search(np.ascontiguousarray(base[:30]), 1, ExactQuery())
    assert rows[:, 0].tolist() == list(range(30))


def test_exact_answers_no_queries_with_an_empty_list() -> None:
    rows, distances = build_exact(normal(9, 4), ExactParams()).search(normal(0, 4), 3, ExactQuery())
    assert rows.shape == distances.shape == (0, 3)


def test_exact_has_no_size_and_examines_everything() -> None:
    index = build_exact(normal(9, 4), ExactParams())
    assert index.size_bytes() == theoretical_bytes(9, 4, ExactParams()) == 0
    assert index.derived() == {}
    assert index.candidates(normal(2, 4), ExactQuery()).tolist() == [9, 9]
