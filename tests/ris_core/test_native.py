import concurrent.futures
import gc
from pathlib import Path

import numpy as np
import pytest

from ris_core import native

pytestmark = pytest.mark.skipif(
    native.falconn_unavailable() is not None, reason=f"FALCONN cannot run here: {native.falconn_unavailable()}"
)


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def index_of(base: np.ndarray, bits: int = 4, tables: int = 3, threads: int = 1, **settings: str) -> object:
    values = native.FalconnSettings()
    values.tables = tables
    for name, value in settings.items():
        setattr(values, name, value)
    values.hash_functions, values.last_cp_dimension = native.falconn_hashes_for_bits(values.family, base.shape[1], bits)
    return native.FalconnIndex(base, values, threads=threads)


@pytest.mark.parametrize("storage", ["flat", "bit_packed", "stl", "linear_probing"])
@pytest.mark.parametrize("family", ["cross_polytope", "hyperplane"])
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 9, 17, 130])
def test_small_shapes_are_searched_without_a_fault(family: str, storage: str, d: int) -> None:
    for n in (1, 2, 3, 64, 65):
        base = normal(n, d)
        index = index_of(base, bits=3, family=family, storage=storage)
        rows, distances = index.search(base, n, probes=3 * 8)
        assert (rows[:, 0] == np.arange(n)).all()
        assert (np.sort(rows, axis=1) == np.arange(n)).all()  # all eight buckets are probed
        assert (distances[:, 0] == 0).all()


@pytest.mark.parametrize("family", ["cross_polytope", "hyperplane"])
@pytest.mark.parametrize("bits", [1, 2, 7, 12, 33, 64])
def test_any_width_of_hash_is_searched_without_a_fault(family: str, bits: int) -> None:
    base = normal(200, 24)
    index = index_of(base, bits=bits, family=family, storage="linear_probing")
    for probes in (3, 4, 500):
        rows, _ = index.search(base, 5, probes=probes)
        assert (rows[:, 0] == np.arange(200)).all()  # a point shares its own bucket


def test_more_probes_than_buckets_end_with_the_last_bucket() -> None:
    base = normal(50, 6)
    rows, _ = index_of(base, bits=2, tables=1).search(base, 50, probes=10_000)
    assert (np.sort(rows, axis=1) == np.arange(50)).all()


def test_base_is_kept_alive_and_not_copied() -> None:
    base = normal(100, 8)
    wanted = base.copy()
    index = index_of(base)
    base[5] += 1  # forbidden to users; here it shows whose memory is read
    _, distances = index.search(wanted[5:6], 1, probes=3)
    assert distances[0, 0] > 0
    del base
    gc.collect()
    rows, _ = index.search(wanted[6:7], 1, probes=3)
    assert rows[0, 0] == 6


def test_memory_mapped_read_only_base_is_taken(tmp_path: Path) -> None:
    np.save(tmp_path / "base.npy", normal(60, 8))
    index = index_of(np.load(tmp_path / "base.npy", mmap_mode="r"))
    rows, _ = index.search(normal(60, 8), 1, probes=3)
    assert (rows[:, 0] == np.arange(60)).all()


@pytest.mark.parametrize("family", ["cross_polytope", "hyperplane"])
@pytest.mark.parametrize("distance", ["euclidean_squared", "negative_inner_product"])
def test_extreme_values_are_searched(family: str, distance: str) -> None:
    base = np.concatenate([np.zeros((5, 7)), np.full((5, 7), 1e15), np.full((5, 7), -1e15)]).astype(np.float32)
    base[::2, 3] = 1e-38
    rows, _ = index_of(base, family=family, distance=distance).search(base, 15, probes=300)
    assert (np.sort(rows, axis=1) == np.arange(15)).all()


@pytest.mark.parametrize("probes", [2, -1])
def test_fewer_probes_than_tables_are_refused(probes: int) -> None:
    with pytest.raises(ValueError, match="probes must be at least the number of tables"):
        index_of(normal(20, 4)).search(normal(2, 4), 1, probes=probes)


def test_impossible_settings_are_refused() -> None:
    base = normal(20, 4)
    for settings, message in (
        ({"family": "minhash"}, "family is 'minhash'; allowed: cross_polytope, hyperplane"),
        ({"storage": "disk"}, "storage is 'disk'"),
        ({"distance": "cosine"}, "distance is 'cosine'"),
        ({"bits": 31}, "31 bits"),  # FALCONN would compute 1 << 31 as int
        ({"tables": 0}, "tables and hash_functions"),
        ({"threads": 0}, "threads must be"),
    ):
        with pytest.raises(ValueError, match=message):
            index_of(base, **settings)
    with pytest.raises(ValueError, match="1 to 2\\^31"):
        index_of(normal(0, 4))


def test_threads_from_python_share_one_index() -> None:
    base = normal(3000, 16)
    index = index_of(base, bits=8)
    wanted, _ = index.search(base, 10, probes=30)
    parts = [base[start : start + 100] for start in range(0, 3000, 100)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda part: index.search(part, 10, probes=30, threads=2)[0], parts))
    np.testing.assert_array_equal(np.concatenate(rows), wanted)
    assert index.statistics()["queries"] == 6000  # every query object came back


def test_more_threads_than_queries_do_no_harm() -> None:
    base = normal(40, 4)
    rows, _ = index_of(base, threads=64).search(base, 1, probes=3, threads=100_000)
    assert (rows[:, 0] == np.arange(40)).all()


@pytest.mark.parametrize(
    ("family", "d", "bits", "wanted"),
    [
        ("cross_polytope", 192, 20, (3, 2)),  # 192 -> 256: 9 bits each for the first two, 2 left: +-e1, +-e2
        ("cross_polytope", 384, 20, (2, 512)),  # 384 -> 512: 10 bits each, none left
        ("cross_polytope", 192, 17, (2, 128)),
        ("cross_polytope", 8, 1, (1, 1)),
        ("hyperplane", 192, 20, (20, 0)),
    ],
)
def test_number_of_hash_functions(family: str, d: int, bits: int, wanted: tuple[int, int]) -> None:
    assert native.falconn_hashes_for_bits(family, d, bits) == wanted


def test_default_settings_are_those_of_the_documentation() -> None:
    advice = native.falconn_default_settings(60_000, 192, is_dense=False)
    assert advice == {
        "family": "cross_polytope",
        "distance": "euclidean_squared",
        "storage": "bit_packed",
        "tables": 10,
        "hash_functions": 2,
        "last_cp_dimension": 16,
        "rotations": 2,
        "feature_hashing_dimension": -1,
        "seed": 409556018,
        "hash_bits": 14,  # the largest with 2^(bits + 1) <= n
    }
    assert native.falconn_default_settings(60_000, 192)["rotations"] == 1  # dense
