"""The engines of discrete codes, held against brute force and against what theory says of MinHash."""

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ris_core.engines import ENGINES, build_index
from ris_core.engines.contract import missing_package
from ris_core.engines.hamming import HammingParams, HammingQuery, build_hamming
from ris_core.engines.hamming import theoretical_bytes as hamming_bytes
from ris_core.engines.minhash import MinHashParams, MinHashQuery, build_minhash, unit_signatures
from ris_core.engines.minhash import theoretical_bytes as minhash_bytes
from ris_core.errors import SearchError
from ris_core.records import Features

needs_datasketch = pytest.mark.skipif(
    missing_package("datasketch", "methods") is not None, reason="datasketch is not installed: an optional package"
)
_SEEDS = 40  # of independent permutations
EVERYTHING = MinHashParams(threshold=0.0, permutations=256)  # bands of one value: sets that share a unit share a bucket


def codes(n: int, d: int, seed: int = 0, share: float = 0.5) -> np.ndarray:
    """(n, d) 0 and 1, each unit active with probability ``share``."""
    return (np.random.default_rng(seed).random((n, d)) < share).astype(np.float32)


def jaccard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(q, n) by Python's sets."""
    sets = [[frozenset(np.flatnonzero(row).tolist()) for row in part] for part in (first, second)]
    return np.array([[len(a & b) / len(a | b) if a | b else 1.0 for b in sets[1]] for a in sets[0]])


@needs_datasketch
def test_minhash_of_all_candidates_is_brute_force_by_jaccard() -> None:
    base, queries = codes(400, 24), codes(30, 24, seed=1)
    index = build_minhash(base, EVERYTHING)
    rows, distances = index.search(queries, 10, MinHashQuery())
    true = jaccard(queries, base)
    order = np.lexsort((np.tile(index._places, (30, 1)), -true))[:, :10]
    np.testing.assert_array_equal(rows, order)
    differing = (queries[:, None] != base[rows]).sum(axis=2)
    np.testing.assert_array_equal(distances, differing.astype(np.float32))


@needs_datasketch
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 20), seed=st.integers(0, 10**6), share=st.floats(0, 1))
def test_minhash_ranks_what_it_found_by_jaccard_and_pads_the_rest(n: int, d: int, seed: int, share: float) -> None:
    base, queries = codes(n, d, seed, share), codes(3, d, seed + 1, share)
    index = build_minhash(base, MinHashParams(threshold=0.7, permutations=16))
    rows, _ = index.search(queries, n, MinHashQuery())
    true = np.take_along_axis(jaccard(queries, base), np.maximum(rows, 0), axis=1)
    true[rows < 0] = -1
    assert (np.diff(true, axis=1) <= 0).all()
    found = np.count_nonzero(rows >= 0, axis=1)
    np.testing.assert_array_equal(found, index.candidates(queries, n, MinHashQuery()))
    equal = (queries[:, None] == base[None]).all(axis=2).sum(axis=1)
    assert (found >= equal).all()  # equal sets share every bucket


@needs_datasketch
def test_minhash_signature_is_datasketch_s_own() -> None:
    from datasketch import MinHash

    base, params = codes(20, 12), MinHashParams(permutations=32, seed=7)
    index = build_minhash(base, params)
    sets = [[str(unit).encode() for unit in np.flatnonzero(row)] for row in base]
    theirs = MinHash.bulk(sets, num_perm=32, seed=7)
    base[3] = 0  # no unit is active
    theirs[3] = MinHash(num_perm=32, seed=7)
    for rows in (slice(None), slice(0, 5)):  # more rows than units, and fewer
        np.testing.assert_array_equal(index._signatures(base[rows]), [one.hashvalues for one in theirs[rows]])


@needs_datasketch
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_minhash_finds_sets_as_often_as_theory_says(threshold: float) -> None:
    found, expected = [], []
    for shared in (10, 20, 26):
        one, other = np.zeros((2, 1, 60), np.float32)
        one[0, :30], other[0, 30 - shared : 60 - shared] = 1, 1  # two sets of 30 units: J = shared / (60 - shared)
        hits = []
        for seed in range(_SEEDS):
            index = build_minhash(one, MinHashParams(threshold=threshold, permutations=32, seed=seed))
            hits.append(index.search(other, 1, MinHashQuery())[0][0, 0] == 0)
        derived: dict[str, Any] = index.derived()
        true = shared / (60 - shared)
        expected.append(1 - (1 - true ** derived["band_rows"]) ** derived["bands"])
        found.append(np.mean(hits))
    spread = np.sqrt(np.array(expected) * (1 - np.array(expected)) / _SEEDS)
    assert (np.abs(np.array(found) - expected) <= 3 * spread + 0.02).all(), (found, expected)


@needs_datasketch
def test_minhash_with_a_lower_threshold_finds_more() -> None:
    base, queries = codes(300, 32), codes(20, 32, seed=1)
    counts = [
        build_minhash(base, MinHashParams(threshold=t, permutations=64)).candidates(queries, 1, MinHashQuery()).sum()
        for t in (0.2, 0.5, 0.9)
    ]
    assert counts[0] > counts[1] > counts[2]


@needs_datasketch
def test_minhash_size_is_that_of_its_python_objects() -> None:
    base = np.eye(8, dtype=np.float32)  # sets of one unit each: no two share a bucket
    index = build_minhash(base, MinHashParams(threshold=0.7, permutations=16))
    bands, band_rows = index.derived()["bands"], index.derived()["band_rows"]
    key = sys.getsizeof(bytes(4 * band_rows))
    bucket = sys.getsizeof({0})
    tables = bands * (sys.getsizeof(dict.fromkeys(range(8))) + 8 * (key + bucket))
    least = tables + 8 * bands * key + 8 * 16 * 4 + 8 * 8  # of each vector its keys; units; sizes and order
    assert least < index.size_bytes() < least + 2000  # the lists of keys and the numbers of the rows
    assert minhash_bytes(8, 8, MinHashParams(0.7, 16)) == 8 * bands * (4 * band_rows + 8) + 8 * 16 * 4 + 8 * 8


@needs_datasketch
def test_minhash_refuses_a_threshold_that_leaves_one_band() -> None:
    with pytest.raises(SearchError, match=r"threshold = 0\.99 with permutations = 2 leaves fewer than the 2 bands"):
        build_minhash(codes(4, 8), MinHashParams(threshold=0.99, permutations=2))


def test_signatures_of_units_differ_by_seed() -> None:
    pytest.importorskip("datasketch", reason="datasketch is not installed: an optional package")
    first, second = (unit_signatures(4, MinHashParams(permutations=8, seed=seed)) for seed in (1, 2))
    assert first.shape == (4, 8)
    assert (first != second).any()


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 60), d=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_hamming_is_brute_force(n: int, d: int, seed: int) -> None:
    base, queries = codes(n, d, seed), codes(5, d, seed + 1)
    rows, distances = build_hamming(base, HammingParams()).search(queries, n, HammingQuery())
    differing = (queries[:, None] != base[None]).sum(axis=2)
    np.testing.assert_array_equal(distances, np.sort(differing, axis=1))
    np.testing.assert_array_equal(distances, np.take_along_axis(differing, rows, axis=1))
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(n), (5, 1)))


def test_hamming_tables_find_what_differs_little_and_nothing_else_is_promised() -> None:
    base = codes(2000, 32)
    queries = base[:50].copy()
    queries[:, [3, 20]] = 1 - queries[:, [3, 20]]  # two units off, one in each half
    rows, distances = build_hamming(base, HammingParams(tables=2, hash_bits=16)).search(queries, 5, HammingQuery(1))
    assert (rows == np.arange(50)[:, None]).any(axis=1).all()  # h = 2 needs h / tables = 1 flip in each
    assert (np.isposinf(distances) == (rows < 0)).all()
    assert (rows < 0).any()
    none = build_hamming(base, HammingParams(tables=2, hash_bits=16)).search(queries, 5, HammingQuery(0))[0]
    assert not (none == np.arange(50)[:, None]).any()


def test_hamming_tables_with_all_flips_are_exact() -> None:
    base, queries = codes(200, 16), codes(10, 16, seed=1)
    flat = build_hamming(base, HammingParams()).search(queries, 10, HammingQuery())[1]
    tables = build_hamming(base, HammingParams(tables=2, hash_bits=8))
    np.testing.assert_array_equal(tables.search(queries, 10, HammingQuery(99))[1], flat)


def test_hamming_refuses_flips_that_would_never_end() -> None:
    index = build_hamming(codes(20, 64), HammingParams(tables=1, hash_bits=60))
    with pytest.raises(
        SearchError, match=r"flips = 9 of hash_bits = 60 look up 17,784,019,483 keys in each table .*Lower one"
    ):
        index.search(codes(1, 64), 5, HammingQuery(9))


def test_hamming_sizes_are_those_computed_by_hand() -> None:
    assert hamming_bytes(1000, 13, HammingParams()) == 1000 * (2 + 4)
    assert build_hamming(codes(1000, 13), HammingParams()).size_bytes() == 1000 * (2 + 4)
    params = HammingParams(tables=2, hash_bits=4)
    size = build_hamming(codes(1000, 16), params).size_bytes()
    assert size == 6000 + 2 * (16 * 40 + 1000 * 8)  # each of the 2 tables has all 16 buckets
    assert hamming_bytes(1000, 16, params) == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("name", ["hamming", "minhash"])
def test_equal_codes_come_in_an_order_of_the_seed_and_not_of_the_rows(name: str) -> None:
    if ENGINES[name].unavailable() is not None:
        # An optional package.
        pytest.skip(ENGINES[name].unavailable() or "")
    base = np.tile(codes(1, 16), (200, 1))  # were they classes in the order of their names, the first would answer all
    kind = ENGINES[name]
    first, second = (
        kind.build(base, kind.build_params(seed=seed), 1).search(base[:1], 40, kind.query_params())[0][0]
        for seed in (1, 2)
    )
    assert 10 <= np.count_nonzero(first < 100) <= 30
    assert set(first.tolist()) != set(second.tolist())


def test_hamming_refuses_substrings_longer_than_the_code() -> None:
    with pytest.raises(SearchError, match=r"tables = 3 of hash_bits = 12 take 36 units; a code has 16\. Lower one"):
        build_hamming(codes(4, 16), HammingParams(tables=3))


@pytest.mark.parametrize("name", ["hamming", "minhash"])
@pytest.mark.parametrize("value", [0.5, -1.0, 2.0])
def test_engine_of_codes_refuses_other_vectors_and_names_the_remedy(name: str, value: float) -> None:
    if ENGINES[name].unavailable() is not None:
        # An optional package.
        pytest.skip(ENGINES[name].unavailable() or "")
    good = Features(codes(6, 8), np.arange(6))
    wrong = Features(good.values.copy(), good.ids)
    wrong.values[2, 5] = value
    message = (
        rf"{name}: 1 of 48 values are neither 0 nor 1, first {value:g} in row 2; .*"
        rf'kind = "binary".*center = false, normalize = false.*\[engine\.{name}\] backbones = '
    )
    with pytest.raises(SearchError, match=message):
        build_index(name, wrong)
    with pytest.raises(SearchError, match=message):
        build_index(name, good).search(wrong, 1)
