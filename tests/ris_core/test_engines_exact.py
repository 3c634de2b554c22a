from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.engines import exact, torch_vectors
from ris_core.engines.exact import Exact, ExactParams, ExactQuery, build_exact, theoretical_bytes
from ris_core.engines.faiss_kernels import faiss_threads, squared_distances
from ris_core.engines.torch_vectors import TorchVectors
from ris_core.errors import SearchError


def brute_force(queries: np.ndarray, base: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows by (distance, row) and their distances, in float64."""
    differences = queries[:, None].astype(np.float64) - base[None].astype(np.float64)
    distances = (differences**2).sum(axis=2)
    rows = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(distances, rows, axis=1)


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def build_faiss(base: np.ndarray) -> Exact:
    return build_exact(base, ExactParams())


def build_torch(base: np.ndarray) -> Exact:
    return Exact(TorchVectors(base, "cpu"), base.shape[1])


every_way = pytest.mark.parametrize("build", [build_faiss, build_torch])


@every_way
@pytest.mark.parametrize("q", [1, 19, 20, 64])  # faiss takes another way from 20 queries on
@pytest.mark.parametrize("k", [1, 10, 100, 300])  # and for k from 100 on
def test_exact_equals_brute_force(build: Callable[[np.ndarray], Exact], q: int, k: int) -> None:
    base, queries = normal(300, 16), normal(q, 16, seed=1)
    rows, distances = build(base).search(queries, k, ExactQuery())
    wanted_rows, wanted_distances = brute_force(queries, base, k)
    assert rows.dtype == np.int64
    assert distances.dtype == np.float32
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(distances, wanted_distances, rtol=1e-6)


@every_way
@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 60), d=st.integers(1, 5), q=st.integers(1, 30), seed=st.integers(0, 10**6), data=st.data())
def test_exact_distances_are_right_whatever_is_tied(
    build: Callable[[np.ndarray], Exact], n: int, d: int, q: int, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    base = rng.integers(-2, 3, (n, d)).astype(np.float32)  # few different points: ties everywhere
    queries = rng.integers(-2, 3, (q, d)).astype(np.float32)
    k = data.draw(st.integers(1, n))
    rows, distances = build(base).search(queries, k, ExactQuery())
    np.testing.assert_array_equal(distances, brute_force(queries, base, k)[1])
    np.testing.assert_array_equal(distances, squared_distances(queries, base, rows))
    assert all(len(set(row)) == k for row in rows.tolist())
    ties = np.diff(distances, axis=1) == 0
    assert (np.diff(rows, axis=1)[ties] > 0).all()  # among equals, the lower row comes first


@every_way
def test_exact_keeps_digits_far_from_the_origin(build: Callable[[np.ndarray], Exact]) -> None:
    base, queries = normal(400, 192) + 300, normal(700, 192, seed=1) + 300
    rows, distances = build(base).search(queries, 5, ExactQuery())
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


@pytest.mark.parametrize("is_direct", [False, True])
def test_torch_finds_the_nearest_at_first_sight(is_direct: bool) -> None:
    base, queries = normal(400, 12), normal(16, 12, seed=1)
    rows, distances = TorchVectors(base, "cpu").nearest(queries, 30, is_direct=is_direct)
    wanted_rows, wanted_distances = brute_force(queries, base, 30)
    np.testing.assert_array_equal(rows, wanted_rows)
    np.testing.assert_allclose(distances, wanted_distances, rtol=1e-4)


def test_torch_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    base, queries = normal(400, 12), normal(50, 12, seed=1)
    whole = build_torch(base).search(queries, 30, ExactQuery())
    for name, size in (("_BLOCK_ROWS", 37), ("_DIRECT_ROWS", 41), ("_GATHERED_BYTES", 3 * 46 * 12 * 4)):
        monkeypatch.setattr(torch_vectors, name, size)
    for start, stop in ((0, 50), (3, 9)):  # by products and by differences
        rows, distances = build_torch(base).search(queries[start:stop], 30, ExactQuery())
        np.testing.assert_array_equal(rows, whole[0][start:stop])
        np.testing.assert_allclose(distances, whole[1][start:stop], rtol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_exact_on_a_gpu_answers_as_on_the_cpu() -> None:
    base, queries = normal(70_000, 16) + 5, normal(300, 16, seed=1) + 5  # more rows than a block
    there = build_exact(base, ExactParams(device="cuda"))
    for few in (queries, queries[:9]):
        rows, distances = there.search(few, 50, ExactQuery())
        wanted = build_faiss(base).search(few, 50, ExactQuery())
        np.testing.assert_array_equal(rows, wanted[0])
        np.testing.assert_allclose(distances, wanted[1], rtol=1e-5)


def test_exact_refuses_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SearchError, match=r"device = 'cuda': PyTorch sees no CUDA device here\. Set device to 'cpu'"):
        build_exact(normal(9, 4), ExactParams(device="cuda"))
    with pytest.raises(SearchError, match="device = 'tpu'; allowed: cpu, cuda"):
        build_exact(normal(9, 4), ExactParams(device="tpu"))


def test_exact_refuses_a_base_that_the_device_cannot_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (2**31, 2**33))
    fits = (2**31 - 2**30) // (4 * 64)  # 64 = 63 coordinates and one square
    assert ExactParams(device="cuda").faults(fits, 63) == []
    assert len(ExactParams(device="cuda").faults(fits + 1, 63)) == 1
    (fault,) = ExactParams(device="cuda").faults(fits + 2**20, 63)
    assert "5242880 vectors of 63 dimensions need 2.2 GiB on the GPU; 2.0 GiB are free" in fault


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
    assert index.candidates(normal(2, 4), 3, ExactQuery()).tolist() == [9, 9]
