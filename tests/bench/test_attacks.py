"""Attacks on the scores: each test is named after what an engine, a file or a careless caller may try.

The answers of an engine go through the same two doors as in a run: `check_answers`, which believes in nothing but rows,
then the measures. `plain_scores` is the reference: slow, and with nothing clever in it.

One file, long as it is: docs/trust.md cites it as the list of all attacks.
"""

import math

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judging.trec import read_run, write_run
from bench.scores.answers import Answers, check_answers
from bench.scores.places import countable, share_of
from bench.scores.revisited import PairLabels, judge_setup, revisited_average_precision, revisited_precision_at_k
from bench.scores.score import (
    average_precision,
    bootstrap_interval,
    id_recall_at_k,
    latency_summary,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from ris_core.engines.exact import ExactParams, ExactQuery, build_exact
from ris_core.errors import SearchError
from ris_core.knn import knn_accuracy
from ris_core.records import PADDING_ID, Features, Hits
from ris_core.space import fit_space

N, K = 30, 5
QUERY_ROWS = np.array([0, 7, 20])
SEEDS = st.integers(0, 2**32 - 1)


def grid_base(seed: int, n: int = N) -> Features:
    """Tiles on a small grid, so that ties and equal vectors abound; ids that are not rows."""
    rng = np.random.default_rng(seed)
    return Features(rng.integers(0, 3, (n, 3)).astype(np.float32), 1000 + rng.permutation(n), "s")


def truth_of(base: Features, query_rows: np.ndarray = QUERY_ROWS, depth: int = K) -> Hits:
    """The nearest other tiles, by sorting all of them."""
    ids, distances = [], []
    for row in query_rows:
        far = ((base.values.astype(np.float64) - base.values[row]) ** 2).sum(axis=1)
        order = [other for other in np.argsort(far, kind="stable") if other != row][:depth]
        ids.append(base.ids[order])
        distances.append(far[order])
    return Hits(np.array(ids), np.array(distances, np.float32))


def checked(rows: np.ndarray, base: Features, k: int = K, query_rows: np.ndarray = QUERY_ROWS) -> Answers:
    return check_answers(np.asarray(rows), base, base.values[query_rows], query_rows, k)


def recalls(rows: np.ndarray, base: Features, query_rows: np.ndarray = QUERY_ROWS, k: int = K) -> tuple[list, list]:
    """Recall and id recall of what an engine answered, as a run scores it."""
    hits, truth = checked(rows, base, k, query_rows).hits, truth_of(base, query_rows, k)
    own = base.ids[query_rows]
    return recall_at_k(hits, truth, k, own).tolist(), id_recall_at_k(hits, truth, k, own).tolist()


def rows_of(hits: Hits, base: Features) -> np.ndarray:
    """Rows of the base that bear these ids."""
    place = {int(tile): row for row, tile in enumerate(base.ids)}
    return np.array([[place[int(tile)] for tile in line] for line in hits.ids])


def plain_scores(line: list[int], base: Features, row: int, truth: list[int], k: int) -> tuple[float, float]:
    """Recall and id recall of one line of rows."""
    far = [sum((float(a) - float(b)) ** 2 for a, b in zip(v, base.values[row], strict=True)) for v in base.values]
    kept = [answer for place, answer in enumerate(line) if answer not in (-1, row) and answer not in line[:place]][:k]
    kth = sorted(far[other] for other in range(len(far)) if other != row)[k - 1]
    return sum(far[answer] <= kth for answer in kept) / k, len(set(kept) & set(truth)) / k


def hits_of(ids: list[list[int]], distances: list[list[float]] | None = None) -> Hits:
    array = np.array(ids, np.int64).reshape(len(ids), -1)
    return Hits(array, np.zeros(array.shape, np.float32) if distances is None else np.array(distances, np.float32))


# An engine that wants a high score without finding neighbours.


@given(SEEDS, st.lists(st.lists(st.integers(-1, N - 1), min_size=K + 1, max_size=K + 4), min_size=3, max_size=3))
def test_whatever_an_engine_answers_it_scores_what_a_plain_count_gives(seed, lines):
    width = min(len(line) for line in lines)
    rows, base = np.array([line[:width] for line in lines]), grid_base(seed)
    truth = rows_of(truth_of(base), base).tolist()
    expected = [
        plain_scores(line, base, int(row), true, K)
        for line, row, true in zip(rows.tolist(), QUERY_ROWS, truth, strict=True)
    ]
    recall, by_id = recalls(rows, base)
    assert recall == pytest.approx([score for score, _ in expected])
    assert by_id == pytest.approx([score for _, score in expected])
    assert all(0 <= low <= high <= 1 for low, high in zip(by_id, recall, strict=True))


@given(SEEDS, st.integers(1, 12))
def test_one_id_ten_times_is_one_answer(seed, copies):
    base = grid_base(seed)
    nearest = rows_of(truth_of(base, depth=1), base)
    rows = np.repeat(nearest, K + copies, axis=1)
    assert recalls(rows, base) == ([1 / K] * 3, [1 / K] * 3)
    assert checked(rows, base).shorter_than_k_frac == 1
    hits = hits_of([[7] * 10])
    relevance = np.ones((1, 10), bool)
    assert precision_at_k(hits, relevance, 10) == 0.1
    assert average_precision(hits, relevance, np.array([1]), 10) == 1  # the one relevant tile stood first


def test_ten_copies_of_each_neighbour_are_not_a_hundred_percent():
    base = grid_base(1)
    rows = np.repeat(rows_of(truth_of(base), base), 10, axis=1)[:, : K + 1]
    assert recalls(rows, base)[1] == [1 / K] * 3
    truth = truth_of(base)
    copies = Hits(np.repeat(truth.ids, 10, axis=1), np.repeat(truth.distances, 10, axis=1))
    assert recall_at_k(copies, truth, K).tolist() == [1 / K] * 3  # the measure alone, without the first door


@given(st.lists(st.integers(0, 4), max_size=20), st.integers(1, 20))
def test_repeated_ids_push_no_average_precision_above_one(line, k):
    hits, relevant = hits_of([line]), np.array([2])
    relevance = np.isin(hits.ids, [1, 3])
    assert 0 <= average_precision(hits, relevance, relevant, k)[0] <= 1
    judged = judge_setup(hits, [PairLabels(np.array([1]), np.array([3]), np.array([4]))], "medium")
    assert 0 <= revisited_average_precision(judged)[0] <= 1
    assert 0 <= revisited_precision_at_k(judged, k)[0] <= 1


@given(SEEDS)
def test_random_answers_reach_what_chance_gives(seed):
    rng = np.random.default_rng(seed)
    base = Features(rng.normal(size=(40, 4)).astype(np.float32), np.arange(40), "s")
    queries = np.arange(40)
    rows = np.array([rng.permutation(np.delete(queries, row))[:8] for row in queries])
    recall, _ = recalls(rows, base, queries, 8)
    assert np.mean(recall) == pytest.approx(8 / 39, abs=5 * math.sqrt(8 / 39 / (8 * 40)))


@given(SEEDS)
def test_the_same_popular_tiles_for_every_query_score_their_overlap_alone(seed):
    base = grid_base(seed)
    popular = np.arange(K + 1)[None].repeat(3, axis=0)
    found = [set(base.ids[[r for r in range(K + 1) if r != row][:K]]) for row in QUERY_ROWS]
    shares = [len(ids & set(true)) / K for ids, true in zip(found, truth_of(base).ids.tolist(), strict=True)]
    assert recalls(popular, base)[1] == pytest.approx(shares)


def test_the_truth_of_another_query_scores_what_the_two_share():
    base = Features(np.arange(N, dtype=np.float32)[:, None], np.arange(N), "s")  # tiles along a line
    rows = rows_of(truth_of(base), base)
    assert recalls(rows, base) == ([1.0] * 3, [1.0] * 3)
    shared = [0.0, 2 / K, 0.0]  # tiles 4 and 5 lie between queries 0 and 7
    assert recalls(np.roll(rows, 1, axis=0), base) == (shared, shared)


@given(SEEDS)
def test_naming_every_tile_does_not_help_because_k_places_are_looked_at(seed):
    base = grid_base(seed)
    rows = np.array([np.random.default_rng(seed).permutation(N) for _ in QUERY_ROWS])
    assert recalls(rows, base) == recalls(rows[:, : 2 * K], base)  # the own tile and no more than that moves places up
    ids, truth = base.ids[rows].tolist(), truth_of(base)
    whole, first = (id_recall_at_k(hits_of([line[:m] for line in ids]), truth, K).tolist() for m in (N, K))
    assert whole == first


@given(SEEDS, st.sampled_from([0.0, -1.0, -np.inf, np.nan, np.inf, 1e-30]))
def test_distances_that_an_engine_claims_are_computed_again(seed, claim):
    base = grid_base(seed)
    far = np.array([np.argsort(-((base.values - base.values[row]) ** 2).sum(axis=1))[: K + 1] for row in QUERY_ROWS])
    hits = checked(far, base).hits
    asked = base.values[QUERY_ROWS].astype(np.float64)
    rows = rows_of(hits, base)
    assert hits.distances == pytest.approx(((base.values[rows] - asked[:, None]) ** 2).sum(axis=2))
    # The measure alone, fed with the claim: at most what is truly near, or an error.
    truth = Hits(np.array([[1, 2, 3]]), np.array([[1, 2, 4]], np.float32))
    lie = hits_of([[7, 8, 9]], [[claim] * 3])
    if claim < 4:
        with pytest.raises(SearchError, match="tile 7 is nearer than the last true neighbour"):
            recall_at_k(lie, truth, 3)
    else:
        assert recall_at_k(lie, truth, 3)[0] == 0


def test_right_ids_with_distances_that_are_no_numbers_are_no_hits():
    truth = Hits(np.array([[1, 2, 3]]), np.array([[1, 2, 4]], np.float32))
    assert recall_at_k(hits_of([[1, 2, 3]], [[np.nan, np.inf, 4]]), truth, 3)[0] == pytest.approx(1 / 3)


@given(SEEDS)
def test_wrong_order_costs_no_recall_and_always_costs_average_precision(seed):
    rng = np.random.default_rng(seed)
    base = grid_base(seed)
    rows = rows_of(truth_of(base), base)
    assert recalls(rng.permuted(rows, axis=1), base) == ([1.0] * 3, [1.0] * 3)
    right = np.array([[True] * 4 + [False] * 4])
    mixed = rng.permuted(right, axis=1)
    ids = hits_of([list(range(8))])
    best, score = (average_precision(ids, places, np.array([4]), 8)[0] for places in (right, mixed))
    assert score == best if mixed[0, :4].all() else score < best


@given(SEEDS, st.integers(0, K - 1))
def test_a_right_answer_in_place_of_a_wrong_one_never_lowers_a_score(seed, place):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(40)[None, :10]
    relevance, relevant = rng.random((1, 10)) < 0.4, np.array([12])
    better = relevance.copy()
    better[0, place] = True
    for measure in (precision_at_k, average_precision):
        more = (relevant,) if measure is average_precision else ()
        hits = hits_of(ids.tolist())
        assert measure(hits, better, *more, 8)[0] >= measure(hits, relevance, *more, 8)[0]


@given(SEEDS)
def test_scores_depend_on_no_number_that_an_id_happens_to_be(seed):
    rng = np.random.default_rng(seed)
    base = grid_base(seed)
    renamed = Features(base.values, rng.integers(0, 2**40) + rng.permutation(N) * 3, "s")
    rows = rng.integers(-1, N, (3, K + 1))
    by_recall, by_id = recalls(rows, base)
    assert recalls(rows, renamed)[0] == by_recall
    assert recalls(rows, renamed)[1] == by_id


# The query among its own answers.


@given(SEEDS, st.integers(0, K))
def test_the_query_itself_is_dropped_by_id_wherever_it_stands(seed, place):
    base = grid_base(seed)
    others = rows_of(truth_of(base), base)
    rows = np.insert(others, place, QUERY_ROWS, axis=1)
    assert recalls(rows, base) == ([1.0] * 3, [1.0] * 3)
    answers = checked(rows, base)
    assert (answers.self_first_frac, answers.self_missed_frac) == (place == 0, 0)


def test_dropping_the_first_place_instead_would_lose_an_equal_tile():
    base = Features(np.array([[0], [0], [1], [5]], np.float32), np.array([10, 11, 12, 13]), "s")
    own = np.array([0])
    rows = np.array([[1, 0, 2]])  # an equal tile came before the query's own: a tie, and the engine's right
    assert checked(rows, base, 2, own).hits.ids.tolist() == [[11, 12]]
    assert recalls(rows, base, own, 2) == ([1.0], [1.0])


@given(SEEDS)
def test_an_engine_that_misses_the_query_itself_gains_nothing(seed):
    base = grid_base(seed)
    rows = np.random.default_rng(seed).integers(0, N, (3, K))
    rows = np.where(rows == QUERY_ROWS[:, None], PADDING_ID, rows)
    with_self = np.insert(rows, 0, QUERY_ROWS, axis=1)
    without = np.insert(rows, K, PADDING_ID, axis=1)
    assert recalls(without, base) == recalls(with_self, base)
    answers = checked(without, base)
    assert (answers.self_first_frac, answers.self_missed_frac) == (0, 1)


@given(SEEDS)
def test_the_query_as_every_answer_scores_zero(seed):
    base = grid_base(seed)
    rows = QUERY_ROWS[:, None].repeat(K + 1, axis=1)
    assert recalls(rows, base) == ([0.0] * 3, [0.0] * 3)
    own, relevance = base.ids[QUERY_ROWS], np.ones((3, K), bool)
    hits = hits_of(own[:, None].repeat(K, axis=1).tolist())  # past the first door
    assert recall_at_k(hits, truth_of(base), K, own).tolist() == [0.0] * 3
    assert precision_at_k(hits, relevance, K, own).tolist() == [0.0] * 3
    assert average_precision(hits, relevance, np.array([4] * 3), K, own).tolist() == [0.0] * 3
    assert ndcg_at_k(hits, relevance * 1, np.ones((3, 2), int), K, own).tolist() == [0.0] * 3


def test_a_caller_who_forgets_the_ids_of_the_queries_is_told():
    truth = Hits(np.array([[1, 2, 3]]), np.array([[1, 2, 4]], np.float32))
    hits = hits_of([[9, 1, 2]], [[0, 1, 2]])  # 9 is the query
    with pytest.raises(SearchError, match="Give the ids of the queries"):
        recall_at_k(hits, truth, 3)
    assert recall_at_k(hits, truth, 3, np.array([9]))[0] == pytest.approx(2 / 3)
    assert recall_at_k(hits_of([[1, 2, 3]], [[1, 2, 4]]), truth, 3, np.array([PADDING_ID]))[0] == 1  # no tile


@pytest.mark.parametrize("own", [np.array(["9"]), np.array([9.0]), np.array([[9]]), np.array([9, 9])])
def test_query_ids_that_can_equal_no_id_are_refused(own):
    with pytest.raises(SearchError, match="query ids of shape"):
        countable(np.array([[9, 1]]), own)


# Lists that are short, padded, or no lists.


@given(SEEDS, st.integers(0, K))
def test_fewer_than_k_answers_are_divided_by_k(seed, m):
    base = grid_base(seed)
    rows = np.full((3, K + 1), PADDING_ID)
    rows[:, 0] = QUERY_ROWS
    rows[:, 1 : m + 1] = rows_of(truth_of(base), base)[:, :m]
    assert recalls(rows, base) == ([m / K] * 3, [m / K] * 3)
    assert checked(rows, base).shorter_than_k_frac == (m < K)
    hits = hits_of([list(range(m))])
    assert precision_at_k(hits, np.ones((1, m), bool), K)[0] == m / K
    assert average_precision(hits, np.ones((1, m), bool), np.array([K]), K)[0] == pytest.approx(m / K)


@pytest.mark.parametrize("width", [0, 4])
def test_an_empty_list_scores_zero_and_crashes_nothing(width):
    nothing = Hits(np.full((1, width), PADDING_ID, np.int64), np.full((1, width), np.inf, np.float32))
    truth, none = hits_of([[1, 2, 3]]), np.zeros((1, width), bool)
    assert recall_at_k(nothing, truth, 3)[0] == id_recall_at_k(nothing, truth, 3)[0] == 0
    assert precision_at_k(nothing, none, 10)[0] == average_precision(nothing, none, np.array([3]), 10)[0] == 0
    assert ndcg_at_k(nothing, none * 1, np.array([[2, 1]]), 10)[0] == 0
    judged = judge_setup(nothing, [PairLabels(np.array([1]), np.array([2]), np.array([3]))], "medium")
    assert revisited_average_precision(judged)[0] == revisited_precision_at_k(judged, 10)[0] == 0


def test_a_list_of_one_right_answer_is_a_tenth_at_depth_ten():
    hits, relevance = hits_of([[4]]), np.ones((1, 1), bool)
    assert precision_at_k(hits, relevance, 10)[0] == 0.1
    judged = judge_setup(hits, [PairLabels(np.array([4, 5]), np.array([6]), np.array([7]))], "easy")
    assert precision_at_k(judged.hits, judged.relevance, 10)[0] == 0.1
    assert revisited_precision_at_k(judged, 10)[0] == 1  # as published: the reason why it is not our figure


@given(SEEDS, st.integers(0, 12))
def test_cutting_a_list_off_never_raises_its_average_precision(seed, m):
    relevance = np.random.default_rng(seed).random((1, 12)) < 0.5
    hits, relevant = hits_of([list(range(12))]), np.array([8 + relevance.sum()])
    cut = hits_of([list(range(m))])
    whole, short = (average_precision(h, relevance[:, : h.k], relevant, 12)[0] for h in (hits, cut))
    # Eight relevant tiles are never found and count as 0.
    assert short <= whole <= relevance.sum() / relevant[0]


@given(SEEDS, st.lists(st.booleans(), min_size=K + 1, max_size=K + 1))
def test_padding_in_the_middle_or_first_is_no_answer(seed, gaps):
    base = grid_base(seed)
    rows = rows_of(truth_of(base, depth=K + 1), base)
    rows = np.where(np.array(gaps), PADDING_ID, rows)
    found = min(K, len(gaps) - sum(gaps))
    recall, by_id = recalls(rows, base)
    assert max(by_id) <= max(recall) <= found / K
    answers = checked(rows, base)
    assert answers.self_first_frac == 0
    assert ((answers.hits.ids == PADDING_ID) == np.isinf(answers.hits.distances)).all()
    assert (np.diff((answers.hits.ids == PADDING_ID).astype(int), axis=1) >= 0).all()  # at the end, in the records


def test_padding_that_is_called_relevant_is_not():
    nothing = hits_of([[PADDING_ID] * 4])
    everything = np.ones((1, 4), bool)
    assert precision_at_k(nothing, everything, 4)[0] == 0
    assert average_precision(nothing, everything, np.array([4]), 4)[0] == 0
    assert ndcg_at_k(nothing, everything * 3, np.array([[3]]), 4)[0] == 0


@given(SEEDS, st.sampled_from([-2, N, N + 5, 2**40, -(2**62)]))
def test_rows_that_do_not_exist_are_refused(seed, foreign):
    base = grid_base(seed)
    rows = np.random.default_rng(seed).integers(0, N, (3, K + 1))
    rows[1, 2] = foreign
    with pytest.raises(SearchError, match="the base has 30"):
        checked(rows, base)


@pytest.mark.parametrize("shape", [(3,), (2, K + 1), (4, K + 1), (3, K - 1), (3, K + 1, 1), (0, K + 1), (3, 0)])
def test_answers_of_another_shape_are_refused(shape):
    with pytest.raises(SearchError, match="rows of shape"):
        checked(np.zeros(shape, np.int64), grid_base(0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_row_under_many_fractions_is_refused(dtype):
    base = grid_base(2)
    nearest = rows_of(truth_of(base, depth=1), base)
    rows = (nearest + np.linspace(0, 0.9, K + 1)).astype(dtype)
    with pytest.raises(SearchError, match="allowed is an array of whole numbers"):
        recalls(rows, base)


# Ties, rounding, overflow.


def test_an_absolute_slack_would_pass_wrong_neighbours_of_dense_unit_vectors_and_ours_passes_none():
    rng = np.random.default_rng(0)
    values = np.array([1.0, 0, 0, 0]) + rng.normal(scale=0.01, size=(400, 4))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    base = Features(values.astype(np.float32), np.arange(400), "s")
    queries = np.arange(20)
    everyone = truth_of(base, queries, 399)
    wrong = Hits(everyone.ids[:, 10:20], everyone.distances[:, 10:20])  # neighbours 11 to 20
    truth = Hits(everyone.ids[:, :10], everyone.distances[:, :10])
    absolute = (np.sqrt(wrong.distances) <= np.sqrt(truth.distances[:, -1:]) + 1e-3).mean()
    assert absolute > 0.2
    assert recall_at_k(wrong, truth, 10).max() == 0


@given(SEEDS)
def test_ties_and_equal_vectors_count_as_found_and_by_ids_as_not(seed):
    base = grid_base(seed)
    truth = truth_of(base, depth=N - 1)
    kth = truth.distances[:, K - 1 : K]
    last_tied = (truth.distances <= kth).sum(axis=1)
    rows = rows_of(truth, base)
    other = np.array([line[end - K : end] for line, end in zip(rows, last_tied, strict=True)])  # the tied ones instead
    recall, by_id = recalls(other, base)
    assert recall == [1.0] * 3
    assert by_id == pytest.approx([max(0, 2 * K - end) / K for end in last_tied])


@given(st.floats(1e-30, 1e30), st.floats(-1, 1))
def test_the_slack_is_relative_at_every_scale(scale, shift):
    truth = Hits(np.array([[1, 2]]), np.array([[scale / 2, scale]], np.float32))
    kth = float(truth.distances[0, 1])
    near, far, too_near = kth * (1 + 1e-6 * shift), kth * (1 + 1e-4), kth * (1 - 1e-4)
    assert recall_at_k(hits_of([[1, 9]], [[kth / 2, near]]), truth, 2)[0] == 1
    assert recall_at_k(hits_of([[1, 9]], [[kth / 2, far]]), truth, 2)[0] == 0.5
    with pytest.raises(SearchError, match="tile 9 is nearer"):
        recall_at_k(hits_of([[1, 9]], [[kth / 2, too_near]]), truth, 2)


def test_no_slack_is_left_where_the_k_nearest_are_all_equal_to_the_query():
    truth = hits_of([[1, 2]])
    assert recall_at_k(hits_of([[7, 8]], [[0, 1e-30]]), truth, 2)[0] == 0.5


def test_distances_that_overflow_float32_are_refused_as_truth_and_wrong_as_answers():
    with np.errstate(over="ignore"):
        infinite = Hits(np.array([[1, 2]]), np.array([[1, 1e39]]).astype(np.float32))
    with pytest.raises(SearchError, match="finite distances"):
        recall_at_k(hits_of([[7, 8]], [[np.inf, np.inf]]), infinite, 2)
    truth = Hits(np.array([[1, 2]]), np.array([[1, 2]], np.float32))
    assert recall_at_k(infinite, truth, 2)[0] == 0.5


@settings(max_examples=30)
@given(SEEDS, st.integers(1, 20))
def test_a_collapsed_backbone_is_no_better_than_always_saying_one_label(seed, k):
    labels = np.random.default_rng(seed).permutation(np.repeat([0, 1, 2], [80, 60, 60]))
    same = np.ones((100, 4), np.float32)
    for order in (labels, np.sort(labels)):
        assert knn_accuracy(same, order[::2], same, order[1::2], k) <= 0.55


# Careless callers: what would lift a score above what was found is refused.


@pytest.mark.parametrize("k", [0, -1])
def test_a_depth_below_one_is_refused(k):
    hits, relevance, truth = hits_of([[1, 2]]), np.ones((1, 2), bool), hits_of([[1, 2]])
    for score in (
        lambda: precision_at_k(hits, relevance, k),
        lambda: average_precision(hits, relevance, np.array([2]), k),
        lambda: ndcg_at_k(hits, relevance * 1, np.array([[1, 1]]), k),
        lambda: recall_at_k(hits, truth, k),
        lambda: id_recall_at_k(hits, truth, k),
    ):
        with pytest.raises(SearchError, match=f"k = {k}"):
            score()


def test_k_larger_than_the_corpus_is_refused():
    base = grid_base(0, n=4)
    truth = truth_of(base, np.array([0]), 3)
    padded = Hits(np.pad(truth.ids, ((0, 0), (0, 2)), constant_values=PADDING_ID), np.full((1, 5), np.inf, np.float32))
    for known in (truth, padded):
        with pytest.raises(SearchError, match="k = 5 needs 5 true neighbours"):
            id_recall_at_k(truth, known, 5)


@pytest.mark.parametrize(
    ("ids", "finding"),
    [([[1, 1, 2]], "twice"), ([[9, 1, 2]], "the query"), ([[1, PADDING_ID, 2]], "a gap")],
)
def test_a_truth_with_a_tile_twice_or_the_query_or_a_gap_is_refused(ids, finding):
    for measure in (recall_at_k, id_recall_at_k):
        with pytest.raises(SearchError, match="all different and none the query itself"):
            measure(hits_of([[1, 2, 3]]), hits_of(ids), 3, np.array([9]))


@pytest.mark.parametrize("distances", [[[1, 3, 2]], [[np.nan, 2, 3]], [[1, 2, np.nan]], [[1, 2, np.inf]]])
def test_a_truth_out_of_order_is_refused(distances):
    with pytest.raises(SearchError, match="in order of finite distances"):
        recall_at_k(hits_of([[1, 2, 3]]), hits_of([[1, 2, 3]], distances), 3)


def test_a_truth_in_another_space_is_refused():
    base = grid_base(3)
    truth, hits = truth_of(base), checked(np.arange(K + 1)[None].repeat(3, axis=0), base).hits
    inflated = Hits(truth.ids, truth.distances * 100 + 1)  # under it every tile would be near enough
    assert recall_at_k(hits, truth, K, base.ids[QUERY_ROWS]).max() < 1
    with pytest.raises(SearchError, match="in the space of the truth"):
        recall_at_k(hits, inflated, K, base.ids[QUERY_ROWS])


@pytest.mark.parametrize("grades", [np.array([[1, 0, -1]]), np.array([[1.0, 0.0, np.nan]]), np.array([["1", "", "0"]])])
def test_grades_taken_for_relevance_are_refused(grades):
    with pytest.raises(SearchError, match="one bool a hit is needed"):
        precision_at_k(hits_of([[1, 2, 3]]), grades, 3)


@pytest.mark.parametrize("relevant", [[1], [0], [-3], [np.nan], [3, 3], 3])
def test_fewer_relevant_tiles_than_were_found_are_refused(relevant):
    hits, relevance = hits_of([[1, 2, 3]]), np.ones((1, 3), bool)
    with pytest.raises(SearchError, match=r"has found 3 of|totals of shape"):
        average_precision(hits, relevance, np.array(relevant), 3)
    with pytest.raises(SearchError, match="has found"):
        ndcg_at_k(hits, relevance * 2, np.array([[2]]), 3)
    with pytest.raises(SearchError, match="has found 2 of 1"):  # though 1/3 + 2/4 is less than 1
        average_precision(hits_of([[1, 2, 3, 4]]), np.array([[False, False, True, True]]), np.array([1]), 4)


def test_rounding_lifts_no_share_above_one():
    assert share_of(np.array([1 + 1e-12, 0.0]), np.array([1.0, 0.0])).tolist()[0] == 1


def test_queries_without_relevant_tiles_are_missing_and_neither_zero_nor_one():
    hits, relevance = hits_of([[1, 2], [3, 4]]), np.array([[True, False], [False, False]])
    scores = average_precision(hits, relevance, np.array([1, 0]), 2)
    assert scores[0] == 1
    assert np.isnan(scores[1])
    assert np.isnan(ndcg_at_k(hits, relevance * 1, np.array([[1], [0]]), 2)[1])
    assert bootstrap_interval([0.5, np.nan, 1.0]) == bootstrap_interval([0.5, 1.0])
    assert np.isnan(bootstrap_interval([np.nan, 1.0])).all()


# Order of tied documents, grades, raw queries, tails.


@given(st.permutations([3, 2, 1, 0]))
def test_a_reversed_list_has_an_ndcg_below_one(grades):
    hits, given_grades = hits_of([[5, 6, 7, 8]]), np.array([grades])
    score = ndcg_at_k(hits, given_grades, given_grades, 4)[0]
    assert score == pytest.approx(1) if list(grades) == [3, 2, 1, 0] else score < 1 - 1e-6
    worst = ndcg_at_k(hits, np.array([[0, 1, 2, 3]]), given_grades, 4)[0]
    assert worst <= score + 1e-12


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=2, max_size=8), SEEDS)
def test_tied_distances_keep_their_order_in_tools_that_sort_ties_by_document(tmp_path_factory, distances, seed):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(100)[None, : len(distances)]
    hits = Hits(ids, np.sort(np.array([distances], np.float32), axis=1))
    relevance = rng.random(ids.shape) < 0.5
    relevance[0, 0] = True
    path = tmp_path_factory.mktemp("ties") / "run.txt"
    write_run(hits, np.array([900]), path, "a")
    qrels = [ir_measures.Qrel("900", str(tile), int(r)) for tile, r in zip(ids[0], relevance[0], strict=True)]
    theirs = ir_measures.calc_aggregate(
        [ir_measures.AP, ir_measures.P @ 1], qrels, ir_measures.read_trec_run(str(path))
    )
    assert theirs[ir_measures.AP] == pytest.approx(average_precision(hits, relevance, relevance.sum(axis=1), 8)[0])
    assert theirs[ir_measures.P @ 1] == 1
    np.testing.assert_array_equal(read_run(path)[1].ids, ids)


def test_raw_queries_on_a_centred_index_lose_recall_and_are_seen():
    rng = np.random.default_rng(0)
    raw = Features((rng.normal(size=(400, 16)) + 5).astype(np.float32), np.arange(400))
    space = fit_space(raw, center=True, normalize=True)
    base, queries = space.apply(raw), np.arange(50)
    engine = build_exact(base.values, ExactParams())
    truth = truth_of(base, queries, 10)
    scores = {}
    for name, asked in (("corrected", base.values), ("as_published", raw.values)):
        rows, _ = engine.search(np.ascontiguousarray(asked[queries]), 11, ExactQuery())
        answers = check_answers(rows, base, base.values[queries], queries, 10)
        scores[name] = recall_at_k(answers.hits, truth, 10, queries).mean(), answers.self_first_frac
    assert scores["corrected"] == (1, 1)
    assert scores["as_published"][0] < 0.5
    assert scores["as_published"][1] < 1


@given(st.lists(st.floats(1e-6, 10), max_size=120))
def test_percentiles_of_few_queries_are_left_empty(times):
    summary = latency_summary(times)
    assert np.isnan(summary["p95_ms"]) == (len(times) < 100)
    assert np.isnan(summary["p99_ms"])  # below 500
    if times:
        assert summary["median_ms"] <= summary["max_ms"]
