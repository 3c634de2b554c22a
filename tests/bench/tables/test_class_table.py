import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.results import QueryResult
from bench.tables.class_table import class_table, classes_page
from bench.tables.table import typed
from bench.tables.table_schemas import SCHEMAS


@pytest.fixture
def judgments() -> Judgments:
    rows = [(7, -1, "label", "cat", 10, 50), (8, -1, "label", "dog", 10, 50), (9, -1, "label", "cat", 10, 50)]
    return Judgments(pd.DataFrame(rows, columns=list(QUERY_COLUMNS)), np.zeros((3, 100), bool))


def answered(engine: str, **changes: object) -> QueryResult:
    fields = {
        "params": {}, "query_params": {}, "space": "corrected", "mode": "single", "threads": 1, "k": 10,
        "precision": {"label": [0.2, 0.9, 0.6]}, "vote_right": [False, True, True],
        "judged_times_s": [[0.001, 0.002, 0.003], [0.001, 0.004, 0.003]],
    }  # fmt: skip
    fields |= changes
    return QueryResult(f"net/{engine}/{fields['space']}/{fields['mode']}-1t", "net", engine, engine, **fields)


def test_each_class_has_the_scores_and_times_of_its_queries(judgments):
    table = typed(class_table([answered("exact")], judgments), "class_accuracy", "")
    assert table["class"].tolist() == ["all", "cat", "dog"]
    assert table["queries"].tolist() == [3, 2, 1]
    assert table["accuracy"].tolist() == pytest.approx([1.7 / 3, 0.4, 0.9])
    assert table["vote_accuracy"].tolist() == pytest.approx([2 / 3, 0.5, 1])
    assert table["query_ms_median"].tolist() == pytest.approx([2.5, 2.0, 3.0])  # medians over both processes
    assert (table["ci_low"][0], table["ci_high"][0]) == pytest.approx((0.2, 0.9))
    assert table["ci_low"].isna().tolist() == [False, False, True]  # one query has no interval


def test_searchers_are_those_of_corrected_queries_each_once(judgments):
    results = [
        answered("exact", mode="batch", judged_times_s=[]),  # first of its searcher; the other has the times
        answered("exact"),
        answered("exact", space="as_published", precision={"label": [0, 0, 0]}),
        answered("minhash", status="failed", precision={}),
        answered("hamming", vote_right=[], judged_times_s=[]),
    ]
    table = class_table(results, judgments)
    assert table.groupby("engine", sort=False).size().to_dict() == {"exact": 3, "hamming": 3}
    exact, hamming = (
        table[(table["engine"] == name) & (table["class"] == "all")].iloc[0] for name in ("exact", "hamming")
    )
    assert exact["query_ms_median"] == pytest.approx(2.5)
    assert np.isnan([hamming["query_ms_median"], hamming["vote_accuracy"]]).all()


def test_nothing_is_said_where_labels_judge_nothing(judgments):
    for other in (None, dataclasses.replace(judgments, queries=judgments.queries.assign(stratum="easy"))):
        table = class_table([answered("exact")], other)
        assert table.empty
        assert list(table.columns) == list(SCHEMAS["class_accuracy"])
        assert classes_page(table).empty


def test_page_has_a_row_a_searcher_and_a_column_a_class(judgments):
    page = classes_page(typed(class_table([answered("exact"), answered("kdtree")], judgments), "class_accuracy", ""))
    assert list(page.columns) == ["backbone", "search", "accuracy@10", "majority vote", "query ms", "cat", "dog"]
    assert page["search"].tolist() == ["exact", "kdtree"]
    assert page.iloc[0].tolist()[2:] == ["0.567 [0.200, 0.900]", "0.667 [0.000, 1.000]", 2.5, "0.40", "0.90"]
