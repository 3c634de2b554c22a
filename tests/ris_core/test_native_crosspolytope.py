"""The compiled engine against a reference of its hash and probing in NumPy, path by path."""

import itertools

import numpy as np
import pytest

from ris_core import native

pytestmark = pytest.mark.skipif(
    native.crosspolytope_unavailable() is not None,
    reason=f"the extension cannot run here: {native.crosspolytope_unavailable()}",
)

NO_AXES = np.empty((0, 0), np.float32)
PATHS = native.crosspolytope_paths() if native.crosspolytope_unavailable() is None else []


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)


def index_of(base: np.ndarray, *, path: str = "", threads: int = 1, axes: bool = False, **changes: object) -> object:
    """An index; with ``axes``, over the base's own coordinates as principal axes and half of them hashed."""
    settings = native.CrosspolytopeSettings()
    settings.tables, settings.hash_bits = 3, 5
    d = base.shape[1] + (changes.get("distance") == "inner_product")  # which append a coordinate
    if axes:
        settings.variances = [float(d - i) for i in range(d)]
        settings.hash_dimension, settings.sketch_groups = (d + 1) // 2, (d + 3) // 4
    for name, value in changes.items():
        setattr(settings, name, value)
    values = np.eye(d, dtype=np.float32) if axes else NO_AXES
    return native.CrosspolytopeIndex(base, settings, values, threads, path)


# --- the reference: written from the description in crosspolytope_hash.h ----------------------------------------------


def splitmix64(seed: int, count: int) -> np.ndarray:
    z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hadamard(v: np.ndarray) -> np.ndarray:
    h = 1
    while h < len(v):
        pairs = v.reshape(-1, 2, h)
        v = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).reshape(-1)
        h *= 2
    return v


def functions_of(vector: np.ndarray, bits: int, tables: int, rotations: int, seed: int, family: str) -> list:
    """For each table the coordinates of each of its functions, as the rotated copies have them (float32)."""
    size = max(16, 1 << (len(vector) - 1).bit_length())
    full = size.bit_length()  # log2(size) + 1
    if family == "hyperplane":
        dims = [1] * bits
        copies = -(-tables * bits // size)
    else:
        count = -(-bits // full)
        dims = [size] * (count - 1) + [1 << (bits - (count - 1) * full - 1)]
        copies = tables * count
    flips = (1 + copies * rotations) * size
    words = splitmix64(seed, -(-flips // 64))
    is_flipped = (words[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)).astype(bool).reshape(-1)
    scale = np.float32(1) / np.sqrt(np.float32(size))
    signs = np.where(is_flipped, -scale, scale).astype(np.float32)[:flips].reshape(-1, size)
    v = np.zeros(size, np.float32)
    v[: len(vector)] = vector
    v = hadamard(v * signs[0])
    rotated = []
    for copy in range(copies):
        for r in range(rotations):
            v = hadamard(v * signs[1 + copy * rotations + r])
        rotated.append(v)
    if family == "hyperplane":
        flat = np.concatenate(rotated)
        return [[flat[[t * bits + b]] for b in range(bits)] for t in range(tables)]
    return [[rotated[t * len(dims) + f][:m] for f, m in enumerate(dims)] for t in range(tables)]


def code_of(functions: list) -> int:
    code = 0
    for values in functions:
        best = int(np.argmax(np.abs(values)))
        code = code * 2 * len(values) + best + (len(values) if values[best] < 0 else 0)
    return code


def bucket_costs(functions: list, length: float) -> np.ndarray:
    """Cost of every bucket of one table, by code."""
    each = []
    for values in functions:
        gaps = (np.abs(values).max() - np.concatenate([values, -values])) / length
        each.append(gaps.astype(np.float64) ** 2)
    return np.array([sum(costs) for costs in itertools.product(*each)])


HASHES = [
    ("cross_polytope", 24, 5, 1),  # part of one cross-polytope
    ("cross_polytope", 24, 6, 2),  # one whole: 32 coordinates
    ("cross_polytope", 24, 9, 1),  # one whole and one of 4
    ("cross_polytope", 3, 11, 1),  # 16 coordinates: two whole and one of 1
    ("cross_polytope", 130, 10, 3),
    ("hyperplane", 24, 7, 1),
    ("hyperplane", 10, 11, 2),  # 33 hyperplanes of three copies of 16
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("family", "d", "bits", "rotations"), HASHES)
def test_codes_are_those_of_the_numpy_reference(family: str, d: int, bits: int, rotations: int, path: str) -> None:
    base = normal(40, d)
    index = index_of(base, path=path, family=family, hash_bits=bits, rotations=rotations, seed=2**63 + 5)
    wanted = [[code_of(f) for f in functions_of(x, bits, 3, rotations, 2**63 + 5, family)] for x in base]
    assert index.codes(base).tolist() == wanted


@pytest.mark.parametrize(("family", "d", "bits", "rotations"), HASHES)
@pytest.mark.parametrize("count", [1, 3, 17, 60, 95])
def test_probes_are_the_cheapest_of_all_buckets(family: str, d: int, bits: int, rotations: int, count: int) -> None:
    base, query = normal(5, d), normal(1, d, seed=1)
    index = index_of(base, family=family, hash_bits=bits, rotations=rotations, seed=9)
    tables, codes, costs = index.probes(query, count)
    length = float(np.linalg.norm(query))
    every = np.array([bucket_costs(f, length) for f in functions_of(query[0], bits, 3, rotations, 9, family)])
    assert len(set(zip(tables.tolist(), codes.tolist(), strict=True))) == count
    np.testing.assert_allclose(costs, np.sort(every.reshape(-1))[:count], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(costs, every[tables, codes], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("family", ["cross_polytope", "hyperplane"])
def test_probes_end_with_the_last_bucket(family: str) -> None:
    index = index_of(normal(5, 40), family=family, hash_bits=8)
    tables, codes, _ = index.probes(normal(1, 40, seed=1), 10**9)
    assert sorted(zip(tables.tolist(), codes.tolist(), strict=True)) == list(itertools.product(range(3), range(256)))


def test_a_vector_probes_its_own_buckets_first() -> None:
    base = normal(30, 40)
    index = index_of(base, hash_bits=9)
    for row in range(30):
        tables, codes, costs = index.probes(base[[row]], 3)
        assert dict(zip(tables.tolist(), codes.tolist(), strict=True)) == dict(
            enumerate(index.codes(base)[row].tolist())
        )
        assert costs.tolist() == [0, 0, 0]


@pytest.mark.parametrize("distance", ["euclidean_squared", "cosine", "inner_product"])
@pytest.mark.parametrize("d", [1, 3, 16, 17, 64, 192, 300, 1100])
def test_all_paths_give_the_same_bits(d: int, distance: str) -> None:
    base, queries = normal(500, d), normal(20, d, seed=1)
    wanted: tuple | None = None
    for path in PATHS:
        index = index_of(base, path=path, axes=True, distance=distance)
        assert index.path == path
        answer = (
            index.codes(base),
            *index.search(queries, 20, 40, 30),
            *index.search(queries, 20, 40, 0),
            index.candidates(queries, 40),
        )
        wanted = wanted or answer
        for ours, theirs in zip(answer, wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_unknown_path_is_refused() -> None:
    with pytest.raises(ValueError, match=r"path is 'sse9'; this CPU runs: .*plain"):
        index_of(normal(5, 4), path="sse9")


@pytest.mark.parametrize("axes", [False, True])
@pytest.mark.parametrize("family", ["cross_polytope", "hyperplane"])
@pytest.mark.parametrize("distance", ["euclidean_squared", "cosine", "inner_product"])
@pytest.mark.parametrize("d", [1, 2, 5, 16, 33, 130])
def test_small_shapes_are_searched_without_a_fault(distance: str, family: str, axes: bool, d: int) -> None:
    for n in (1, 2, 31, 32, 33, 65):
        base = normal(n, d)
        index = index_of(base, family=family, distance=distance, axes=axes)
        for rerank in (0, 1, n):
            rows, _ = index.search(base, n, 3 * 32, rerank)
            assert (np.sort(rows, axis=1) == np.arange(n)).all()  # all 32 buckets are probed, and rerank is at least k


@pytest.mark.parametrize("bits", [1, 2, 7, 12, 20])
def test_any_width_of_hash_is_searched_without_a_fault(bits: int) -> None:
    base = normal(200, 24)
    for family in ("cross_polytope", "hyperplane"):
        index = index_of(base, hash_bits=bits, family=family, axes=True)
        for probes in (3, 4, 500):
            rows, _ = index.search(base, 5, probes, 50)
            assert (rows[:, 0] == np.arange(200)).all()  # a point shares its own bucket


def test_filter_keeps_the_first_of_equal_estimates() -> None:
    base = np.repeat(normal(1, 12), 400, axis=0)
    index = index_of(base, axes=True, tables=1)
    rows, distances = index.search(base[:2], 10, 32, 10)
    assert rows.tolist() == [list(range(10))] * 2
    assert not distances.any()


def test_extreme_values_are_searched() -> None:
    base = np.concatenate([np.zeros((5, 7)), np.full((5, 7), 1e15), np.full((5, 7), -1e15)]).astype(np.float32)
    base[::2, 3] = 1e-38
    for axes in (False, True):
        rows, _ = index_of(base, axes=axes).search(base, 15, 300, 15)
        assert (np.sort(rows, axis=1) == np.arange(15)).all()


@pytest.mark.parametrize(
    ("keywords", "message"), [({"probes": 0}, "probes must be"), ({"rerank": -1}, "rerank must be")]
)
def test_impossible_probing_is_refused(keywords: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_of(normal(20, 4)).search(normal(2, 4), 1, **({"probes": 3} | keywords))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "minhash"}, "family is 'minhash'"),
        ({"distance": "hamming"}, "distance is 'hamming'"),
        ({"hash_bits": 31}, "hash_bits must be 1 to 30"),
        ({"tables": 0}, "tables must be"),
        ({"rotations": 0}, "rotations must be"),
        ({"threads": 0}, "threads must be"),
        ({"hash_dimension": 5}, "hash_dimension must be 0 to the number of axes"),
        ({"sketch_groups": -1}, "sketch_groups must be 0 to the number of axes"),
        ({"variances": [1.0]}, "each axis must have its variance"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        index_of(normal(20, 4), **changes)


def test_impossible_axes_are_refused() -> None:
    for axes, message in (
        (np.eye(3, dtype=np.float32), "as many values"),
        (np.full((1, 4), 2, np.float32), "orthonormal"),
    ):
        settings = native.CrosspolytopeSettings()
        settings.variances = [1.0] * len(axes)
        with pytest.raises(ValueError, match=message):
            native.CrosspolytopeIndex(normal(9, 4), settings, axes)
