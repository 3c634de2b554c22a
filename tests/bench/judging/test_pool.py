from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judging.pool import TOPIC, Searcher, all_topics, pool_tiles, pooled_qrels
from bench.judging.trec import read_qrels, write_qrels
from ris_core.errors import ArtifactError
from ris_core.records import Hits

TOPICS = [(5, "hard", "boat", 2), (1, "easy", "field", 3), (2, "easy", "field", 3)]


def searcher(*lists: list[int], topics: list[tuple] = TOPICS) -> Searcher:
    ids = np.array(lists)
    hits = Hits(ids, np.where(ids < 0, np.inf, 1).astype(np.float32))
    return Searcher({"run": "r", "backbone": "tiny"}, pd.DataFrame(topics, columns=TOPIC), hits)


def merged(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["concept", "tile", "grade"])


def pairs(pool: pd.DataFrame) -> list[tuple[str, int]]:
    return list(pool[["concept", "tile"]].itertuples(index=False, name=None))


FIRST = searcher([7, 8, 9], [3, 2, 4], [1, 3, -1])
SECOND = searcher([8, 6, 1], [4, 1, 10], [3, 3, 2])


def test_pool_is_the_union_for_each_concept_by_id_easy_first() -> None:
    pool = pool_tiles([FIRST, SECOND])
    # 9 and 1 stand below the depth of "boat"; tile 1 counts for query 2, and 2 for query 1, which is another one;
    # in SECOND both queries name themselves.
    assert pairs(pool) == [("field", 1), ("field", 2), ("field", 3), ("field", 4), ("field", 10),
                           ("boat", 6), ("boat", 7), ("boat", 8)]  # fmt: skip
    assert dict(zip(pool["concept"], pool["queries"], strict=True)) == {"field": "1 2", "boat": "5"}


def test_pool_is_cut_at_a_depth() -> None:
    assert pairs(pool_tiles([FIRST, SECOND], depth=1)) == [("field", 1), ("field", 3), ("field", 4), ("boat", 7),
                                                           ("boat", 8)]  # fmt: skip


@settings(deadline=None)
@given(st.lists(st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=3, max_size=3), min_size=1))
def test_pool_holds_each_answer_that_counts_once_and_nothing_else(lists: list[list[list[int]]]) -> None:
    searchers = [searcher(*answers) for answers in lists]
    pool = pairs(pool_tiles(searchers))
    wanted = {
        (concept, tile)
        for answers in lists
        for (query, _, concept, depth), found in zip(TOPICS, answers, strict=True)
        for tile in found[:depth]
        if tile not in (-1, query)
    }
    assert len(pool) == len(set(pool))
    assert set(pool) == wanted
    more = pairs(pool_tiles([*searchers, FIRST]))
    assert set(pool) <= set(more)


def test_grades_belong_to_concept_and_tile() -> None:
    judged = merged(("field", 3, 1), ("field", 8, 1), ("boat", 8, 0), ("field", 4, -1))
    assert FIRST.grades(judged).tolist() == [[-1, 0, -1], [1, -1, -1], [-1, 1, -1]]
    assert FIRST.grades(judged[:0]).tolist() == [[-1] * 3] * 3


def test_totals_leave_the_query_itself_out() -> None:
    judged = merged(("field", 1, 1), ("field", 2, 0), ("field", 3, 1), ("field", 4, -1), ("boat", 5, 1))
    relevant, wrong = FIRST.totals(judged)
    assert relevant.tolist() == [0, 1, 2]
    assert wrong.tolist() == [0, 1, 0]


def test_qrels_hold_each_query_and_what_is_decided(tmp_path: Path) -> None:
    judged = merged(("field", 1, 1), ("field", 3, 0), ("field", 4, -1), ("boat", 8, 1), ("lake", 9, 1))
    write_qrels(pooled_qrels(all_topics([FIRST, SECOND]), judged), tmp_path / "judged.qrels")
    found = read_qrels(tmp_path / "judged.qrels").to_numpy().tolist()
    assert found == [[1, "easy", 3, 0], [2, "easy", 1, 1], [2, "easy", 3, 0], [5, "hard", 8, 1]]


def test_answers_of_a_run_are_opened_and_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    fields = {"query_ids": [5], "stratum": ["hard"], "concept": ["a  \n boat"], "depth": [2]}
    hits = {"ids": np.array([[7, -1]]), "distances": np.array([[1, np.inf]], np.float32)}
    np.savez(path, **fields, **hits)
    opened = Searcher.open(path, {"run": "r"})
    assert opened.topics.to_numpy().tolist() == [[5, "hard", "a boat", 2]]
    np.savez(path, **hits)
    with pytest.raises(ArtifactError, match=r"a\.npz: no answers to be read"):
        Searcher.open(path, {})
    with pytest.raises(ArtifactError, match=r"b\.npz: no answers to be read"):
        Searcher.open(tmp_path / "b.npz", {})
