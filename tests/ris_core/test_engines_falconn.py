"""One file, long as it is: it holds one engine against its own wrapper and documentation, setting by setting."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core import native
from ris_core.engines import falconn as module
from ris_core.engines.falconn import (
    FAMILIES,
    STORAGES,
    FalconnParams,
    FalconnQuery,
    build_falconn,
    default_params,
    theoretical_bytes,
)
from ris_core.errors import SearchError

pytestmark = pytest.mark.skipif(
    native.falconn_unavailable() is not None, reason=f"FALCONN cannot run here: {native.falconn_unavailable()}"
)

SMALL = FalconnParams(tables=4, hash_bits=8)

# Answers of FALCONN's own Python wrapper to find_k_nearest_neighbors(query, 5) for queries 0 to 3 of `scatter`, with
# 4 tables, 8 bits, 2 rotations and 12 probes over 600 points. Made by compiling internal/python_wrapper.cc of its
# source package as it is, against pybind11 3.1:
#   g++ -std=c++17 -march=native -O3 -fPIC -shared -I<pybind11>/include $(python3-config --includes) -Iinclude
#       -Iexternal/eigen internal/python_wrapper.cc -o _falconn$(python3-config --extension-suffix)
WRAPPER_ROWS = {
    ("cross_polytope", "euclidean_squared", 0): [
        [402, 450, 599, 179, 58],
        [587, 176, 15, 591, 594],
        [151, 58, 102, 539, 512],
        [14, 581, 372, 331, 50],
    ],
    ("cross_polytope", "euclidean_squared", 409556018): [
        [28, 416, 599, 179, 104],
        [22, 587, 15, 594, 388],
        [539, 254, 414, 293, 95],
        [27, 581, 372, 457, 50],
    ],
    ("cross_polytope", "negative_inner_product", 0): [
        [402, 58, 599, 179, 450],
        [591, 146, 594, 176, 573],
        [58, 151, 539, 102, 283],
        [372, 381, 442, 331, 590],
    ],
    ("cross_polytope", "negative_inner_product", 409556018): [
        [104, 28, 599, 179, 394],
        [22, 146, 594, 587, 388],
        [539, 293, 254, 103, 501],
        [372, 27, 442, 590, 50],
    ],
    ("hyperplane", "euclidean_squared", 0): [
        [402, 311, 51, 583, 310],
        [176, 294, 573, 146, 108],
        [151, 512, 127, 254, 283],
        [372, 50, 587, 198, 407],
    ],
    ("hyperplane", "euclidean_squared", 409556018): [
        [471, 28, 450, 58, 38],
        [591, 594, 388, 422, 505],
        [281, 102, 539, 291, 510],
        [198, 18, 447, 106, 228],
    ],
    ("hyperplane", "negative_inner_product", 0): [
        [402, 311, 583, 310, 51],
        [146, 176, 573, 294, 160],
        [151, 283, 254, 127, 512],
        [372, 454, 381, 50, 133],
    ],
    ("hyperplane", "negative_inner_product", 409556018): [
        [471, 58, 28, 394, 71],
        [591, 594, 388, 217, 505],
        [539, 102, 283, 293, 281],
        [436, 137, 219, 163, 342],
    ],
}


def scatter(count: int, d: int, seed: int) -> np.ndarray:
    """Uniform values in [-0.5, 0.5), the same with every version of NumPy (splitmix64 of a counter)."""
    z = np.arange(1, count * d + 1, dtype=np.uint64) + np.uint64(seed * 10**6)
    z *= np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return ((z >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5).astype(np.float32).reshape(count, d)


BASE, QUERIES = scatter(600, 24, seed=0), scatter(40, 24, seed=1)


def brute_force(queries: np.ndarray, base: np.ndarray, k: int) -> np.ndarray:
    differences = queries[:, None].astype(np.float64) - base[None].astype(np.float64)
    return np.argsort((differences**2).sum(axis=2), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize(("family", "distance", "seed"), WRAPPER_ROWS)
def test_falconn_answers_as_its_own_wrapper_did(family: str, distance: str, seed: int, storage: str) -> None:
    params = dataclasses.replace(SMALL, family=family, distance=distance, seed=seed, storage=storage)
    rows, _ = build_falconn(BASE, params).search(QUERIES[:4], 5, FalconnQuery(probes_per_table=3))
    assert rows.tolist() == WRAPPER_ROWS[family, distance, seed]


# The same for vectors of many cache lines, fetched ahead by our loop: find_k_nearest_neighbors(query, 8) for queries 0
# and 1 of `scatter`, with 4 tables, 10 bits, 2 rotations, seed 7 and 400 probes over 3,000 points of 192 dimensions.
WRAPPER_LONG_ROWS = {
    ("cross_polytope", "euclidean_squared"): [
        [2496, 2841, 383, 1116, 1358, 1392, 246, 919],
        [2960, 1386, 1318, 2342, 294, 2637, 705, 1112],
    ],
    ("cross_polytope", "negative_inner_product"): [
        [1358, 383, 2486, 2496, 1392, 239, 498, 1213],
        [665, 2960, 924, 1679, 2342, 462, 2415, 2637],
    ],
    ("hyperplane", "euclidean_squared"): [
        [2496, 2841, 1116, 891, 1358, 919, 2940, 2486],
        [2945, 2960, 1386, 1318, 294, 2637, 705, 191],
    ],
    ("hyperplane", "negative_inner_product"): [
        [1358, 2486, 2496, 239, 2179, 2940, 891, 400],
        [2960, 2945, 2466, 462, 2637, 2378, 2609, 1384],
    ],
}


@pytest.mark.parametrize(("family", "distance"), WRAPPER_LONG_ROWS)
def test_falconn_answers_on_long_vectors_as_its_own_wrapper_did(family: str, distance: str) -> None:
    params = FalconnParams(family, tables=4, hash_bits=10, rotations=2, distance=distance, seed=7)
    index = build_falconn(scatter(3000, 192, seed=0), params)
    rows, _ = index.search(scatter(2, 192, seed=1), 8, FalconnQuery(100))
    assert rows.tolist() == WRAPPER_LONG_ROWS[family, distance]


@pytest.mark.parametrize("seed", [0, 7, 2**63])
@pytest.mark.parametrize("family", FAMILIES)
def test_falconn_answers_as_its_own_wrapper_does(family: str, seed: int) -> None:
    wrapper = pytest.importorskip("falconn", reason="FALCONN's own wrapper is not installed (see WRAPPER_ROWS)")
    theirs = wrapper.LSHConstructionParameters()
    theirs.dimension, theirs.l, theirs.num_rotations, theirs.seed, theirs.num_setup_threads = 24, 4, 2, seed, 1
    theirs.lsh_family = getattr(wrapper.LSHFamily, family.title().replace("_", ""))
    theirs.distance_function = wrapper.DistanceFunction.EuclideanSquared
    theirs.storage_hash_table = wrapper.StorageHashTable.BitPackedFlatHashTable
    wrapper.compute_number_of_hash_functions(8, theirs)
    table = wrapper.LSHIndex(theirs)
    table.setup(BASE)
    ours = build_falconn(BASE, dataclasses.replace(SMALL, family=family, seed=seed))
    for probes, limit in ((1, -1), (5, -1), (64, -1), (5, 30)):
        query = FalconnQuery(probes, limit)
        asked = table.construct_query_object(4 * probes, limit)
        rows, _ = ours.search(QUERIES, 20, query)
        unique, near = ours.candidate_rows(QUERIES, query), ours.near_neighbours(QUERIES, 3.0, query)
        for i, vector in enumerate(QUERIES):
            assert rows[i][rows[i] >= 0].tolist() == list(asked.find_k_nearest_neighbors(vector, 20))
            assert unique[i].tolist() == list(asked.get_unique_candidates(vector))
            assert near[i].tolist() == list(asked.find_near_neighbors(vector, 3.0))


# As WRAPPER_ROWS, over 24 points that repeat eight: which of equal points comes first is decided by FALCONN's heap and
# sorting, and differs with k. Query 0, 1 table of 2 bits, every bucket probed; the last k takes all points.
WRAPPER_TIES = {
    5: [8, 0, 16, 5, 13],
    12: [8, 0, 16, 5, 21, 13, 14, 6, 22, 18, 2, 10],
    24: [8, 16, 0, 13, 5, 21, 6, 22, 14, 2, 18, 10, 15, 7, 23, 1, 17, 9, 4, 20, 12, 11, 3, 19],
}


@pytest.mark.parametrize("k", WRAPPER_TIES)
def test_falconn_breaks_ties_as_its_own_wrapper_did(k: int) -> None:
    index = build_falconn(np.tile(BASE[:8], (3, 1)), FalconnParams(tables=1, hash_bits=2))
    rows, _ = index.search(QUERIES[:1], k, FalconnQuery(probes_per_table=4))
    assert rows[0].tolist() == WRAPPER_TIES[k]


@pytest.mark.parametrize(("rotations", "wrapper_rows"), [(1, [402, 302, 310, 361, 119]), (3, [471, 28, 416, 0, 179])])
def test_falconn_rotates_as_its_own_wrapper_did(rotations: int, wrapper_rows: list[int]) -> None:
    index = build_falconn(BASE, dataclasses.replace(SMALL, seed=0, rotations=rotations))
    rows, _ = index.search(QUERIES[:1], 5, FalconnQuery(probes_per_table=3))
    assert rows[0].tolist() == wrapper_rows


def test_falconn_hashes_no_features_of_dense_vectors() -> None:
    hashed = build_falconn(BASE, dataclasses.replace(SMALL, feature_hashing_dim=8))
    rows, _ = hashed.search(QUERIES, 5, FalconnQuery(3))
    np.testing.assert_array_equal(rows, build_falconn(BASE, SMALL).search(QUERIES, 5, FalconnQuery(3))[0])


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_falconn_is_exact_when_every_bucket_is_probed(family: str, storage: str) -> None:
    params = FalconnParams(family=family, storage=storage, tables=2, hash_bits=5)
    index = build_falconn(BASE, params)
    everything = FalconnQuery(probes_per_table=32)
    rows, distances = index.search(QUERIES, 20, everything)
    np.testing.assert_array_equal(rows, brute_force(QUERIES, BASE, 20))
    wanted = ((QUERIES[:, None] - BASE[rows]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances, wanted, rtol=1e-5)
    assert index.candidates(QUERIES, 10, everything).tolist() == [600] * 40


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 120),
    d=st.integers(1, 40),
    bits=st.integers(1, 6),
    tables=st.integers(1, 4),
    probes=st.integers(1, 70),
    limit=st.sampled_from([-1, 1, 20]),
    family=st.sampled_from(FAMILIES),
    seed=st.integers(0, 2**64 - 1),
)
def test_falconn_hits_are_the_nearest_of_its_candidates(
    n: int, d: int, bits: int, tables: int, probes: int, limit: int, family: str, seed: int
) -> None:
    base, queries = scatter(n, d, seed=2), scatter(3, d, seed=3)
    params = FalconnParams(family=family, tables=tables, hash_bits=bits, seed=seed, storage="flat")
    if params.faults(n, d):
        return
    index, query = build_falconn(base, params), FalconnQuery(probes, limit)
    rows, distances = index.search(queries, n, query)
    candidates = index.candidate_rows(queries, query)
    repeated = index.candidate_rows(queries, query, is_unique=False)
    np.testing.assert_array_equal(index.candidates(queries, 10, query), [len(c) for c in candidates])
    for i in range(3):
        found = rows[i][rows[i] >= 0]
        assert sorted(found) == sorted(candidates[i]) == sorted(set(repeated[i].tolist()))
        assert max(np.unique(repeated[i], return_counts=True)[1], default=0) <= tables
        assert (np.diff(distances[i][: len(found)]) >= 0).all()
        assert np.isinf(distances[i][len(found) :]).all()
        assert (rows[i][len(found) :] == -1).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_falconn_batch_equals_one_by_one_on_any_number_of_threads(family: str) -> None:
    index, query = build_falconn(BASE, dataclasses.replace(SMALL, family=family)), FalconnQuery(5)
    rows, distances = index.search(QUERIES, 10, query)
    single = [index.search(QUERIES[i : i + 1], 10, query) for i in range(len(QUERIES))]
    np.testing.assert_array_equal(rows, np.concatenate([s[0] for s in single]))
    np.testing.assert_array_equal(distances, np.concatenate([s[1] for s in single]))
    on_threads = build_falconn(BASE, dataclasses.replace(SMALL, family=family), threads=3)
    np.testing.assert_array_equal(on_threads.search(QUERIES, 10, query, threads=4)[0], rows)


def test_falconn_does_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    index, query = build_falconn(BASE, SMALL), FalconnQuery(5)
    whole, counts = index.search(QUERIES, 10, query), index.candidates(QUERIES, 10, query)
    monkeypatch.setattr(module, "_BLOCK_QUERIES", 7)
    in_blocks = index.search(QUERIES, 10, query)
    np.testing.assert_array_equal(whole[0], in_blocks[0])
    np.testing.assert_array_equal(whole[1], in_blocks[1])
    np.testing.assert_array_equal(counts, index.candidates(QUERIES, 10, query))


@pytest.mark.parametrize("family", FAMILIES)
def test_falconn_seed_decides_the_hashes(family: str) -> None:
    query = FalconnQuery(2)
    first, again, other = (
        build_falconn(BASE, dataclasses.replace(SMALL, family=family, seed=seed)).candidate_rows(QUERIES, query)
        for seed in (3, 3, 4)
    )
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("storage", STORAGES)
def test_falconn_storages_hold_the_same_candidates(storage: str) -> None:
    index = build_falconn(BASE, dataclasses.replace(SMALL, storage=storage))
    wanted = build_falconn(BASE, SMALL).candidate_rows(QUERIES, FalconnQuery(5))
    for ours, theirs in zip(index.candidate_rows(QUERIES, FalconnQuery(5)), wanted, strict=True):
        assert sorted(ours) == sorted(theirs)


def test_falconn_finds_more_with_more_probes_and_tables() -> None:
    index = build_falconn(BASE, SMALL)
    counts = [index.candidates(QUERIES, 10, FalconnQuery(probes)).mean() for probes in (1, 4, 16, 64)]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]
    more_tables = build_falconn(BASE, dataclasses.replace(SMALL, tables=12))
    assert more_tables.candidates(QUERIES, 10, FalconnQuery(1)).mean() > counts[0]


def test_falconn_stops_at_max_candidates() -> None:
    index = build_falconn(BASE, SMALL)
    limited = index.candidate_rows(QUERIES, FalconnQuery(8, max_candidates=11), is_unique=False)
    free = index.candidate_rows(QUERIES, FalconnQuery(8), is_unique=False)
    for few, many in zip(limited, free, strict=True):
        assert few.tolist() == many[:11].tolist()


def test_falconn_near_neighbours_are_the_candidates_below_the_threshold() -> None:
    everything = FalconnQuery(probes_per_table=256)
    squared = ((QUERIES[:, None] - BASE[None]) ** 2).sum(axis=2)
    near = build_falconn(BASE, SMALL).near_neighbours(QUERIES, 2.5, everything, threads=2)
    assert [sorted(rows) for rows in near] == [np.flatnonzero(row < 2.5).tolist() for row in squared]
    by_product = dataclasses.replace(SMALL, distance="negative_inner_product")
    near = build_falconn(BASE, by_product).near_neighbours(QUERIES, -0.5, everything)
    assert [sorted(rows) for rows in near] == [np.flatnonzero(row < -0.5).tolist() for row in -(QUERIES @ BASE.T)]


def test_falconn_negative_inner_product_ranks_by_it_and_returns_squared_distances() -> None:
    index = build_falconn(BASE, dataclasses.replace(SMALL, distance="negative_inner_product"))
    rows, distances = index.search(QUERIES, 30, FalconnQuery(256))
    products = -(QUERIES @ BASE.T)
    ranked = np.take_along_axis(products, rows, axis=1)
    np.testing.assert_allclose(ranked, np.sort(products, axis=1)[:, :30], rtol=1e-5)
    np.testing.assert_allclose(distances, ((QUERIES[:, None] - BASE[rows]) ** 2).sum(axis=2), rtol=1e-5)


def test_falconn_statistics_count_queries_and_candidates() -> None:
    index, query = build_falconn(BASE, SMALL), FalconnQuery(5)
    index.search(QUERIES, 10, query, threads=3)
    statistics = index.statistics()
    assert statistics["queries"] == 40
    assert statistics["unique_candidates"] == pytest.approx(index.candidates(QUERIES, 10, query).mean())
    assert statistics["candidates"] >= statistics["unique_candidates"]
    phases = statistics["lsh_s"] + statistics["hash_table_s"] + statistics["distance_s"]
    assert 0 < statistics["distance_s"] < phases <= statistics["total_query_s"]
    index.reset_statistics()
    assert index.statistics()["queries"] == 0


@pytest.mark.parametrize(
    ("family", "bits", "wanted"),
    [
        ("cross_polytope", 12, {"hash_functions": 2, "last_cp_dimension": 32}),  # 24 -> 32: 6 + 6 bits
        ("cross_polytope", 8, {"hash_functions": 2, "last_cp_dimension": 2}),  # 6 + 2 bits
        ("hyperplane", 11, {"hash_functions": 11}),
    ],
)
def test_falconn_derives_its_hash_functions(family: str, bits: int, wanted: dict[str, int]) -> None:
    assert build_falconn(BASE, FalconnParams(family=family, hash_bits=bits)).derived() == wanted


def test_falconn_size_by_hand() -> None:
    params = FalconnParams(tables=10, hash_bits=20, rotations=2)
    # 2^20 starts of 19 bits and 400,000 rows of 19 bits a table; three vectors of 256 signs, twice rotated
    assert theoretical_bytes(400_000, 192, params) == 10 * ((2**20 * 19 + 400_000 * 19) // 8 + 3 * 2 * 256 * 4)
    assert build_falconn(BASE, SMALL).size_bytes() == theoretical_bytes(600, 24, SMALL)


@pytest.mark.parametrize(
    ("storage", "bits", "table"),
    [
        ("bit_packed", 4, 8 * 2 + 8 * 11),  # words of 64 bits: 16 starts of 7 bits fill two, 100 rows of 7 eleven
        ("flat", 4, 16 * 8 + 100 * 4),
        ("linear_probing", 4, 200 * 12 + 100 * 4),
        ("linear_probing", 33, 200 * 16 + 100 * 4),  # keys of 64 bits
        ("stl", 4, 100 * 40),
    ],
)
def test_falconn_storages_by_hand(storage: str, bits: int, table: int) -> None:
    params = FalconnParams(family="hyperplane", tables=3, hash_bits=bits, storage=storage)
    assert theoretical_bytes(100, 7, params) == 3 * (table + bits * 7 * 4)
    assert theoretical_bytes(1, 7, dataclasses.replace(params, hash_bits=1)) == 3 * (2 * 8 + 4 + 7 * 4)


_GROWTH = """
import sys
import numpy as np
from bench.measuring.process_memory import read_memory
from ris_core.engines.falconn import FalconnParams, build_falconn, theoretical_bytes
base = np.random.default_rng(0).standard_normal((30_000, 32), dtype=np.float32)
params = FalconnParams(family="hyperplane", tables=40, hash_bits=14, storage=sys.argv[1])
build_falconn(base[:10].copy(), FalconnParams(hash_bits=3))  # what the first index alone costs
before = read_memory().anonymous_bytes
index = build_falconn(base, params)
after = read_memory().anonymous_bytes
if before is not None:
    print((after - before) / theoretical_bytes(30_000, 32, params))
"""


@pytest.mark.parametrize("storage", STORAGES)
def test_falconn_formula_is_what_a_process_grows_by(storage: str) -> None:
    done = subprocess.run([sys.executable, "-c", _GROWTH, storage], capture_output=True, text=True, check=True)
    if not done.stdout:
        # Only Linux counts anonymous pages; elsewhere the column stays empty.
        pytest.skip("this system does not tell anonymous memory apart")
    assert float(done.stdout) == pytest.approx(1.0, abs=0.15)


def test_default_params_are_falconns_advice() -> None:
    advice = default_params(60_000, 192)
    assert advice == FalconnParams(hash_bits=14, rotations=1)
    assert default_params(60_000, 192, is_dense=False).rotations == 2
    assert advice.faults(60_000, 192) == []
    for arguments in ({"n": 0, "d": 4}, {"n": 4, "d": 0}, {"n": 4, "d": 4, "distance": "cosine"}):
        with pytest.raises(SearchError, match="allowed"):
            default_params(**arguments)


@pytest.mark.parametrize(("n", "most"), [(400_000, 21), (60_000, 18), (4_000, 14), (1, 3), (2**31 - 1, 30)])
def test_falconn_takes_up_to_eight_buckets_a_vector(n: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=2**50))
    assert FalconnParams(hash_bits=most).faults(n, 192) == []
    [fault] = FalconnParams(hash_bits=most + 1).faults(n, 192)
    assert f"hash_bits = {most + 1}; allowed: 1 to {most}" in fault


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hash_bits": 20}, r"hash_bits = 20; allowed: 1 to 12 .*for 600 vectors.* about 10"),
        ({"hash_bits": 0}, "hash_bits = 0; allowed: 1 to"),
        ({"hash_bits": 65, "storage": "stl"}, "hash_bits = 65; allowed: 1 to 64"),
        ({"family": "minhash"}, "family = 'minhash'; allowed: cross_polytope, hyperplane"),
        ({"storage": "disk"}, "storage = 'disk'; allowed: bit_packed"),
        ({"distance": "cosine"}, "distance = 'cosine'; allowed: euclidean_squared, negative_inner_product"),
        ({"tables": 0}, "tables = 0"),
        ({"rotations": 0}, "rotations = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616"),
        ({"feature_hashing_dim": 0}, "feature_hashing_dim = 0"),
    ],
)
def test_falconn_refuses_impossible_params(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=f"falconn: {message}"):
        build_falconn(BASE, dataclasses.replace(SMALL, **changes))


def test_falconn_reports_all_faults_at_once() -> None:
    assert len(FalconnParams(family="?", storage="?", tables=0, hash_bits=99, seed=-1).faults(100, 8)) == 5


def test_falconn_refuses_tables_that_exceed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=10_000))
    [fault] = FalconnParams(tables=10, hash_bits=8).faults(600, 24)
    assert "tables = 10" in fault
    assert "GiB are free" in fault


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (FalconnQuery(probes_per_table=0), "probes_per_table = 0; FALCONN needs 1 or more"),
        (FalconnQuery(max_candidates=0), "max_candidates = 0; allowed: -1"),
        (FalconnQuery(max_candidates=-2), "max_candidates = -2"),
    ],
)
def test_falconn_refuses_impossible_queries(query: FalconnQuery, message: str) -> None:
    index = build_falconn(BASE, SMALL)
    for call in (index.search, lambda queries, _, query: index.candidate_rows(queries, query)):
        with pytest.raises(SearchError, match=message):
            call(QUERIES, 5, query)


def test_falconn_refuses_probes_that_exceed_memory() -> None:
    index = build_falconn(BASE, FalconnParams(tables=10, hash_bits=40, storage="stl"))
    with pytest.raises(SearchError, match=r"allowed: up to .* must stay under 1 GiB"):
        index.search(QUERIES, 5, FalconnQuery(probes_per_table=10**9))


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (QUERIES[:, :20].copy(), "20 dimensions, the index has 24"),
        (QUERIES.astype(np.float64), "float64"),
        (QUERIES[0], r"of shape \(24,\)"),
        (np.full_like(QUERIES, np.nan), "40 of 40 vectors"),
    ],
)
def test_falconn_refuses_impossible_vectors(queries: np.ndarray, message: str) -> None:
    index = build_falconn(BASE, SMALL)
    for call in (
        lambda: index.search(queries, 5, FalconnQuery()),
        lambda: index.candidates(queries, 10, FalconnQuery()),
        lambda: index.near_neighbours(queries, 1.0, FalconnQuery()),
    ):
        with pytest.raises(SearchError, match=message):
            call()


def test_falconn_refuses_impossible_bases() -> None:
    with pytest.raises(SearchError, match="the base is empty"):
        build_falconn(BASE[:0], SMALL)
    with pytest.raises(SearchError, match="float16"):
        build_falconn(BASE.astype(np.float16), SMALL)
    with pytest.raises(SearchError, match="threads = 0"):
        build_falconn(BASE, SMALL, threads=0)


def test_falconn_says_why_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for extension, reason in (
        (None, "cannot be loaded"),
        (SimpleNamespace(has_falconn=False), "built without it"),
        (SimpleNamespace(has_falconn=True, missing_instructions="avx2", arch="native"), "lacks avx2"),
    ):
        monkeypatch.setattr(native, "_native", extension)
        with pytest.raises(SearchError, match=f"cannot run here: .*{reason}"):
            build_falconn(BASE, SMALL)
