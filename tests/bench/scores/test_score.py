import math
from pathlib import Path

import ir_measures
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scores.score import (
    MEASURES,
    average_precision,
    bootstrap_interval,
    id_recall_at_k,
    latency_summary,
    ndcg_at_k,
    precision_at_k,
    recall_at_k,
)
from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Hits

TRUTH = Hits(np.array([[10, 11, 12, 13, 14]]), np.array([[1, 2, 3, 3, 5]], dtype=np.float32))


def hits_of(ids: list[int], distances: list[float] | None = None) -> Hits:
    """One answer list; the true distance of each id unless told otherwise, far away where the truth has none."""
    true = dict(zip(TRUTH.ids[0].tolist(), TRUTH.distances[0].tolist(), strict=True))
    found = [true.get(i, np.inf if i == PADDING_ID else 99.0) for i in ids] if distances is None else distances
    return Hits(np.array([ids], dtype=np.int64).reshape(1, -1), np.array([found], dtype=np.float32).reshape(1, -1))


@st.composite
def answers(draw: st.DrawFn) -> Hits:
    """Any list that an engine may answer: short, repeated, foreign, out of order."""
    ids = draw(st.lists(st.sampled_from([PADDING_ID, 10, 11, 12, 13, 14, 50, 51]), max_size=8))
    return hits_of(ids)


@pytest.mark.parametrize(
    ("ids", "recall", "id_recall"),
    [
        ([10, 11, 12], 1, 1),
        ([12, 10, 11], 1, 1),  # the order within the list does not matter
        ([10, 11, 13], 1, 2 / 3),  # 13 is as far away as 12: a tie at rank 3
        ([10, 11, 14], 2 / 3, 2 / 3),
        ([10, 50, 51], 1 / 3, 1 / 3),
        ([10], 1 / 3, 1 / 3),
        ([10, PADDING_ID, PADDING_ID], 1 / 3, 1 / 3),
        ([10, 10, 10], 1 / 3, 1 / 3),
        ([50, 51, 14, 10, 11, 12], 0, 0),  # only the first k places count
        ([], 0, 0),
    ],
)
def test_recall_is_that_computed_by_hand(ids, recall, id_recall):
    assert recall_at_k(hits_of(ids), TRUTH, 3)[0] == pytest.approx(recall)
    assert id_recall_at_k(hits_of(ids), TRUTH, 3)[0] == pytest.approx(id_recall)


def test_recall_forgives_the_rounding_of_float32_sums_and_no_more():
    rounded = np.nextafter(np.float32(3), np.float32(4))
    assert recall_at_k(hits_of([10, 11, 60], [1, 2, rounded]), TRUTH, 3)[0] == 1
    assert recall_at_k(hits_of([10, 11, 60], [1, 2, 3.001]), TRUTH, 3)[0] == pytest.approx(2 / 3)


def test_recall_of_identical_tiles_counts_any_of_them():
    truth = Hits(np.array([[1, 2]]), np.zeros((1, 2), np.float32))
    others = Hits(np.array([[7, 8]]), np.zeros((1, 2), np.float32))
    assert recall_at_k(others, truth, 2)[0] == 1
    assert id_recall_at_k(others, truth, 2)[0] == 0


@given(answers())
def test_recall_cannot_be_gamed(hits):
    recall, by_id = recall_at_k(hits, TRUTH, 3)[0], id_recall_at_k(hits, TRUTH, 3)[0]
    distinct = len(set(hits.ids[0, :3].tolist()) - {PADDING_ID})
    assert 0 <= by_id <= recall <= distinct / 3


@given(answers())
def test_measures_do_not_gain_from_repeating_or_from_the_query_itself(hits):
    tripled = Hits(np.repeat(hits.ids, 3, axis=1), np.repeat(hits.distances, 3, axis=1))
    k, relevance = 5, np.isin(hits.ids, [10, 12, 50])
    query, others = np.array([10]), Hits(TRUTH.ids[:, 1:], TRUTH.distances[:, 1:])
    without = Hits(np.where(hits.ids == 10, PADDING_ID, hits.ids), hits.distances)
    assert recall_at_k(tripled, TRUTH, k)[0] <= recall_at_k(hits, TRUTH, k)[0]
    assert recall_at_k(hits, others, 4, query)[0] == recall_at_k(without, others, 4)[0]
    assert id_recall_at_k(hits, others, 4, query)[0] == id_recall_at_k(without, others, 4)[0]
    precision = precision_at_k(hits, relevance, k)[0]
    assert precision_at_k(tripled, np.repeat(relevance, 3, axis=1), k)[0] <= precision
    assert precision_at_k(hits, relevance, k, query)[0] == precision_at_k(without, relevance & (hits.ids != 10), k)[0]
    assert precision <= len(set(hits.ids[0][relevance[0]].tolist())) / k


@given(st.permutations([10, 11, 12, 50, 51]))
def test_recall_and_precision_ignore_the_order_and_average_precision_rewards_it(ids):
    hits = hits_of(list(ids))
    relevance = np.isin(hits.ids, [10, 11, 12])
    assert recall_at_k(hits, TRUTH, 5)[0] == pytest.approx(3 / 5)
    assert precision_at_k(hits, relevance, 5)[0] == pytest.approx(3 / 5)
    score = average_precision(hits, relevance, np.array([3]), 5)[0]
    assert score <= 1
    assert (score == 1) == (set(ids[:3]) == {10, 11, 12})


@pytest.mark.parametrize("k", [0, 6])
def test_recall_rejects_a_truth_that_is_too_short(k):
    with pytest.raises(SearchError, match=f"k = {k}"):
        recall_at_k(hits_of([10]), TRUTH, k)


def test_recall_rejects_another_number_of_queries():
    two = Hits(np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32))
    with pytest.raises(SearchError, match="2 answer lists"):
        recall_at_k(two, TRUTH, 3)
    with pytest.raises(SearchError, match="query ids"):
        recall_at_k(hits_of([10]), TRUTH, 1, np.array([1, 2]))


def test_precision_divides_by_k_whatever_the_length():
    hits = hits_of([10, 11, PADDING_ID])
    relevance = np.array([[True, True, True]])  # padding does not count even where someone says that it is relevant
    assert precision_at_k(hits, relevance, 10)[0] == pytest.approx(0.2)
    assert precision_at_k(hits_of([10, 50, 11]), np.array([[True, False, True]]), 10)[0] == pytest.approx(0.2)
    with pytest.raises(SearchError, match="relevance of shape"):
        precision_at_k(hits, relevance[:, :2], 10)


def test_average_precision_is_that_computed_by_hand():
    hits = hits_of([10, 50, 11, 51])
    relevance = np.array([[True, False, True, False]])
    assert average_precision(hits, relevance, np.array([4]), 4)[0] == pytest.approx((1 / 1 + 2 / 3) / 4)
    assert np.isnan(average_precision(hits, relevance & False, np.array([0]), 4)[0])


def test_ndcg_is_that_computed_by_hand():
    hits = hits_of([10, 50, 11])
    score = ndcg_at_k(hits, np.array([[1, 0, 2]]), np.array([[2, 1, 1, 0, -1]]), 3)[0]
    assert score == pytest.approx((1 + 2 / 2) / (2 + 1 / math.log2(3) + 1 / 2))
    assert score == pytest.approx(0.639, abs=5e-4)
    assert ndcg_at_k(hits, np.array([[2, 0, 1]]), np.array([[2, 1, 1]]), 3)[0] == pytest.approx(0.798, abs=5e-4)
    assert ndcg_at_k(hits_of([11, 10]), np.array([[2, 1]]), np.array([[1, 2]]), 10)[0] == 1


def plain_scores(ids: list[int], grades: dict[int, int], own: int, k: int) -> dict[str, float]:
    """Precision, average precision and nDCG of one list, counted place by place."""
    seen, found, precisions, gain = set(), 0, 0.0, 0.0
    for place, tile in enumerate(ids[:k], start=1):
        grade = 0 if tile in seen or tile in (own, PADDING_ID) else grades.get(tile, 0)
        seen.add(tile)
        if grade > 0:
            found += 1
            precisions += found / place
            gain += grade / math.log2(place + 1)
    best = sorted((grade for tile, grade in grades.items() if tile != own and grade > 0), reverse=True)
    ideal = sum(grade / math.log2(place + 1) for place, grade in enumerate(best[:k], start=1))
    return {
        "P": found / k,
        "AP": precisions / len(best) if best else math.nan,
        "nDCG": gain / ideal if ideal else math.nan,
    }


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.integers(1, 15))
def test_precision_average_precision_and_ndcg_agree_with_ir_measures_and_a_plain_count(seed, length, k):
    """Lists with padding, repeated tiles and the query: to the others, documents without a judgment."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(-1, 20, (4, length))
    grades = rng.integers(-2, 4, (4, 20))
    own = rng.integers(20, size=4)
    grades[np.arange(4), own] = 0
    hits = Hits(ids, np.zeros(ids.shape, np.float32))
    given_grades = np.where(ids == PADDING_ID, 3, np.take_along_axis(grades, np.maximum(ids, 0), axis=1))
    relevant = (grades > 0).sum(axis=1)
    ours = {
        "P": precision_at_k(hits, given_grades > 0, k, own),
        "AP": average_precision(hits, given_grades > 0, relevant, k, own),
        "nDCG": ndcg_at_k(hits, given_grades, grades, k, own),
    }
    qrels = [ir_measures.Qrel(str(q), str(t), int(grades[q, t])) for q in range(4) for t in range(20)]
    run = []
    for q, line in enumerate(ids.tolist()):
        names = [str(t) if t not in line[:r] and t not in (own[q], PADDING_ID) else f"x{r}" for r, t in enumerate(line)]
        run += [ir_measures.ScoredDoc(str(q), name, -rank) for rank, name in enumerate(names)]
    measures = [ir_measures.P @ k, ir_measures.AP @ k, ir_measures.nDCG @ k]
    theirs = {(m.query_id, str(m.measure)): m.value for m in ir_measures.iter_calc(measures, qrels, run)}
    for q in range(4):
        plain = plain_scores(ids[q].tolist(), dict(enumerate(grades[q].tolist())), int(own[q]), k)
        for name, scores in ours.items():
            assert scores[q] == pytest.approx(plain[name], nan_ok=True)
            if relevant[q]:
                assert scores[q] == pytest.approx(theirs[str(q), f"{name}@{k}"])


def test_latency_summary_refuses_tails_of_few_queries():
    few, some, many = (latency_summary(np.arange(1, n + 1) / 1000) for n in (99, 499, 500))
    assert few["median_ms"] == pytest.approx(50)
    assert few["mean_ms"] == pytest.approx(50)
    assert few["max_ms"] == pytest.approx(99)
    assert np.isnan(few["p95_ms"])
    assert some["p95_ms"] == pytest.approx(np.percentile(np.arange(1, 500), 95))
    assert np.isnan(some["p99_ms"])
    assert many["p99_ms"] == pytest.approx(495.01)
    assert all(np.isnan(value) for value in latency_summary([]).values())


def test_bootstrap_interval_agrees_with_scipy():
    values = np.random.default_rng(0).beta(2, 3, size=40)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bootstrap_interval_is_reproducible_and_narrows_with_less_confidence():
    values = np.linspace(0, 1, 10)
    low, high = bootstrap_interval(values)
    inner_low, inner_high = bootstrap_interval(values, confidence=0.5)
    assert (low, high) == bootstrap_interval(values)
    assert low < inner_low < values.mean() < inner_high < high
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    assert bootstrap_interval([0, 1]) == (0, 1)
    assert np.isnan(bootstrap_interval([0.5])).all()


def test_every_measure_is_documented_with_source_and_example():
    page = (Path(__file__).parents[3] / "docs" / "measures.md").read_text(encoding="utf-8")
    for name in MEASURES:
        assert page.count(f"**`{name}`**") == 1, name
        text = page.split(f"**`{name}`**")[1].split("\n**`")[0]
        assert "*Source:*" in text, name
        assert "*Example:*" in text, name
