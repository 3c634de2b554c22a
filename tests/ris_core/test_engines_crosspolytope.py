"""Our LSH engine: its guarantees, what it costs, what it refuses."""

import concurrent.futures
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core import native
from ris_core.engines import crosspolytope as module
from ris_core.engines import crosspolytope_params
from ris_core.engines.crosspolytope import build_crosspolytope
from ris_core.engines.crosspolytope_params import (
    DISTANCES,
    FAMILIES,
    CrosspolytopeParams,
    CrosspolytopeQuery,
    theoretical_bytes,
)
from ris_core.errors import SearchError

pytestmark = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None,
    reason=f"the extension cannot run here: {native.crosspolytope_unavailable()}",
)

SMALL = CrosspolytopeParams(tables=2, hash_bits=6)
EVERYTHING = CrosspolytopeQuery(probes_per_table=2**30, rerank=0)


def clustered(n: int, d: int, seed: int) -> np.ndarray:
    """Vectors whose variance falls from coordinate to coordinate, as that of features does."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * 0.85 ** np.arange(d)).astype(np.float32)


BASE, QUERIES = clustered(600, 24, seed=0), clustered(40, 24, seed=1)


def brute_force(queries: np.ndarray, base: np.ndarray, k: int, distance: str = "euclidean_squared") -> np.ndarray:
    queries, base = queries.astype(np.float64), base.astype(np.float64)
    values = -queries @ base.T
    if distance == "euclidean_squared":
        values = (base**2).sum(axis=1) + 2 * values
    elif distance == "cosine":
        values /= np.linalg.norm(base, axis=1)
    return np.argsort(values, axis=1, kind="stable")[:, :k]


def recall(rows: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(a, b)) for a, b in zip(rows, truth, strict=True)])) / truth.shape[1]


@pytest.mark.parametrize("hash_dimension", [0, 16])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_all_buckets_without_filter_equal_exact_search(family: str, distance: str, hash_dimension: int) -> None:
    params = dataclasses.replace(SMALL, family=family, distance=distance, hash_dimension=hash_dimension)
    index = build_crosspolytope(BASE, params)
    rows, distances = index.search(QUERIES, 20, EVERYTHING)
    np.testing.assert_array_equal(rows, brute_force(QUERIES, BASE, 20, distance))
    np.testing.assert_allclose(distances, ((QUERIES[:, None] - BASE[rows]) ** 2).sum(axis=2), rtol=1e-5)
    assert index.candidates(QUERIES, 10, EVERYTHING).tolist() == [600] * 40
    filtered, _ = index.search(QUERIES, 20, CrosspolytopeQuery(2**30, rerank=600))
    np.testing.assert_array_equal(filtered, rows)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 150),
    d=st.sampled_from([1, 2, 3, 16, 17, 31, 64, 192, 300]),
    bits=st.integers(1, 9),
    tables=st.integers(1, 4),
    probes=st.integers(1, 600),
    rerank=st.integers(0, 200),
    hash_dimension=st.integers(0, 40),
    family=st.sampled_from(FAMILIES),
    distance=st.sampled_from(DISTANCES),
    seed=st.integers(0, 2**64 - 1),
)
def test_hits_are_the_best_of_the_probed_buckets(
    n: int,
    d: int,
    bits: int,
    tables: int,
    probes: int,
    rerank: int,
    hash_dimension: int,
    family: str,
    distance: str,
    seed: int,
) -> None:
    base, queries = clustered(n, d, seed=2), clustered(3, d, seed=3)
    params = CrosspolytopeParams(family, tables, bits, 1, hash_dimension, rerank % 2 == 0, distance, seed)
    index, query = build_crosspolytope(base, params), CrosspolytopeQuery(probes, rerank)
    rows, distances = index.search(queries, n, query)
    counts = index.candidates(queries, n, query)
    codes = index._index.codes(base)
    for i in range(3):
        in_tables, in_codes, _ = index._index.probes(queries[[i]], tables * min(probes, 2**bits))
        probed = {row for t, c in zip(in_tables, in_codes, strict=True) for row in np.flatnonzero(codes[:, t] == c)}
        found = rows[i][rows[i] >= 0]
        assert len(set(found.tolist())) == len(found)
        assert set(found.tolist()) == probed  # k = n: nothing is filtered away
        assert counts[i] == len(probed)
        assert (rows[i][len(found) :] == -1).all()
        assert np.isinf(distances[i][len(found) :]).all()
        if distance == "euclidean_squared":
            assert (np.diff(distances[i][: len(found)]) >= 0).all()


def test_equal_vectors_are_all_found_in_the_order_of_their_rows() -> None:
    base = np.repeat(BASE[:3], 50, axis=0)
    for distance in DISTANCES:
        index = build_crosspolytope(base, dataclasses.replace(SMALL, distance=distance))
        rows, _ = index.search(base[:1], 50, CrosspolytopeQuery(64, 100))
        best = int((base[::50] @ base[0]).argmax()) if distance == "inner_product" else 0  # a longer vector may win
        assert rows[0].tolist() == list(range(50 * best, 50 * best + 50))


def test_neighbouring_ranges_of_two_tables_are_two() -> None:
    """Half the vectors lie in one bucket of each table and half in the other, so ranges end where others begin."""
    base = np.concatenate([np.repeat(BASE[:1], 10, axis=0), np.repeat(-BASE[:1], 10, axis=0)])
    for seed in range(8):
        index = build_crosspolytope(base, CrosspolytopeParams(tables=2, hash_bits=1, seed=seed))
        rows, _ = index.search(BASE[:1], 20, CrosspolytopeQuery(1, 20))
        assert rows[0].tolist() == [*range(10)] + [-1] * 10


def test_sketches_resolve_coordinates_of_large_variance() -> None:
    """Two coordinates hold nearly all the variance: each has eight bits, the last four of what the first four left."""
    rng = np.random.default_rng(11)
    base, queries = (rng.standard_normal((n, 16)).astype(np.float32) for n in (20_000, 50))
    base[:, :2], queries[:, :2] = 1000 * base[:, :2], 1000 * queries[:, :2]
    index = build_crosspolytope(base, CrosspolytopeParams(hash_bits=2))
    found, _ = index.search(queries, 10, CrosspolytopeQuery(4, rerank=15))
    assert recall(found, brute_force(queries, base, 10)) > 0.95


def test_filter_loses_little_with_a_budget_of_some_k() -> None:
    base, queries = clustered(4000, 64, seed=4), clustered(100, 64, seed=5)
    truth = brute_force(queries, base, 10)
    for distance in DISTANCES:
        index = build_crosspolytope(base, CrosspolytopeParams(distance=distance, hash_bits=6))
        truth = brute_force(queries, base, 10, distance)
        recalls = [
            recall(index.search(queries, 10, CrosspolytopeQuery(64, rerank))[0], truth) for rerank in (10, 20, 60)
        ]
        assert recalls == sorted(recalls)
        assert recalls[-1] > 0.98


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_equals_one_by_one_on_any_number_of_threads(family: str) -> None:
    query = CrosspolytopeQuery(5, 30)
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, family=family))
    rows, distances = index.search(QUERIES, 10, query)
    single = [index.search(QUERIES[i : i + 1], 10, query) for i in range(len(QUERIES))]
    np.testing.assert_array_equal(rows, np.concatenate([s[0] for s in single]))
    np.testing.assert_array_equal(distances, np.concatenate([s[1] for s in single]))
    np.testing.assert_array_equal(index.search(QUERIES, 10, query, threads=4)[0], rows)


def test_index_does_not_depend_on_threads(tmp_path: Path) -> None:
    base = clustered(5000, 24, seed=6)
    for threads in (1, 3):
        build_crosspolytope(base, SMALL, threads).save(tmp_path / str(threads))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "3").read_bytes()


def test_threads_from_python_share_one_index() -> None:
    base = clustered(3000, 16, seed=7)
    index, query = build_crosspolytope(base, SMALL), CrosspolytopeQuery(10, 50)
    wanted, _ = index.search(base, 10, query)
    parts = [base[start : start + 100] for start in range(0, 3000, 100)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda part: index.search(part, 10, query, threads=2)[0], parts))
    np.testing.assert_array_equal(np.concatenate(rows), wanted)


def test_answers_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    index, query = build_crosspolytope(BASE, SMALL), CrosspolytopeQuery(5, 30)
    whole = index.search(QUERIES, 10, query)
    monkeypatch.setattr(module, "_BLOCK_QUERIES", 7)
    in_blocks = index.search(QUERIES, 10, query)
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_array_equal(whole[1], in_blocks[1])


def test_seed_decides_the_buckets() -> None:
    first, again, other = (
        build_crosspolytope(BASE, dataclasses.replace(SMALL, seed=seed))._index.codes(BASE) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_more_probes_examine_more() -> None:
    index = build_crosspolytope(BASE, SMALL)
    counts = [index.candidates(QUERIES, 10, CrosspolytopeQuery(probes)).mean() for probes in (1, 4, 16, 64)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 600


# --- what it costs, what it refuses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("sketch", [True, False])
@pytest.mark.parametrize("n", [1, 600])
def test_size_is_that_of_the_formula(n: int, sketch: bool, distance: str) -> None:
    """Each array begins at a multiple of 64 bytes, and axes and groups that are worth no bit are left out."""
    params = CrosspolytopeParams(tables=3, hash_bits=7, rotations=2, sketch=sketch, distance=distance)
    index = build_crosspolytope(BASE[:n].copy(), params)
    derived, p = index.derived(), 24 + (distance == "inner_product")
    points, groups = -(-n // 32) * 32 if sketch else 0, int(derived["sketch_groups"])
    table = [4 * (2**7 + 1), 4 * n, 4 * points, 4 * points, points * groups // 2]
    shared = [4 * int(derived["coordinates"]) * p, 4 * 4 * groups, 4 * 64 * groups]
    rotations = 4 * (1 + 3 * 2 * 2) * 16  # 7 bits are two cross-polytopes of 16 coordinates
    aligned = sum(-(-size // 64) * 64 for size in [*shared, *3 * table])
    assert index.size_bytes() == 128 + aligned + rotations
    full = build_crosspolytope(np.eye(24, dtype=np.float32).repeat(25, axis=0), params)  # all axes are worth the same
    if n == 600 and full.derived()["coordinates"] == (p if sketch else 16):
        assert 0 <= full.size_bytes() - theoretical_bytes(n, 24, params) < 128 + 64 * (3 + 3 * 5)


def test_size_by_hand() -> None:
    # 4,097 starts and 100 rows; 4 blocks of 32 points, of 2 factors and 48 groups of half a byte; 192 axes; centroids;
    # 12 bits of cross-polytopes of 16 coordinates are 3 functions: one rotation, and one more for each, of 16 signs
    wanted = 4 * 4097 + 400 + 128 * (8 + 24) + 4 * 192 * 192 + 48 * (64 + 4) * 4 + 4 * (1 + 3) * 16
    assert theoretical_bytes(100, 192, CrosspolytopeParams(hash_bits=12)) == wanted


def test_derived_names_the_hash() -> None:
    derived = build_crosspolytope(BASE, CrosspolytopeParams(hash_bits=9, hash_dimension=20)).derived()
    assert derived["rotated_dimension"] == 32
    assert derived["hash_functions"] == 2
    assert derived["last_dimension"] == 4  # 6 + 3 bits
    assert derived["path"] == native.crosspolytope_paths()[0]


@pytest.mark.parametrize(("n", "d", "bits"), [(1, 1, 1), (1000, 8, 4), (60_000, 192, 10), (400_000, 384, 13)])
def test_bits_follow_the_number_of_vectors(n: int, d: int, bits: int) -> None:
    params = CrosspolytopeParams()
    assert params.bits(n) == bits
    assert params.faults(n, d) == []
    assert theoretical_bytes(n, d, params) == theoretical_bytes(n, d, CrosspolytopeParams(hash_bits=bits))
    assert CrosspolytopeParams(hash_bits=3).bits(n) == 3
    if n == 1000:
        assert build_crosspolytope(np.ones((n, d), np.float32), params).derived()["hash_bits"] == bits


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "minhash"}, "family = 'minhash'; allowed: cross_polytope, hyperplane"),
        ({"distance": "hamming"}, "distance = 'hamming'; allowed: euclidean_squared, cosine, inner_product"),
        ({"tables": 0}, "tables = 0"),
        ({"hash_bits": -1}, "hash_bits = -1; allowed: 0 to 30"),
        ({"hash_bits": 31}, "hash_bits = 31; allowed: 0 to 30"),
        ({"rotations": 0}, "rotations = 0"),
        ({"hash_dimension": -1}, "hash_dimension = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616"),
    ],
)
def test_impossible_params_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=f"crosspolytope: {message}"):
        build_crosspolytope(BASE, dataclasses.replace(SMALL, **changes))


def test_tables_beyond_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crosspolytope_params.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    [fault] = SMALL.faults(600, 24)
    assert "GiB are free" in fault


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (CrosspolytopeQuery(probes_per_table=0), "probes_per_table = 0"),
        (CrosspolytopeQuery(rerank=-1), "rerank = -1"),
        (CrosspolytopeQuery(recall=1.5), "recall = 1.5; allowed: 0 to 1"),
    ],
)
def test_impossible_queries_are_refused(query: CrosspolytopeQuery, message: str) -> None:
    index = build_crosspolytope(BASE, SMALL)
    for call in (lambda: index.search(QUERIES, 5, query), lambda: index.candidates(QUERIES, 10, query)):
        with pytest.raises(SearchError, match=message):
            call()


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (QUERIES[:, :20].copy(), "20 dimensions, the index has 24"),
        (QUERIES.astype(np.float64), "float64"),
        (QUERIES[0], r"of shape \(24,\)"),
        (np.full_like(QUERIES, np.nan), "40 of 40 vectors"),
        (np.zeros_like(QUERIES), "40 of 40 vectors are zero"),
    ],
)
def test_impossible_vectors_are_refused(queries: np.ndarray, message: str) -> None:
    index = build_crosspolytope(BASE, dataclasses.replace(SMALL, distance="cosine"))
    with pytest.raises(SearchError, match=message):
        index.search(queries, 5, CrosspolytopeQuery())


def test_impossible_bases_are_refused() -> None:
    for base, message in (
        (BASE[:0], "the base is empty"),
        (np.where(BASE > 1, np.inf, BASE).astype(np.float32), "NaN, infinite"),
        (np.concatenate([BASE[:3], np.zeros((2, 24), np.float32)]), "2 of 5 vectors are zero, first in row 3"),
        (np.zeros((2, 70_000), np.float32), "70000 dimensions; allowed are up to 65535"),
    ):
        with pytest.raises(SearchError, match=message):
            build_crosspolytope(base, dataclasses.replace(SMALL, distance="cosine"))
    with pytest.raises(SearchError, match="k = 601; allowed is 1 to 600"):
        build_crosspolytope(BASE, SMALL).search(QUERIES, 601, CrosspolytopeQuery())
    with pytest.raises(SearchError, match="path is 'mmx'"):
        build_crosspolytope(BASE, SMALL, path="mmx")
