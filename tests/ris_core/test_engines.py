import dataclasses

import numpy as np
import pytest

from ris_core import engines
from ris_core.engines import ENGINES, build_index, make_params
from ris_core.engines.contract import check_search, check_vectors
from ris_core.errors import SearchError
from ris_core.records import Features


def features_of(n: int, d: int = 8, seed: int = 0, space: str = "raw") -> Features:
    values = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return Features(values, np.arange(n, dtype=np.int64) * 10 + 5, space)


def codes_of(features: Features) -> Features:
    """Signs as 0 and 1, which every engine takes."""
    return Features((features.values > 0).astype(np.float32), features.ids, features.space)


def test_index_answers_with_tile_ids() -> None:
    features = features_of(50)
    hits = build_index("exact", features).search(features[[7, 3]], 4)
    assert hits.ids[:, 0].tolist() == [75, 35]  # a tile in the index is its own nearest neighbour
    assert hits.distances[:, 0].tolist() == [0, 0]
    assert np.isin(hits.ids, features.ids).all()


def test_index_pads_ids_where_the_engine_pads_rows() -> None:
    index = build_index("exact", features_of(5))
    assert index.ids_of(np.array([[4, -1], [-1, 0]])).tolist() == [[45, -1], [-1, 5]]


def test_index_knows_its_size_and_space() -> None:
    index = build_index("exact", features_of(5, d=3, space="abc"))
    assert (len(index), index.d, index.space, index.kind) == (5, 3, "abc", "exact")


def test_index_takes_features_that_are_not_contiguous() -> None:
    features = features_of(20, d=6)
    narrow = Features(features.values[:, ::2], features.ids)
    hits = build_index("exact", narrow).search(narrow, 1)
    assert hits.ids[:, 0].tolist() == features.ids.tolist()


def test_index_rejects_query_from_other_space() -> None:
    index = build_index("exact", features_of(20, space="fitted"))
    with pytest.raises(SearchError, match=r"space 'raw', the index in 'fitted'.*space\.apply"):
        index.search(features_of(2), 1)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize(("k", "d", "message"), [(0, 8, "k = 0"), (21, 8, "k = 21.*1 to 20"), (3, 7, "7 dimensions")])
def test_index_rejects_what_it_cannot_answer(name: str, k: int, d: int, message: str) -> None:
    params = {"hash_bits": 4} if name == "falconn" else {}
    if ENGINES[name].unavailable() is not None:
        # An engine that this CPU or build lacks has nothing to refuse.
        pytest.skip(f"{name}: {ENGINES[name].unavailable()}")
    index = build_index(name, codes_of(features_of(20)), **params)
    with pytest.raises(SearchError, match=message):
        index.search(codes_of(features_of(2, d=d)), k)
    with pytest.raises(SearchError, match="threads = 0"):
        index.search(codes_of(features_of(2)), 1, threads=0)


def test_build_rejects_unknown_engine_and_names_the_known() -> None:
    with pytest.raises(SearchError, match=r"no engine is called 'faiss'; known: .*exact, faiss_hnsw"):
        build_index("faiss", features_of(3))


def test_build_rejects_engine_that_cannot_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(ENGINES["exact"], unavailable=lambda: "it is broken. Mend it.")
    monkeypatch.setitem(engines.ENGINES, "broken", broken)
    with pytest.raises(SearchError, match=r"engine broken cannot run here: it is broken\. Mend it\."):
        build_index("broken", features_of(3))


def test_build_rejects_empty_base() -> None:
    with pytest.raises(SearchError, match="the base is empty"):
        build_index("exact", features_of(0))


def test_make_params_reports_all_wrong_keys_and_types_at_once() -> None:
    kind = ENGINES["falconn"].build_params
    with pytest.raises(SearchError) as caught:
        make_params("here", kind, {"tabels": 3, "tables": "many", "hash_bits": True}, (100, 8))
    for part in ("here: ", "'tabels'", "known: family, tables", "tables = 'many' is of type str", "hash_bits = True"):
        assert part in str(caught.value)


def test_make_params_reports_all_impossible_values_at_once() -> None:
    kind = ENGINES["falconn"].build_params
    with pytest.raises(SearchError) as caught:
        make_params("here", kind, {"tables": 0, "family": "minhash", "hash_bits": 20}, (100, 8))
    for part in ("tables = 0", "family = 'minhash'", "hash_bits = 20; allowed: 1 to 9"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.zeros(4, np.float32), r"of shape \(4,\).*Reshape"),
        ([[1.0]], "of shape list"),
        (np.zeros((2, 3)), "are float64.*astype"),
        (np.zeros((2, 3), np.float32).T, "not C-contiguous"),
        (np.zeros((2, 0), np.float32), "0 dimensions"),
        (np.array([[0, 1], [np.nan, 1]], np.float32), "1 of 2 vectors.*first in row 1"),
        (np.array([[np.inf, 1]], np.float32), "NaN, infinite"),
        (np.array([[0, 1], [1, -2e15]], np.float32), r"beyond 1e\+15, first in row 1"),
        (np.array([[3e38, 3e38]], np.float32), "1 of 1 vectors"),  # the sum of squares overflows float32
    ],
)
def test_check_vectors_refuses(vectors: np.ndarray, message: str) -> None:
    with pytest.raises(SearchError, match=message):
        check_vectors("here", vectors)


def test_check_vectors_takes_the_largest_allowed_values() -> None:
    check_vectors("here", np.full((50, 50), -1e15, np.float32))


def test_check_search_reports_k_and_threads_at_once() -> None:
    with pytest.raises(SearchError, match=r"k = 9; .*threads = -1"):
        check_search("here", np.zeros((1, 2), np.float32), 9, (8, 2), -1)


@pytest.mark.parametrize("name", ENGINES)
def test_default_query_parameters_are_possible(name: str) -> None:
    assert ENGINES[name].query_params().faults(1000, 8) == []
