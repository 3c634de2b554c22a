import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scores.answers import check_answers, squared_distances
from ris_core.errors import SearchError
from ris_core.records import Features

BASE = Features(np.array([[0, 0], [1, 0], [0, 2], [3, 0]], np.float32), np.array([10, 11, 12, 13], np.int64), "s")
ORIGIN = np.array([0])


def check(rows: list[list[int]], k: int, query_rows: np.ndarray = ORIGIN) -> tuple[list, list, float, float]:
    answers = check_answers(np.array(rows), BASE, BASE.values[query_rows], query_rows, k)
    return (
        answers.hits.ids.tolist(),
        answers.hits.distances.tolist(),
        answers.shorter_than_k_frac,
        answers.self_first_frac,
    )


def test_own_tile_goes_and_distances_are_computed_anew() -> None:
    assert check([[0, 1, 2, 3]], 3) == ([[11, 12, 13]], [[1.0, 4.0, 9.0]], 0.0, 1.0)


def test_own_tile_goes_wherever_it_stands() -> None:
    assert check([[1, 2, 0, 3]], 3) == ([[11, 12, 13]], [[1.0, 4.0, 9.0]], 0.0, 0.0)


def test_answer_without_the_own_tile_is_cut_to_k() -> None:
    assert check([[1, 2, 3]], 2) == ([[11, 12]], [[1.0, 4.0]], 0.0, 0.0)


def test_repeated_tiles_count_once_and_the_list_is_padded() -> None:
    ids, distances, short, _ = check([[0, 1, 1, 1]], 3)
    assert (ids, short) == ([[11, -1, -1]], 1.0)
    assert distances == [[1.0, np.inf, np.inf]]


def test_padding_stays_padding_and_own_tile_first_is_a_share() -> None:
    ids, _, short, first = check([[0, -1, -1], [0, 2, 3]], 2, np.array([0, 1]))
    assert ids == [[-1, -1], [10, 12]]
    assert (short, first) == (0.5, 0.5)


def test_own_tile_that_is_missing_is_counted_and_queries_from_outside_have_none() -> None:
    query_rows = np.array([0, 1, -1])
    answers = check_answers(np.array([[1, 0], [2, 3], [0, -1]]), BASE, BASE.values[[0, 1, 2]], query_rows, 2)
    assert (answers.self_first_frac, answers.self_missed_frac) == (0.0, 0.5)  # of the two that are in the base
    assert answers.hits.ids.tolist() == [[11, -1], [12, 13], [10, -1]]
    outside = check_answers(np.array([[-1, 0]]), BASE, BASE.values[:1], np.array([-1]), 1)
    assert np.isnan(outside.self_first_frac)
    assert np.isnan(outside.self_missed_frac)


@pytest.mark.parametrize("rows", [[[0, 4]], [[0, -2]], [[0]], [[0, 1], [0, 1]]])
def test_impossible_answers_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises(SearchError, match="the engine answered"):
        check(rows, 2)


@given(st.integers(0, 2**32 - 1))
def test_distance_of_a_pair_does_not_depend_on_its_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(size=(7, 5)).astype(np.float32)
    rows = np.stack([rng.permutation(7) for _ in range(3)])
    found = squared_distances(base, base[:3], rows)
    for query in range(3):
        for place, row in enumerate(rows[query]):
            alone = squared_distances(base, base[query : query + 1], np.array([[row]]))
            assert found[query, place] == alone[0, 0]
            expected = np.sum((base[row].astype(np.float64) - base[query]) ** 2)
            assert found[query, place] == pytest.approx(expected, rel=1e-6)
