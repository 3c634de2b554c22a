import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import Bpref, Judged, P

from bench.scores.score import precision_at_k
from bench.scores.unjudged import bpref, condensed_precision, judged_at_k, precision_bounds
from ris_core.errors import SearchError
from ris_core.records import Hits

LENGTH, TILES = 8, 12


def hits_of(*lists: list[int]) -> Hits:
    ids = np.array(lists)
    return Hits(ids, np.where(ids < 0, np.inf, 1).astype(np.float32))


def graded(draw: st.DrawFn) -> tuple[list[int], dict[int, int]]:
    answers = draw(st.lists(st.integers(0, TILES - 1), unique=True, min_size=1, max_size=LENGTH))
    return answers, draw(st.dictionaries(st.integers(0, TILES - 1), st.integers(0, 1)))


@st.composite
def lists(draw: st.DrawFn) -> tuple[list[int], dict[int, int]]:
    """A ranked list of different tiles, and what was judged of any tiles."""
    return graded(draw)


def arrays(answers: list[int], judged: dict[int, int]) -> tuple[Hits, np.ndarray]:
    padded = answers + [-1] * (LENGTH - len(answers))
    return hits_of(padded), np.array([[judged.get(tile, -1) for tile in padded]])


def totals(judged: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
    grades = list(judged.values())
    return np.array([grades.count(1)]), np.array([grades.count(0)])


def test_scores_of_unjudged_answers_by_hand() -> None:
    hits = hits_of([11, 12, 13, 14, 15])
    grades = np.array([[1, -1, 0, 1, -1]])
    assert judged_at_k(hits, grades, 5) == [3 / 5]
    assert judged_at_k(hits, grades, 2) == [1 / 2]
    low, high = precision_bounds(hits, grades, 5)
    assert (low, high) == ([2 / 5], [4 / 5])
    assert condensed_precision(hits, grades, 5) == [2 / 3]
    # 2 of 3 relevant ones were found, nothing before the first, one of min(3, 2) wrong ones before the second
    assert bpref(hits, grades, (np.array([3]), np.array([2])), 5) == [(1 + (1 - 1 / 2)) / 3]


def test_padding_doubles_and_the_query_itself_are_wrong_and_no_answers() -> None:
    hits, grades = hits_of([7, 11, 11, 12, -1, -1]), np.array([[1, 1, 1, -1, -1, -1]])
    own = np.array([7])
    assert judged_at_k(hits, grades, 6, own) == [1 / 2]
    assert precision_bounds(hits, grades, 6, own) == ([1 / 6], [2 / 6])
    assert condensed_precision(hits, grades, 6, own) == [1 / 5]
    assert bpref(hits, grades, (np.array([1]), np.array([0])), 6, own) == [1]


def test_nothing_judged_gives_no_precision_rather_than_zero() -> None:
    hits, grades = hits_of([1, 2]), np.array([[-1, -1]])
    assert np.isnan(condensed_precision(hits, grades, 2)).all()
    assert np.isnan(condensed_precision(hits_of([1, -1]), grades, 2)).all()  # an empty place alone tells nothing
    assert condensed_precision(hits_of([-1, -1]), grades, 2) == [0]
    assert precision_bounds(hits, grades, 2) == ([0], [1])
    assert np.isnan(bpref(hits, grades, (np.array([0]), np.array([0])), 2)).all()
    assert judged_at_k(hits_of([-1, -1]), grades, 2) == [1]


@settings(deadline=None)
@given(lists(), st.integers(1, LENGTH))
def test_bounds_hold_whatever_the_unjudged_answers_are(made: tuple[list[int], dict[int, int]], k: int) -> None:
    hits, grades = arrays(*made)
    (low,), (high,) = precision_bounds(hits, grades, k)
    for answer in (0, 1):
        decided = np.where(grades < 0, answer, grades)
        (true,) = precision_at_k(hits, decided > 0, k)
        assert low <= true <= high
    assert low == precision_at_k(hits, grades > 0, k)[0]
    condensed = condensed_precision(hits, grades, k)[0]
    assert np.isnan(condensed) or low <= condensed <= high
    if judged_at_k(hits, grades, k)[0] == 1:
        assert low == condensed == high


@settings(deadline=None)
@given(lists())
def test_bpref_judged_and_precision_agree_with_ir_measures(made: tuple[list[int], dict[int, int]]) -> None:
    answers, judged = made
    judged = {**judged, TILES: 1}  # trec_eval has nothing to say of a query without a relevant document
    hits, grades = arrays(answers, judged)
    qrels = [ir_measures.Qrel("1", str(tile), grade) for tile, grade in judged.items()]
    run = [ir_measures.ScoredDoc("1", str(tile), -place) for place, tile in enumerate(answers)]
    expected = {m.measure: m.value for m in ir_measures.iter_calc([Bpref, Judged @ LENGTH, P @ LENGTH], qrels, run)}
    assert bpref(hits, grades, totals(judged), LENGTH)[0] == pytest.approx(expected[Bpref])
    assert judged_at_k(hits, grades, LENGTH)[0] == pytest.approx(expected[Judged @ LENGTH])
    assert precision_bounds(hits, grades, LENGTH)[0][0] == pytest.approx(expected[P @ LENGTH])


def test_grades_of_another_shape_or_kind_are_refused() -> None:
    hits = hits_of([1, 2])
    with pytest.raises(SearchError, match="one whole number a hit"):
        judged_at_k(hits, np.zeros((1, 2)), 2)
    with pytest.raises(SearchError, match=r"grades of shape \(1, 3\)"):
        condensed_precision(hits, np.zeros((1, 3), int), 2)
    with pytest.raises(SearchError, match="k = 0"):
        precision_bounds(hits, np.zeros((1, 2), int), 0)


@pytest.mark.parametrize(("grade", "relevant", "wrong"), [(1, 1, 9), (0, 9, 1)])
def test_more_found_than_judged_is_refused(grade: int, relevant: int, wrong: int) -> None:
    with pytest.raises(SearchError, match="found 2 of 1"):
        bpref(hits_of([1, 2]), np.full((1, 2), grade), (np.array([relevant]), np.array([wrong])), 2)
