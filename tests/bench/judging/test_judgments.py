import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.judging.trec import read_qrels, write_qrels
from ris_core.errors import ArtifactError, SearchError
from ris_core.records import PADDING_ID, Hits

IDS = np.array([40, 7, 12, 3])  # not in order: ids need not be


@pytest.fixture
def judgments() -> Judgments:
    rows = [(40, 0, "easy", "field", 4, 2), (12, 2, "hard", "boat", 2, 1)]
    relevant = np.array([[False, True, False, True], [True, False, False, False]])
    return Judgments(pd.DataFrame(rows, columns=list(QUERY_COLUMNS)), relevant, ("One sentence.",))


def test_relevance_follows_ids_and_leaves_out_padding(judgments):
    hits = Hits(np.array([[3, 12, 7], [12, 40, PADDING_ID]]), np.zeros((2, 3), np.float32))
    assert judgments.relevance_of(hits, IDS).tolist() == [[True, False, True], [False, True, False]]


def test_relevance_refuses_hits_of_another_corpus(judgments):
    with pytest.raises(SearchError, match="hit 99"):
        judgments.relevance_of(Hits(np.array([[99], [3]]), np.zeros((2, 1), np.float32)), IDS)
    with pytest.raises(SearchError, match="do not fit"):
        judgments.relevance_of(Hits(np.array([[3]]), np.zeros((1, 1), np.float32)), IDS)


def test_ceiling_and_chance_are_those_computed_by_hand(judgments):
    assert judgments.ceiling.tolist() == [2 / 4, 1 / 2]
    assert judgments.chance.tolist() == [2 / 3, 1 / 3]


def test_chance_is_what_random_answers_reach():
    rng = np.random.default_rng(0)
    relevant = np.zeros((1, 31), bool)
    relevant[0, 1:11] = True
    queries = pd.DataFrame([(0, 0, "easy", "field", 5, 10)], columns=list(QUERY_COLUMNS))
    judged = Judgments(queries, relevant)
    found = [relevant[0, 1 + rng.permutation(30)[:5]].mean() for _ in range(4000)]
    assert judged.chance[0] == pytest.approx(np.mean(found), abs=0.01)


def test_judgments_come_back_as_saved(judgments, tmp_path):
    judgments.save(tmp_path / "judged")
    back = Judgments.open(tmp_path / "judged")
    pd.testing.assert_frame_equal(back.queries, judgments.queries)
    np.testing.assert_array_equal(back.relevant, judgments.relevant)
    assert back.notes == judgments.notes


def test_what_is_ignored_comes_back_too(judgments, tmp_path):
    ignored = np.zeros_like(judgments.relevant)
    ignored[0, 2] = True
    dataclasses.replace(judgments, ignored=ignored).save(tmp_path)
    np.testing.assert_array_equal(Judgments.open(tmp_path).ignored, ignored)


@pytest.mark.parametrize("damage", [b"", b"nothing", b"PK\x03\x04 cut short"])
def test_judgments_that_are_damaged_are_refused(judgments, tmp_path, damage):
    judgments.save(tmp_path)
    (tmp_path / "relevance.npz").write_bytes(damage)
    with pytest.raises(ArtifactError, match="no judgments"):
        Judgments.open(tmp_path)


def test_qrels_hold_the_relevant_tiles(judgments, tmp_path):
    write_qrels(judgments.qrels(IDS), tmp_path / "qrels.txt")
    found = read_qrels(tmp_path / "qrels.txt")
    assert found.to_numpy().tolist() == [[40, "easy", 7, 1], [40, "easy", 3, 1], [12, "hard", 40, 1]]


def test_judgments_of_another_shape_are_refused(judgments):
    with pytest.raises(SearchError, match="2 queries"):
        Judgments(judgments.queries, judgments.relevant[:1])
