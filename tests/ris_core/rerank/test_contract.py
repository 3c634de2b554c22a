"""What every re-ranker must keep, and the check that refuses one that does not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ris_core.errors import SearchError
from ris_core.rerank import RERANKERS
from ris_core.rerank.contract import Asked, Reranker, Searched, TilePixels, check_reranked

BY_VECTORS = sorted(name for name, kind in RERANKERS.items() if not kind.needs)


class Reverse(Reranker):
    def rerank_one(self, asked: Asked, number: int, rows: np.ndarray) -> np.ndarray:
        return rows[::-1]


def test_lists_are_reranked_one_by_one_and_padding_stays_at_the_end() -> None:
    rows = np.array([[4, 2, 7], [5, -1, -1], [-1, -1, -1]])
    answers = Reverse().rerank(Asked(np.zeros((3, 2), np.float32), np.full(3, -1)), rows)
    assert answers.tolist() == [[7, 2, 4], [5, -1, -1], [-1, -1, -1]]
    assert Reverse().size_bytes() == 0


@given(st.permutations(range(6)), st.integers(0, 6))
def test_any_order_of_the_given_rows_is_accepted(order: list[int], padding: int) -> None:
    given_rows = np.array([[*range(10, 16), *[-1] * padding]])
    check_reranked(given_rows, np.array([[*(10 + place for place in order), *[-1] * padding]]), 16, searches=False)


@pytest.mark.parametrize(
    ("answered", "searches", "message"),
    [
        ([[3, 1]], False, "allowed are whole numbers of shape (1, 3)"),
        ([[1.0, 2.0, 3.0]], False, "allowed are whole numbers"),
        ([[1, 2, 9]], True, "rows from 1 to 9; the index has 9"),
        ([[1, 2, -2]], True, "rows from -2 to 2"),
        ([[1, 2, 2]], True, "a row twice"),
        ([[1, 2, 4]], False, "1 rows that it was not given, and lost 1 that it was"),
        ([[1, 2, -1]], False, "lost 1 that it was"),
    ],
)
def test_foreign_lost_and_repeated_rows_are_refused(answered: list, searches: bool, message: str) -> None:
    with pytest.raises(SearchError) as error:
        check_reranked(np.array([[1, 2, 3]]), np.array(answered), 9, searches=searches)
    assert message in str(error.value)


def test_who_searches_may_answer_other_and_fewer_rows() -> None:
    check_reranked(np.array([[1, 2, 3]]), np.array([[8, 2, -1]]), 9, searches=True)


@pytest.mark.parametrize("name", BY_VECTORS)
@pytest.mark.parametrize("lengths", [1.0, 7.0])
def test_every_kind_orders_lists_of_any_length_and_is_deterministic(
    name: str, lengths: float, clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors = clusters[0] * np.linspace(1, lengths, len(clusters[0]), dtype=np.float32)[:, None]
    kind, own = RERANKERS[name], np.array([0, 1, 2, -1])
    reranker = kind.build(searched_over(vectors), kind.params(top=30))
    asked = Asked(vectors[:4], own)
    rows = search_plainly(vectors, vectors[:4], 30, own)
    rows[1, 1:], rows[2, 7:] = -1, -1
    answers = reranker.rerank(asked, rows)
    check_reranked(rows, answers, len(vectors), searches=kind.searches)
    assert not (answers == own[:, None])[:3].any()
    assert np.array_equal(answers, reranker.rerank(asked, rows))
    assert reranker.size_bytes() >= 0


@pytest.mark.parametrize("name", BY_VECTORS)
def test_every_kind_finds_more_of_the_cluster_than_the_index(
    name: str, clusters: tuple, search_plainly: Callable, searched_over: Callable
) -> None:
    vectors, of = clusters
    kind, own = RERANKERS[name], np.arange(len(vectors))
    rows = search_plainly(vectors, vectors, 40, own)
    small = {"k_reciprocal": {"k1": 10}, "diffusion": {"neighbours": 10, "query_neighbours": 5}}
    params = kind.params(top=40, **small.get(name, {"neighbours": 5}))
    answers = kind.build(searched_over(vectors), params).rerank(Asked(vectors, own), rows)
    before, after = ((of[lists[:, :12]] == of[:, None]).mean() for lists in (rows, answers))
    assert after > before + 0.01


@pytest.mark.parametrize("name", BY_VECTORS)
def test_zero_vectors_and_equal_ones_do_no_harm(name: str, search_plainly: Callable, searched_over: Callable) -> None:
    vectors = np.zeros((12, 3), np.float32)
    vectors[6:] = [1, 0, 0]
    kind, own = RERANKERS[name], np.array([0, 7])
    changes = {key: 3 for key in ("neighbours", "k1", "k2", "query_neighbours") if hasattr(kind.params, key)}
    reranker = kind.build(searched_over(vectors), kind.params(top=8, **changes))
    rows = search_plainly(vectors, vectors[own], 8, own)
    check_reranked(rows, reranker.rerank(Asked(vectors[own], own), rows), 12, searches=kind.searches)


@pytest.mark.parametrize("name", BY_VECTORS)
def test_impossible_values_are_told_with_what_is_allowed(name: str) -> None:
    params = RERANKERS[name].params
    assert params().faults(1000, 64) == []
    assert "top = 1001; allowed: 1 to 1000" in params(top=1001).faults(1000, 64)[0]
    assert len(params(top=0).faults(1000, 64)) == 1
    for key in {"neighbours", "k1", "k2", "query_neighbours"} & set(params.__dataclass_fields__):
        assert f"{key} = 0; allowed: 1" in params(**{key: 0}).faults(1000, 64)[0]


def test_pixels_are_read_from_their_file_by_row(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", stored)
    pixels = TilePixels(tmp_path / "pixels.npy", np.array([4, 0, 2]))
    assert len(pixels) == 3
    assert np.array_equal(pixels[np.array([2, 0])], stored[[2, 4]])
    assert np.array_equal(pixels[1], stored[0])


def test_what_is_searched_has_no_pictures_unless_given() -> None:
    assert Searched(np.zeros((1, 1), np.float32), lambda *asked: np.zeros((0, 0), np.int64)).pixels is None
