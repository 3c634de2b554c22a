import dataclasses

import numpy as np
import pandas as pd
import pytest

from bench.judging.judgments import QUERY_COLUMNS, Judgments
from bench.results import QueryResult
from bench.tables.precision_table import averages_page, precision_averages, precision_page, precision_table, setting_of
from bench.tables.published import MODELS, published_table
from bench.tables.table_schemas import SCHEMAS


@pytest.fixture
def judgments() -> Judgments:
    """Two easy queries with ten and 150 relevant tiles of 1,001, and a hard one with one."""
    rows = [
        (7, 0, "easy", "field", 100, 10),
        (9, 1, "easy", "wood", 100, 150),
        (4, 2, "hard", "boat", 20, 1),
    ]
    relevant = np.zeros((3, 1001), bool)
    for i, row in enumerate(rows):
        relevant[i, 500 : 500 + row[-1]] = True
    return Judgments(pd.DataFrame(rows, columns=list(QUERY_COLUMNS)), relevant)


def answered(backbone: str, engine: str, precision: dict[str, list[float]], **changes: object) -> QueryResult:
    space, mode = str(changes.pop("space", "corrected")), str(changes.pop("mode", "single"))
    cell = f"{backbone}/{engine}/{space}/{mode}-1t"
    fields = {"params": {}, "query_params": {}, "threads": 1, "k": 100, "n": 1001, "precision": precision} | changes
    return QueryResult(cell, backbone, engine, engine, space=space, mode=mode, **fields)  # type: ignore[arg-type]


@pytest.fixture
def results() -> list[QueryResult]:
    good = {"easy": [0.1, 0.8], "hard": [0.05]}
    return [
        answered("tiny", "exact", good),
        answered("tiny", "exact", good, mode="batch"),  # the same answers in another mode are one searcher
        answered("tiny", "exact", {"easy": [0.0, 0.2], "hard": [0.0]}, space="as_published"),
        answered("tiny", "falconn", {}, status="failed", reason="broke"),
        answered("random", "exact", {"easy": [0.02, 0.3], "hard": [0.0]}),
    ]


def test_what_people_are_still_to_judge_has_no_rows(results, judgments):
    assert precision_table(results, dataclasses.replace(judgments, is_decided=False)).empty


def test_precision_stands_for_each_query_and_searcher(results, judgments):
    table = precision_table(results, judgments)
    assert list(table.columns) == list(SCHEMAS["nn_precision"])
    own = table[(table["backbone"] == "tiny") & (table["space"] == "corrected")]
    assert own[["query_id", "found", "precision", "relevant_in_corpus"]].to_numpy().tolist() == [
        [7, 10, 0.1, 10],
        [9, 80, 0.8, 150],
        [4, 1, 0.05, 1],
    ]
    assert len(table) == 3 * 5  # three searchers, random, ceiling


def test_random_and_ceiling_are_those_computed_by_hand(results, judgments):
    table = precision_table(results, judgments)
    chance, ceiling = (table[table["engine"] == name]["precision"].tolist() for name in ("random", "ceiling"))
    assert chance == pytest.approx([10 / 1000, 150 / 1000, 1 / 1000])
    assert ceiling == pytest.approx([10 / 100, 1, 1 / 20])


def test_nothing_is_said_where_nothing_was_judged(results, judgments):
    empty = precision_table(results, None)
    assert empty.empty
    assert list(empty.columns) == list(SCHEMAS["nn_precision"])
    assert precision_averages(empty).empty
    assert averages_page(precision_averages(empty)).empty
    assert precision_page(empty).empty
    assert set(precision_table([], judgments)["engine"]) == {"random", "ceiling"}


def test_averages_are_means_with_intervals_beside_the_published_ones(results, judgments):
    averages = precision_averages(precision_table(results, judgments))
    assert list(averages.columns) == list(SCHEMAS["nn_precision_averages"])
    easy = averages[(averages["backbone"] == "tiny") & (averages["stratum"] == "easy")].iloc[0]
    assert easy["precision"] == pytest.approx(0.45)
    assert (easy["ci_low"], easy["ci_high"]) == pytest.approx((0.1, 0.8))
    assert easy["queries"] == 2
    assert easy["published_tiny"] == pytest.approx(0.923)
    hard = averages[(averages["backbone"] == "tiny") & (averages["stratum"] == "hard")].iloc[0]
    assert np.isnan(hard["ci_low"])  # one query has no interval


def test_averages_page_is_a_pivot_with_the_thesis_below(results, judgments):
    page = averages_page(precision_averages(precision_table(results, judgments)))
    assert list(page.columns) == ["search", "queries", "backbone", "easy@100, n = 2", "hard@20, n = 1"]
    assert page.to_numpy().tolist()[:5] == [
        ["exact", "corrected", "tiny", "0.45 [0.10, 0.80]", "0.05"],
        ["exact", "corrected", "random", "0.16 [0.02, 0.30]", "0.00"],
        ["exact", "as_published", "tiny", "0.10 [0.00, 0.20]", "0.00"],
        ["random", "", "any", "0.08", "0.00"],
        ["ceiling", "", "any", "0.55", "0.05"],
    ]
    assert page["backbone"].tolist()[5:] == ["tiny", "tiny_longer", "small", "small_pretrained"]
    assert page["easy@100, n = 2"][5].startswith("0.92 [")
    assert page["hard@20, n = 1"][8].startswith("0.14 [") or page["hard@20, n = 1"][8].startswith("0.15 [")


def test_thesis_stays_away_from_strata_that_it_did_not_measure(judgments):
    labels = Judgments(judgments.queries.assign(stratum="label", depth=20), judgments.relevant)
    averages = precision_averages(precision_table([answered("tiny", "exact", {"label": [0.1, 0.2, 0.3]})], labels))
    page = averages_page(averages)
    assert list(page["backbone"]) == ["tiny", "any", "any"]
    assert averages["published_tiny"].isna().all()


def test_precision_page_has_a_row_a_query_and_a_column_a_backbone(results, judgments):
    page = precision_page(precision_table(results, judgments))
    assert page.to_dict("records")[1] == {
        "queries of": "this run",
        "stratum": "easy",
        "depth": 100,
        "query": "9",
        "concept": "wood",
        "relevant": 150,
        "tiny": "80",
        "random": "30",  # the backbone of that name
        "tiny_longer": "",
        "small": "",
        "small_pretrained": "",
        "at most": "100",
        "by chance": "15.0",
    }
    own = page[page["queries of"] == "this run"]
    assert own["stratum"].tolist() == ["easy", "easy", "easy", "hard", "hard"]
    assert own[["query", "tiny", "at most"]].to_numpy().tolist()[2] == ["mean of 2", "45.0 %", "55.0 %"]


def test_precision_page_has_the_thesis_counts_and_means_below_each_stratum(results, judgments):
    page = precision_page(precision_table(results, judgments))
    thesis = page[page["queries of"] == "the thesis"]
    assert thesis.groupby("stratum", sort=False).size().to_dict() == {"easy": 11, "hard": 11}
    means = thesis[thesis["query"] == "mean of 10"].set_index("stratum")[list(MODELS)]
    averages = published_table("nn_precision_averages").set_index("difficulty")
    for stratum in ("easy", "hard"):
        assert means.loc[stratum].tolist() == [f"{averages.loc[stratum, model]:.1f} %" for model in MODELS]
    assert thesis[["query", "concept", "tiny", "random"]].to_numpy().tolist()[0] == ["2", "Field with street", "64", ""]


def test_precision_page_stays_alone_where_the_thesis_judged_nothing(judgments):
    labels = Judgments(judgments.queries.assign(stratum="label", depth=20), judgments.relevant)
    page = precision_page(precision_table([answered("tiny", "exact", {"label": [0.1, 0.2, 0.3]})], labels))
    assert "queries of" not in page
    assert page["query"].tolist() == ["7", "9", "4", "mean of 3"]


def test_setting_is_what_the_cell_says_of_engine_and_parameters():
    cell = "tiny/falconn/hyperplane-tables10/probes_per_table5/corrected/batch-1t"
    assert setting_of(cell, "tiny", "falconn") == "falconn hyperplane-tables10 probes_per_table5"
    assert setting_of("tiny/exact/corrected/single-1t", "tiny", "exact") == "exact"
    assert setting_of("", "", "random") == "random"
