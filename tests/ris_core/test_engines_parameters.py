"""What the parameters of the engines that we compare with do."""

import faiss
import numpy as np
import pytest

from ris_core.engines.faiss_hnsw import FaissHnswParams, build_faiss_hnsw
from ris_core.engines.faiss_ivf import FaissIvfParams, FaissIvfQuery, build_faiss_ivf
from ris_core.engines.faiss_ivf import theoretical_bytes as ivf_bytes
from ris_core.engines.faiss_kernels import pad, take_nearest
from ris_core.engines.faiss_lsh import FaissLsh, FaissLshParams, FaissLshQuery, build_faiss_lsh
from ris_core.engines.faiss_lsh import theoretical_bytes as lsh_bytes
from ris_core.engines.hnsw import HnswQuery, expected_graph_bytes
from ris_core.engines.kdtree import KdTreeParams, KdTreeQuery, build_kdtree
from ris_core.engines.kdtree import theoretical_bytes as tree_bytes


def normal(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def recall(rows: np.ndarray, base: np.ndarray, queries: np.ndarray) -> float:
    """Share of the true neighbours among the rows, in float64."""
    distances = ((queries[:, None].astype(np.float64) - base[None]) ** 2).sum(axis=2)
    nearest = np.argsort(distances, axis=1)[:, : rows.shape[1]]
    return float(np.mean([np.isin(true, found) for true, found in zip(nearest, rows, strict=True)]))


def test_ivf_without_a_number_of_lists_takes_four_roots_of_n() -> None:
    assert build_faiss_ivf(normal(900, 4), FaissIvfParams()).derived() == {"lists": 120}
    assert build_faiss_ivf(normal(9, 4), FaissIvfParams()).derived() == {"lists": 9}  # no more lists than vectors


def test_ivf_looks_into_the_lists_of_two_far_groups_apart() -> None:
    base = np.concatenate([normal(30, 3), normal(70, 3) + 1000])
    index = build_faiss_ivf(base, FaissIvfParams(lists=2))
    queries = np.ascontiguousarray(base[[0, 99]])
    assert index.candidates(queries, 5, FaissIvfQuery(probes=1)).tolist() == [30, 70]
    assert index.candidates(queries, 5, FaissIvfQuery(probes=9)).tolist() == [100, 100]
    rows, distances = index.search(queries, 40, FaissIvfQuery(probes=1))
    assert sorted(rows[0, :30].tolist()) == list(range(30))
    assert (rows[0, 30:] == -1).all()
    assert np.isposinf(distances[0, 30:]).all()
    assert (rows[1] >= 30).all()


def test_ivf_finds_more_with_more_probes() -> None:
    base, queries = normal(2000, 8), normal(50, 8, seed=1)
    index = build_faiss_ivf(base, FaissIvfParams(lists=40))
    recalls = [recall(index.search(queries, 10, FaissIvfQuery(probes))[0], base, queries) for probes in (1, 5, 40)]
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_ivf_trains_on_the_sample_that_it_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    base, queries = normal(2000, 8), normal(50, 8, seed=1)
    few, all_of_them = (build_faiss_ivf(base, FaissIvfParams(lists=20, points_per_list=p)) for p in (1, 100))
    query = FaissIvfQuery(probes=2)
    assert (few.candidates(queries, 5, query) != all_of_them.candidates(queries, 5, query)).any()
    assert capfd.readouterr() == ("", "")  # faiss warns of small samples unless it is told that they are meant


def test_graph_finds_more_with_a_larger_ef() -> None:
    base, queries = normal(2000, 16), normal(50, 16, seed=1)
    index = build_faiss_hnsw(base, FaissHnswParams(links=4, ef_construction=10))
    recalls = [recall(index.search(queries, 5, HnswQuery(ef))[0], base, queries) for ef in (1, 50, 10**9)]
    assert recalls[0] < recalls[1] < recalls[2]


def test_codes_alone_choose_what_differs_in_the_fewest_bits() -> None:
    base, queries = normal(500, 16), normal(20, 16, seed=1)
    index = build_faiss_lsh(base, FaissLshParams(bits=64))
    planes = _planes(index)
    differing = ((base @ planes.T > 0)[None] != (queries @ planes.T > 0)[:, None]).sum(axis=2)
    rows, distances = index.search(queries, 5, FaissLshQuery(rerank=0))
    for query, found in enumerate(rows):
        assert differing[query, found].max() <= np.sort(differing[query])[4]
    assert (np.diff(distances, axis=1) >= 0).all()
    reranked = index.search(queries, 5, FaissLshQuery(rerank=100))[0]
    assert recall(rows, base, queries) < recall(reranked, base, queries)
    assert recall(index.search(queries, 5, FaissLshQuery(rerank=10**9))[0], base, queries) == 1


def _planes(index: FaissLsh) -> np.ndarray:
    """(bits, d) hyperplanes of the codes."""
    rotation = index._index.rrot
    return faiss.vector_to_array(rotation.A).reshape(rotation.d_out, rotation.d_in)


def test_codes_do_not_depend_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    base, queries = normal(500, 16), normal(20, 16, seed=1)
    index = build_faiss_lsh(base, FaissLshParams(bits=64))
    whole = index.search(queries, 5, FaissLshQuery(50))
    monkeypatch.setattr("ris_core.engines.faiss_lsh._BLOCK_QUERIES", 3)
    np.testing.assert_array_equal(index.search(queries, 5, FaissLshQuery(50))[0], whole[0])


def test_graph_that_leads_to_few_vectors_is_padded() -> None:
    hnswlib = pytest.importorskip("ris_core.engines.hnswlib")
    if hnswlib.unavailable() is not None:
        # An optional package, which compiles on installation.
        pytest.skip(hnswlib.unavailable())
    base = np.concatenate([np.zeros((300, 4), np.float32), normal(40, 4)])
    index = hnswlib.build_hnswlib(base, hnswlib.HnswlibParams(links=2))
    rows, distances = index.search(np.zeros((3, 4), np.float32), 340, HnswQuery(340))
    found = rows[0][rows[0] >= 0]
    assert 1 <= len(found) < 340
    np.testing.assert_array_equal(distances[0, : len(found)], (base[found] ** 2).sum(axis=1, dtype=np.float32))
    assert np.isposinf(distances[:, len(found) :]).all()


def test_tree_keeps_its_word_about_distances() -> None:
    base, queries = normal(1000, 8), normal(50, 8, seed=1)
    index = build_kdtree(base, KdTreeParams(leaf_size=4))
    exact, quick = (index.search(queries, 10, KdTreeQuery(eps))[1] for eps in (0.0, 0.5))
    assert (quick > exact).any()
    assert (np.sqrt(quick) <= 1.5 * np.sqrt(exact) * (1 + 1e-6)).all()


def test_sizes_are_those_computed_by_hand() -> None:
    assert ivf_bytes(1000, 8, FaissIvfParams(lists=10)) == 10 * 8 * 4 + 1000 * 8
    assert lsh_bytes(1000, 8, FaissLshParams(bits=13)) == 1000 * 2 + 13 * 8 * 4
    assert tree_bytes(100, 8, KdTreeParams(leaf_size=16)) == (8 + 7) * 72 + 100 * 8 + 100 * 8 * 4
    assert tree_bytes(5, 8, KdTreeParams(leaf_size=16)) == 72 + 5 * 8 + 5 * 8 * 4
    # 2 x 5 neighbours below, 5 above for every fourth vector, 4 bytes each; 1 byte a list and 3 a vector beside.
    assert expected_graph_bytes(1000, 5, list_bytes=1, vector_bytes=3) == 1000 * (41 + 3) + 250 * 21


def test_padding_is_infinitely_far() -> None:
    rows, distances = pad(np.array([[4, -1]]), np.array([[2.0, 3e38]], np.float32))
    assert (rows.tolist(), distances.tolist()) == ([[4, -1]], [[2.0, np.inf]])


def test_nearest_are_taken_by_distance_and_equal_ones_by_row() -> None:
    rows, distances = take_nearest(np.array([[9, 3, 7, 1]]), np.array([[2, 2, 1, 5]], np.float32), 3)
    assert (rows.tolist(), distances.tolist()) == ([[7, 3, 9]], [[1, 2, 2]])
