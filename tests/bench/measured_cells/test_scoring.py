import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.measured_cells.scoring import Scorer
from bench.stages.base import Asked, Base, exact_neighbours
from bench.suites.suite import CorpusSpec, QuerySpec
from ris_core.records import Features, Hits, Tiles

N, K, TILE_PX = 16, 3, 10
IDS = np.arange(N) + 100


@pytest.fixture
def base() -> Base:
    """Sixteen tiles in a row, half a tile apart; their vectors are their places, so near ground is near in features."""
    values = np.stack([np.arange(N), np.zeros(N)], axis=1).astype(np.float32)
    features = Features(values, IDS)
    rows = np.array([0, 5, 10])
    timed = Asked(rows, values[rows], values[rows])
    nowhere = Path()
    return Base("line", features, features, nowhere, np.arange(N), nowhere, timed, exact_neighbours(features, timed, 8))


def scorer(base: Base, judgments: Judgments | None = None, **queries: Any) -> Scorer:
    table = pd.DataFrame({"id": IDS, "raster": "r", "row_px": 0, "col_px": np.arange(N) * (TILE_PX // 2)})
    tiles = Tiles(np.zeros((N, 1, 1, 3), np.uint8), table)
    asked = QuerySpec(count=3, k=K, **queries)
    suite: Any = SimpleNamespace(queries=asked, corpus=CorpusSpec(tile_px=TILE_PX))
    return Scorer(suite, base, tiles, judgments)


def judged() -> Judgments:
    """Two queries of one stratum: tiles 4 to 8 are right answers to each other."""
    relevant = np.zeros((2, N), bool)
    relevant[:, 4:9] = True
    rows = np.array([4, 8])
    relevant[np.arange(2), rows] = False
    records = [(IDS[row], row, "easy", "x", 2, 4) for row in rows]
    return Judgments(pd.DataFrame(records, columns=list(QUERY_COLUMNS)).astype(QUERY_COLUMNS), relevant)


def exact_rows(base: Base, asked: Asked, depth: int) -> np.ndarray:
    distances = np.square(base.corrected.values[None] - asked.corrected[:, None]).sum(axis=2)
    return np.argsort(distances, axis=1, kind="stable")[:, :depth]


def test_exact_answers_have_recall_one_and_worse_ones_less(base: Base) -> None:
    found = scorer(base)
    assert found.depth == K + 1
    rows = exact_rows(base, base.timed, found.depth)
    scores = found.score_timed(rows)
    assert scores["recall_at_k"] == [1.0, 1.0, 1.0]
    assert (scores["self_first_frac"], scores["self_missed_frac"]) == (1.0, 0.0)
    worse = rows.copy()
    worse[0] = [0, 1, 2, 15]
    worse[1] = [-1, -1, -1, -1]
    scores = found.score_timed(worse)
    assert scores["recall_at_k"] == [pytest.approx(2 / 3), 0.0, 1.0]
    assert scores["shorter_than_k_frac"] == pytest.approx(1 / 3)
    assert scores["self_missed_frac"] == pytest.approx(1 / 3)


def test_queries_from_outside_are_asked_for_k_and_lose_no_tile(base: Base) -> None:
    outside = Asked(np.full(2, -1), base.raw.values[[2, 7]], base.corrected.values[[2, 7]])
    held_out = dataclasses.replace(base, timed=outside, truth=exact_neighbours(base.corrected, outside, 8))
    found = scorer(held_out)
    assert found.depth == K
    scores = found.score_timed(exact_rows(base, outside, K))
    assert scores["recall_at_k"] == [1.0, 1.0]
    assert scores["self_first_frac"] is scores["self_missed_frac"] is None
    assert held_out.truth.ids[:, 0].tolist() == [102, 107]


def test_judged_queries_are_scored_by_hand(base: Base) -> None:
    found = scorer(base, judged())
    assert found.judged is not None
    rows = exact_rows(base, found.judged, found.judged_depth)
    scores, hits, relevant = found.judge(rows)
    assert hits.ids.tolist() == [[103, 105], [107, 109]]  # each has a right and a wrong neighbour at distance 1
    assert relevant.tolist() == [[False, True], [True, False]]
    assert scores["precision"] == {"easy": [0.5, 0.5]}
    assert scores["average_precision"] == {"easy": [(1 / 2) / 4, 1 / 4]}
    assert found.score_judged_recall(exact_rows(base, found.judged, K + 1)) == [1.0, 1.0]


def test_what_people_are_still_to_judge_has_answers_and_no_precision(base: Base) -> None:
    undecided = dataclasses.replace(judged(), relevant=np.zeros((2, N), bool), is_decided=False)
    found = scorer(base, undecided, exclude=("self", "overlap"))
    assert found.judged is not None
    scores, hits, _ = found.judge(exact_rows(base, found.judged, found.judged_depth))
    assert scores == {}
    assert hits.ids.tolist() == [[103, 105], [107, 109]]
    rows = exact_rows(base, found.judged, found.judged_depth + 2)
    assert found.score_without("overlap", exact_rows(base, base.timed, found.depth + 2), rows)[1] == {}


def test_overlapping_tiles_go_from_truth_and_answers(base: Base) -> None:
    found = scorer(base, judged(), exclude=("self", "overlap"))
    (how,) = found.excluded
    excluded = found.excluded[how]
    assert [ids.tolist() for ids in excluded.timed] == [[101], [104, 106], [109, 111]]  # half a tile to each side
    assert excluded.judged_extra == 2
    assert found.judged is not None
    timed = exact_rows(base, base.timed, found.depth + 2)
    recall, precision = found.score_without(how, timed, exact_rows(base, found.judged, found.judged_depth + 2))
    assert recall == [1.0, 1.0, 1.0]
    assert precision == {"easy": [0.5, 0.5]}  # 102 and 106, 106 and 110
    recall, _ = found.score_without(how, exact_rows(base, base.timed, found.depth + 1), None)
    assert recall[1:] == [pytest.approx(2 / 3)] * 2  # too few answers left: k stays the divisor


def test_block_is_wider_than_overlap(base: Base) -> None:
    found = scorer(base, exclude=("self", "block"), block_px=20)
    centres_px = np.arange(N) * 5 + 5
    assert (centres_px[[2, 3]] // 20).tolist() == [0, 1]
    assert [ids.tolist() for ids in found.excluded["block"].timed] == [[101, 102], [103, 104, 106], [107, 108, 109]]


def test_vote_is_right_where_most_answers_bear_the_query_s_label(base: Base) -> None:
    labels = np.array(["water"] * 8 + ["wood"] * 8)
    judgments = judged()
    queries = judgments.queries.assign(stratum="label", concept=["water", "water"])
    found = scorer(base, dataclasses.replace(judgments, queries=queries))
    found = dataclasses.replace(found, tiles=Tiles(found.tiles.pixels, found.tiles.table.assign(label=labels)))
    ids = np.array([[103, 111, 105], [112, 104, -1]])  # two of three are water; one each, and wood comes first
    assert found.votes(Hits(ids, np.zeros((2, 3), np.float32))) == {"vote_right": [True, False]}
    nothing = Hits(np.full((2, 3), -1), np.full((2, 3), np.inf, np.float32))
    assert found.votes(nothing) == {"vote_right": [False, False]}


def test_nobody_votes_where_labels_do_not_judge(base: Base) -> None:
    assert scorer(base, judged()).votes(Hits(np.array([[103], [104]]), np.zeros((2, 1), np.float32))) == {}
