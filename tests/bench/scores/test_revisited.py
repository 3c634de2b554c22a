import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scores.revisited import (
    SETUPS,
    JudgedHits,
    PairLabels,
    judge_setup,
    revisited_average_precision,
    revisited_precision_at_k,
    revisited_scores,
)
from bench.scores.score import average_precision, precision_at_k
from ris_core.errors import SearchError
from ris_core.records import PADDING_ID, Hits

LABELS = PairLabels(easy=np.array([1, 2]), hard=np.array([3]), junk=np.array([4, 5]))


def hits_of(*lines: list[int]) -> Hits:
    ids = np.array(lines, np.int64).reshape(len(lines), -1)
    return Hits(ids, np.arange(ids.size, dtype=np.float32).reshape(ids.shape))


def judged(*relevance: int, relevant: int) -> JudgedHits:
    right = np.array([relevance], bool).reshape(1, -1)
    return JudgedHits(hits_of(list(range(right.size))), right, np.array([relevant]))


def test_the_published_example_scores_by_trapezoids_and_by_steps():
    # Right tiles at the places 0, 3, 4, 5 and 6: (1 + 1)/2, (1/3 + 2/4)/2, (2/4 + 3/5)/2, (3/5 + 4/6)/2, (4/6 + 5/7)/2
    example = judged(1, 0, 0, 1, 1, 1, 1, relevant=5)
    assert revisited_average_precision(example)[0] == pytest.approx(0.6581, abs=5e-5)
    steps = average_precision(example.hits, example.relevance, example.relevant, 7)[0]
    assert steps == pytest.approx((1 + 2 / 4 + 3 / 5 + 4 / 6 + 5 / 7) / 5)
    assert steps == pytest.approx(0.6962, abs=1e-4)


@pytest.mark.parametrize(
    ("setup", "ids", "relevance", "relevant"),
    [
        ("easy", [9, 1, 2, PADDING_ID, PADDING_ID, PADDING_ID], [0, 1, 1, 0, 0, 0], 2),
        ("medium", [9, 3, 1, 2, PADDING_ID, PADDING_ID], [0, 1, 1, 1, 0, 0], 3),
        ("hard", [9, 3, PADDING_ID, PADDING_ID, PADDING_ID, PADDING_ID], [0, 1, 0, 0, 0, 0], 1),
    ],
)
def test_ignored_tiles_go_and_later_ones_move_up(setup, ids, relevance, relevant):
    seen = judge_setup(hits_of([4, 9, 3, 1, 5, 2]), [LABELS], setup)
    assert seen.hits.ids.tolist() == [ids]
    assert seen.relevance.astype(int).tolist() == [relevance]
    assert seen.relevant.tolist() == [relevant]
    assert (np.isinf(seen.hits.distances) == (seen.hits.ids == PADDING_ID)).all()


def test_precision_is_divided_by_k_or_as_published_by_the_last_place_found():
    seen = judged(1, 0, 1, 0, 0, 0, relevant=4)
    assert revisited_precision_at_k(seen, 10)[0] == pytest.approx(2 / 3)
    assert precision_at_k(seen.hits, seen.relevance, 10)[0] == pytest.approx(2 / 10)
    assert revisited_precision_at_k(seen, 2)[0] == precision_at_k(seen.hits, seen.relevance, 2)[0] == 1 / 2
    with pytest.raises(SearchError, match="k = 0"):
        revisited_precision_at_k(seen, 0)


def test_queries_without_right_tiles_are_skipped_and_counted():
    nothing_hard = PairLabels(easy=np.array([1]), hard=np.array([], np.int64), junk=np.array([], np.int64))
    scores = revisited_scores(judge_setup(hits_of([1, 2, 3], [3, 1, 2]), [nothing_hard, LABELS], "hard"))
    assert scores["relevant"].tolist() == [0, 1]
    assert scores.drop(columns="relevant").isna().all(axis=1).tolist() == [True, False]
    assert scores["average_precision"].mean() == 1
    assert scores["precision_at_10"].mean() == 0.1
    assert scores["revisited_precision_at_10"].mean() == 1


def test_labels_and_setups_that_do_not_fit_are_refused():
    with pytest.raises(SearchError, match="tile 3 is labelled twice"):
        PairLabels(easy=np.array([3]), hard=np.array([1]), junk=np.array([3]))
    with pytest.raises(SearchError, match="'extreme' is unknown; there are easy, medium, hard"):
        judge_setup(hits_of([1]), [LABELS], "extreme")
    with pytest.raises(SearchError, match="1 answer lists have the labels of 2 queries"):
        judge_setup(hits_of([1]), [LABELS, LABELS], "easy")
    with pytest.raises(SearchError, match="has found 2 of 1"):
        revisited_average_precision(judged(1, 1, relevant=1))
    with pytest.raises(SearchError, match="has found 2 of 1"):
        revisited_precision_at_k(judged(1, 1, relevant=1), 5)


def plain_scores(ids: list[int], right: set[int], ignored: set[int], k: int) -> tuple[float, float, float]:
    """The protocol for one query, place by place: trapezoidal AP, P@k as published, P@k with divisor k."""
    if not right:
        return math.nan, math.nan, math.nan
    ranks, place, seen = [], 0, set()
    for tile in ids:
        if tile in ignored:
            continue
        if tile in right and tile not in seen:
            ranks.append(place)
        seen.add(tile)
        place += 1
    area = 0.0
    for j, rank in enumerate(ranks):
        before = 1.0 if rank == 0 else j / rank
        area += (before + (j + 1) / (rank + 1)) / 2
    clamped = min(k, ranks[-1] + 1) if ranks else 1
    return (
        area / len(right),
        sum(rank + 1 <= clamped for rank in ranks) / clamped,
        sum(rank < k for rank in ranks) / k,
    )


@given(st.integers(0, 2**32 - 1), st.integers(0, 25), st.sampled_from(list(SETUPS)), st.sampled_from([1, 5, 10]))
def test_scores_agree_with_a_plain_count_on_lists_of_any_kind(seed, length, setup, k):
    rng = np.random.default_rng(seed)
    names = rng.choice(4, (3, 20), p=[0.15, 0.15, 0.2, 0.5])
    labels = [PairLabels(*(np.flatnonzero(line == name) for name in range(3))) for line in names]
    whole = seed % 2 == 0  # a ranking of all tiles, or a list with padding and tiles named again
    ids = np.array([rng.permutation(20) if whole else rng.integers(-1, 20, length) for _ in labels])
    scores = revisited_scores(judge_setup(Hits(ids, np.zeros(ids.shape, np.float32)), labels, setup))
    right, ignored = ([set(label.of(part).tolist()) for label in labels] for part in SETUPS[setup])
    plain = [plain_scores(line, r, i, k) for line, r, i in zip(ids.tolist(), right, ignored, strict=True)]
    columns = ["average_precision", f"revisited_precision_at_{k}", f"precision_at_{k}"]
    np.testing.assert_allclose(scores[columns].to_numpy(), plain)
    assert ((scores.isna()) | ((scores >= 0) & (scores <= 1)) | (scores.columns == "relevant")).to_numpy().all()
