from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.judging.pool import TOPIC, Searcher
from bench.tables.hand_table import hand_averages, hand_averages_page, hand_page, hand_table
from bench.tables.published import PUBLISHED_COLUMNS
from bench.tables.table import write_table
from ris_core.records import Hits

TOPICS = [(1, "easy", "field", 4), (2, "easy", "field", 4), (5, "hard", "boat", 2)]
NAMES = {"run": "first", "backbone": "tiny", "engine": "exact", "cell": "tiny/exact/corrected/single-1t"}
ANSWERS = [[11, 12, 13, 2], [11, 14, 1, -1], [16, 17, 11, 12]]


def searcher(answers: list[list[int]] = ANSWERS, topics: list[tuple] = TOPICS, **names: str) -> Searcher:
    hits = Hits(np.array(answers), np.where(np.array(answers) < 0, np.inf, 1).astype(np.float32))
    return Searcher({**NAMES, "space": "corrected", **names}, pd.DataFrame(topics, columns=TOPIC), hits)


def merged(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["concept", "tile", "grade"])


JUDGED = merged(("field", 11, 1), ("field", 12, 0), ("field", 1, 1), ("field", 2, 1), ("field", 14, -1),
                ("boat", 16, 0), ("boat", 17, 1))  # fmt: skip


def test_each_query_is_scored_by_hand() -> None:
    table = hand_table([searcher()], JUDGED)
    assert table["found"].tolist() == [2, 2, 1]
    assert table["unjudged"].tolist() == [1, 1, 0]
    assert table["precision_at_least"].tolist() == [2 / 4, 2 / 4, 1 / 2]
    assert table["precision_at_most"].tolist() == [3 / 4, 3 / 4, 1 / 2]
    assert table["condensed_precision"].tolist() == [2 / 3, 2 / 3, 1 / 2]  # the empty place of query 2 is wrong
    assert table["judged_frac"].tolist() == [3 / 4, 2 / 3, 1]
    assert table["relevant_known"].tolist() == [2, 2, 1]
    assert table["bpref"].tolist() == [(1 + 0) / 2, 1, 0]  # query 1: 12 is wrong, and stands before 2


def test_the_query_itself_is_no_answer_to_be_judged_or_counted() -> None:
    table = hand_table([searcher([[1, 11, 99, 1]], TOPICS[:1])], JUDGED)
    scores = table[["found", "unjudged", "judged_frac", "condensed_precision", "bpref"]].to_numpy().tolist()
    assert scores == [[1, 1, 1 / 2, 1 / 3, 1 / 2]]


def test_averages_are_means_over_the_queries_of_a_stratum() -> None:
    averages = hand_averages(hand_table([searcher()], JUDGED)).set_index("stratum")
    easy = averages.loc["easy"]
    assert easy["queries"] == 2
    assert easy["judged_frac"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    assert (easy["precision_at_least"], easy["precision_at_most"]) == (2 / 4, 3 / 4)
    assert (easy["ci_low"], easy["ci_high"]) == pytest.approx((2 / 3, 2 / 3))
    assert averages[list(PUBLISHED_COLUMNS)].isna().all().all()  # other depths than the thesis'


def test_the_thesis_stands_beside_its_own_depths() -> None:
    averages = hand_averages(hand_table([searcher(topics=[(1, "easy", "field", 100)] * 3)], JUDGED))
    assert averages["published_tiny"].notna().all()
    page = hand_averages_page(averages)
    assert page["run"].tolist() == ["first", "thesis", "thesis", "thesis", "thesis"]


def test_page_says_what_is_unjudged() -> None:
    table = hand_table([searcher()], JUDGED)
    page = hand_averages_page(hand_averages(table))
    assert page["easy@4, n = 2"].tolist() == ["0.67 (0.50 to 0.75), 70 % judged"]
    assert page["hard@2, n = 1"].tolist() == ["0.50"]
    assert page["search"].tolist() == ["exact"]
    nothing = hand_averages_page(hand_averages(hand_table([searcher()], merged())))
    assert nothing["easy@4, n = 2"].tolist() == ["none judged"]


def test_nearly_all_is_not_all() -> None:
    topics, answers = [(1, "easy", "field", 300)], [[*range(10, 310)]]
    almost = merged(*(("field", tile, 1) for tile in range(10, 309)))
    page = hand_averages_page(hand_averages(hand_table([searcher(answers, topics)], almost)))
    assert page["easy@300, n = 1"].tolist() == ["1.00 (1.00 to 1.00), 99 % judged"]


def test_page_of_queries_has_a_column_a_backbone_and_run() -> None:
    other = searcher(backbone="small")
    approximate = searcher([[-1] * 4] * 3, engine="falconn", cell="x")
    page = hand_page(hand_table([searcher(), approximate, other], JUDGED))
    assert list(page.columns) == ["stratum", "depth", "query", "concept", "tiny", "small"]
    assert page["tiny"].tolist() == ["2 to 3", "2 to 3", "1"]
    assert page["query"].tolist() == ["1", "2", "5"]
    again = hand_page(hand_table([searcher(), searcher(run="second")], JUDGED))
    assert list(again.columns[4:]) == ["tiny (first)", "tiny (second)"]


def test_run_without_exact_search_keeps_its_place_beside_one_with_it() -> None:
    alone = searcher(run="second", engine="falconn", cell="x")
    beside = searcher([[-1] * 4] * 3, engine="falconn", cell="y")
    page = hand_page(hand_table([beside, searcher(), alone], JUDGED))
    assert list(page.columns[4:]) == ["tiny (first)", "tiny (second)"]
    assert page["tiny (first)"].tolist() == page["tiny (second)"].tolist() == ["2 to 3", "2 to 3", "1"]


def test_numbers_of_queries_that_differ_stand_with_their_scores() -> None:
    later = searcher([[11, 12, 13, 2]], TOPICS[:1], run="second")
    page = hand_averages_page(hand_averages(hand_table([searcher(), later], JUDGED)))
    assert [column for column in page if "@" in column] == ["easy@4", "hard@2, n = 1"]
    assert page["easy@4"].tolist() == [
        "0.67 (0.50 to 0.75), 70 % judged, n = 2", "0.67 (0.50 to 0.75), 75 % judged, n = 1",
    ]  # fmt: skip
    assert page["hard@2, n = 1"].tolist() == ["0.50", ""]


def test_runs_of_different_queries_stand_in_one_table(tmp_path: Path) -> None:
    later = searcher([[20, 21]], [(9, "medium", "road", 2)], run="second")
    table = hand_table([searcher(), later], JUDGED)
    averages = hand_averages(table)
    page = hand_averages_page(averages)
    assert [column for column in page if "@" in column] == ["easy@4, n = 2", "medium@2, n = 1", "hard@2, n = 1"]
    assert page["medium@2, n = 1"].tolist() == ["", "none judged"]
    for name, frame in (("hand_precision", table), ("hand_precision_averages", averages)):
        write_table(frame, tmp_path, name, "By hand.")
        assert (tmp_path / f"{name}.tex").read_text(encoding="utf-8").count(r"\toprule") == 1
        assert "By hand." in (tmp_path / f"{name}.md").read_text(encoding="utf-8")
